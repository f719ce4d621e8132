"""PRO: how a plugin is executed. What it reads, where it answers, and what its exit status says."""

from __future__ import annotations

import json
import signal
from typing import Any

from conformance.case import BEST, MUST, SHOULD, Failed, case
from conformance.lab import Lab
from conformance.spec import clause

_STATUS = clause("Errors", "A plugin must exit with a return code of 0 on success, and non-zero on failure")
_CONFIGURATION = clause("Overview", "It supplies configuration via stdin: all of it, whatever its length")
_PIPE = 1 << 16
"""What fits into a pipe, and so the most that one read can get."""
_LOUD: dict[str, Any] = {"CNI_LOG_LEVEL": "debug", "CNI_DEBUG": "1", "LOG_LEVEL": "debug", "DEBUG": "1", "VERBOSE": "1"}
_FOREIGN: dict[str, Any] = {
    "TRACEPARENT": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "CNI_FUTURE": "1",
    "LC_ALL": "xx_XX",
    "TMPDIR": "/nowhere",
}
_KUBERNETES = "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-0;K8S_POD_INFRA_CONTAINER_ID=0d1f;K8S_POD_UID=6f8a-11"
_MOMENTS = 8


@case("PRO-01", title="the exit status is 0 on success, and another on failure", level=MUST, spec=_STATUS, needs={"ADD"})
def exit_status(lab: Lab) -> None:
    lab.add(lab.container()).succeeds()
    lab.call("ADD", '{"cniVersion": ', container=lab.bare("other")).refuses()


@case(
    "PRO-02",
    title="ADD prints one JSON object to standard output, and nothing else",
    level=MUST,
    spec=clause("ADD success", "Plugins must output a JSON object with the following keys upon a successful ADD operation"),
    needs={"ADD"},
)
def one_object(lab: Lab) -> None:
    answer = lab.add(lab.container())
    answer.succeeds()
    if not isinstance(answer.json, dict):
        raise Failed("ADD prints a JSON object", str(answer))


@case(
    "PRO-03",
    title="logs do not go to ADD's standard output, when they are asked for either",
    level=MUST,
    spec=clause("ADD success", "Plugins must output a JSON object … upon a successful ADD operation; stderr can be used for … logs"),
    needs={"ADD"},
)
def logs_elsewhere(lab: Lab) -> None:
    answer = lab.add(lab.container(), **_LOUD)
    answer.succeeds()
    if not isinstance(answer.json, dict):
        raise Failed("ADD prints a JSON object", str(answer))


@case("PRO-04", title="the configuration is read to its end", level=BEST, spec=_CONFIGURATION, needs={"ADD"})
def read_to_its_end(lab: Lab) -> None:
    pod = lab.container()
    text = json.dumps(lab.passed("ADD", pod))
    middle = text.index(",") + 1
    lab.call("ADD", text[:middle] + " " * (2 * _PIPE) + text[middle:] + "\n" * _PIPE, container=pod).succeeds()


@case(
    "PRO-05",
    title="ADD works with standard error closed, and an error is told nevertheless",
    level=BEST,
    spec=clause("Error", "stderr can be used for unstructured output: nothing depends on it"),
    needs={"ADD"},
)
def stderr_closed(lab: Lab) -> None:
    pod = lab.container()
    conf = lab.passed("ADD", pod)
    answer = lab.call("ADD", conf, container=pod, stderr="closed")
    answer.succeeds()
    if not isinstance(answer.json, dict):
        raise Failed("ADD prints a JSON object", str(answer))
    lab.call("ADD", '{"cniVersion": ', container=lab.bare("other"), stderr="closed").fails()


@case(
    "PRO-06",
    title="environment variables that the plugin does not know make no difference",
    level=BEST,
    spec=clause("Parameters", "Protocol parameters are passed … via OS environment variables: other variables are not the protocol's"),
    needs={"ADD", "DEL"},
)
def foreign_variables(lab: Lab) -> None:
    pod = lab.container()
    lab.add(pod, **_FOREIGN).succeeds()
    lab.delete(pod, **_FOREIGN).succeeds()


@case(
    "PRO-07",
    title="ADD takes the CNI_ARGS that Kubernetes runtimes give to every plugin",
    level=BEST,
    spec=clause("Parameters", "CNI_ARGS: … key-value pairs separated by semicolons; IgnoreUnknown is a convention of runtimes and plugins"),
    needs={"ADD", "DEL"},
)
def kubernetes_arguments(lab: Lab) -> None:
    pod = lab.container()
    lab.add(pod, CNI_ARGS=_KUBERNETES).succeeds()
    lab.delete(pod, CNI_ARGS=_KUBERNETES).succeeds()


@case("PRO-08", title="ADD takes a configuration of one MiB", level=BEST, spec=_CONFIGURATION, needs={"ADD"})
def large_configuration(lab: Lab) -> None:
    labels = [{"key": f"label{number}", "value": "x" * 1000} for number in range(1024)]
    lab.add(lab.container(), lab.conf(args={"cni": {"labels": labels}})).succeeds()


@case(
    "PRO-09",
    title="ADD that is told to end by SIGTERM fails and leaves nothing, or succeeds",
    level=BEST,
    spec=clause("Errors", "non-zero on failure: and a failure leaves the node as it was, when it comes from outside too"),
    needs={"ADD", "DEL"},
)
def told_to_end(lab: Lab) -> None:
    first = lab.container()
    length = lab.add(first)
    length.succeeds()
    lab.delete(first).succeeds()
    for moment in range(1, _MOMENTS):
        pod = lab.container(f"pod{moment}")
        before = lab.ledger()
        call = lab.start("ADD", lab.passed("ADD", pod), container=pod)
        call.ends_within(length.seconds * moment / _MOMENTS)
        call.kill(signal.SIGTERM, group=False)
        answer = call.wait()
        if answer.status == 0:
            answer.succeeds()
            lab.delete(pod).succeeds()
        elif lines := lab.difference(before):
            raise Failed("nothing is left of an ADD that was told to end", f"{len(lines)} things differ", ledger=lines)


@case(
    "PRO-10",
    title="an unknown CNI_COMMAND is refused with code 4, by name",
    level=SHOULD,
    spec=clause(
        "Error",
        "4: Invalid necessary environment variables, like CNI_COMMAND …. The error message must contain the names of invalid variables",
    ),
)
def unknown_command(lab: Lab) -> None:
    pod = lab.container()
    with lab.unchanged():
        lab.call("UPDATE", lab.passed("ADD", pod), container=pod).fails(code=4, names="CNI_COMMAND")


@case(
    "PRO-11",
    title="ADD ignores what it does not know in args",
    level=BEST,
    spec=clause(
        "Plugin configuration",
        "Reserved keys, used by the protocol: … args. By convention, plugins ignore what they do not understand there",
    ),
    needs={"ADD"},
)
def unknown_arguments(lab: Lab) -> None:
    lab.add(lab.container(), lab.conf(args={"cni": {"aliases": ["web"], "future": 1}, "example.org": {"team": "a"}})).succeeds()
