"""Guests until ssh answers: this tool warm and cold, `virsh start` of all at once, vagrant-libvirt; and the floor."""

import subprocess

import vagrant
from boots import attempt, destroy, warm
from lab import Lab, Session, addresses, cpu_seconds, plain
from machine import Machine, fresh_disk
from probe import Probe
from results import Results

# Seconds that guests that boot all at once may take; eight of them take about 260 on two cores.
AT_ONCE = 900


def section(session: Session, results: Results) -> None:
    """Measures everything of it."""
    lab = Lab(session, plain(session.guests, session.memory))
    if session.boot:
        warm(results, lab, session.guests, session.runs)
    else:
        results.not_run("warm", "ssh", "this pgxc-lab knows no `up --boot`")
    for run in range(1, session.long_runs + 1):
        if attempt(results, lab, session.guests, "cold", "cold", run):
            at_once(results, lab, session.guests, run)
        destroy(results, lab, run)
    machine = floor(session, results)
    if machine is None:
        results.not_run("vagrant", "ssh", "there is no guest of ours to take the machine from")
        return
    for run in range(1, session.long_runs + 1):
        vagrant.compare(session, results, machine, run)


def at_once(results: Results, lab: Lab, count: int, run: int) -> None:
    """The same domains on fresh disks, started by virsh without any order."""
    names = _fresh(lab)
    probe = Probe(lab.network, addresses(count))
    try:
        # virsh returns when qemu runs, not when the guest does.
        starts = [subprocess.Popen(lab.virsh("start", name), stdout=subprocess.DEVNULL) for name in names]
        codes = [start.wait() for start in starts]
        if any(codes):
            results.failed("virsh", "ssh", run, f"virsh start: exit codes {codes}")
        elif probe.all(AT_ONCE):
            results.ok("virsh", "ssh", run, max(probe.answered.values()), "s", "banner of the last guest")
        else:
            results.over("virsh", "ssh", run, AT_ONCE, f"{len(probe.answered)} of {count} answered")
    finally:
        probe.stop()


def floor(session: Session, results: Results) -> Machine | None:
    """CPU seconds of one guest that boots with nobody beside it, until its banner. Gives what such a guest is made of."""
    lab, machine = Lab(session, plain(1, session.memory)), None
    if attempt(results, lab, 1, "cold", "single", 1):
        machine = Machine.of(lab, "db1")
        for run in range(1, session.runs + 1):
            (name,) = _fresh(lab)
            probe = Probe(lab.network, addresses(1))
            try:
                subprocess.run(lab.virsh("start", name), stdout=subprocess.DEVNULL, check=True)
                if probe.all(AT_ONCE):
                    results.ok("floor", "cpu", run, cpu_seconds(lab.guests()[name]), "s", "one guest's boot")
                    results.ok("floor", "ssh", run, max(probe.answered.values()), "s")
                else:
                    results.failed("floor", "cpu", run, f"no banner within {AT_ONCE} s")
            finally:
                probe.stop()
    destroy(results, lab, 1)
    return machine


def _fresh(lab: Lab) -> list[str]:
    """Ends all guests and gives them new disks, as before their first boot. Gives their names."""
    names = sorted(lab.guests())
    for name in names:
        subprocess.run(lab.virsh("destroy", name), stdout=subprocess.DEVNULL, check=True)
        fresh_disk(lab, name)
    return names
