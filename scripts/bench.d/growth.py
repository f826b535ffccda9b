"""How the time grows with the number of guests."""

from boots import attempt, destroy, warm
from lab import Lab, Session, plain
from results import Results

# Doubled from row to row: what is linear and what is not shows at a glance.
COUNTS = [2, 4, 8, 16]


def section(session: Session, results: Results) -> None:
    """Measures each count once, warm and cold."""
    if not session.boot:
        results.not_run("warm", "ssh", "this pgxc-lab knows no `up --boot`")
    for count in COUNTS:
        lab = Lab(session, plain(count, session.memory))
        if session.boot:
            warm(results, lab, count, session.long_runs, f"warm-{count}")
        for run in range(1, session.long_runs + 1):
            attempt(results, lab, count, "cold", f"cold-{count}", run)
            destroy(results, lab, run)
