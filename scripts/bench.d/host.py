"""What the numbers were measured on."""

import os
import platform
import subprocess
from datetime import datetime, timezone
from pathlib import Path


def describe(repository: Path) -> dict[str, str]:
    """Machine and versions."""
    info = dict(line.split(":", 1) for line in Path("/proc/cpuinfo").read_text().splitlines() if ":" in line)
    model = next((value for key, value in info.items() if key.strip() == "model name"), "unknown")
    memory = int(Path("/proc/meminfo").read_text().split()[1]) / 1024**2
    return {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": _first("git", "-C", str(repository), "describe", "--always", "--dirty"),
        "cores": f"{os.cpu_count()} x {model.strip()}",
        "memory": f"{memory:.0f} GiB",
        "system": _release(),
        "kernel": platform.release(),
        "qemu": _first("qemu-system-x86_64", "--version").removeprefix("QEMU emulator version ").split(" ")[0],
        "libvirt": _first("virsh", "--version"),
        "vagrant": _vagrant(),
    }


def state() -> dict[str, str]:
    """What else the machine does right now."""
    commands = (_command(path) for path in Path("/proc").glob("[0-9]*"))
    others = sum("qemu-system" in command.split("\0")[0] for command in commands)
    return {"load": Path("/proc/loadavg").read_text().split()[0], "other-guests": str(others)}


def _command(process: Path) -> str:
    try:
        return (process / "cmdline").read_text(errors="replace")
    except OSError:
        return ""


def _first(*command: str) -> str:
    """The first line that a program prints, or that there is none."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    except OSError:
        return "not installed"
    return (done.stdout.splitlines() or ["unknown"])[0]


def _release() -> str:
    lines = Path("/etc/os-release").read_text().splitlines()
    return next((line.split("=", 1)[1].strip('"') for line in lines if line.startswith("PRETTY_NAME=")), "unknown")


def _vagrant() -> str:
    names = ["vagrant", "vagrant-libvirt"]
    versions = [_first("dpkg-query", "-W", "-f=${Version}", name) for name in names]
    if "unknown" in versions or "not installed" in versions:
        return "vagrant not installed"
    return ", ".join(f"{name} {version}" for name, version in zip(names, versions))
