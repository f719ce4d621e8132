"""Names and marks are derived from an attachment's identity, and tell attachments apart."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cni_plugins.protocol.attachment import Attachment, host_name_of, key_of_mark, network_key

TEXTS = st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=300)


@given(TEXTS, TEXTS, TEXTS)
def test_mark_fits_into_an_alias_and_tells_whose_it_is(network: str, container: str, ifname: str) -> None:
    att = Attachment(network, container, ifname)
    assert len(att.mark.encode()) <= 255
    assert key_of_mark(att.mark) == att.key
    assert att.key.startswith(network_key(network))
    assert len(att.host_name) <= 15
    assert att.host_name == host_name_of(att.key)


def test_container_and_interface_do_not_run_into_each_other() -> None:
    assert Attachment("net", "ab", "c").key != Attachment("net", "a", "bc").key


@given(st.text(max_size=80))
def test_alias_of_somebody_else_is_nobodys_mark(alias: str) -> None:
    assert key_of_mark(alias) is None
    assert key_of_mark(f"cni-plugins:{alias}") is None or len(bytes.fromhex(alias.partition(" ")[0])) == 16


def test_addresses_are_unicast_local_and_differ_between_the_ends() -> None:
    att = Attachment("net", "pod", "eth0")
    host, container = att.mac("host"), att.mac("container")
    assert host != container
    for mac in (host, container):
        assert int(mac[:2], 16) & 0b11 == 0b10
    assert att.mac("host") == host
