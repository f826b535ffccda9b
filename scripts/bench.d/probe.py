"""When does sshd answer? Asked from inside a network namespace, the same way for every tool that is compared."""

import ctypes
import os
import socket
import threading
import time
from pathlib import Path

# Seconds between two attempts per guest: often enough for the numbers, seldom enough not to disturb emulated guests.
PAUSE = 0.25
# Seconds that a connection and a banner may take: an emulated sshd that is busy takes its time.
PATIENCE = 5.0
CLONE_NEWNET = 0x40000000


class Probe:
    """Waits for the ssh banner of each address, seen from the network namespace that `namespace` names once it exists."""

    def __init__(self, namespace, addresses: list[str]):
        # A function that gives the path of the namespace, or None as long as there is none.
        self._namespace = namespace
        self._begun = time.monotonic()
        self._stop = threading.Event()
        # Address -> seconds since the probe began.
        self.answered: dict[str, float] = {}
        self._threads = [threading.Thread(target=self._wait, args=(address,), daemon=True) for address in addresses]
        for thread in self._threads:
            thread.start()

    def all(self, deadline: float | None = None) -> bool:
        """Waits until all answered, at most `deadline` seconds since the probe began. Tells whether they did."""
        for thread in self._threads:
            rest = None if deadline is None else max(0.0, self._begun + deadline - time.monotonic())
            thread.join(rest)
        return len(self.answered) == len(self._threads)

    def stop(self) -> None:
        """Asks no more."""
        self._stop.set()
        for thread in self._threads:
            thread.join(2 * PATIENCE)

    def _wait(self, address: str) -> None:
        inside = None
        while not self._stop.is_set():
            path = self._namespace()
            if path is not None and path != inside and _enter(path):
                inside = path
            if inside is not None and _banner(address):
                self.answered[address] = time.monotonic() - self._begun
                return
            self._stop.wait(PAUSE)


def _enter(path: Path) -> bool:
    """Moves this thread, and only this one, into a network namespace."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        # Not os.setns: Python has it since 3.12 only.
        return ctypes.CDLL(None, use_errno=True).setns(handle, CLONE_NEWNET) == 0
    finally:
        os.close(handle)


def _banner(address: str) -> bool:
    try:
        with socket.create_connection((address, 22), PATIENCE) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False
