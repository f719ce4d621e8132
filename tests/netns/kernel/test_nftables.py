"""nftables in process is what nft(8) shows; transactions are whole or not at all."""

from __future__ import annotations

import errno
import os

import pytest

from cni_plugins.kernel import calls, elements
from cni_plugins.kernel import nft as nft_module
from cni_plugins.kernel.nft import Nft, NftError
from tests.support.node import Node

TABLE = """table inet cni {
    set owners { type ipv6_addr . ipv4_addr; }
    map nets { type ipv4_addr : verdict; flags interval; }
    map ports { type inet_proto . inet_service : ipv4_addr . inet_service; }
    chain net1 { }
}"""


def test_what_is_put_in_is_listed_by_nft_and_read_back(node: Node) -> None:
    nft = Nft()
    assert nft.available() is None
    nft.run(TABLE)
    nft.run(
        'add element inet cni owners { fd00::1 . 10.0.0.1 comment "net/pod, \'eth0" }'
        "\nadd element inet cni nets { 10.0.0.0/8 : jump net1, 11.0.0.1-11.0.0.9 : drop }"
        '\nadd element inet cni ports { tcp . 80 comment "web" : 10.0.0.1 . 8080 }'
    )
    assert "fd00::1 . 10.0.0.1" in node.run(["nft", "list", "table", "inet", "cni"]).stdout
    (owner,) = nft.elements("set", "inet cni owners")
    assert (owner.key, owner.data, owner.comment) == (("fd00::1", "10.0.0.1"), (), "net/pod, 'eth0")
    assert [(one.key, one.data) for one in nft.elements("map", "inet cni nets")] == [
        (("10.0.0.0/8",), ("jump net1",)),
        (("11.0.0.1-11.0.0.9",), ("drop",)),
    ]
    (port,) = nft.elements("map", "inet cni ports")
    assert (port.key, port.data, port.comment) == (("6", "80"), ("10.0.0.1", "8080"), "web")
    nft.close()


def test_errors_tell_what_to_do_next(node: Node) -> None:
    nft = Nft()
    nft.run(TABLE)
    nft.run("add element inet cni owners { fd00::1 . 10.0.0.1 }; add element inet cni nets { 10.0.0.0/8 : jump net1 }")
    kinds = {
        "create element inet cni owners { fd00::1 . 10.0.0.1 }": (False, True, False),
        "delete element inet cni owners { fd00::1 . 10.0.0.2 }": (True, False, False),
        "list set inet cni nothing": (True, False, False),
        "delete chain inet cni net1": (False, False, True),
        "no such command": (False, False, False),
    }
    for command, kind in kinds.items():
        with pytest.raises(NftError) as refused:
            nft.run(command)
        assert (refused.value.missing, refused.value.exists, refused.value.busy) == kind, command
        assert str(refused.value).startswith("nftables: Error: ")
    nft.close()


def test_a_transaction_that_fails_in_part_changes_nothing(node: Node) -> None:
    """Ownership rests on it: who does not own an element cannot delete it."""
    nft = Nft()
    nft.run(TABLE + "\nadd element inet cni owners { fd00::1 . 10.0.0.1 }\nadd element inet cni nets { 10.0.0.1 : jump net1 }")
    before = node.run(["nft", "list", "ruleset"]).stdout
    with pytest.raises(NftError):
        nft.run("delete element inet cni nets { 10.0.0.1 }\ndelete element inet cni owners { fd00::2 . 10.0.0.1 }")
    assert node.run(["nft", "list", "ruleset"]).stdout == before
    nft.close()


def test_it_stays_in_the_namespace_where_it_began(node: Node) -> None:
    pod, nft = node.container(), Nft()
    with pod.inside():
        nft.run(TABLE)
    nft.run("add chain inet cni more")
    assert "more" in pod.run(["nft", "list", "ruleset"]).stdout
    assert node.run(["nft", "list", "ruleset"]).stdout == ""
    nft.close()


def test_a_missing_library_is_said_and_not_fatal(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nft_module, "_LIBRARY", "libnftables.so.999")
    reason = Nft().available()
    assert reason is not None
    assert "libnftables.so.999: cannot open shared object file" in reason
    assert "install the package nftables" in reason
    assert not Nft().installed()


def test_a_kernel_without_nftables_is_said_before_the_library_ends_the_process(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported() -> int:
        raise OSError(errno.EPROTONOSUPPORT, "Protocol not supported")

    monkeypatch.setattr(calls, "netfilter_socket", unsupported)
    assert "Protocol not supported" in str(Nft().available())
    assert not Nft().installed()


@pytest.mark.parametrize("operation", ["netfilter_socket", "library"])
def test_an_error_that_passes_does_not_look_like_a_node_without_nftables(
    node: Node, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    def failing(*_: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(calls, operation, failing)
    nft = Nft()
    with pytest.raises(NftError, match="Too many open files"):
        nft.installed()
    assert "install" not in str(nft.available())
    monkeypatch.undo()
    assert nft.installed()


def test_a_library_that_the_loader_has_no_descriptor_for_is_not_absent(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_descriptor(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file: Too many open files")

    monkeypatch.setattr(calls, "library", no_descriptor)
    with pytest.raises(NftError, match="Too many open files"):
        Nft().installed()


def test_kernel_tells_how_much_leads_to_a_chain(node: Node) -> None:
    nft = Nft()
    nft.run(TABLE)
    assert elements.uses(nft.netfilter, "inet cni", "net1") == 0
    nft.run("add element inet cni nets { 10.0.0.0/8 : jump net1, 11.0.0.0/8 : jump net1 }")
    assert elements.uses(nft.netfilter, "inet cni", "net1") == 2
    nft.run("add rule inet cni net1 accept")
    assert elements.uses(nft.netfilter, "inet cni", "net1") == 3
    assert elements.uses(nft.netfilter, "inet cni", "net2") == 0
    assert elements.uses(nft.netfilter, "inet other", "net1") == 0
    nft.close()


def test_broken_socket_is_replaced(node: Node) -> None:
    nft = Nft()
    broken = nft.netfilter
    broken.broken = True
    assert nft.netfilter is not broken
    assert nft.netfilter is nft.netfilter
    nft.close()


def test_nothing_stays_open(node: Node) -> None:
    before = os.listdir("/proc/self/fd")
    nft = Nft()
    nft.run(TABLE)
    elements.uses(nft.netfilter, "inet cni", "net1")
    nft.close()
    assert os.listdir("/proc/self/fd") == before
