"""A page shows what a run found, is whole by itself, and shows a plugin's words as words, whatever they are."""

from __future__ import annotations

from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.report import badge, compare, html, junit
from conformance.results import RunResult
from tests.unit.conformance.runs import FAILED, OWN_BAR, PASSED, RUNS, SKIPPED, run

VOID = {"meta", "br"}


class Page(HTMLParser):
    """Reads a page as a browser does: its words, its tags and what they name. Raises AssertionError when tags do not match."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.words = ""
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.attributes if key == name]


ORDINARY = Page(html.page(run())).tags | Page(compare.page(compare.compare([run(), run()]))).tags


@given(RUNS)
def test_nothing_a_plugin_says_becomes_part_of_the_page(any_run: RunResult) -> None:
    source = html.page(any_run)
    page = Page(source)
    source.encode()
    assert page.tags <= ORDINARY
    assert all(target.startswith(("#", "https://", "http://")) for target in page.all("href"))
    assert not {name for name, _ in page.attributes if name.startswith("on")}


@given(st.lists(RUNS, min_size=1, max_size=3))
def test_nothing_a_plugin_says_becomes_part_of_a_comparison(runs: list[RunResult]) -> None:
    page = Page(compare.page(compare.compare(runs)))
    assert page.tags <= ORDINARY


def test_the_page_tells_all_about_a_failure() -> None:
    words = Page(html.page(run())).words
    for told in (
        FAILED.expected,
        FAILED.observed,
        FAILED.spec.text,
        FAILED.reproduce.strip(),
        *FAILED.evidence.ledger,
        *FAILED.evidence.calls,
    ):
        assert told in words


def test_the_page_tells_why_a_case_was_skipped() -> None:
    assert SKIPPED.observed in Page(html.page(run())).words


def test_the_page_needs_nothing_beside_it() -> None:
    source = html.page(run())
    page = Page(source)
    assert not page.tags & {"script", "link", "img", "iframe"}
    assert "url(" not in source
    assert "@import" not in source
    assert set(page.all("href")) - {FAILED.spec.url} == {"#ADD-01", "#DEL-02", "#list-ADD-01", "#list-DP-01", "#ERR-10"} - {"#ADD-01"}


def test_every_link_within_the_page_leads_somewhere() -> None:
    page = Page(html.page(run()))
    assert {target[1:] for target in page.all("href") if target.startswith("#")} <= set(page.all("id"))


@given(RUNS)
def test_build_servers_can_read_the_junit_file(any_run: RunResult) -> None:
    suite = ET.fromstring(junit.junit(any_run).encode())[0]
    assert len(suite.findall("testcase")) == len(any_run.cases)
    assert len(suite.findall("testcase/failure")) == any_run.count("fail") == int(suite.get("failures", ""))
    assert len(suite.findall("testcase/skipped")) == any_run.count("skip") == int(suite.get("skipped", ""))


def test_the_junit_file_tells_level_and_reason_of_a_failure() -> None:
    failure = ET.fromstring(junit.junit(run())).find("testsuite/testcase/failure")
    assert failure is not None
    assert failure.get("type") == "MUST"
    for told in (FAILED.expected, FAILED.observed, FAILED.evidence.ledger[0], FAILED.spec.url):
        assert told in (failure.text or "")


@given(RUNS)
def test_a_badge_is_a_picture_whatever_the_plugin_is_called(any_run: RunResult) -> None:
    picture = ET.fromstring(badge.badge(any_run).encode())
    assert picture.tag == "{http://www.w3.org/2000/svg}svg"
    assert {element.tag.rpartition("}")[2] for element in picture.iter()} == {"svg", "title", "rect", "path", "g", "text"}


@pytest.mark.parametrize(
    ("found", "colour", "words"),
    [
        (run(), badge.RED, "breaks 1 MUST"),
        (run(PASSED, OWN_BAR), badge.GREEN, "keeps 1 MUST"),
        (run(SKIPPED), badge.GREY, "not checked"),
    ],
)
def test_a_badge_boasts_of_nothing_that_was_not_checked(found: RunResult, colour: str, words: str) -> None:
    assert colour in badge.badge(found)
    assert words in badge.badge(found)
