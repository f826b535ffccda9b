"""What one run of the suite said: the output of pg_regress, and the servers' logs."""

import re
from dataclasses import dataclass
from enum import Enum
from pathlib import Path


class Verdict(Enum):
    """pg_regress's word about a test."""

    OK = "ok"
    FAILED = "FAILED"
    IGNORED = "failed (ignored)"


@dataclass(frozen=True)
class Test:
    """A test that was run."""

    verdict: Verdict
    # How psql ended, where that was not with 0: "test process exited with exit code 2" is a lost connection.
    ended: str | None = None


@dataclass(frozen=True)
class Run:
    """All tests in the order in which they were run, and why this is not a whole run, if it is none."""

    tests: dict[str, Test]
    broken: str | None

    def count(self, verdict: Verdict) -> int:
        return sum(test.verdict is verdict for test in self.tests.values())


# "test boolean   ... ok", or in a parallel group "     boolean   ... FAILED (test process exited with exit code 2)".
_TEST = re.compile(r"^(?:test |     )(\S+) +\.\.\.(?P<rest>.*)$")
_VERDICT = re.compile(r"^ (?:\S+ )?(ok|FAILED|failed \(ignored\))(?: \((test process .*)\))?$")
_SUMMARY = re.compile(
    r"^ (?:All (?P<passed>\d+) tests passed\. |(?P<part>\d+) of (?P<all>\d+) tests (?:passed, \d+ failed test\(s\) ignored|failed)[.,].*)$"
)


def read(text: str) -> Run:
    """Reads what `make check` or `make installcheck` printed."""
    tests: dict[str, Test] = {}
    total = None
    broken = None
    for line in text.splitlines():
        if found := _SUMMARY.match(line):
            total = int(found["passed"] or found["all"])
        elif found := _TEST.match(line):
            name, verdict = found[1], _VERDICT.match(found["rest"])
            if verdict is None:
                broken = broken or f"no verdict about `{name}`: {line.strip()}"
            elif name in tests:
                broken = broken or f"two verdicts about `{name}`"
            else:
                tests[name] = Test(Verdict(verdict[1]), verdict[2])
    if broken is None and total is None:
        broken = "the run has no end: pg_regress's summary is missing"
    if broken is None and total != len(tests):
        broken = f"the summary counts {total} tests, but {len(tests)} were read"
    return Run(tests, broken)


# What a postmaster says of a process that did not end by itself, and of itself when it gives up. FATAL alone is no crash:
# that is how the suite's own mistakes with logins and terminated sessions are told.
_CRASH = re.compile(r"\bPANIC\b|terminated by signal|terminating any other active server processes|server process .* exited with exit code")


def crashes(logs: Path) -> list[str]:
    """Lines of the logs below a directory that tell of a crash, each after the name of its log."""
    found = []
    for log in sorted(path for path in logs.rglob("*") if path.is_file()):
        with log.open(errors="replace") as lines:
            found += [f"{log.relative_to(logs)}: {line.strip()}" for line in lines if _CRASH.search(line)]
    return found
