"""One `up` of guests without roles, as both the guests and the growth section measure it."""

from dataclasses import dataclass

from lab import Lab, addresses, cpu_seconds, made
from measure import Run
from probe import Probe
from results import Results

# Seconds after the end of `up` in which the last banner must have come: `up` has logged in everywhere by then.
LATE = 30


@dataclass
class Boot:
    """What an `up` took."""

    # Seconds until the last guest gave its ssh banner; until the last one let `up` log in; until `up` was done.
    banner: float
    login: float | None
    whole: float
    # CPU seconds and peak of the memory (MiB) of pgxc-lab; CPU seconds of all guests.
    cpu: float
    memory: float
    guests_cpu: float
    # What the run made for later ones, e.g. the template that they clone.
    made: list[str]

    def ssh(self) -> float:
        """A clone's sshd may greet before the guest is the node that it is to be: the later of banner and login counts."""
        return max(self.banner, self.login or 0.0)

    def keep(self, results: Results, subject: str, run: int) -> None:
        """Writes it down."""
        results.ok(subject, "ssh", run, self.ssh(), "s", f"banner of the last guest after {self.banner:.1f} s")
        results.ok(subject, "whole", run, self.whole, "s")
        results.ok(subject, "tool-cpu", run, self.cpu, "s")
        results.ok(subject, "tool-memory", run, self.memory, "MiB")
        results.ok(subject, "guests-cpu", run, self.guests_cpu, "s")


class Failed(Exception):
    """An `up` that did not end well, with the reason."""


def boot(lab: Lab, count: int, way: str) -> Boot:
    """Runs `up`, and asks every guest for its banner meanwhile."""
    probe = Probe(lab.network, addresses(count))
    try:
        done = lab.up(way)
        all_answer = done.ok and probe.all(done.seconds + LATE)
    finally:
        probe.stop()
    if not done.ok:
        raise Failed(done.why())
    if not all_answer:
        raise Failed(f"{len(probe.answered)} of {count} guests answer after the end of `up`")
    logins = _logins(done)
    return Boot(
        banner=max(probe.answered.values()),
        login=max(logins) if len(logins) == count else None,
        whole=done.seconds,
        cpu=done.cpu,
        memory=done.peak / 1024,
        guests_cpu=sum(map(cpu_seconds, lab.guests().values())),
        made=made(done),
    )


def warm(results: Results, lab: Lab, count: int, runs: int, subject: str = "warm") -> None:
    """Warm boots. One that makes image or template first counts for itself and not among them."""
    run = 1
    while run <= runs:
        taken = attempt(results, lab, count, "warm", subject, run)
        destroy(results, lab, run)
        if taken is None:
            return
        if not taken.made:
            run += 1
        elif run > 1:
            results.failed(subject, "ssh", run, f"made once more what an earlier run had made: {', '.join(taken.made)}")
            return


def attempt(results: Results, lab: Lab, count: int, way: str, subject: str, run: int) -> Boot | None:
    """One boot, written down; nothing when it failed."""
    try:
        taken = boot(lab, count, way)
    except Failed as failed:
        results.failed(subject, "ssh", run, str(failed))
        return None
    taken.keep(results, f"{subject}-first" if taken.made else subject, run)
    return taken


def destroy(results: Results, lab: Lab, run: int, subject: str = "destroy") -> None:
    """Removes a lab and counts what is left of it on the host."""
    left = lab.left()
    done = lab.destroy()
    if not done.ok:
        results.failed(subject, "whole", run, done.why())
        return
    results.ok(subject, "whole", run, done.seconds, "s")
    found = left.found()
    said = ", ".join(f"{count} {kind}" for kind, count in found.items() if count)
    results.ok(subject, "leftovers", run, float(sum(found.values())), "things", said)


def _logins(done: Run) -> list[float]:
    """When `up` had logged in to each node: its boot step ends with a login."""
    return [at for at, line in done.lines if '"event":"finished"' in line and '/boot"' in line]
