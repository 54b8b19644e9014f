from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from parity.judge.report import Coverage, Example, Fidelity, Rejected, Report, RequestCounts
from parity.judge.verdict import decide
from parity.judge.verdict_json import RunFacts, verdict_json
from parity.render.html import html_text
from tests.parity.a_report import (
    POLICY,
    a_cause,
    a_diverged_report,
    a_metric,
    a_report,
    a_statistical_report,
)

VOID = {"meta", "input", "br", "link", "img", "hr"}
EVIL = "</td><script>alert(1)</script><img src=x onerror=alert(1)>"


class Page(HTMLParser):
    """Collects tags, attributes and text, and refuses tags that are not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def page_of(report: Report) -> str:
    verdict = decide(report, POLICY)
    return html_text(report, verdict, verdict_json(report, verdict, RunFacts(run_id=EVIL)))


def hostile() -> Report:
    example = Example(request_id=EVIL, ad_id=EVIL, reference=1.0, challenger=float("inf"))
    parted = replace(
        a_diverged_report().checkpoints[0], checkpoint=EVIL, tolerance=EVIL, examples=(example,)
    )
    cause = a_cause(
        EVIL, diagnosis=EVIL, slice=EVIL, inherited=(EVIL,), segment=(EVIL,), tolerance=EVIL,
        examples=(example,),
    )  # fmt: skip
    rejected = Rejected(request_id=EVIL, reason=EVIL, where=EVIL, detail=EVIL)
    return replace(
        a_statistical_report(a_metric(note=EVIL)),
        reference=replace(a_report().reference, name=EVIL, digest=EVIL),
        checkpoints=(parted,),
        causes=(cause,),
        requests=RequestCounts(read=2, compared=1, rejected={EVIL: 1}, examples=(rejected,)),
        fidelity=Fidelity(status="differs", fields={EVIL: (1, 1)}, examples={EVIL: (example,)}),
        coverage=Coverage(
            compared=(EVIL,), unmatched_reference=(EVIL,), unmatched_challenger=(EVIL,),
            left_out={EVIL: EVIL},
        ),
        unexplained=(EVIL,),
        notes=(EVIL,),
        plants=(EVIL,),
    )  # fmt: skip


REPORTS = {
    "parity": a_report(),
    "diverged": a_diverged_report(),
    "statistical": a_statistical_report(a_metric(), a_metric("auc", low=None, high=None)),
    "hostile": hostile(),
}


@pytest.mark.parametrize("name", REPORTS)
def test_the_page_is_well_formed(name: str) -> None:
    page = Page(page_of(REPORTS[name]))

    assert page.tags.count("script") == 1
    assert page.tags.count("h1") == 1


def test_whatever_a_log_holds_stays_text() -> None:
    page = Page(page_of(hostile()))

    assert "img" not in page.tags
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert any(EVIL in text for text in page.text)


def test_bidirectional_overrides_are_spelled_out() -> None:
    report = replace(a_diverged_report(), causes=(a_cause("features.\u202egnp"),))

    text = page_of(report)

    assert "\u202e" not in text
    assert "features.\\u202egnp" in text


@pytest.mark.parametrize("name", REPORTS)
def test_nothing_is_loaded_from_elsewhere(name: str) -> None:
    text = page_of(REPORTS[name])
    page = Page(text)

    loading = {"src", "href", "action", "data", "srcset", "background", "poster"}
    assert not [attribute for attribute, _ in page.attributes if attribute in loading]
    assert not re.search(r"https?://|url\(|@import", text)
    policies = [v for n, v in page.attributes if n == "content" and "default-src" in v]
    assert policies[0].startswith("default-src 'none'")


def test_causes_stand_before_the_table_and_every_checkpoint_is_in_it() -> None:
    report = a_diverged_report()
    text = page_of(report)

    table = text.index('id="figures"')
    assert text.index("days against seconds") < table
    for figures in report.checkpoints:
        assert f">{figures.checkpoint}</td>" in text[table:]
    assert text[table:].count('class="is-cause"') == 1


def test_infinite_figures_are_shown_as_such() -> None:
    report = a_diverged_report()
    parted = replace(report.checkpoints[0], max_difference=float("inf"))

    text = page_of(replace(report, checkpoints=(parted, *report.checkpoints[1:])))

    assert '<td data-value="inf">inf</td>' in text


def test_a_report_of_five_hundred_checkpoints_stays_small() -> None:
    report = a_report(checkpoints=a_report().checkpoints[:1] * 500)

    assert len(page_of(report)) < 1_500_000


SORT = """
// The few parts of a page that the report's script uses, without a browser.
const row = (name, stage, numbers) => ({hidden: false, dataset: {differing: String(numbers[1])},
  cells: [{dataset: {value: "0"}, textContent: name}, {dataset: {}, textContent: stage},
          ...numbers.map((n) => ({dataset: {value: String(n)}, textContent: String(n)}))]});
const body = {rows: [row("a", "feature", [3, 0, 0.5]), row("b", "tree", [3, 2, "inf"]),
                     row("c", "layer", [3, 10, 0.25])],
              append(...rows) { this.rows = rows; }};
const head = () => ({attributes: {}, get ariaSort() { return this.attributes["aria-sort"] ?? null; },
  setAttribute(n, v) { this.attributes[n] = v; }, removeAttribute(n) { delete this.attributes[n]; }});
const heads = [0, 1, 2, 3, 4].map(head);
const buttons = heads.map((h) => ({parentElement: h, addEventListener(_, f) { this.click = f; }}));
const inputs = {filter: {value: "", addEventListener(_, f) { this.fire = f; }},
                only: {checked: false, addEventListener(_, f) { this.fire = f; }}};
const table = {tBodies: [body], querySelectorAll: (q) => q === "th" ? heads : buttons};
globalThis.document = {getElementById: (id) => id === "figures" ? table : inputs[id]};
const names = () => body.rows.filter((r) => !r.hidden).map((r) => r.cells[0].textContent).join("");
const seen = [];
require(process.argv[2]);
buttons[3].click(); seen.push(names());
buttons[3].click(); seen.push(names());
buttons[4].click(); seen.push(names());
inputs.only.checked = true; inputs.only.fire(); seen.push(names());
inputs.filter.value = "TREE"; inputs.filter.fire(); seen.push(names());
console.log(seen.join(" "));
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="node runs the report's script")
def test_the_table_is_sorted_and_filtered(tmp_path: Path) -> None:
    text = page_of(a_diverged_report())
    script = text[text.index("<script>") + 8 : text.index("</script>")]
    (tmp_path / "report.js").write_text(script)
    (tmp_path / "test.js").write_text(SORT)

    done = subprocess.run(
        ["node", str(tmp_path / "test.js"), str(tmp_path / "report.js")],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip

    # Most differing first; then least; by largest difference, infinity on top; only differing; tree.
    assert done.stdout.split() == ["cba", "abc", "bac", "bc", "b"]
