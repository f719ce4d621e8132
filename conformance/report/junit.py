"""A run as JUnit XML, which build servers show: one suite, one test for each case, failures with all that the run knows about them.

A case that failed is a failure here whatever its level; `type` is the level, so that a build server can tell a broken MUST from our own
bar.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from conformance.report.text import about, one_line, printable

if TYPE_CHECKING:
    from conformance.results import CaseResult, RunResult


def junit(run: RunResult) -> str:
    """Return the XML document as text."""
    counts = {
        "tests": str(len(run.cases)),
        "failures": str(run.count("fail")),
        "errors": "0",
        "skipped": str(run.count("skip")),
        "time": f"{run.seconds:.3f}",
    }
    name = f"CNI conformance: {one_line(run.plugin)}"
    root = ET.Element("testsuites", {"name": name, **counts})
    suite = ET.SubElement(root, "testsuite", {"name": name, **counts})
    if run.started:
        suite.set("timestamp", one_line(run.started))
    properties = ET.SubElement(suite, "properties")
    for key, value in about(run):
        ET.SubElement(properties, "property", {"name": key.lower(), "value": value})
    for case in run.cases:
        _case(case, suite, plugin=run.plugin)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=False).join(('<?xml version="1.0" encoding="UTF-8"?>\n', "\n"))


def _case(case: CaseResult, suite: ET.Element, *, plugin: str) -> None:
    test = ET.SubElement(
        suite,
        "testcase",
        {
            "classname": f"{one_line(plugin)}.{one_line(case.group)}",
            "name": f"{one_line(case.id)} {one_line(case.title)}",
            "time": f"{case.seconds:.3f}",
        },
    )
    if case.verdict == "skip":
        ET.SubElement(test, "skipped", {"message": one_line(case.observed)})
    elif case.verdict == "fail":
        failure = ET.SubElement(test, "failure", {"type": case.level, "message": one_line(case.observed, limit=500)})
        failure.text = _details(case)


def _details(case: CaseResult) -> str:
    parts = [
        ("clause", "\n".join(filter(None, (case.spec.text, case.spec.url)))),
        ("expected", case.expected),
        ("observed", case.observed),
        ("ledger", "\n".join(case.evidence.ledger)),
        ("calls", "\n".join(case.evidence.calls)),
        ("reproduce", case.reproduce),
    ]
    return "\n" + "\n\n".join(f"{name}:\n{printable(value)}" for name, value in parts if value.strip()) + "\n"
