"""An emulated machine with Debian's own kernel, for what the kernel here may lack: bridge VLAN filtering, 802.1q, ipvlan, vrf, …

    python -m tests.lab.vm COMMAND…          runs the command in it as root and ends with its exit status

The machine sees this one's files, which it can change only for itself. It boots in about ten seconds, and a process takes about ten
times as long to start as here, so put everything into one boot. It needs Debian's qemu-system-x86, kmod, cpio and busybox-static. The
kernel is Debian's package of the day, unpacked once into the cache under its own name.
"""

from __future__ import annotations

import gzip
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.lab import peers
from tests.lab.machine import LabError

INIT = Path(__file__).with_name("vm_init.sh")
BOOT_MODULES = ("virtio_pci", "9pnet_virtio", "9p", "overlay")
SHARE = "security_model=none,multidevs=remap"
MEMORY = 2048
SECONDS = 900


def run(command: Sequence[str], *, env: Mapping[str, str] | None = None, seconds: float = SECONDS) -> subprocess.CompletedProcess[str]:
    """Run a command in the present directory of a new machine; returns its exit status and all that it printed.

    `env` is the whole environment but for PATH and HOME. Raises LabError when the machine does not end by itself within `seconds`.
    """
    kernel = prepare()
    with tempfile.TemporaryDirectory(prefix="cni-plugins-vm-") as exchange:
        start = Path(exchange, "start")
        start.write_text(_start_script(command, env or {}, exchange=exchange, modules=kernel / "lib/modules"))
        for name in ("log", "console"):
            Path(exchange, name).touch()
        _boot(kernel, exchange, seconds)
        status, log = Path(exchange, "status"), Path(exchange, "log").read_text(errors="replace")
        if not status.exists():
            console = Path(exchange, "console").read_text(errors="replace")
            raise LabError(f"the emulated machine did not finish: {log[-3000:]}\nIts console ended with:\n{console[-2000:]}")
        return subprocess.CompletedProcess(list(command), int(status.read_text()), log)


def prepare() -> Path:
    """Return the directory with `vmlinuz`, `initrd.gz` and `lib/modules` of Debian's kernel, made when it is missing. Raises LabError."""
    package = _kernel_package()
    home = peers.cache() / "vm" / package
    if not home.is_dir():
        home.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=home.parent, prefix=".unpacking-") as work:
            _unpack(package, Path(work, "kernel"))
            Path(work, "kernel").rename(home)
    return home


def _kernel_package() -> str:
    for line in _output("apt-cache", "depends", "linux-image-amd64").splitlines():
        if "Depends: linux-image-" in line:
            return line.split()[-1]
    raise LabError("apt knows no linux-image-amd64: run apt-get update on a Debian machine")


def _unpack(package: str, home: Path) -> None:
    home.mkdir()
    _output("apt-get", "download", "-qq", package, cwd=home)
    (archive,) = home.glob("*.deb")
    _output("dpkg-deb", "--extract", archive.name, ".", cwd=home)
    archive.unlink()
    version = next((home / "lib/modules").iterdir()).name
    _output("depmod", "--basedir", str(home), version)
    (home / f"boot/vmlinuz-{version}").rename(home / "vmlinuz")
    _write_initrd(home, version)


def _write_initrd(home: Path, version: str) -> None:
    root = home / "initrd"
    for directory in ("bin", "modules", "new"):
        (root / directory).mkdir(parents=True)
    shutil.copy(shutil.which("busybox") or "/bin/busybox", root / "bin/busybox")
    shutil.copy(INIT, root / "init")
    (root / "init").chmod(0o755)
    listing = [_output("modprobe", "--dirname", str(home), "--set-version", version, "--show-depends", name) for name in BOOT_MODULES]
    paths = [line.split()[1] for text in listing for line in text.splitlines() if line.startswith("insmod")]
    for number, path in enumerate(dict.fromkeys(paths)):
        shutil.copy(path, root / "modules" / f"{number:02}-{Path(path).name}")
    names = "\n".join(str(path.relative_to(root)) for path in sorted(root.rglob("*")))
    archive = subprocess.run(
        ["cpio", "--create", "--format=newc", "--quiet"], cwd=root, input=names.encode(), capture_output=True, check=True
    )
    (home / "initrd.gz").write_bytes(gzip.compress(archive.stdout, 1, mtime=0))
    shutil.rmtree(root)


def _start_script(command: Sequence[str], env: Mapping[str, str], *, exchange: str, modules: Path) -> str:
    settings = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/root"), **env}
    return "\n".join(
        [
            *(f"export {name}={shlex.quote(value)}" for name, value in settings.items()),
            f"mount -t 9p -o trans=virtio,version=9p2000.L,cache=none,msize=262144 exchange {exchange}",
            "mount -t tmpfs tmpfs /run",
            "mkdir -p /run/netns /dev/shm /lib/modules",
            "mount -t tmpfs tmpfs /dev/shm",
            "ln -s /proc/self/fd /dev/fd; ln -s fd/0 /dev/stdin; ln -s fd/1 /dev/stdout; ln -s fd/2 /dev/stderr",
            f"mount --bind {shlex.quote(str(modules))} /lib/modules",
            "mount -t cgroup2 cgroup2 /sys/fs/cgroup",
            "modprobe --all bridge nf_conntrack",  # their kernel parameters are there from the start, as on any node
            "ip link set lo up",
            f"cd {shlex.quote(os.getcwd())}",
            f"{shlex.join(command)} > {exchange}/log 2>&1 < /dev/null",
            f"echo $? > {exchange}/status",
            "sync",
            "echo o > /proc/sysrq-trigger",
            "exec sleep infinity",
        ]
    )


def _boot(kernel: Path, exchange: str, seconds: float) -> None:
    """Run the machine until it switches itself off. Software emulation always works; hardware's is not to be had everywhere."""
    machine = [
        "qemu-system-x86_64",
        "-accel",
        "tcg,thread=multi",
        "-smp",
        "2",
        "-m",
        str(MEMORY),
        "-display",
        "none",
        "-nic",
        "none",
        "-no-reboot",
        "-kernel",
        str(kernel / "vmlinuz"),
        "-initrd",
        str(kernel / "initrd.gz"),
        "-append",
        f"console=ttyS0 quiet panic=-1 exchange={exchange}",
        "-serial",
        f"file:{exchange}/console",
        "-virtfs",
        f"local,path=/,mount_tag=root,readonly=on,{SHARE}",
        "-virtfs",
        f"local,path={exchange},mount_tag=exchange,{SHARE}",
    ]
    try:
        done = subprocess.run(["setpriv", "--pdeathsig", "KILL", *machine], capture_output=True, text=True, timeout=seconds, check=False)
    except FileNotFoundError as error:
        raise LabError(f"{error.filename} is missing: apt-get install qemu-system-x86") from None
    except subprocess.TimeoutExpired:
        return
    if done.returncode:
        raise LabError(f"qemu-system-x86_64 failed: {done.stderr}")


def _output(*command: str, cwd: Path | None = None) -> str:
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise LabError(f"{command[0]} is missing: apt-get install qemu-system-x86 kmod cpio busybox-static") from None
    if done.returncode:
        raise LabError(f"{' '.join(command)}: {done.stderr}")
    return done.stdout


def main() -> int:
    """Run the command line's command in the machine; print what it printed."""
    try:
        done = run(sys.argv[1:])
    except LabError as error:
        print(f"vm: {error}", file=sys.stderr)
        return 1
    sys.stdout.write(done.stdout)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
