"""What the page of a report makes of its blocks."""

from typing import Any

from kdst_core.reports.blocks import Marked, ReportContent, Span
from kdst_core.reports.report import page

RESULT: dict[str, Any] = {
    "method": "m", "warnings": [], "input": {}, "options": {}, "seed": 0, "device": "cpu",
    "command": "kdst run m", "plugin": "p", "plugin_version": "1", "core_version": "1",
    "seconds": 1.0,
}  # fmt: skip


def rendered(block: Marked) -> str:
    return page(RESULT, ReportContent("s", (), [block]), "kdst run m", "m")


def test_marked_text_keeps_every_character_and_escapes_it() -> None:
    spans = [Span("a  <b>\n"), Span("x & y", 2, 0.5, 'gain "1.5"'), Span(" end")]
    html = rendered(Marked("Texts", [spans]))
    assert '<p class="text">a  &lt;b&gt;\n<mark style="--colour: var(--series-2); ' in html
    assert '--weight: 0.5" title="gain &#34;1.5&#34;">x &amp; y</mark> end</p>' in html


def test_marked_text_has_one_paragraph_each_and_a_key_that_is_marked_alike() -> None:
    html = rendered(Marked("Texts", [[Span("one")], [Span("two", 0)]], key=[Span("right", 3)]))
    assert html.count('<p class="text">') == 2
    key = '<p class="key"><span><mark style="--colour: var(--series-3); --weight: 1.0">right</mark>'
    assert key in html


def test_a_weight_or_series_that_is_no_number_never_reaches_the_page() -> None:
    hostile: Any = "0;} body{display:none"
    html = rendered(Marked("Texts", [[Span("t", hostile, hostile)]]))
    assert "display:none" not in html
