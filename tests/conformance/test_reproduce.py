"""The script of a failed case shows the failure again, to somebody who has only a shell."""

from __future__ import annotations

import subprocess
from pathlib import Path

from conformance.lab import Lab
from conformance.runner import Job, run
from conformance.transcript import Transcript
from tests.conformance.fakes import PROFILE, VERSIONS, plugin


def again(lab: Lab) -> str:
    """What the lab's script prints when it is run."""
    done = subprocess.run(["sh"], input=lab.transcript.script(), capture_output=True, text=True, check=False, timeout=60)
    return done.stdout + done.stderr


ECHO = "print(ascii([sys.stdin.read(), sorted((name, value) for name, value in os.environ.items() if name.startswith('CNI_'))]))"


def test_a_call_is_made_again_with_the_same_input_and_environment(root: None, tmp_path: Path) -> None:
    odd = "a'b\"c$d`e\\f $(g) \u00fc ;|&"
    with Lab(PROFILE, plugin(tmp_path, ECHO)) as lab:
        pod = lab.container()
        answer = lab.call("ADD", {"cniVersion": "1.1.0", "odd": odd}, container=pod, CNI_ARGS=f"A={odd}", CNI_PATH=None)
        told = answer.stdout.replace("}'", "}\\n'")  # a here-document ends in a line feed
        assert told in again(lab)
        assert "CNI_PATH" not in told


# ADD answers with something new each time, and remembers it; CHECK tells whether that is what it gets back.
RANDOM = """
if os.environ["CNI_COMMAND"] == "ADD":
    result = {"cniVersion": "1.1.0", "interfaces": [{"name": "eth0", "mac": os.urandom(6).hex(":") + "$`"}]}
    json.dump(result, open("/run/remembered", "w"))
    print(json.dumps(result))
else:
    same = json.load(sys.stdin).get("prevResult") == json.load(open("/run/remembered"))
    print(json.dumps({"code": 100, "msg": "the same" if same else "another"}))
    sys.exit(1)
"""


def test_prev_result_is_what_the_plugin_answers_this_time(root: None, tmp_path: Path) -> None:
    with Lab(PROFILE, plugin(tmp_path, RANDOM)) as lab:
        pod = lab.attached()
        lab.check(pod).fails(names="the same")
        shown = again(lab)
    assert '"msg": "the same"' in shown
    assert "exit status 1" in shown


def test_what_was_done_to_the_node_is_done_again(root: None, tmp_path: Path) -> None:
    look = "print(sorted(os.listdir('/sys/class/net')), os.path.exists('/run/netns/pod'), os.path.exists('/run/netns/other'))"
    with Lab(PROFILE, plugin(tmp_path, look)) as lab:
        lab.bare("other")
        lab.remove(lab.bare("pod"))
        lab.do("ip link add br7 type bridge")
        lab.do("ip link add br8 type bridge", within=lab.node.containers["other"])
        answer = lab.call("STATUS")
        assert answer.stdout.strip() in again(lab)
        assert "['br7', 'lo'] False True" in answer.stdout


def test_a_plugin_without_standard_error_is_started_without_it_again(root: None, tmp_path: Path) -> None:
    look = "print('open' if os.path.exists('/proc/self/fd/2') else 'closed')"
    with Lab(PROFILE, plugin(tmp_path, look)) as lab:
        assert lab.call("STATUS", stderr="closed").stdout == "closed\n"
        assert "closed\n" in again(lab)


def test_a_killed_call_is_killed_again(root: None, tmp_path: Path) -> None:
    with Lab(PROFILE, plugin(tmp_path, "time.sleep(1000)")) as lab:
        call = lab.start("STATUS")
        call.kill()
        assert call.wait().status == -9
        assert "exit status 137" in again(lab)


def test_what_was_left_is_shown_again(root: None, tmp_path: Path) -> None:
    directory = plugin(tmp_path, f"subprocess.run(['ip', 'link', 'add', 'br-bad', 'type', 'bridge'])\n{VERSIONS}")
    [(_, result)] = run([Job("VER-04", PROFILE, directory)])
    assert any("br-bad" in line for line in result.evidence.ledger)
    done = subprocess.run(["sh"], input=result.reproduce, capture_output=True, text=True, check=False, timeout=60)
    assert ": br-bad: " in done.stdout.partition("what is on the node now:")[2]


def test_the_script_of_nothing_is_empty() -> None:
    assert Transcript().script() == ""
