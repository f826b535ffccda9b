"""What the report says about given numbers. Run by scripts/test: python3 -m unittest, in this directory."""

import tempfile
import unittest
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from chart import draw
from medians import Numbers
from report import render
from results import Results
from targets import verdicts

MACHINE = {key: "?" for key in ["date", "commit", "memory", "system", "kernel", "qemu", "libvirt", "vagrant"]}
MACHINE |= {"cores": "2 x Some CPU", "runs": "3", "long-runs": "1", "guests": "8", "guest-memory": "256MiB"}


class Report(unittest.TestCase):
    """Rows in, words out."""

    def setUp(self) -> None:
        self.directory = tempfile.TemporaryDirectory()
        self.addCleanup(self.directory.cleanup)
        self.path = Path(self.directory.name)

    def numbers(self) -> Numbers:
        return Numbers.read(self.path, MACHINE)

    def verdict(self, what: str) -> tuple[str, str]:
        (found,) = [it for it in verdicts(self.numbers()) if it.what.startswith(what)]
        return found.measured, found.verdict

    def test_nothing_measured_is_nothing_met(self) -> None:
        self.assertEqual({it.verdict for it in verdicts(self.numbers())}, {"not run"})
        self.assertEqual(draw(self.numbers()), "")
        self.assertIn("section guests: not run", render(self.numbers(), False))

    def test_medians_decide(self) -> None:
        guests = Results(self.path, "guests")
        for run, seconds in enumerate([21.0, 19.0, 25.0], 1):
            guests.ok("warm", "ssh", run, seconds, "s")
        self.assertEqual(self.verdict("8 guests warm, to ssh"), ("21.0 s", "not met"))
        guests.ok("warm", "ssh", 4, 18.0, "s")
        guests.ok("warm", "ssh", 5, 17.0, "s")
        self.assertEqual(self.verdict("8 guests warm, to ssh"), ("19.0 s", "met"))

    def test_a_rival_that_was_not_done_is_a_lower_bound(self) -> None:
        guests = Results(self.path, "guests")
        guests.ok("warm", "ssh", 1, 30.0, "s")
        guests.over("vagrant", "ssh", 1, 600, "7 of 8 ready")
        self.assertEqual(self.verdict("8 guests warm, to ssh"), ("30.0 s", "not met"))
        (ratio,) = [it for it in verdicts(self.numbers()) if it.what == "8 guests warm"]
        self.assertEqual((ratio.measured, ratio.verdict), ("below 0.050", "met"))
        self.assertIn("> 600 s, 7 of 8 ready", render(self.numbers(), False))

    def test_the_floor_is_shared_by_all_cores(self) -> None:
        guests = Results(self.path, "guests")
        guests.ok("floor", "cpu", 1, 10.0, "s")
        guests.ok("cold", "ssh", 1, 46.0, "s")
        self.assertEqual(self.numbers().floor(), 40.0)
        self.assertEqual(self.verdict("8 guests cold"), ("1.150", "met"))

    def test_failures_are_told_and_meet_nothing(self) -> None:
        cluster = Results(self.path, "cluster")
        cluster.ok("postgres-fdw", "restore", 1, 5.0, "s")
        cluster.failed("postgres-fdw", "restore", 2, "exit code 8: error: no proof")
        self.assertEqual(self.verdict("`restore`")[1], "not met")
        self.assertIn("exit code 8: error: no proof", render(self.numbers(), False))

    def test_the_worst_engine_counts(self) -> None:
        cluster = Results(self.path, "cluster")
        cluster.ok("postgres-fdw", "rebuild", 1, 5.0, "s")
        cluster.ok("postgres-xc", "rebuild", 1, 13.0, "s")
        self.assertEqual(self.verdict("`rebuild`"), ("13.0 s (postgres-xc, the worst of 2)", "not met"))

    def test_cold_counts_where_warm_was_not_run(self) -> None:
        cluster = Results(self.path, "cluster")
        cluster.ok("postgres-fdw", "up-cold", 1, 80.0, "s")
        cluster.not_run("postgres-fdw", "up-warm", "no `up --boot`")
        cluster.ok("postgres-xc", "up-cold", 1, 140.0, "s")
        cluster.ok("postgres-xc", "up-warm", 1, 89.0, "s")
        self.assertEqual(self.verdict("cluster until it is proved, postgres-fdw"), ("80.0 s", "not met"))
        self.assertEqual(self.verdict("cluster until it is proved, Postgres-XC"), ("89.0 s", "met"))

    def test_one_leftover_is_one_too_many(self) -> None:
        growth = Results(self.path, "growth")
        growth.ok("destroy", "leftovers", 1, 0.0, "things")
        self.assertEqual(self.verdict("processes")[1], "met")
        growth.ok("destroy", "leftovers", 2, 1.0, "things", "1 mounts")
        self.assertEqual(self.verdict("processes"), ("1 after 2 times: 1 mounts", "not met"))

    def test_the_picture_is_whole(self) -> None:
        guests, growth, cluster = (Results(self.path, name) for name in ("guests", "growth", "cluster"))
        guests.ok("warm", "ssh", 1, 15.0, "s")
        guests.ok("floor", "cpu", 1, 10.0, "s")
        guests.over("vagrant", "ssh", 1, 600, "7 of 8 <ready>")
        for count in (2, 4):
            growth.ok(f"warm-{count}", "ssh", 1, 2.0 * count, "s")
            growth.ok(f"cold-{count}", "ssh", 1, 10.0 * count, "s")
        cluster.ok("postgres-fdw", "up-warm", 1, 70.0, "s")
        drawn = draw(self.numbers())
        texts = ["".join(it.itertext()) for it in ElementTree.fromstring(drawn).iter("{http://www.w3.org/2000/svg}text")]
        for words in ("> 600 s, 7 of 8 <ready>", "15.0 s", "floor of booting: 40.0 s", "postgres-fdw: up, warm"):
            self.assertIn(words, texts)


if __name__ == "__main__":
    unittest.main(buffer=True)
