"""The texts that the embedded language model is trained on: demonstrations, and pools of them."""

import re
from collections import Counter
from random import Random

import pytest

from kdst_core.contracts import Document
from kdst_tools.calls import pieces
from kdst_tools.default.facts import is_held_out
from kdst_tools.tools import calculate, calendar
from recipes.tools.demonstrations import demonstrations
from recipes.tools.recipe import BASE, WARM, pool_texts

TOOLS = {"Calculator": calculate.make(None), "Calendar": calendar.make(None)}


def answer(tool: str, asked: str) -> str:
    return TOOLS[tool](asked, Document(""))


def operands(tool: str, asked: str) -> tuple[str, str]:
    left, right = re.split(r" [-+*] ", asked)
    return left.rstrip("%"), right.removesuffix(" days") if tool == "Calendar" else right


def test_no_demonstration_computes_a_held_out_problem() -> None:
    asked = []
    for text, _ in demonstrations(2000, Random(2)):
        asked += [operands(p.tool, p.input) for p in pieces(text) if not isinstance(p, str)]
    assert len(asked) >= 2000
    assert not [pair for pair in asked if is_held_out(*pair)]


def test_the_stated_share_of_demonstrations_is_useless_and_their_calls_run() -> None:
    drawn = list(demonstrations(2000, Random(4), useless=0.4))
    assert sum(not good for _, good in drawn) / len(drawn) == pytest.approx(0.4, abs=0.04)
    for text, good in drawn:
        (call,) = [piece for piece in pieces(text) if not isinstance(piece, str)]
        assert call.result == answer(call.tool, call.input)
        _, _, after = text.partition(f"-> {call.result}]")
        assert not good or after.startswith(f" {call.result}")


def test_pools_of_training_repeat_and_show_every_demonstration_equally_often() -> None:
    assert pool_texts(BASE, 3) == pool_texts(BASE, 3) != pool_texts(BASE, 4)
    shown = Counter(text for pool in range(4) for text in pool_texts(WARM, pool) if " -> " in text)
    assert len(shown) == WARM.demonstrations
    least = shown.total() // WARM.demonstrations
    assert least >= 1
    assert set(shown.values()) <= {least, least + 1}
