"""The generated texts: true, with the calls that help known, and held-out problems never in them."""

import re
from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdst_core.contracts import Document
from kdst_tools.calls import plain
from kdst_tools.default import documents, problems, prose
from kdst_tools.default.facts import HELD_OUT_SHARE, is_held_out
from kdst_tools.evaluation.answers import is_right
from kdst_tools.tools import calculate, calendar

TOOLS = {"Calculator": calculate.make(None), "Calendar": calendar.make(None)}


def answer(tool: str, asked: str) -> str:
    return TOOLS[tool](asked, Document(""))


def operands(tool: str, asked: str) -> tuple[str, str]:
    left, right = re.split(r" [-+*] ", asked)
    return left.rstrip("%"), right.removesuffix(" days") if tool == "Calendar" else right


@given(st.integers(0, 10**9))
def test_every_call_that_helps_finds_what_the_text_says_next(seed: int) -> None:
    for document in documents(20, Random(seed)):
        for help_ in document.helps:
            assert answer(help_.tool, help_.input) == help_.answer
            assert document.text[help_.offset :].startswith(f" {help_.answer}")


def test_no_text_computes_a_held_out_problem() -> None:
    held_out = {operands(p.tool, p.input) for p in problems(2000)}
    assert all(is_held_out(*pair) for pair in held_out)
    drawn = list(documents(9000, Random(1), equations=0.5))
    asked = [operands(h.tool, h.input) for d in drawn for h in d.helps]
    equations = [re.search(r"(\d+)%? [-+*] (\d+) = ", d.text) for d in drawn]
    asked += [(found[1], found[2]) for found in equations if found]
    assert len(asked) > 5000
    assert not [pair for pair in asked if is_held_out(*pair)]


def test_one_pair_in_ten_is_held_out_whatever_its_order() -> None:
    pairs = [(str(a), str(b)) for a in range(100, 200) for b in range(100, 200)]
    share = sum(is_held_out(*pair) for pair in pairs) / len(pairs)
    assert share == pytest.approx(1 / HELD_OUT_SHARE, abs=0.02)
    assert all(is_held_out(a, b) == is_held_out(b, a) for a, b in pairs)


def test_problems_are_many_different_and_answered_by_their_calls() -> None:
    drawn = problems(600)
    assert len({p.prompt for p in drawn}) > 595
    assert drawn[:500] == problems(500)
    for problem in drawn:
        assert answer(problem.tool, problem.input) == problem.answer
        assert is_right(f" {problem.answer} pears.", problem)
        assert problem.answer not in problem.prompt
    assert set(Counter(p.tool for p in drawn)) == set(TOOLS)


def test_prose_holds_no_computation_and_texts_hold_no_brackets() -> None:
    assert all(plain(text) == text for text in prose(300))
    for document in documents(2000, Random(3), equations=0.3):
        assert not re.search(r"\[|\]|->", document.text)
        assert document.kind in ("computation", "equation", "date") or not document.helps


def test_the_same_seed_gives_the_same_texts_and_another_seed_others() -> None:
    first, again, other = (list(documents(50, Random(seed))) for seed in (5, 5, 6))
    assert first == again
    assert not {d.text for d in first} & {d.text for d in other}
