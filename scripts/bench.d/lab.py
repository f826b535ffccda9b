"""The labs that are measured: their files, the program, and what they leave on the host."""

import json
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import measure

# Seconds after which any verb counts as hung; the longest of them, a cold `up` of sixteen guests, takes a quarter of it.
HUNG = 1500
# Steps whose work lies in the cache afterwards: an `up` that did one of them is not what a user waits for every day.
CACHED = ["image", "build", "template"]
# Kinds of namespaces that a lab has of its own.
NAMESPACES = ["net", "mnt", "pid", "ipc", "uts"]


@dataclass(frozen=True)
class Session:
    """What all sections share."""

    program: Path
    repository: Path
    # The lab file whose cluster is measured.
    document: Path
    # Raw numbers and logs, kept.
    out: Path
    # Labs and lab files, removed in the end.
    scratch: Path
    home: Path
    runs: int
    long_runs: int
    guests: int
    memory: str
    vagrant_deadline: int
    # Whether `up` knows --boot.
    boot: bool


def plain(count: int, memory: str) -> str:
    """A lab file of guests without roles: nothing but booting them is measured."""
    nodes = "".join(
        f"  - {{name: db{number}, address: {address}, export: /data03/{number}, roles: []}}\n"
        for number, address in enumerate(addresses(count), 1)
    )
    return (
        f"name: plain{count}\nimage: debian-12\nengine: postgres-fdw\n"
        f"network: {{subnet: 10.77.0.0/16}}\nvm: {{memory: {memory}}}\nnodes:\n{nodes}"
    )


def addresses(count: int) -> list[str]:
    """The addresses of a plain lab's guests."""
    return [f"10.77.{(i + 10) // 250}.{(i + 10) % 250 + 1}" for i in range(count)]


@dataclass(frozen=True)
class Left:
    """What of a lab must be gone after `destroy`; taken while it is there."""

    directory: Path
    namespaces: frozenset[str]

    def found(self) -> dict[str, int]:
        """Counts what is still there, by looking at the whole host."""
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
        processes, namespaces = set(), {line for line in mounts if any(f" {name} " in line for name in self.namespaces)}
        for process in Path("/proc").glob("[0-9]*"):
            try:
                words = (process / "cmdline").read_bytes()
                held = {os.readlink(process / "ns" / kind) for kind in NAMESPACES}
            except OSError:
                continue
            # A zombie has no command line: its parent has to reap it.
            if words and (f"{self.directory}/".encode() in words or held & self.namespaces):
                processes.add(process.name)
            namespaces |= held & self.namespaces
        loops = [file.read_text() for file in Path("/sys/block").glob("loop*/loop/backing_file") if file.exists()]
        return {
            "processes": len(processes),
            "mounts": sum(f"{self.directory}/" in line or f"{self.directory} " in line for line in mounts),
            "loop devices": sum(f"{self.directory}/" in file for file in loops),
            "namespaces": len(namespaces),
            "files": int(self.directory.exists()),
        }


class Lab:
    """One lab of one lab file."""

    def __init__(self, session: Session, text: str, env: dict[str, str] | None = None):
        self.session = session
        self.name = re.search(r"^name: *(\S+)", text, re.M).group(1)
        self.file = session.scratch / f"{self.name}.yaml"
        self.file.write_text(text)
        self.directory = session.home / "labs" / self.name
        # The lock file that an engine or image was chosen with belongs to the lab file, not to the run.
        self.file.with_suffix(".lock").unlink(missing_ok=True)
        self.env = {**os.environ, "NO_COLOR": "1", **(env or {})}
        if env is None:
            self.env.pop("PGXC_SOURCE", None)

    def verb(self, *words: str) -> measure.Run:
        """Runs pgxc-lab on this lab."""
        log = self.session.out / "logs" / f"{self.name}-{words[0]}.log"
        options = ["--home", str(self.session.home), "--file", str(self.file), "--yes"]
        return measure.run([str(self.session.program), *words, *options], log, HUNG, self.env)

    def up(self, way: str) -> measure.Run:
        """`up`, `warm` or `cold` where the program knows the difference."""
        boot = ["--boot", way] if self.session.boot else []
        return self.verb("up", *boot, "--json")

    def holder(self) -> int | None:
        """Process that holds the lab's namespaces."""
        try:
            return json.loads((self.directory / "holder.json").read_text())["pid"]
        except (OSError, ValueError):
            return None

    def network(self) -> Path | None:
        """The lab's network namespace, once it exists."""
        pid = self.holder()
        return None if pid is None else Path(f"/proc/{pid}/ns/net")

    def left(self) -> Left:
        """What must be gone later."""
        pid = self.holder()
        names = frozenset(os.readlink(f"/proc/{pid}/ns/{kind}") for kind in NAMESPACES) if pid else frozenset()
        return Left(self.directory, names)

    def guests(self) -> dict[str, int]:
        """Names of the running guests and the processes that run them."""
        found = {}
        for process in Path("/proc").glob("[0-9]*"):
            try:
                words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue
            if "qemu-system" in words[0] and any(f"{self.directory}/" in word for word in words):
                name = next((word for word in words if word.startswith("guest=")), "guest=?").split(",")[0]
                found[name.removeprefix("guest=")] = int(process.name)
        return found

    def virsh(self, *words: str) -> list[str]:
        """A command that asks the lab's own libvirt."""
        uri = f"qemu+unix:///system?socket={self.directory}/run/libvirt/libvirt-sock"
        return ["virsh", "--quiet", "--connect", uri, *words]

    def destroy(self) -> measure.Run:
        """Removes the lab."""
        return self.verb("destroy")


def made(done: measure.Run) -> list[str]:
    """Which of the things that later runs find in the cache an `up` had to make."""

    def changed(step: str) -> bool:
        return any(f'"step":"{step}"' in line and '"outcome":"changed"' in line for _, line in done.lines)

    return [step for step in CACHED if changed(step)]


def cpu_seconds(pid: int) -> float:
    """User and system time that a process has had so far."""
    stat = Path(f"/proc/{pid}/stat").read_text()
    fields = stat[stat.rindex(")") + 1 :].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def used(path: Path) -> float:
    """Disk space that a directory takes, in MiB."""
    done = subprocess.run(["du", "-sk", str(path.resolve())], capture_output=True, text=True)
    return int(done.stdout.split()[0]) / 1024 if done.stdout else 0.0
