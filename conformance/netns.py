"""The network namespaces around a node: its containers, and hosts outside of it."""

from __future__ import annotations

import hashlib
import json
import os
import select
import socket
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conformance import namespaces

if TYPE_CHECKING:
    from conformance.node import Node

_RTNLGRP_LINK = 1
_VANISHES = 5.0
"""Seconds within which the kernel takes a namespace away; longer, if somebody keeps it open, as the daemon of `dhcp` does."""


class Netns(ABC):
    """A network namespace beside the node's own; commands run in it with the node's files."""

    def __init__(self, node: Node, name: str) -> None:
        self.node = node
        self.name = name

    @abstractmethod
    def _open(self) -> int:
        """A new file descriptor of the namespace."""

    @property
    @abstractmethod
    def identity(self) -> int:
        """The inode number by which /proc names the namespace."""

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Move the calling thread into the namespace, with the node's files, for the length of a block."""
        with self.node.inside():
            fd = self._open()
            try:
                namespaces.setns(fd, namespaces.CLONE_NEWNET)
            finally:
                os.close(fd)
            yield

    def run(self, command: Sequence[str | Path], **how: Any) -> subprocess.CompletedProcess[str]:
        """Run a command in the namespace; as `Node.run`."""
        return self.node.run(command, within=self.inside(), **how)

    def popen(self, command: Sequence[str | Path], *, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Start a process in the namespace; as `Node.popen`."""
        return self.node.popen(command, env=env, within=self.inside())


class Container(Netns):
    """A container as a CNI runtime makes it: a network namespace mounted at `path`, and an `id`."""

    def __init__(self, node: Node, name: str) -> None:
        super().__init__(node, name)
        self.path = f"/run/netns/{name}"
        self.id = f"{name}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"
        with node.inside():
            Path(self.path).touch(mode=0o444, exist_ok=False)
            namespaces.unshare(namespaces.CLONE_NEWNET)
            namespaces.mount("/proc/thread-self/ns/net", self.path, flags=namespaces.MS_BIND)
            self._identity = os.stat(self.path).st_ino
        node.containers[name] = self

    def _open(self) -> int:
        return os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)

    @property
    def identity(self) -> int:
        return self._identity

    def delete(self) -> None:
        """Take the namespace away, as a runtime does after DEL or a reboot does without one; returns when its veth pairs are gone too."""
        ends = {(link["ifindex"], link["link_index"]) for link in _veths(self) if "link_index" in link}
        peers = [link["ifindex"] for link in _veths(self.node) if (link.get("link_index"), link["ifindex"]) in ends]
        with self.node.inside(), socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as events:
            events.bind((0, 1 << _RTNLGRP_LINK - 1))
            namespaces.unmount(self.path)
            os.unlink(self.path)
            while any(map(_exists, peers)) and select.select([events], [], [], _VANISHES)[0]:
                events.recv(1 << 16)
        self.node.containers.pop(self.name)


class Outside(Netns):
    """A host at the other end of a cable; `addresses` are its own, `node_addresses` those of the node on that cable."""

    def __init__(self, node: Node, name: str, subnets: Sequence[str]) -> None:
        super().__init__(node, name)
        separators = ["::" if ":" in subnet else "." for subnet in subnets]
        starts = [subnet.rstrip(":") + separator for subnet, separator in zip(subnets, separators, strict=True)]
        self.addresses = [f"{start}1" for start in starts]
        self.node_addresses = [f"{start}2" for start in starts]
        with node.inside():
            namespaces.unshare(namespaces.CLONE_NEWNET)
            namespaces.loopback_up()
            self._fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self._wire()

    def _wire(self) -> None:
        here = f"/proc/{os.getpid()}/fd/{self._fd}"
        self.node.run(["ip", "link", "add", self.name, "type", "veth", "peer", "name", "eth0", "netns", here])
        ends = [(self.node.run, self.name, self.node_addresses), (self.run, "eth0", self.addresses)]
        for run, link, addresses in ends:
            lines = [f"address add {a}/{64 if ':' in a else 24} dev {link}{' nodad' if ':' in a else ''}" for a in addresses]
            run(["ip", "-batch", "-"], input="\n".join([f"link set {link} addrgenmode none", *lines, f"link set {link} up"]))
        for run, link, _ in ends:  # asking for one link makes the kernel take note of its carrier at once, instead of within a second
            run(["ip", "link", "show", "dev", link])
        for address in self.addresses:
            self.node.run(["ip", "route", "add", "default", "via", address, "dev", self.name])

    def _open(self) -> int:
        return os.dup(self._fd)

    @property
    def identity(self) -> int:
        return os.fstat(self._fd).st_ino

    def close(self) -> None:
        """Let go of the namespace."""
        os.close(self._fd)


def _veths(place: Node | Netns) -> list[dict[str, Any]]:
    return list(json.loads(place.run(["ip", "-json", "-details", "link", "show", "type", "veth"]).stdout or "[]"))


def _exists(index: int) -> bool:
    with suppress(OSError):
        return bool(socket.if_indextoname(index))
    return False
