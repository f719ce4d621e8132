"""Errors: what cannot be done fails, and says so in the form, with the code and the words by which a runtime and a person know why."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from conformance.answer import Answer
from conformance.case import BEST, MUST, SHOULD, Failed, Skipped, case
from conformance.cases.configuration import each, malformed
from conformance.execute import TIMEOUT
from conformance.lab import Lab
from conformance.spec import clause

_FAILURE = clause("Errors", "A plugin must exit with a return code of 0 on success, and non-zero on failure")
_VARIABLE = clause("Error", "4: Invalid necessary environment variables, like CNI_COMMAND, CNI_CONTAINERID, etc.")
_IFNAME = clause("Parameters", "CNI_IFNAME: …; if the plugin is unable to use this interface name it must return an error")
_KEYS = clause("Error", "Plugins should output a JSON object with the following keys …: cniVersion, code, msg, details")

_NOT_JSON = ("{", '{"cniVersion": "1.1.0", "name": "net1"', "plugin: bridge")
_BAD_IDS = ("", "-pod", "pod/1", "../pod", "pod 1", "pod;1")
_BAD_IFNAMES = ("sixteen-letters-", "a/b", "a b", ".", "..", "a:b")
_REQUIRED = ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME")
_CODES = frozenset({*range(1, 8), 11, 50, 51})
_PATIENCE = 3.0
"""Seconds for which somebody else holds the plugin's locks."""
_HOLDER = """\
import fcntl, sys
files = [open(path, "r+") for path in sys.argv[1:]]
for file in files:
    fcntl.flock(file, fcntl.LOCK_EX)
    fcntl.lockf(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


def _refused(lab: Lab) -> Iterator[tuple[str, Answer]]:
    """Calls that are wrong, each in another way, as far as the plugin refuses them."""
    pod = lab.container()
    calls = {
        "no name": lab.add(pod, lab.conf(name=None)),
        "an unknown version": lab.add(pod, lab.conf(version="99.0.0")),
        "a bad container ID": lab.add(pod, CNI_CONTAINERID="-pod"),
        "no CNI_CONTAINERID": lab.add(pod, CNI_CONTAINERID=None),
        "an unknown CNI_COMMAND": lab.call("REBOOT", container=pod),
    }
    for what, answer in [*calls.items(), *malformed(lab, lab.profile.wrong_type or {})]:
        if answer.status != 0:
            yield what, answer


@case(
    "ERR-01",
    title="a configuration that is no JSON fails with code 6",
    level=SHOULD,
    spec=clause("Error", "6: Failed to decode content. For example, failed to unmarshal network config from bytes"),
    needs={"ADD"},
)
def no_json(lab: Lab) -> None:
    pod = lab.container()
    with lab.unchanged():
        for text in _NOT_JSON:
            lab.call("ADD", text, container=pod).fails(code=6)
        lab.call("ADD", "", container=pod).fails(codes={5, 6})


@case("ERR-05", title="a missing variable fails with code 4", level=SHOULD, spec=_VARIABLE, needs={"ADD"})
def missing_variable(lab: Lab) -> None:
    pod = lab.container()
    with lab.unchanged():
        each(
            ((f"without {name}", lab.add(pod, **{name: None})) for name in _REQUIRED),
            "ADD without a required variable fails with code 4",
            lambda answer: answer.fails(code=4),
        )


@case("ERR-06", title="a bad container ID fails with code 4", level=SHOULD, spec=_VARIABLE, needs={"ADD"})
def bad_container_id(lab: Lab) -> None:
    pod = lab.container()
    with lab.unchanged():
        each(
            ((f"CNI_CONTAINERID={value!r}", lab.add(pod, CNI_CONTAINERID=value)) for value in _BAD_IDS),
            "ADD with a bad container ID fails with code 4",
            lambda answer: answer.fails(code=4),
        )


@case("ERR-07", title="an interface name that cannot be is refused", level=MUST, spec=_IFNAME, needs={"ADD", "creates"})
def bad_interface_name(lab: Lab) -> None:
    pod = lab.container()
    attempts = ((f"CNI_IFNAME={name!r}", lab.add(pod, ifname=name)) for name in _BAD_IFNAMES)
    each(attempts, "ADD with an interface name that cannot be fails", Answer.fails)


@case("ERR-08", title="ADD fails when CNI_NETNS is no network namespace", level=MUST, spec=_FAILURE, needs={"ADD", "creates"})
def no_netns(lab: Lab) -> None:
    each(_without_netns(lab), "ADD to what is no network namespace fails", Answer.fails)


def _without_netns(lab: Lab) -> Iterator[tuple[str, Answer]]:
    """ADD to a path where nothing is, to a file and to a directory."""
    pod = lab.container()
    lab.do("touch /run/netns/file; mkdir /run/netns/directory")
    for name in ("missing", "file", "directory"):
        yield name, lab.add(pod, CNI_NETNS=f"/run/netns/{name}")


@case("ERR-09", title="an error has code, msg and cniVersion", level=SHOULD, spec=_KEYS, needs={"ADD"})
def keys(lab: Lab) -> None:
    def judge(answer: Answer) -> None:
        if not isinstance(answer.fails().get("cniVersion"), str):
            raise Failed("cniVersion", str(answer))

    each(_refused(lab), "an error with code, msg and cniVersion", judge)


@case(
    "ERR-11",
    title="contention that passes is waited for, or told by code 11",
    level=BEST,
    spec=clause("Error", "11: Try again later. If the plugin detects some transient condition that should clear up, it can use this code"),
    needs={"ADD", "DEL"},
)
def contention(lab: Lab) -> None:
    lab.delete(lab.attached("first")).succeeds()
    pod = lab.container("second")
    directories = " ".join(dict.fromkeys(["/run", "/var/lib/cni", *lab.profile.state_dirs]))
    locks = lab.do(f"find {directories} -xdev -type f -name '*lock*'", check=False).split()
    if not locks:
        raise Skipped("the plugin has no lock files, as far as names tell")
    holder = lab.node.popen([sys.executable, "-c", _HOLDER, *locks])
    assert holder.stdin
    assert holder.stdout
    lab.transcript.step(f"flock {locks[0]} sleep {_PATIENCE:g} &   # all of: {' '.join(locks)}")
    holder.stdout.readline()
    call = lab.start("ADD", lab.passed("ADD", pod), container=pod, timeout=_PATIENCE + TIMEOUT)
    call.ends_within(_PATIENCE)
    holder.stdin.close()
    answer = call.wait()
    if answer.status != 0:
        answer.fails(code=11)


@case("ERR-12", title="an interface name that cannot be fails with code 4", level=SHOULD, spec=_VARIABLE, needs={"ADD"})
def bad_interface_name_code(lab: Lab) -> None:
    pod = lab.container()
    attempts = ((f"CNI_IFNAME={name!r}", lab.add(pod, ifname=name)) for name in _BAD_IFNAMES)
    each(attempts, "ADD with an interface name that cannot be fails with code 4", lambda answer: answer.fails(code=4))


@case(
    "ERR-14",
    title="an error with code 4 names the variable",
    level=MUST,
    spec=clause("Error", "4: … The error message must contain the names of invalid variables"),
    needs={"ADD"},
)
def names_the_variable(lab: Lab) -> None:
    pod = lab.container()
    wrong = []
    for name, value in [*dict.fromkeys(_REQUIRED).items(), ("CNI_CONTAINERID", "-pod"), ("CNI_IFNAME", "a/b"), ("CNI_COMMAND", "REBOOT")]:
        variable: dict[str, str | None] = {name: value}
        answer = lab.add(pod, None, **variable)
        error = answer.fails()
        if error.get("code") == 4 and name not in f"{error.get('msg')} {error.get('details')}":
            wrong.append(f"{name}: {answer}")
    if wrong:
        raise Failed("msg or details hold the name of the variable", "; ".join(wrong))


@case(
    "ERR-16",
    title="error codes below 100 are those of the specification",
    level=SHOULD,
    spec=clause("Error", "Error codes 0-99 are reserved for well-known errors"),
    needs={"ADD"},
)
def reserved_codes(lab: Lab) -> None:
    def judge(answer: Answer) -> None:
        if (code := answer.fails()["code"]) not in _CODES and code < 100:
            raise Failed("a code of the specification", str(answer))

    each(_refused(lab), "codes of the specification, or 100 and above", judge)


@case(
    "ERR-18",
    title="an error about CNI_NETNS names the path",
    level=BEST,
    spec=clause("Error", "details: A longer message describing the error: which path it is that is no network namespace"),
    needs={"ADD", "creates"},
)
def names_the_path(lab: Lab) -> None:
    wrong = [f"{name}: {answer}" for name, answer in _without_netns(lab) if f"/run/netns/{name}" not in answer.stdout]
    if wrong:
        raise Failed("each error names the path", "; ".join(wrong))
