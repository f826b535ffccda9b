"""Raw numbers: a TSV file per section, a line per measurement, written at once: a run that ends early keeps them."""

from dataclasses import astuple, dataclass, fields
from pathlib import Path


@dataclass
class Row:
    """One measurement."""

    # What was measured, e.g. `warm`; and what of it, e.g. `ssh`.
    subject: str
    measure: str
    run: int
    # ok: the value is what it took. over: it took longer than the value, a deadline. failed, not-run: the note says why.
    state: str
    value: float
    unit: str
    note: str = ""


class Results:
    """The file of one section."""

    def __init__(self, directory: Path, section: str):
        self.path = directory / f"{section}.tsv"
        self.section = section
        self.failures = 0
        # A section that is run again starts anew.
        self.path.write_text("\t".join(field.name for field in fields(Row)) + "\n")

    def ok(self, subject: str, measure: str, run: int, value: float, unit: str, note: str = "") -> None:
        """Keeps a number."""
        self._keep(Row(subject, measure, run, "ok", value, unit, note))

    def over(self, subject: str, measure: str, run: int, deadline: float, note: str) -> None:
        """Keeps that something took longer than its deadline, in seconds."""
        self._keep(Row(subject, measure, run, "over", deadline, "s", note))

    def failed(self, subject: str, measure: str, run: int, why: str) -> None:
        """Keeps that something failed, and makes the whole benchmark fail in the end."""
        self.failures += 1
        self._keep(Row(subject, measure, run, "failed", 0, "", why))

    def not_run(self, subject: str, measure: str, why: str) -> None:
        """Keeps that something was left out."""
        self._keep(Row(subject, measure, 0, "not-run", 0, "", why))

    def _keep(self, row: Row) -> None:
        words = [f"{word:.6g}" if isinstance(word, float) else str(word) for word in astuple(row)]
        with self.path.open("a") as file:
            file.write("\t".join(" ".join(word.split()) for word in words) + "\n")
        shown = {"ok": f"{row.value:10.2f} {row.unit}", "over": f"    > {row.value:.0f} s"}.get(row.state, row.state)
        print(f"{self.section:8} {row.subject:20} {row.measure:16} {shown}  {row.note}".rstrip(), flush=True)


def read(directory: Path) -> dict[str, list[Row]]:
    """All sections that were run, in the order of their names."""
    sections = {}
    for path in sorted(directory.glob("*.tsv")):
        rows = []
        for line in path.read_text().splitlines()[1:]:
            words = line.split("\t") + [""]
            rows.append(Row(words[0], words[1], int(words[2]), words[3], float(words[4]), words[5], words[6]))
        sections[path.stem] = rows
    return sections
