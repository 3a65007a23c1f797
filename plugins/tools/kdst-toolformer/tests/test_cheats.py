"""Calls that cheat or say nothing are told from those that help, and do not stay with better ones."""

import attrs
import pytest

from kdst_core.contracts import Document, ToolCall
from kdst_toolformer import cheats
from kdst_toolformer.filter import Filter
from kdst_toolformer.settings import ToolSettings
from kdst_tools.calls import escape
from kdst_tools.calls.tokens import CallTokens
from kdst_tools.models import layouts
from kdst_tools.outcome import reasons

TOKENS = CallTokens(layouts.tokenizer())
TEXT = (
    "Of 1,400 people [twenty-five] left in March; so 350 came, a quarter of 1400, and 25 were 91."
)


def asked(input: str, result: str, before: str = "; so", tool: str = "Calculator") -> str:
    escaped = escape(TEXT)
    call = ToolCall("d", 9, tool, input, result, offset=escaped.index(before))
    return cheats.reason(call, escaped)


@pytest.mark.parametrize(
    ("input", "result", "reason"),
    [
        ("1400 / 4", "350", ""),
        ("350 * 4", "1400", reasons.COPIES),
        ("$1,400.00 - 1050", "350", ""),
        ("700 / 2", "350", ""),
        ("25 + 1400", "1425", ""),
        ("3 * 1400", "4200", ""),
        ("91 + 1", "92", reasons.COPIES),
        ("1400", "1400", reasons.SAYS_NOTHING),
        (" (1,400) =", "1400", reasons.SAYS_NOTHING),
        ("1400 * 1", "1400", reasons.SAYS_NOTHING),
        ("1400 - 0", "1400", reasons.SAYS_NOTHING),
        ("25 - 0.5 + 0.5", "25", ""),
        ("20 / 1", "20", reasons.SAYS_NOTHING),
    ],
)
def test_an_input_may_hold_what_stands_before_it_or_nowhere(input, result, reason):
    assert asked(input, result) == reason


def test_words_are_compared_as_words():
    assert asked("Who left?", "who  left?", tool="QA") == reasons.SAYS_NOTHING
    assert asked("Who left?", "25", tool="QA") == ""
    assert asked("3 March 1400", "Monday", tool="Calendar") == ""
    assert asked("", "Today is Monday.", tool="Calendar") == ""
    assert cheats.known("") == set()


class Losses:
    """A scorer by whom calls gain what their input says."""

    model = type("M", (), {"context": 10**6})

    def __call__(self, _windows, queries):
        texts = [TOKENS.tokenizer.decode(list(q.z)) for q in queries]
        return [10 - float(t.split(" by ")[1].split(")")[0]) if "->" in t else 10.0 for t in texts]


DOCUMENT = Document(
    "Ada met Bob and Eve and Kim and Joe and Sue and Tom and Max on the way home today."
)
COUNT = len(TOKENS.encode(DOCUMENT.text).ids)


def kept(calls: list[tuple[int, str]], **options) -> dict[tuple[int, str], str]:
    """The reason of each call (position, `name by gain`), empty for those that are kept."""
    chosen = {"most": 0, "keep_all": False, **options}
    settings = {"T": ToolSettings(tau_f=0.5)}
    judge = Filter(Losses(), TOKENS, settings, 500, **chosen)
    given = [ToolCall(DOCUMENT.id, at, "T", text, "done") for at, text in calls]
    found = judge([DOCUMENT], given)
    assert [c.input for c in found] == [text for _, text in calls]
    assert all(c.kept == (not c.reason) for c in found)
    return {(c.position, c.input): c.reason for c in found}


def test_of_calls_in_one_horizon_the_best_stays():
    assert COUNT > 20
    found = kept([(3, "a by 1"), (6, "b by 3"), (10, "c by 2"), (11, "d by 1"), (6, "e by 2")])
    assert found == {
        (3, "a by 1"): reasons.NEAR,
        (6, "b by 3"): "",
        (10, "c by 2"): reasons.NEAR,
        (11, "d by 1"): "",
        (6, "e by 2"): reasons.HERE,
    }


def test_the_same_call_stays_once_unless_another_stands_between():
    same = kept([(1, "a by 1"), (9, "A  by 1"), (18, "b by 0")])
    assert list(same.values()) == ["", reasons.REPEATS, "gain below 0.5"]
    between = kept([(1, "a by 1"), (9, "b by 2"), (18, "a by 1")])
    assert list(between.values()) == ["", "", ""]


def test_keep_all_lets_the_loss_alone_decide():
    calls = [(1, "a by 1"), (3, "a by 2"), (3, "c by 1"), (5, "7 by 1")]
    found = kept(calls, keep_all=True)
    assert [calls[i] for i, r in enumerate(found.values()) if not r] == [
        calls[0],
        calls[1],
        calls[3],
    ]
    assert list(kept(calls, keep_all=True, most=1).values()).count("") == 1


def test_calls_that_cheat_are_not_scored():
    text = Document("So 12 of them, and 34 more, came by.")
    at = TOKENS.encode(text.text)
    position = len(at.ids) - 3
    call = ToolCall(text.id, 1, "T", "34 by 9", "9", offset=at.offsets[1])
    late = attrs.evolve(call, position=position, offset=at.offsets[position])
    judge = Filter(Losses(), TOKENS, {"T": ToolSettings()}, 500, 0)
    early, later = judge([text], [call, late])
    assert (early.kept, early.reason, early.gain) == (False, reasons.COPIES, None)
    assert later.kept
    assert later.gain == 9


@pytest.mark.parametrize(
    ("text", "inside"),
    [("are 3450 tins", "345"), ("1,250.50 m", "1,250.5"), ("room 12.", "1"), ("9 of 10", "1")],
)
def test_a_number_has_an_inside_and_its_ends_are_none_of_it(text: str, inside: str):
    found = {i for i in range(len(text) + 1) if cheats.inside_number(text, i)}
    first = text.index(inside)
    assert found == set(range(first + 1, first + len(inside) + 1))


def test_calls_inside_numbers_are_rejected_unless_they_may_stand_there():
    document = Document("It has 50 boxes of 69, so in all 3450 by now.")
    call = ToolCall(document.id, 3, "T", "a by 9", "done", offset=document.text.index("450"))
    settings = {"T": ToolSettings()}
    for options, reason in (
        ({"inside": False}, reasons.INSIDE),
        ({"inside": True}, ""),
        ({"inside": False, "keep_all": True}, ""),
    ):
        (found,) = Filter(Losses(), TOKENS, settings, 500, 0, **options)([document], [call])
        assert (found.reason, found.kept) == (reason, not reason)
    assert reasons.metrics({reasons.INSIDE: 2})["reason.inside"] == 2


def test_calls_are_counted_by_reason():
    found = {"gain below 1": 3, "gain below 0.5": 1, reasons.COPIES: 2, "division by zero": 4}
    counted = reasons.metrics(found)
    assert {k: v for k, v in counted.items() if v} == {
        "reason.gain": 4.0, "reason.copies": 2.0, "reason.failed": 4.0,
    }  # fmt: skip
    assert reasons.line(found, most=1) == "not kept: 4 division by zero; 6 others"
    assert reasons.line({}) == ""
