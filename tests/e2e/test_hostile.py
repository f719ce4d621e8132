"""What a plugin makes of a machine in trouble and of input that no runtime should send: an error that says why, and no trace."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.calls import Caller
from tests.e2e.fixtures import NothingLeft
from tests.e2e.networks import bridge, ptp
from tests.support.node import Node
from tests.support.outcome import Outcome

KINDS: dict[str, dict[str, Any]] = {"bridge": bridge(ipMasq=True), "ptp": ptp(ipMasq=True)}
VERBS = ("ADD", "DEL", "CHECK", "GC", "STATUS")
MUTATIONS = 60
STATE_DIRECTORIES = ("/var/lib/cni", "/run")


@pytest.fixture(params=KINDS)
def caller(request: pytest.FixtureRequest, node: Node, plugins: Path) -> Caller:
    """A network on the node, used once so that what it shares is there."""
    caller = Caller(node, plugins, KINDS[request.param])
    container = node.container("primer")
    caller.prime(container)
    container.delete()
    return caller


@pytest.fixture
def closed_pipe() -> Iterator[int]:
    """A pipe's writing end that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


@pytest.fixture
def full_device() -> Iterator[int]:
    """A device that has no space left."""
    device = os.open("/dev/full", os.O_WRONLY)
    yield device
    os.close(device)


@pytest.mark.parametrize("stdout", ["closed_pipe", "full_device"])
def test_add_that_cannot_answer_leaves_nothing(
    caller: Caller, node: Node, *, request: pytest.FixtureRequest, stdout: str, nothing_left: NothingLeft
) -> None:
    container = node.container()
    with nothing_left(node):
        outcome = caller.run("ADD", container, stdout=request.getfixturevalue(stdout))
        assert outcome.code != 0
        assert "Traceback" not in outcome.stderr


@pytest.mark.parametrize("directory", STATE_DIRECTORIES)
def test_add_on_a_full_disk_says_so_and_leaves_nothing(caller: Caller, node: Node, directory: str, nothing_left: NothingLeft) -> None:
    container = node.container()
    with nothing_left(node):
        with full(node, directory):
            assert_says_why(caller.run("ADD", container))
        caller.delete(container)


@pytest.mark.parametrize("directory", STATE_DIRECTORIES)
def test_del_works_on_a_full_disk(caller: Caller, node: Node, directory: str, nothing_left: NothingLeft) -> None:
    container = node.container()
    with nothing_left(node):
        caller.add(container)
        with full(node, directory):
            caller.delete(container)


@pytest.mark.parametrize("directory", STATE_DIRECTORIES)
def test_read_only_state_is_an_error_and_works_again_when_writable(
    caller: Caller, node: Node, directory: str, nothing_left: NothingLeft
) -> None:
    container, attached = node.container(), node.container("attached")
    with nothing_left(node):
        caller.add(attached)
        with read_only(node, directory):
            assert_says_why(caller.run("ADD", container))
            assert_valid(caller.run("DEL", attached))
        caller.delete(container)
        caller.delete(attached)


@pytest.mark.parametrize("verb", VERBS)
def test_mutated_configurations_get_an_error_or_a_result(caller: Caller, node: Node, verb: str) -> None:
    chance = random.Random(f"{caller.conf['type']} {verb}")
    valid = json.dumps(caller.conf).encode()
    container = node.container()
    for _ in range(MUTATIONS):
        text = mutated(valid, chance)
        outcome = caller.run(verb, None if verb in ("GC", "STATUS") else container, stdin=text)
        try:
            assert_valid(outcome)
        except AssertionError as error:
            raise AssertionError(f"{verb} of {text!r}: {error}") from None
        if verb == "ADD" and outcome.code == 0:
            assert caller.run("DEL", container, stdin=text).code == 0


def mutated(text: bytes, chance: random.Random) -> bytes:
    """Return `text` with one to three bytes changed, removed, doubled, or everything cut off."""
    data = bytearray(text)
    for _ in range(chance.randint(1, 3)):
        place = chance.randrange(len(data) or 1)
        kind = chance.choice(("change", "remove", "double", "insert", "cut"))
        if kind == "change":
            data[place : place + 1] = bytes([chance.randrange(256)])
        elif kind == "remove":
            del data[place : place + chance.randint(1, 8)]
        elif kind == "double":
            data[place:place] = data[place : place + chance.randint(1, 40)]
        elif kind == "insert":
            data[place:place] = chance.choice((b"null", b"-1", b"1e999", b"\xff\xfe", b"\0", b"{", b'"', b"[[[[", b"NaN", b"9" * 400))
        elif chance.random() < 0.2:
            del data[place:]
    return bytes(data)


def assert_valid(outcome: Outcome) -> None:
    """A CNI error object, or success with a JSON result or nothing; never a traceback."""
    assert "Traceback" not in outcome.stdout + outcome.stderr, outcome
    assert outcome.error if outcome.code else outcome.result is None or isinstance(outcome.result, dict)


def assert_says_why(outcome: Outcome) -> None:
    """A CNI error whose text is more than a word."""
    assert_valid(outcome)
    assert len(outcome.error["msg"] + outcome.error.get("details", "")) > len("I/O error"), outcome


@contextmanager
def full(node: Node, directory: str) -> Iterator[None]:
    """For the length of a block, `directory` on the node, a file system of its own, has neither a byte nor an inode left."""
    node.run(["mount", "-o", "remount,size=256k,nr_inodes=256", directory])
    filler = Path(directory, "filler")
    filler.mkdir()
    with suppress(OSError), open(filler / "bytes", "wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    with suppress(OSError):
        for number in range(256):
            (filler / str(number)).touch()
    yield
    shutil.rmtree(filler)
    node.run(["mount", "-o", "remount,size=50%,nr_inodes=0", directory])


@contextmanager
def read_only(node: Node, directory: str) -> Iterator[None]:
    """For the length of a block, `directory` on the node, a file system of its own, can't be written to."""
    node.run(["mount", "-o", "remount,ro", directory])
    yield
    node.run(["mount", "-o", "remount,rw", directory])
