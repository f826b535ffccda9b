"""Raw rows as medians, and as the words of the report."""

import statistics
from dataclasses import dataclass
from pathlib import Path

import results
from results import Row


@dataclass(frozen=True)
class Stat:
    """Several runs of one measurement."""

    # Values of the runs that ended, sorted; a deadline counts as a run with that value, at least.
    values: tuple[float, ...]
    unit: str
    # Whether a run was longer than its deadline: then the median is a lower bound.
    over: bool
    # What the rows say besides: why it failed or was left out, how far it came.
    note: str
    failed: bool

    @property
    def median(self) -> float | None:
        """The middle value, if any run ended."""
        return statistics.median(self.values) if self.values else None

    def text(self) -> str:
        """The median with its unit."""
        if self.median is None:
            return ("failed: " if self.failed else "not run: ") + self.note
        return f"> {self.median:.0f} {self.unit}, {self.note}" if self.over else f"{number(self.median)} {self.unit}"

    def spread(self) -> str:
        """Smallest and largest value."""
        return f"{number(self.values[0])} to {number(self.values[-1])}" if len(self.values) > 1 else ""


def number(value: float) -> str:
    """Three significant digits and no more than two behind the point."""
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


class Numbers:
    """All numbers of a directory."""

    def __init__(self, sections: dict[str, list[Row]], machine: dict[str, str]):
        self.sections = sections
        self.machine = machine

    @staticmethod
    def read(directory: Path, machine: dict[str, str]) -> "Numbers":
        """From the files of a run."""
        return Numbers(results.read(directory), machine)

    def stat(self, section: str, subject: str, measure: str) -> Stat | None:
        """One measurement; nothing when there is no row about it."""
        rows = [row for row in self.sections.get(section, []) if (row.subject, row.measure) == (subject, measure)]
        if not rows:
            return None
        counted = [row for row in rows if row.state in ("ok", "over")]
        over = any(row.state == "over" for row in rows)
        last = next((row for row in rows if row.state == "over"), rows[-1])
        unit = counted[0].unit if counted else ""
        failed = any(row.state == "failed" for row in rows)
        return Stat(tuple(sorted(row.value for row in counted)), unit, over, last.note, failed)

    def of(self, *keys: tuple[str, str, str]) -> list[tuple[str, Stat]]:
        """Those of these measurements that have rows, with their subjects."""
        found = ((subject, self.stat(section, subject, measure)) for section, subject, measure in keys)
        return [(subject, stat) for subject, stat in found if stat is not None]

    def floor(self) -> float | None:
        """Seconds that all guests' boots would take if every core did nothing but boot them."""
        cpu = self.stat("guests", "floor", "cpu")
        if cpu is None or cpu.median is None:
            return None
        return int(self.machine["guests"]) * cpu.median / int(self.machine["cores"].split()[0])

    def troubles(self) -> list[Row]:
        """Everything that failed or was left out."""
        return [row for rows in self.sections.values() for row in rows if row.state in ("failed", "not-run")]
