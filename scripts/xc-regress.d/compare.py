"""Judges the suite on a lab by the suite on its own temporary cluster: compare.py DIR. scripts/xc-regress tells what is in DIR.

The report goes to stdout. Exit: 0 the lab fails only where the baseline fails, 1 it does not, 2 wrong use, 3 DIR cannot be
judged.
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path

import suite
from suite import Run, Test, Verdict

WORSE, MISUSED, NOT_JUDGED = 1, 2, 3


@dataclass
class Judgement:
    """What speaks against the lab, which tests fail on both sides, and what is only worth a line."""

    against: list[str] = field(default_factory=list)
    shared: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def judge(baseline: Run, lab: Run, crashes: list[str]) -> Judgement:
    """Compares two runs test by test."""
    found = Judgement()
    for name, run in (("baseline", baseline), ("lab", lab)):
        if run.broken:
            found.against.append(f"{name}: {run.broken}")
    found.against += [f"crash in the lab: {line}" for line in crashes]
    for name in dict.fromkeys([*baseline.tests, *lab.tests]):
        before, here = baseline.tests.get(name), lab.tests.get(name)
        if before is None or here is None:
            found.against.append(f"{name}: was not run {'by the baseline' if before is None else 'in the lab'}")
        else:
            _compare(name, before, here, found)
    return found


def _compare(name: str, before: Test, here: Test, found: Judgement) -> None:
    if here.ended and not before.ended:
        found.against.append(f"{name}: {here.ended}, only in the lab")
    match before.verdict, here.verdict:
        case Verdict.FAILED, Verdict.FAILED:
            found.shared.append(name)
        case _, Verdict.FAILED:
            found.against.append(f"{name}: fails only in the lab")
        case Verdict.FAILED, _:
            found.notes.append(f"{name}: fails only in the baseline")
        case _, Verdict.IGNORED:
            found.notes.append(f"{name}: fails in the lab, which the suite's schedule ignores")


def totals(name: str, run: Run) -> str:
    """A run in one line."""
    ok, failed, ignored = (run.count(verdict) for verdict in (Verdict.OK, Verdict.FAILED, Verdict.IGNORED))
    return f"{name:<10}{len(run.tests):>4} tests{ok:>5} ok{failed:>5} failed{ignored:>5} ignored"


def same_output(directory: Path, test: str) -> str:
    """Whether a test that fails in both fails the same way: what psql wrote there, byte by byte."""
    baseline, lab = (directory / side / "results" / f"{test}.out" for side in ("baseline", "lab"))
    if not baseline.exists() or not lab.exists():
        return "and left no output to compare"
    if baseline.read_bytes() == lab.read_bytes():
        return "with the same output"
    return f"with other output: diff {baseline} {lab}"


def report(directory: Path) -> int:
    """Reads both runs, prints what is to be said of them, and gives the exit code."""
    logs = directory / "lab" / "log"
    if not any(path.is_file() for path in logs.rglob("*")):
        print(f"error: no logs of servers in {logs}, so nobody knows whether one crashed", file=sys.stderr)
        return NOT_JUDGED
    baseline, lab = (suite.read((directory / side / "out").read_text(errors="replace")) for side in ("baseline", "lab"))
    found = judge(baseline, lab, suite.crashes(logs))
    print(totals("baseline", baseline))
    print(totals("lab", lab))
    for test in found.shared:
        print(f"  {test}: fails in both, {same_output(directory, test)}")
    for note in found.notes:
        print(f"  {note}")
    for line in found.against:
        print(f"! {line}")
    print(f"{len(found.against)} things speak against the lab" if found.against else "the lab fails only where the baseline fails")
    return WORSE if found.against else 0


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return MISUSED
    try:
        return report(Path(arguments[0]))
    except OSError as error:
        print(f"error: {error}\nhint: DIR is where a run of scripts/xc-regress went", file=sys.stderr)
        return NOT_JUDGED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
