"""What is said of given runs of the suite. Run by scripts/test: python3 -m unittest, in this directory."""

import contextlib
import io
import tempfile
import unittest
from pathlib import Path

import suite
from compare import main
from suite import Test, Verdict

SERIAL = """\
(using postmaster on db1, port 1921)
============== dropping database "regression"         ==============
DROP DATABASE
============== running regression test queries        ==============
test boolean                  ... ok
test join                     ... ok
test random                   ... failed (ignored)
test xc_node                  ... FAILED

==================================================
 2 of 4 tests failed, 1 of these failures ignored.{blank}
==================================================
""".replace("{blank}", " ")
PARALLEL = """\
test boolean                  ... ok
parallel group (2 tests, in groups of 1):  random join
     join                     ... ok
     random                   ... ok
test xc_node                  ... FAILED (test process exited with exit code 2)

=======================
 1 of 4 tests failed.{blank}
=======================
""".replace("{blank}", " ")
QUIET = "2026-11-25 08:00:00 CST,,,1,,,,,,,,LOG,00000,\"database system is ready to accept connections\"\n"
# What a postmaster and a backend write when a backend was killed, and when a server gives up.
CRASHES = [
    "LOG,00000,\"server process (PID 812) was terminated by signal 11: Segmentation fault\"",
    "LOG,00000,\"server process (PID 812) exited with exit code 2\"",
    "LOG,00000,\"terminating any other active server processes\"",
    "PANIC,XX000,\"could not write to log file 0, segment 1\"",
]


class Output(unittest.TestCase):
    """pg_regress's words, read."""

    def test_both_forms_of_a_line(self) -> None:
        failed = "test process exited with exit code 2"
        self.assertEqual(
            suite.read(PARALLEL).tests,
            {"boolean": Test(Verdict.OK), "join": Test(Verdict.OK), "random": Test(Verdict.OK), "xc_node": Test(Verdict.FAILED, failed)},
        )
        self.assertEqual(suite.read(SERIAL).tests["random"], Test(Verdict.IGNORED))
        self.assertIsNone(suite.read(PARALLEL).broken or suite.read(SERIAL).broken)

    def test_every_summary(self) -> None:
        passed = "test boolean                  ... ok\n\n All 1 tests passed. \n"
        ignored = "test random                   ... failed (ignored)\n\n 0 of 1 tests passed, 1 failed test(s) ignored. \n"
        for text in (passed, ignored):
            self.assertIsNone(suite.read(text).broken, text)

    def test_what_is_no_whole_run(self) -> None:
        for text, words in (
            ("", "summary is missing"),
            (SERIAL.partition("test xc_node")[0], "summary is missing"),
            (SERIAL.replace("test join                     ... ok\n", ""), "counts 4 tests, but 3"),
            (SERIAL.replace("join                     ... ok", "join                     ... "), "no verdict about `join`"),
            (SERIAL.replace("test join ", "test boolean "), "two verdicts about `boolean`"),
        ):
            self.assertIn(words, suite.read(text).broken or "")


class Comparison(unittest.TestCase):
    """Two runs on disk, exit code and words out."""

    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = Path(directory.name)
        for side in ("baseline", "lab"):
            self.write(f"{side}/out", SERIAL)
            self.write(f"{side}/results/xc_node.out", "one\n")
        self.write("lab/log/db1/pgxc_coordinate/pg_log/postgresql.csv", QUIET)

    def write(self, name: str, text: str) -> None:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def compare(self) -> tuple[int, str]:
        with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.redirect_stderr(said):
            return main([str(self.path)]), said.getvalue()

    def assert_worse(self, words: str) -> None:
        code, said = self.compare()
        self.assertEqual(code, 1, said)
        self.assertIn(words, said)

    def test_what_fails_in_both_is_fine_and_listed(self) -> None:
        code, said = self.compare()
        self.assertEqual(code, 0, said)
        self.assertIn("xc_node: fails in both, with the same output\n", said)
        self.assertIn("random: fails in the lab, which the suite's schedule ignores\n", said)
        self.assertIn("lab          4 tests    2 ok    1 failed    1 ignored\n", said)

    def test_another_output_of_what_fails_in_both_is_told(self) -> None:
        self.write("lab/results/xc_node.out", "two\n")
        code, said = self.compare()
        self.assertEqual(code, 0, said)
        self.assertIn("xc_node: fails in both, with other output: diff ", said)

    def test_a_failure_only_in_the_lab(self) -> None:
        self.write("lab/out", SERIAL.replace("join                     ... ok", "join                     ... FAILED").replace("2 of 4", "3 of 4"))
        self.assert_worse("! join: fails only in the lab\n")

    def test_a_failure_that_the_schedule_ignores_only_for_the_baseline(self) -> None:
        self.write("lab/out", SERIAL.replace("failed (ignored)", "FAILED"))
        self.assert_worse("! random: fails only in the lab\n")

    def test_a_failure_only_in_the_baseline(self) -> None:
        self.write("lab/out", SERIAL.replace("FAILED", "ok").replace("2 of 4", "1 of 4"))
        code, said = self.compare()
        self.assertEqual(code, 0, said)
        self.assertIn("xc_node: fails only in the baseline\n", said)

    def test_a_test_that_is_missing_on_one_side(self) -> None:
        shorter = SERIAL.replace("test join                     ... ok\n", "").replace("2 of 4", "2 of 3")
        self.write("lab/out", shorter)
        self.assert_worse("! join: was not run in the lab\n")
        self.write("lab/out", SERIAL)
        self.write("baseline/out", shorter)
        self.assert_worse("! join: was not run by the baseline\n")

    def test_a_session_that_is_lost_only_in_the_lab(self) -> None:
        self.write("lab/out", SERIAL.replace("FAILED", "FAILED (test process exited with exit code 2)"))
        self.assert_worse("! xc_node: test process exited with exit code 2, only in the lab\n")

    def test_a_server_that_crashes(self) -> None:
        for line in CRASHES:
            self.write("lab/log/db2/pgxc_datanode/pg_log/postgresql.csv", f"{QUIET}{line}\n{QUIET}")
            self.assert_worse(f"! crash in the lab: db2/pgxc_datanode/pg_log/postgresql.csv: {line}\n")

    def test_a_fatal_error_of_a_session_is_no_crash(self) -> None:
        self.write("lab/log/db2/postgresql.csv", 'FATAL,28000,"role ""regressuser9"" does not exist"\n')
        self.assertEqual(self.compare()[0], 0)

    def test_a_run_without_an_end(self) -> None:
        for side in ("baseline", "lab"):
            self.write(f"{side}/out", SERIAL.partition("\n\n=")[0])
            self.assert_worse(f"! {side}: the run has no end")
            self.write(f"{side}/out", SERIAL)

    def test_what_cannot_be_judged(self) -> None:
        (self.path / "lab/log/db1/pgxc_coordinate/pg_log/postgresql.csv").unlink()
        self.assertEqual(self.compare()[0], 3)
        self.write("lab/log/db1/postgresql.csv", QUIET)
        (self.path / "lab/out").unlink()
        self.assertEqual(self.compare()[0], 3)
        with contextlib.redirect_stderr(io.StringIO()):
            self.assertEqual(main([]), 2)


if __name__ == "__main__":
    unittest.main(buffer=True)
