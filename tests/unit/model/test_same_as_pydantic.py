"""What is frozen accepts, refuses and returns the same as pydantic does with the same classes."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from pydantic_core import ValidationError

from cni_plugins.model import frozen, registry
from cni_plugins.model.base import Model
from cni_plugins.model.sources import class_named
from cni_plugins.protocol.ip import Cidr
from tests.support.paths import REPO
from tests.unit.model.generated import objects


class Oracle:
    """The process that has pydantic."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.unit.model.oracle"]
        self.process = subprocess.Popen(command, cwd=REPO, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, name: str, data: Any) -> dict[str, Any]:
        """What pydantic says of a configuration."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps({"class": name, "data": data}) + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def close(self) -> None:
        """End the process."""
        self.process.communicate()


@pytest.fixture(scope="module")
def oracle() -> Iterator[Oracle]:
    asked = Oracle()
    yield asked
    asked.close()


def comparable(value: Any) -> Any:
    """As in oracle.py, of a configuration class's object."""
    if isinstance(value, Model):
        names = [name for cls in reversed(type(value).__mro__) for name in inspect.get_annotations(cls) if name != "aliases"]
        return {name: comparable(getattr(value, name)) for name in names}
    if isinstance(value, tuple | list):
        return [comparable(item) for item in value]
    if isinstance(value, dict):
        return {key: comparable(item) for key, item in value.items()}
    return str(value) if isinstance(value, Cidr) else value


def ours(name: str, data: Any) -> dict[str, Any]:
    """What the frozen model says, in the form of the oracle's answer."""
    validator, _ = frozen.load(class_named(name))
    try:
        return {"values": comparable(validator.validate_python(data))}
    except ValidationError as error:
        return {"errors": [[list(item["loc"]), item["type"]] for item in error.errors(include_url=False, include_context=False)]}


@pytest.mark.parametrize("name", [*registry.PLUGINS.values(), *registry.OTHERS])
def test_swapping_pydantic_for_its_core_changes_no_verdict(name: str, oracle: Oracle) -> None:
    _, keys = frozen.load(class_named(name))
    accepted = 0

    @settings(max_examples=300, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(objects(keys))
    def compare(data: dict[str, Any]) -> None:
        nonlocal accepted
        folded = frozen.fold(keys, data)
        theirs, mine = oracle.ask(name, folded), ours(name, folded)
        assert mine.get("values") == theirs.get("values")
        for error in theirs.get("errors", ()):
            assert [error[0], {"model_type": "dict_type"}.get(error[1], error[1])] in mine["errors"]
        accepted += "values" in mine

    compare()
    assert accepted > 10, "the generated configurations are nearly all wrong: the comparison shows little"
