"""VERSION: a plugin says which versions of the specification it knows, and keeps to them."""

from __future__ import annotations

from collections.abc import Callable

from conformance.answer import Answer
from conformance.case import BEST, MUST, SHOULD, Failed, case
from conformance.lab import Lab
from conformance.spec import clause

_SUCCESS = clause(
    "VERSION success",
    "Plugins must output … cniVersion: The value of cniVersion specified on input; supportedVersions: A list of supported … versions",
)
_BUDGET = 0.5
"""Seconds: kubelet and containerd probe every plugin when they start, and ask for STATUS every five."""
_TRIES = 10


@case(
    "VER-01",
    title="VERSION needs no variable but CNI_COMMAND",
    level=MUST,
    spec=clause("VERSION", "Required environment parameters: CNI_COMMAND"),
)
def needs_only_its_command(lab: Lab) -> None:
    lab.call("VERSION", {"cniVersion": lab.version}, CNI_PATH=None).succeeds()


@case("VER-02", title="VERSION lists the versions that the plugin supports", level=MUST, spec=_SUCCESS)
def lists_versions(lab: Lab) -> None:
    answer = lab.call("VERSION", {"cniVersion": lab.version})
    listed = (answer.succeeds() or {}).get("supportedVersions")
    if not isinstance(listed, list) or not listed or not all(isinstance(version, str) for version in listed):
        raise Failed("supportedVersions is a list of versions", str(answer))
    if missing := set(lab.profile.versions) - set(listed):
        claimed = ", ".join(lab.profile.versions)
        raise Failed(f"supportedVersions has all that the profile claims: {claimed}", f"without {', '.join(sorted(missing))}")


@case("VER-03", title="VERSION echoes the cniVersion of its input", level=MUST, spec=_SUCCESS)
def echoes_its_input(lab: Lab) -> None:
    for version in lab.profile.versions:
        answer = lab.call("VERSION", {"cniVersion": version})
        if (answer.succeeds() or {}).get("cniVersion") != version:
            raise Failed(f"cniVersion is {version}", str(answer))


@case("VER-04", title="VERSION changes nothing", level=BEST, spec=clause("VERSION", "a probe that changes nothing on the node"))
def changes_nothing(lab: Lab) -> None:
    with lab.unchanged():
        lab.call("VERSION", {"cniVersion": lab.version}).succeeds()


@case(
    "VER-05",
    title="ADD in an unknown version fails with code 1",
    level=SHOULD,
    spec=clause("Error", "1: Incompatible CNI version"),
    needs={"ADD"},
)
def unknown_version(lab: Lab) -> None:
    pod = lab.container()
    with lab.unchanged():
        lab.add(pod, lab.conf(version="99.0.0")).fails(code=1)


@case(
    "VER-06",
    title="the result has the shape of the version asked for",
    level=MUST,
    spec=clause("ADD success", "cniVersion: The same version supplied on input"),
    needs={"ADD", "DEL"},
)
def shape_of_the_version(lab: Lab) -> None:
    for number, version in enumerate(lab.profile.versions):
        pod = lab.container(f"pod{number}", version=version)
        conf = lab.conf(version=version)
        answer = lab.add(pod, conf)
        result = answer.succeeds()
        if not isinstance(result, dict) or result.get("cniVersion", "0.1.0") != version:
            raise Failed(f"a result of version {version}", str(answer))
        if version in {"0.1.0", "0.2.0"} and {"interfaces", "ips"} & result.keys():
            raise Failed(f"a result of version {version}, with ip4 and ip6", str(answer))
        if version.startswith(("0.3", "0.4")) and any(ip.get("version") not in {"4", "6"} for ip in result.get("ips", [])):
            raise Failed(f"addresses with their version, as {version} has it", str(answer))
        if version.startswith("1.") and any("version" in ip for ip in result.get("ips", [])):
            raise Failed(f"addresses without version, as {version} has it", str(answer))
        lab.delete(pod, conf).succeeds()


@case("VER-07", title="VERSION answers within half a second", level=BEST, spec=clause("VERSION", "runtimes probe all plugins at start"))
def answers_soon(lab: Lab) -> None:
    soon(lambda: lab.call("VERSION", {"cniVersion": lab.version}))


def soon(call: Callable[[], Answer]) -> None:
    """Expect an answer within the budget, at the best of a few calls: whatever else the machine does is not the plugin's fault."""
    taken: list[float] = []
    for _ in range(_TRIES):
        taken.append(call().seconds)
        if taken[-1] <= _BUDGET:
            return
    raise Failed(f"an answer within {_BUDGET} s", f"{min(taken):.2f} s at best of {_TRIES}")
