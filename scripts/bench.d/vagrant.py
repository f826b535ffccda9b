"""vagrant-libvirt as the distribution ships it: the same image, kernel, CPU model and memory, a libvirt of its own."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import measure
from lab import Session
from machine import Machine
from results import Results

HERE = Path(__file__).resolve().parent
# Seconds for everything around `vagrant up`: the box, `vagrant destroy`.
AROUND = 600


def compare(session: Session, results: Results, machine: Machine, run: int) -> None:
    """Runs `vagrant up` of as many guests, in parallel, as is its default."""
    if shutil.which("vagrant") is None:
        results.not_run("vagrant", "ssh", "vagrant is not installed: scripts/setup --with-bench")
        return
    directory = session.scratch / "vagrant"
    directory.mkdir()
    try:
        _box(machine, directory)
        (directory / "Vagrantfile").write_text(_vagrantfile(machine, session.guests, session.vagrant_deadline))
        command = [HERE / "private", directory / "libvirt", HERE / "vagrant-run", directory, session.vagrant_deadline]
        log = session.out / "logs" / "vagrant.log"
        done = measure.run([str(word) for word in command], log, session.vagrant_deadline + AROUND)
        (session.out / "logs" / "vagrant.out").write_text("".join(f"{at:8.2f} {line}\n" for at, line in done.lines))
        _keep(session, results, done, run)
    finally:
        shutil.rmtree(directory)


def _keep(session: Session, results: Results, done: measure.Run, run: int) -> None:
    """Reads the marks of vagrant-run, and vagrant's own words in between."""
    marks = {}
    for at, line in done.lines:
        found = re.fullmatch(r"bench: (up begins|up ends|destroy begins|destroy ends|volumes left) ?(\d*)", line)
        if found:
            marks[found[1]] = (at, found[2])
    if not done.ok or len(marks) < 5:
        results.failed("vagrant", "ssh", run, done.why())
        return
    begun, (ended, code) = marks["up begins"][0], marks["up ends"]
    ready = {
        line.split()[1]: at - begun for at, line in done.lines if re.match(r"==> \S+: Machine booted and ready", line)
    }
    far = f"{len(ready)} of {session.guests} ready"
    if len(ready) == session.guests:
        results.ok("vagrant", "ssh", run, max(ready.values()), "s", "the last guest is told to be ready")
        results.ok("vagrant", "whole", run, ended - begun, "s", f"exit code {code}")
    elif ended - begun >= session.vagrant_deadline:
        results.over("vagrant", "ssh", run, session.vagrant_deadline, far)
    else:
        results.failed("vagrant", "ssh", run, f"exit code {code}: {far}")
    took = marks["destroy ends"][0] - marks["destroy begins"][0]
    results.ok("vagrant", "destroy", run, took, "s", f"exit code {marks['destroy ends'][1]}")
    results.ok("vagrant", "volumes-left", run, float(marks["volumes left"][1]), "files", "after `vagrant destroy`")


def _box(machine: Machine, directory: Path) -> None:
    """A box of our image: vagrant's well-known key for root and a host key are all that the seed brings otherwise."""
    work = directory / "box"
    work.mkdir()
    raw = work / "root.ext4"
    subprocess.run(["cp", "--sparse=always", "--reflink=auto", machine.image, raw], check=True)
    raw.chmod(0o600)
    host_key = work / "ssh_host_ed25519_key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "bench", "-f", host_key], check=True)
    (work / "authorized_keys").write_text(_insecure_key())
    put = [
        ("/root/.ssh", "authorized_keys", 0o100600),
        ("/etc/ssh", "ssh_host_ed25519_key", 0o100600),
        ("/etc/ssh", "ssh_host_ed25519_key.pub", 0o100644),
    ]
    commands = "".join(f"cd {to}\nwrite {work / name} {name}\nsif {name} mode 0{mode:o}\n" for to, name, mode in put)
    done = subprocess.run(["debugfs", "-w", "-f", "-", raw], input=commands, capture_output=True, text=True)
    refused = [line for line in done.stderr.splitlines() if not line.startswith("debugfs ")]
    if done.returncode or refused:
        raise RuntimeError(f"debugfs: {' '.join(refused)}")
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, work / "box.img"], check=True)
    metadata = {"provider": "libvirt", "format": "qcow2", "virtual_size": machine.disk_gib}
    (work / "metadata.json").write_text(json.dumps(metadata))
    subprocess.run(["tar", "-C", work, "-cf", directory / "bench.box", "metadata.json", "box.img"], check=True)
    shutil.rmtree(work)


def _insecure_key() -> str:
    """The public half of vagrant's well-known key, as this vagrant ships it."""
    found = sorted(Path("/usr/share").glob("rubygems-integration/all/gems/vagrant-*/keys/vagrant.pub"))
    found += sorted(Path("/usr/share/vagrant").glob("keys/vagrant.pub"))
    if not found:
        raise RuntimeError("vagrant's public key is not where its package puts it")
    return found[-1].read_text()


def _vagrantfile(machine: Machine, guests: int, deadline: int) -> str:
    model = f'\n    it.cpu_model = "{machine.cpu_model}"' if machine.cpu_mode == "custom" else ""
    return f"""\
Vagrant.configure("2") do |config|
  config.vm.box = "bench"
  config.vm.guest = :debian
  config.vm.boot_timeout = {deadline}
  config.vm.synced_folder ".", "/vagrant", disabled: true
  config.ssh.username = "root"
  # The image has no sudo, and root needs none.
  config.ssh.sudo_command = "%c"
  config.ssh.insert_key = false
  config.vm.provider :libvirt do |it|
    it.driver = "{machine.kind}"
    it.machine_type = "{machine.machine}"
    it.cpu_mode = "{machine.cpu_mode}"{model}
    it.cpus = 1
    it.memory = {machine.memory_mib}
    it.kernel = "{machine.kernel}"
    it.initrd = "{machine.initrd}"
    it.cmd_line = "{machine.cmdline}"
    it.disk_driver cache: "unsafe"
    it.graphics_type = "none"
    it.memballoon_enabled = false
    it.random model: "random"
  end
  (1..{guests}).each {{ |n| config.vm.define "db#{{n}}" }}
end
"""
