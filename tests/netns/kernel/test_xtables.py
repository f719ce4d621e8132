"""The rules of x_tables, as the kernel has them, are those that its own programs have written."""

from __future__ import annotations

from typing import Any

import pytest

from cni_plugins.kernel import calls, xtables
from cni_plugins.protocol.errors import KernelRefused
from tests.support.node import Node

SAYS = b"a comment that nobody else makes\0"


@pytest.fixture(params=["ip", "ip6"])
def family(request: pytest.FixtureRequest, node: Node) -> str:
    """An address family whose filter table has a rule with that comment, and a hundred others."""
    rules = "\n".join(f"-A FORWARD -p tcp --dport {port} -j ACCEPT" for port in range(1, 101))
    comment = SAYS.rstrip(b"\0").decode()
    text = f'*filter\n{rules}\n-A FORWARD -m comment --comment "{comment}" -j ACCEPT\nCOMMIT\n'
    node.run([f"{request.param}tables-legacy-restore"], input=text)
    return str(request.param)


def test_a_rule_is_seen_from_when_it_is_written_until_it_is_flushed(node: Node, family: str) -> None:
    assert SAYS in xtables.entries(family, "filter")
    node.run([f"{family}tables-legacy", "-F", "FORWARD"])
    assert SAYS not in xtables.entries(family, "filter")


def test_a_table_that_changes_meanwhile_is_read_again(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fill, left = calls.fill_option, [0, 0, 1, 0]  # from the last on: a size, a table that is another by now, both once more

    def filling(*arguments: Any) -> None:
        fill(*arguments)
        if left.pop():
            raise BlockingIOError(11, "changed")

    monkeypatch.setattr(calls, "fill_option", filling)
    assert SAYS in xtables.entries(family, "filter")
    assert left == []


def test_what_is_no_table_is_refused_by_name(family: str) -> None:
    with pytest.raises(KernelRefused, match=f"the table nonsense of {family}tables"):
        xtables.entries(family, "nonsense")


def test_who_may_not_ask_is_told_why(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refusing(family: int) -> Any:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(calls, "raw_socket", refusing)
    with pytest.raises(KernelRefused, match="Operation not permitted"):
        xtables.entries(family, "filter")
