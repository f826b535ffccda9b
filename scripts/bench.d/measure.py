"""Runs a program and tells how long it took, when each line of its output came, and what it cost."""

import contextlib
import os
import selectors
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

# Seconds between two looks at the peak memory of a running program: it only grows, so the last look is the one that counts.
LOOK = 0.1
# Seconds that a program has to end by itself when its deadline is over.
GRACE = 20


@dataclass
class Run:
    """One run of a program."""

    seconds: float
    # Exit status; None when its deadline was over and it was ended.
    code: int | None
    # CPU seconds, its own and those of the helpers that it waited for; not of daemons.
    cpu: float
    # Peak of the resident memory of the program itself, in KiB.
    peak: int
    # (seconds since the start, line) of standard output.
    lines: list[tuple[float, str]] = field(default_factory=list)
    # Its standard error.
    talk: str = ""

    @property
    def ok(self) -> bool:
        """Whether it ended well, and in time."""
        return self.code == 0

    def why(self) -> str:
        """Why it did not end well, in one line."""
        if self.code is None:
            return f"not done after {self.seconds:.0f} s"
        said = [line.strip() for line in self.talk.splitlines() if line.strip()]
        errors = [line for line in said if line.lower().startswith("error")] or said
        return f"exit code {self.code}" + (f": {errors[0]}" if errors else "")


def run(command: list[str], log: Path, deadline: float | None = None, env: dict[str, str] | None = None) -> Run:
    """Runs a command in a process group of its own; what it says on standard error is kept in the file `log`."""
    with log.open("w") as talk:
        begun = time.monotonic()
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=talk, env=env, start_new_session=True
        )
        seen = Run(0, None, 0, 0)
        try:
            ended = _follow(child, seen, begun, deadline)
        except BaseException:
            _end(child)
            raise
        if ended is None:
            seen.seconds = time.monotonic() - begun
            _, status, usage = _end(child)
        else:
            status, usage = ended
            seen.seconds = time.monotonic() - begun
            seen.code = os.waitstatus_to_exitcode(status)
        seen.cpu = usage.ru_utime + usage.ru_stime
    seen.talk = log.read_text(errors="replace")
    return seen


def _follow(child: subprocess.Popen, seen: Run, begun: float, deadline: float | None):
    """Reads until the child ended: its wait status and resource usage; or until the deadline: None."""
    rest = b""

    def read() -> bool:
        """Takes what is there; tells whether more may come."""
        nonlocal rest
        data = child.stdout.read()
        if data:
            now = time.monotonic() - begun
            *lines, rest = (rest + data).split(b"\n")
            seen.lines.extend((now, line.decode(errors="replace")) for line in lines)
        return data != b""

    os.set_blocking(child.stdout.fileno(), False)
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ)
        while True:
            if selector.select(LOOK) and not read():
                selector.unregister(child.stdout)
            seen.peak = max(seen.peak, _peak(child.pid))
            pid, status, usage = os.wait4(child.pid, os.WNOHANG)
            if pid:
                child.returncode = os.waitstatus_to_exitcode(status)
                read()
                return status, usage
            if deadline is not None and time.monotonic() - begun > deadline:
                return None
            if not selector.get_map():
                time.sleep(LOOK / 10)


def _end(child: subprocess.Popen):
    """Ends the whole process group of a child: gently, then not."""
    os.killpg(child.pid, signal.SIGTERM)
    until = time.monotonic() + GRACE
    while True:
        ended = os.wait4(child.pid, os.WNOHANG)
        if ended[0]:
            child.returncode = os.waitstatus_to_exitcode(ended[1])
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            return ended
        if time.monotonic() > until:
            os.killpg(child.pid, signal.SIGKILL)
        time.sleep(LOOK)


def _peak(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
    except OSError:
        pass
    return 0
