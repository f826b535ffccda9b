"""Runs the sections of the benchmark, one after the other; `scripts/bench` calls it and tells what may be said to it."""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

import cluster
import growth
import guests
import host
import report
import tool
from lab import Lab, Session
from results import Results

# The tool last: it builds the tests, and a machine that has just built is not a quiet one.
SECTIONS = {"guests": guests, "growth": growth, "cluster": cluster, "tool": tool}


def main() -> int:
    """Gives the exit code."""
    usage = "scripts/bench [guests|cluster|growth|tool|all]… | report DIR"
    parser = argparse.ArgumentParser(prog="scripts/bench", usage=usage)
    parser.add_argument("words", nargs="*", default=["all"])
    parser.add_argument("--repository", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--program", type=Path, required=True, help=argparse.SUPPRESS)
    options = parser.parse_args()
    docs = Path(os.environ.get("BENCH_DOCS", options.repository / "docs"))
    if options.words[0] == "report" and len(options.words) == 2:
        return report.write(Path(options.words[1]), docs)
    wanted = list(SECTIONS) if "all" in options.words else options.words
    unknown = [word for word in wanted if word not in SECTIONS]
    if unknown:
        parser.error(f"no section `{unknown[0]}`")
    # So that `finally` runs: labs are removed on every exit that can be noticed.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(130))
    out = Path(os.environ.get("BENCH_OUT", options.repository / "target" / "bench" / time.strftime("%Y%m%d-%H%M%S")))
    failures = _run(options, out, wanted)
    print(f"bench: raw numbers and logs are in {out}", file=sys.stderr)
    # Only a whole run replaces the document; any other one is looked at where it lies.
    report.write(out, docs if not failures and set(wanted) == set(SECTIONS) else out)
    return 1 if failures else 0


def _run(options: argparse.Namespace, out: Path, wanted: list[str]) -> int:
    """Runs sections; gives the number of failures."""
    (out / "logs").mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix="pgxc-bench.", dir=os.environ.get("BENCH_SCRATCH", "/var/tmp")))
    session = _session(options, out, scratch)
    machine = {**host.describe(options.repository), "runs": str(session.runs), "long-runs": str(session.long_runs)}
    machine |= {"guests": str(session.guests), "guest-memory": session.memory}
    failures = 0
    try:
        for section in wanted:
            machine |= {f"{key} before {section}": value for key, value in host.state().items()}
            _describe(out, machine)
            begun = time.monotonic()
            results = Results(out, section)
            try:
                SECTIONS[section].section(session, results)
            except Exception as error:  # A section that breaks must not take the others with it.
                traceback.print_exc()
                results.failed("section", "whole", 1, f"{type(error).__name__}: {error}")
            machine[f"seconds of {section}"] = f"{time.monotonic() - begun:.0f}"
            failures += results.failures
            _describe(out, machine)
    finally:
        _clean(session)
    return failures


def _describe(out: Path, machine: dict[str, str]) -> None:
    """Writes what the report tells about the machine: before a section, too, for it may be the last one."""
    (out / "machine.json").write_text(json.dumps(machine, indent=2) + "\n")


def _session(options: argparse.Namespace, out: Path, scratch: Path) -> Session:
    home = scratch / "home"
    home.mkdir()
    if "BENCH_CACHE" in os.environ:
        cache = Path(os.environ["BENCH_CACHE"]).resolve()
        cache.mkdir(parents=True, exist_ok=True)
        (home / "cache").symlink_to(cache)
    told = subprocess.run([options.program, "up", "--help"], capture_output=True, text=True, check=True).stdout
    return Session(
        program=options.program,
        repository=options.repository,
        document=Path(os.environ.get("BENCH_LAB", options.repository / "lab.yaml")),
        out=out,
        scratch=scratch,
        home=home,
        runs=int(os.environ.get("RUNS", "3")),
        long_runs=int(os.environ.get("LONG_RUNS", "1")),
        guests=int(os.environ.get("BENCH_GUESTS", "8")),
        memory=os.environ.get("BENCH_MEMORY", "256MiB"),
        vagrant_deadline=int(os.environ.get("VAGRANT_DEADLINE", "600")),
        boot="--boot" in told,
    )


def _clean(session: Session) -> None:
    """Removes whatever labs there still are, then everything else; what cannot be removed is kept and named."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    for directory in (session.home / "labs").glob("*"):
        file = session.scratch / f"{directory.name}.yaml"
        if file.exists() and not Lab(session, file.read_text()).destroy().ok:
            print(f"bench: a lab cannot be removed; look below {directory}", file=sys.stderr)
            return
    shutil.rmtree(session.scratch)


sys.exit(main())
