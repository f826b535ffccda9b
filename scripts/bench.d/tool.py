"""What the tool itself costs, without guests: plans of labs small and large, and libvirt's test driver."""

import measure
from lab import Lab, Session, plain
from results import Results

# Nodes of the largest lab that `pgxc-lab plan` is asked about: it refuses one that this host has no memory for.
FITS = 16
# Seconds that the build and the run of the benchmark below tests/ may take.
PATIENCE = 1200


def section(session: Session, results: Results) -> None:
    """Measures everything of it."""
    lab = Lab(session, plain(FITS, "256MiB"))
    for run in range(1, session.runs + 1):
        done = lab.verb("plan")
        if not done.ok:
            results.failed("plan", "whole", run, done.why())
            break
        results.ok("plan", "whole", run, done.seconds, "s", f"`pgxc-lab plan` of {FITS} nodes")
        results.ok("plan", "tool-memory", run, done.peak / 1024, "MiB")
    _costs(session, results)


def _costs(session: Session, results: Results) -> None:
    """tests/cost.rs prints lines of the form `cost WHAT NODES NUMBER UNIT`."""
    command = ["cargo", "test", "--release", "--locked", "--manifest-path", str(session.repository / "Cargo.toml")]
    command += ["--test", "integration", "--", "--ignored", "--nocapture", "--test-threads=1", "cost::"]
    done = measure.run(command, session.out / "logs" / "cost.log", PATIENCE)
    rows = [line.split() for _, line in done.lines if line.startswith("cost ")]
    if not done.ok or not rows:
        results.failed("cost", "whole", 1, done.why() if not done.ok else "the benchmark printed no numbers")
    for _, what, nodes, number, unit in rows:
        results.ok(what, nodes, 1, float(number), unit)
