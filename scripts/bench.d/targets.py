"""What the numbers should be, and whether they are."""

from dataclasses import dataclass

from medians import Numbers, Stat, number

ENGINES = ["postgres-fdw", "postgres-xc"]
# pgxc-lab may take this much memory; measurements are in MiB.
MEMORY = 50e6 / 2**20
# Warm guests against vagrant-libvirt; cold guests against the floor; CPU time of pgxc-lab against that of the guests.
OF_VAGRANT, OF_FLOOR, OF_GUESTS = 0.10, 1.15, 0.05


@dataclass(frozen=True)
class Verdict:
    """One target: `met`, `not met` or `not run`."""

    what: str
    limit: str
    measured: str
    verdict: str


def verdicts(numbers: Numbers) -> list[Verdict]:
    """All targets."""
    guests = numbers.machine.get("guests", "8")

    def cluster(measure: str) -> list[tuple[str, Stat]]:
        return numbers.of(*[("cluster", engine, measure) for engine in ENGINES])

    def proved(engine: str) -> list[tuple[str, Stat]]:
        # The fast way; cold counts where there is no other.
        found = numbers.of(("cluster", engine, "up-warm"), ("cluster", engine, "up-cold"))
        return [pair for pair in found if pair[1].failed or pair[1].median is not None][:1] or found

    destroys = [("guests", "destroy", "whole"), ("growth", "destroy", "whole")]
    destroys += [("cluster", f"{engine}-destroy", "whole") for engine in ENGINES]
    boots = [("guests", "warm", "tool-memory"), ("guests", "cold", "tool-memory")]
    return [
        at_most(f"{guests} guests warm, to ssh", 20, "20 s", numbers.of(("guests", "warm", "ssh"))),
        _of_vagrant(numbers, guests),
        _of_floor(numbers, guests),
        at_most("cluster until it is proved, postgres-fdw", 75, "75 s", proved("postgres-fdw")),
        at_most("cluster until it is proved, Postgres-XC", 90, "90 s", proved("postgres-xc")),
        at_most("`restore` of the running lab", 10, "10 s", cluster("restore")),
        at_most("`rebuild`, nothing changed", 12, "12 s", cluster("rebuild")),
        at_most("`destroy`", 3, "3 s", numbers.of(*destroys)),
        at_most("`status`", 1, "1 s", cluster("status")),
        at_most("`up`, nothing to do", 2, "2 s", cluster("no-op-up")),
        at_most("`plan` of 1000 nodes", 1, "1 s", numbers.of(("tool", "plan", "1000"))),
        at_most("`plan` of 1000 nodes on 40 hosts", 2, "2 s", numbers.of(("tool", "plan-on-40-hosts", "1000"))),
        at_most("memory of pgxc-lab", MEMORY, "50 MB", numbers.of(("tool", "plan", "tool-memory"), *boots)),
        _of_guests(numbers, guests),
        _nothing_left(numbers),
    ]


def at_most(what: str, limit: float, said: str, stats: list[tuple[str, Stat]]) -> Verdict:
    """The worst of these medians must not be more than the limit."""
    said = f"at most {said}"
    if not stats:
        return Verdict(what, said, "", "not run")
    broken = [stat for _, stat in stats if stat.failed]
    if broken:
        return Verdict(what, said, broken[0].text(), "not met")
    ended = [(subject, stat) for subject, stat in stats if stat.median is not None]
    if not ended:
        return Verdict(what, said, stats[0][1].text(), "not run")
    subject, worst = max(ended, key=lambda pair: pair[1].median)
    measured = worst.text() + (f" ({subject}, the worst of {len(ended)})" if len(ended) > 1 else "")
    return Verdict(what, said, measured, "met" if worst.median <= limit and not worst.over else "not met")


def _ratio(what: str, limit: float, base: str, over: Stat | None, under: float | None, bound: bool = False) -> Verdict:
    """A ratio of two numbers; `bound` tells that the lower one may be larger, so that the ratio may be smaller."""
    said = f"at most {limit:.2f} of {base}"
    if over is None or over.median is None or not under:
        return Verdict(what, said, "", "not met" if over is not None and over.failed else "not run")
    ratio = over.median / under
    met = ratio <= limit and not over.failed and not over.over
    return Verdict(what, said, f"{'below ' if bound else ''}{ratio:.3f}", "met" if met else "not met")


def _of_vagrant(numbers: Numbers, guests: str) -> Verdict:
    vagrant = numbers.stat("guests", "vagrant", "ssh")
    warm = numbers.stat("guests", "warm", "ssh")
    under = None if vagrant is None else vagrant.median
    bound = vagrant is not None and vagrant.over
    return _ratio(f"{guests} guests warm", OF_VAGRANT, "vagrant-libvirt", warm, under, bound)


def _of_floor(numbers: Numbers, guests: str) -> Verdict:
    floor = numbers.floor()
    base = "the floor" if floor is None else f"the floor, {number(floor)} s"
    return _ratio(f"{guests} guests cold", OF_FLOOR, base, numbers.stat("guests", "cold", "ssh"), floor)


def _of_guests(numbers: Numbers, guests: str) -> Verdict:
    """pgxc-lab's share, at its worst: a warm run leaves the guests little to do."""
    what = f"CPU time of pgxc-lab in `up` of {guests}"
    shares = []
    for way in ["warm", "cold"]:
        tool, all_guests = numbers.stat("guests", way, "tool-cpu"), numbers.stat("guests", way, "guests-cpu")
        if tool and all_guests and tool.median is not None and all_guests.median:
            shares.append((tool.median / all_guests.median, way))
    said = f"at most {OF_GUESTS:.0%} of the guests'"
    if not shares:
        return Verdict(what, said, "", "not run")
    measured = ", ".join(f"{way} {share:.1%}" for share, way in shares)
    return Verdict(what, said, measured, "met" if max(shares)[0] < OF_GUESTS else "not met")


def _nothing_left(numbers: Numbers) -> Verdict:
    everything = [row for section in numbers.sections.values() for row in section]
    rows = [row for row in everything if row.measure == "leftovers" and row.state == "ok"]
    what = "processes, mounts, loop devices, namespaces, files after `destroy`"
    if not rows:
        return Verdict(what, "none", "", "not run")
    worst = max(rows, key=lambda row: row.value)
    measured = f"{worst.value:.0f} after {len(rows)} times" + (f": {worst.note}" if worst.value else "")
    return Verdict(what, "none", measured, "met" if worst.value == 0 else "not met")
