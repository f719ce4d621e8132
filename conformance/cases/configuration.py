"""Errors about configurations: what a plugin does with fields that are missing, unknown, of a wrong type or out of range."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

from conformance.answer import Answer
from conformance.case import BEST, MUST, SHOULD, Failed, case
from conformance.lab import Conf, Lab, at
from conformance.profile import filled
from conformance.scene import places
from conformance.spec import clause

_CONFIG = clause("Error", "7: Invalid network config. If some validations on network configs do not pass, this error will be raised")
_MALFORMED = clause("Plugin configuration", "CONVENTIONS.md: It should return an error if … the field values were malformed")
_NAME = clause("Configuration", "name: … Must start with an alphanumeric character …. Must not contain characters disallowed in file paths")
_BAD_NAMES = ("../net", "a/b", "-net", "a net", "")


def each(attempts: Iterator[tuple[str, Answer]], expected: str, judge: Callable[[Answer], object]) -> None:
    """Expect the same of several calls, and tell of each that was answered otherwise."""
    wrong = []
    for what, answer in attempts:
        try:
            judge(answer)
        except Failed as failed:
            wrong.append(f"{what}: {failed.observed}")
    if wrong:
        raise Failed(expected, "; ".join(wrong))


def malformed(lab: Lab, fields: Conf) -> Iterator[tuple[str, Answer]]:
    """ADD with each of these fields in turn; one that is accepted is undone."""
    for number, (path, value) in enumerate(fields.items()):
        pod, conf = lab.container(f"pod{number}"), lab.conf(**at(path, value))
        answer = lab.add(pod, conf)
        yield f"{path} = {json.dumps(value)}", answer
        if answer.status == 0:
            lab.delete(pod, conf)


def _wrong(lab: Lab) -> Conf:
    """All fields that the profile knows to be wrong."""
    return {**(lab.profile.wrong_type or {}), **(lab.profile.out_of_range or {})}


def _words(value: object) -> Iterator[str]:
    """The keys and values in a wrong value by which a person finds it; those of one letter could be anything."""
    if isinstance(value, dict):
        yield from value
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _words(inner)
    elif len(str(value)) > 1:
        yield str(value)


@case("ERR-02", title="a configuration without name fails with code 7", level=SHOULD, spec=_CONFIG, needs={"ADD"})
def no_name(lab: Lab) -> None:
    pod = lab.container()
    with lab.unchanged():
        lab.add(pod, lab.conf(name=None)).fails(code=7)


@case("ERR-03", title="a field of a wrong type is refused", level=SHOULD, spec=_MALFORMED, needs={"ADD", "wrong_type"})
def wrong_type(lab: Lab) -> None:
    each(malformed(lab, lab.profile.wrong_type or {}), "every field of a wrong type is refused", Answer.fails)


@case("ERR-04", title="a value out of range is refused", level=SHOULD, spec=_MALFORMED, needs={"ADD", "out_of_range"})
def out_of_range(lab: Lab) -> None:
    each(malformed(lab, lab.profile.out_of_range or {}), "every value out of range is refused", Answer.fails)


@case(
    "ERR-10",
    title="an error names the field that is wrong",
    level=BEST,
    spec=clause("Error", "msg: A short message characterizing the error: a person finds the field by it"),
    needs={"ADD", "wrong_type|out_of_range"},
)
def names_the_field(lab: Lab) -> None:
    fields = _wrong(lab)
    wrong = []
    for (path, value), (what, answer) in zip(fields.items(), malformed(lab, fields), strict=True):
        words = {path.rpartition(".")[2], *_words(filled(value, places(1)))}
        if answer.status == 0 or not any(word.lower() in answer.stdout.lower() for word in words):
            wrong.append(f"{what}: {answer}")
    if wrong:
        raise Failed("each error holds the field's name, or its value", "; ".join(wrong))


@case(
    "ERR-13", title="a wrong configuration fails with code 7, 6 or 2", level=SHOULD, spec=_CONFIG, needs={"ADD", "wrong_type|out_of_range"}
)
def code_of_wrong_configurations(lab: Lab) -> None:
    def judge(answer: Answer) -> None:
        if answer.status != 0:
            answer.fails(codes={2, 6, 7})

    each(malformed(lab, _wrong(lab)), "every refusal of a configuration has code 7, 6 or 2", judge)


@case(
    "ERR-15",
    title="an unknown field is ignored, or named with its value by code 2",
    level=MUST,
    spec=clause(
        "Error", "2: Unsupported field in network configuration. The error message must contain the key and value of the unsupported field"
    ),
    needs={"ADD"},
)
def unknown_field(lab: Lab) -> None:
    answer = lab.add(lab.container(), lab.conf(noSuchField="no such value"))
    if answer.status == 0:
        return
    error = answer.fails()
    text = f"{error.get('msg')} {error.get('details')}"
    if error.get("code") == 2 and not ("noSuchField" in text and "no such value" in text):
        raise Failed("msg or details hold key and value", str(answer))


@case("ERR-17", title="a name that no network can have fails with code 7", level=SHOULD, spec=_NAME, needs={"ADD"})
def bad_name(lab: Lab) -> None:
    pod = lab.container()
    with lab.unchanged():
        each(
            ((f"name = {name!r}", lab.add(pod, lab.conf(name=name))) for name in _BAD_NAMES),
            "ADD with such a name fails with code 7",
            lambda answer: answer.fails(code=7),
        )
