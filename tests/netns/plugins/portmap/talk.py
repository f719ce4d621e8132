"""Servers in containers and clients anywhere, as sockets of the test's own process: who is asked, who answers, whom the server sees."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

from tests.support.inprocess import InProcess
from tests.support.netns import Container, Netns
from tests.support.node import Node

Place: TypeAlias = Node | Netns

KINDS = {
    "tcp": (socket.SOCK_STREAM, socket.IPPROTO_TCP),
    "udp": (socket.SOCK_DGRAM, socket.IPPROTO_UDP),
}
PATIENCE = 30.0
"""Seconds for what must arrive."""
SILENCE = 0.3
"""Seconds after which nothing is taken to arrive: what does, takes a small part of a millisecond."""


def network(**keys: Any) -> dict[str, Any]:
    """A bridge for both families, on which a pod has the node as its gateway."""
    ranges = [[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd00:1::/64"}]]
    return {
        "cniVersion": "1.1.0",
        "name": "net",
        "type": "bridge",
        "isDefaultGateway": True,
        "ipam": {"type": "host-local", "ranges": ranges},
        **keys,
    }


def ports(*mappings: dict[str, Any], **keys: Any) -> dict[str, Any]:
    """A configuration of portmap as a runtime hands it over, less prevResult."""
    return {"cniVersion": "1.1.0", "name": "net", "type": "portmap", "runtimeConfig": {"portMappings": list(mappings)}, **keys}


def port(host: int, container: int, protocol: str = "tcp", **keys: Any) -> dict[str, Any]:
    """One mapping."""
    return {"hostPort": host, "containerPort": container, "protocol": protocol, **keys}


def attach(plugins: InProcess, pod: Container, *mappings: dict[str, Any], net: dict[str, Any] | None = None, **keys: Any) -> dict[str, Any]:
    """Give a pod an interface and its ports; returns portmap's configuration with prevResult, for CHECK and DEL."""
    net = net or network()
    conf = ports(*mappings, name=net["name"], prevResult=plugins.good(net["type"], "ADD", net, container=pod), **keys)
    plugins.good("portmap", "ADD", conf, container=pod)
    return conf


def detach(plugins: InProcess, pod: Container, conf: dict[str, Any], *, net: dict[str, Any] | None = None) -> None:
    """Take both away, as runtimes do: the last plugin first."""
    net = net or network()
    plugins.good("portmap", "DEL", conf, container=pod)
    plugins.good(net["type"], "DEL", net, container=pod)


def addresses(conf: dict[str, Any]) -> dict[int, str]:
    """The pod's addresses by family."""
    found = [ip["address"].partition("/")[0] for ip in conf["prevResult"]["ips"]]
    return {6 if ":" in address else 4: address for address in found}


@contextmanager
def server(place: Place, number: int, protocol: str = "tcp") -> Iterator[Server]:
    """A server on a port of any address, IPv4 and IPv6."""
    with place.inside():
        kind, number_of = KINDS[protocol]
        opened = socket.socket(socket.AF_INET6, kind, number_of)
    with opened:
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        opened.settimeout(PATIENCE)
        opened.bind(("::", number))
        if kind == socket.SOCK_STREAM:
            opened.listen(8)
        yield Server(opened, protocol)


class Server:
    """A listening socket."""

    def __init__(self, opened: socket.socket, protocol: str) -> None:
        self.socket = opened
        self.protocol = protocol

    def seen(self, client: Client) -> str:
        """Answer a client and return the address that the server sees it under; the client must get the answer.

        Raises TimeoutError when either gets nothing.
        """
        if self.protocol == "udp":
            client.socket.send(b"question")
            _, sender = self.socket.recvfrom(100)
            self.socket.sendto(b"answer", sender)
        else:
            connection, sender = self.socket.accept()
            with connection:
                connection.settimeout(PATIENCE)
                client.socket.send(b"question")
                assert connection.recv(100) == b"question"
                connection.send(b"answer")
        assert client.socket.recv(100) == b"answer"
        return str(sender[0]).removeprefix("::ffff:")

    def asked(self, *, within: float = SILENCE) -> bool:
        """Whether anybody asks within so many seconds."""
        self.socket.settimeout(within)
        try:
            if self.protocol == "udp":
                self.socket.recvfrom(100)
            else:
                self.socket.accept()[0].close()
        except TimeoutError:
            return False
        finally:
            self.socket.settimeout(PATIENCE)
        return True


class Client:
    """A socket that asks."""

    def __init__(self, opened: socket.socket) -> None:
        self.socket = opened


@contextmanager
def client(place: Place, address: str, number: int, protocol: str = "tcp", *, source: str = "", source_port: int = 0) -> Iterator[Client]:
    """A client of a port, connected. Raises OSError when nobody is there."""
    kind, number_of = KINDS[protocol]
    with place.inside():
        opened = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind, number_of)
    with opened:
        opened.settimeout(PATIENCE)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if source or source_port:
            opened.bind((source, source_port))
        opened.connect((address, number))
        yield Client(opened)


def sees(listening: Server, place: Place, address: str, number: int, *, source: str = "") -> str:
    """Have somebody ask `address` and `number`; returns whom the server sees. Raises OSError when it is not reached."""
    with client(place, address, number, listening.protocol, source=source) as asking:
        return listening.seen(asking)
