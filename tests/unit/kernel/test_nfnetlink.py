"""Netfilter's messages are laid out as the kernel has them, and conditions are read from every release of iptables-translate."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cni_plugins.kernel import iptables, iptables_words
from cni_plugins.kernel.attributes import attribute, nested, parse
from cni_plugins.kernel.nfnetlink import message
from cni_plugins.protocol.errors import CniError, InvalidConfig, IoFailure

Translator = Callable[[str], None]


def test_attributes_are_padded_and_read_back() -> None:
    inner = attribute(1, b"abc") + attribute(2, b"")
    data = nested(7, inner) + attribute(9, b"12345")
    assert len(data) % 4 == 0
    found = parse(data)
    assert {kind: parse(value) if kind == 7 else value for kind, value in found.items()} == {7: {1: b"abc", 2: b""}, 9: b"12345"}


def test_a_cut_off_attribute_ends_the_list_instead_of_repeating_it() -> None:
    assert parse(b"\0\0\1\0\0\0\0") == {1: b""}
    assert parse(b"\x09") == {}


def test_a_message_says_its_length_its_subsystem_and_its_family() -> None:
    data = bytes(message(10, 13, "ask", family=1, attributes=attribute(1, b"t\0")).data)
    assert data.hex() == "1c000000" + "0d0a" + "0500" + "00000000" * 2 + "01000000" + "060001007400" + "0000"


@pytest.fixture
def translator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Translator:
    """Make a program in the place of iptables-translate from what it does, as lines for a shell."""

    def make(script: str) -> None:
        program = tmp_path / "iptables-translate"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)

    monkeypatch.setattr(iptables, "program", lambda family: iptables.Iptables(str(tmp_path / "iptables")))
    return make


@pytest.mark.parametrize(
    "said", ["nft 'add rule ip nat CONDITIONS ip saddr 192.0.2.1 counter'", "nft add rule ip nat CONDITIONS ip saddr 192.0.2.1 counter"]
)
def test_conditions_are_read_from_old_and_new_releases(translator: Translator, said: str) -> None:
    translator(f'echo "{said}"')
    assert iptables_words.translate("ip", ["-s", "192.0.2.1"], key="conditionsV4") == "ip saddr 192.0.2.1"


@pytest.mark.parametrize("script", ["echo 'nft # -A CONDITIONS -m recent'", "echo unknown option >&2; exit 2", ":"])
def test_conditions_without_a_translation_are_refused_by_their_key(translator: Translator, script: str) -> None:
    translator(script)
    with pytest.raises(InvalidConfig, match="conditionsV4: -m recent"):
        iptables_words.translate("ip", ["-m", "recent"], key="conditionsV4")


def test_without_the_program_the_error_says_what_to_install(translator: Translator) -> None:
    with pytest.raises(IoFailure) as caught:
        iptables_words.translate("ip", ["-s", "192.0.2.1"], key="conditionsV4")
    assert "install iptables" in caught.value.details


def test_words_are_words_and_not_commands_for_a_shell(translator: Translator, tmp_path: Path) -> None:
    translator(f"printf '%s\\n' \"$@\" > {tmp_path}/words; exit 1")
    with pytest.raises(CniError):
        iptables_words.translate("ip", ["$(touch x)", "it's", "`id`", 'a "b"'], key="conditionsV4")
    assert (tmp_path / "words").read_text().split("\n")[4:-1] == ["$(touch x)", "it's", "`id`", 'a "b"']
