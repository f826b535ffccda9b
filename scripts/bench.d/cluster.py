"""The document's lab until its cluster is proved, and what one does with it every day."""

import os
import re

from boots import destroy
from lab import Lab, Session, made, used
from measure import Run
from results import Results


def section(session: Session, results: Results) -> None:
    """Measures both engines, Postgres-XC where there is a source of it."""
    _engine(session, results, "postgres-fdw", None)
    source = os.environ.get("PGXC_SOURCE")
    if source:
        _engine(session, results, "postgres-xc", {"PGXC_SOURCE": os.path.realpath(source)})
    else:
        results.not_run("postgres-xc", "up-cold", "PGXC_SOURCE names no source package")


def _engine(session: Session, results: Results, engine: str, env: dict[str, str] | None) -> None:
    text = re.sub(r"^engine:.*\n", "", session.document.read_text(), flags=re.M)
    lab = Lab(session, f"{text}\nengine: {engine}\n", env)
    try:
        good = _ups(session, results, lab, engine, "cold")
        if session.boot:
            destroy(results, lab, 1, f"{engine}-destroy")
            good = _ups(session, results, lab, engine, "warm")
        else:
            results.not_run(engine, "up-warm", "this pgxc-lab knows no `up --boot`")
        if good:
            _every_day(session, results, lab, engine)
    finally:
        destroy(results, lab, 2, f"{engine}-destroy")


def _ups(session: Session, results: Results, lab: Lab, engine: str, way: str) -> bool:
    """Clusters from nothing until they are proved. The last one is left running. Tells whether it does."""
    run = 1
    while True:
        done = lab.up(way)
        if not done.ok:
            results.failed(engine, f"up-{way}", run, done.why())
            return False
        if made(done):
            results.ok(engine, f"up-{way}-first", run, done.seconds, "s", f"with {' and '.join(made(done))}")
        else:
            results.ok(engine, f"up-{way}", run, done.seconds, "s", "until the cluster is proved")
            run += 1
        if run > session.long_runs:
            return True
        destroy(results, lab, run, f"{engine}-destroy")


def _every_day(session: Session, results: Results, lab: Lab, engine: str) -> None:
    """What one does with a running cluster."""
    results.ok(engine, "disk-cache", 1, used(session.home / "cache"), "MiB")
    results.ok(engine, "disk-lab", 1, used(lab.directory), "MiB")
    snapshot = session.home / "snapshots" / lab.name / "bench"
    for run in range(1, session.runs + 1):
        verbs = [
            ("no-op-up", ["up"]),
            ("status", ["status"]),
            ("snapshot", ["snapshot", "create", "bench"]),
            ("restore", ["restore", "bench"]),
        ]
        for measure, words in verbs:
            if not _timed(results, engine, measure, run, lab.verb(*words)):
                return
        results.ok(engine, "disk-snapshot", run, used(snapshot), "MiB")
        lab.verb("snapshot", "delete", "bench")
    # The first one finds no pristine snapshot: it makes the lab anew, and takes one.
    if _timed(results, engine, "rebuild-first", 1, lab.verb("rebuild")):
        for run in range(1, session.runs + 1):
            _timed(results, engine, "rebuild", run, lab.verb("rebuild"))


def _timed(results: Results, engine: str, measure: str, run: int, done: Run) -> bool:
    if done.ok:
        results.ok(engine, measure, run, done.seconds, "s")
    else:
        results.failed(engine, measure, run, done.why())
    return done.ok
