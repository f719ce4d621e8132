"""Network sysctls, of the network namespace that the calling thread is in (proc_sys_net(5); `with netns.inside():` for a container's).

Names are written with slashes, "net/ipv4/conf/eth0/arp_notify": an interface's name may contain dots.
"""

from __future__ import annotations

import posix

from cni_plugins.kernel import calls
from cni_plugins.protocol.errors import KernelRefused

_ROOT = "/proc/sys/"


def _path(name: str) -> str:
    parts = name.split("/")
    if parts[0] != "net" or ".." in parts:
        raise ValueError(f"{name!r} is not the name of a network sysctl")
    return _ROOT + name


def read(name: str) -> str | None:
    """Read a sysctl, without the newline at its end; None if the kernel has none of this name. Raises KernelRefused."""
    try:
        fd = calls.open(_path(name), posix.O_RDONLY | posix.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _refused("read", name, error) from error
    try:
        return calls.read(fd, 4096).decode().rstrip("\n")
    except OSError as error:
        raise _refused("read", name, error) from error
    finally:
        calls.close(fd)


def write(name: str, value: str, *, optional: bool = False) -> bool:
    """Set a sysctl if it has another value, and return whether it had. Raises KernelRefused.

    With `optional`, one that the kernel does not have counts as set: a host may run without IPv6.
    """
    found = read(name)
    if found == value:
        return False
    if found is None:
        if optional:
            return False
        raise KernelRefused(f"cannot set sysctl {name}: this kernel does not have it, or the interface does not exist")
    try:
        fd = calls.open(_path(name), posix.O_WRONLY | posix.O_CLOEXEC)
        try:
            calls.write(fd, value.encode())
        finally:
            calls.close(fd)
    except OSError as error:
        raise _refused("set", name, error) from error
    return True


def _refused(action: str, name: str, error: OSError) -> KernelRefused:
    return KernelRefused(f"cannot {action} sysctl {name}: {error.strerror}")
