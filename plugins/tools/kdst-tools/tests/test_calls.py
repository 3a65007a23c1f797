"""Calls as text: escaping comes back exactly, calls are found, results cannot write calls."""

from hypothesis import example, given
from hypothesis import strategies as st

from kdst_tools.calls import (
    WrittenCall,
    clean,
    escape,
    pieces,
    plain,
    read_body,
    unescape,
    write,
)

MARKS = st.lists(
    st.sampled_from(
        [
            "[",
            "]",
            "->",
            "-",
            ">",
            "&",
            "&amp;",
            "&#91;",
            "gt;",
            "&a",
            "mp;",
            "#9",
            "1;",
            " ",
            "a",
            "é",
            "\n",
        ]
    )
).map("".join)


@given(st.one_of(MARKS, st.text()))
def test_escaping_leaves_no_api_token_and_comes_back_exactly(text):
    escaped = escape(text)
    assert "[" not in escaped
    assert "]" not in escaped
    assert "->" not in escaped
    assert unescape(escaped) == text


@given(MARKS, MARKS, MARKS, st.one_of(st.none(), MARKS.map(clean).filter(bool)))
@example("&", "gt;", "", None)
@example("&#9", "1;", "", None)
def test_a_call_anywhere_in_any_text_is_found_and_taken_out_exactly(before, after, input, result):
    annotated = escape(before) + write("Tool_1", input, result) + escape(after)
    assert plain(annotated) == before + after
    assert [p for p in pieces(annotated) if isinstance(p, WrittenCall)] == [
        WrittenCall("Tool_1", input, result)
    ]


@given(st.one_of(MARKS, st.text()))
def test_results_are_one_line_without_api_tokens(text):
    result = clean(text)
    assert not {"[", "]", "\n"} & set(result)
    assert "->" not in result


def test_nested_arrows_do_not_survive_cleaning():
    assert "->" not in clean("--" + ">>" + "-[->]>")
    assert clean("3] and [Calculator(1) -> 2] ") == "3 and Calculator(1) 2"


def test_what_a_model_writes_is_read_as_a_call_or_refused():
    assert read_body("Calculator(400 / 1400)") == WrittenCall("Calculator", "400 / 1400")
    assert read_body(" Calendar() ") == WrittenCall("Calendar", "")
    assert read_body("QA(where (exactly)?)") == WrittenCall("QA", "where (exactly)?")
    for nothing in ("", "Calculator", "Calculator(1", "a b(1)", "X([y)", "X(1) and"):
        assert read_body(nothing) is None
