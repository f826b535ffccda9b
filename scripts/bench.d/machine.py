"""What a guest is made of, read from the domain that pgxc-lab defined, so that another tool can make the same."""

import json
import subprocess
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

from lab import Lab


@dataclass(frozen=True)
class Machine:
    """A guest's hardware and image."""

    kind: str
    machine: str
    cpu_mode: str
    cpu_model: str
    memory_mib: int
    kernel: str
    initrd: str
    cmdline: str
    image: Path
    disk_gib: int

    @staticmethod
    def of(lab: Lab, name: str) -> "Machine":
        """That of a defined guest."""
        text = subprocess.run(lab.virsh("dumpxml", name), capture_output=True, text=True, check=True).stdout
        xml = ElementTree.fromstring(text)
        disk = disk_of(lab, name)
        return Machine(
            kind=xml.get("type"),
            machine=xml.find("os/type").get("machine"),
            cpu_mode=xml.find("cpu").get("mode"),
            cpu_model=xml.findtext("cpu/model", ""),
            memory_mib=int(xml.findtext("memory")) // 1024,
            kernel=xml.findtext("os/kernel"),
            initrd=xml.findtext("os/initrd"),
            cmdline=xml.findtext("os/cmdline"),
            image=Path(disk["full-backing-filename"]),
            disk_gib=disk["virtual-size"] // 1024**3,
        )


def disk_of(lab: Lab, name: str) -> dict:
    """What qemu-img knows about a guest's root disk. The guest must be off, or only its header is read."""
    path = lab.directory / "disks" / f"{name}.qcow2"
    command = ["qemu-img", "info", "--force-share", "--output=json", path]
    return json.loads(subprocess.run(command, capture_output=True, check=True).stdout)


def fresh_disk(lab: Lab, name: str) -> None:
    """Replaces the root disk of a guest that is off by an empty one on the same image, as before its first boot."""
    disk = disk_of(lab, name)
    path = lab.directory / "disks" / f"{name}.qcow2"
    path.unlink()
    base = ["-F", "raw", "-b", disk["full-backing-filename"]]
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *base, path, str(disk["virtual-size"])], check=True)
