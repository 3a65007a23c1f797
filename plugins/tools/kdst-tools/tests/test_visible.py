"""What terminals and pages obey does not come out of a tool, and is written out where it is shown."""

import unicodedata

import pytest

from kdst_core.contracts import Document
from kdst_tools.calls import clean
from kdst_tools.calls.visible import stripped, visible
from kdst_tools.report import highlight
from kdst_tools.tools.kit import FunctionTool
from kdst_tools.tools.runner import MAX_READ, ask


@pytest.mark.parametrize(
    ("said", "left"),
    [
        ("\x1b[31mred\x1b[0m 42", "red 42"),
        ("\x1b]0;a title\x07 42", "42"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x9b2J42", "42"),
        ("\x1bP1$r0\x1b\\42", "42"),
        ("4\x002\x07", "42"),
        ("\u202e24\u202c \u2066x\u2069\u200f", "24 x"),
        ("4\u200b2\ufeff", "42"),
        ("half \ud83d pair", "half pair"),
        ("two\r\nlines\x85and\u2028more", "two lines and more"),
        ("\x1b]never ended 42", "never ended 42"),
        ("café Ωμέγα 東京 👍🏽 می\u200cخواهم", "café Ωμέγα 東京 👍🏽 می\u200cخواهم"),
    ],
)
def test_results_keep_what_is_read_and_lose_what_is_obeyed(said: str, left: str):
    assert clean(said) == left


def test_no_character_of_control_is_left_whatever_is_answered():
    every = "".join(chr(c) for c in range(0x3000)) + "\U000e0041\ud800"
    left = set(
        map(unicodedata.category, stripped(every).replace("\u200c", "").replace("\u200d", ""))
    )
    assert not left & {"Cc", "Cf", "Cs"}


def test_a_very_long_result_is_not_read_to_its_end():
    tool = FunctionTool("T", "", lambda a, d: "\x00" * (MAX_READ + 5) + "end")
    assert ask(tool, "x", Document("x")).reason == "returned nothing"


def test_shown_text_spells_out_controls_and_keeps_lines():
    assert visible("a\x1b[2J\tb\n\u202ec\U000e0041") == "a\\x1b[2J\tb\n\\u202ec\\U000e0041"
    said = {"prompt": "p", "annotated": "a\x1b [T(\u202e1) -> 2]", "calls": []}
    shown = "".join(span.text for span in highlight.continuation(said))
    assert "\\x1b" in shown
    assert "\\u202e" in shown
    assert not {"\x1b", "\u202e"} & set(shown)
