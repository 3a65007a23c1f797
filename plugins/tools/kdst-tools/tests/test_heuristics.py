"""Texts are chosen for a tool by what can be seen in them."""

import datetime

import pytest

import kdst_core
from kdst_core.contracts import Document
from kdst_core.errors import KdstError
from kdst_tools.corpora.heuristics import SHARE, counted, likely


@pytest.mark.parametrize(
    "text",
    [
        "Anna had 412 apples and bought 77 more; now she has 489.",
        "Out of 1400 people, 400 (or 29%) passed.",
        "It weighs 1,250 kg, which is 5 times 250 kg.",
        "Of 8 cakes 3 were eaten, that is 37.5% of them.",
        "The result is 0.29: 400 of 1400.",
        "So x = 12 in this case.",
        "It came to a total of $45.",
        "That equals −3 degrees.",
    ],
)
def test_a_computation_is_seen(text):
    assert likely("Calculator", Document(text))


@pytest.mark.parametrize(
    "text",
    [
        "He was 7 and she was 90.",
        "Rooms 17, 18",
        "1 and 7 and 7 again",
        "0 of 6 and 6 more",
        "No numbers at all, equals to none.",
    ],
)
def test_numbers_without_an_operation_are_no_computation(text):
    assert not likely("Calculator", Document(text))


def test_an_operation_needs_its_numbers_near_each_other():
    far = " word" * 120
    assert not likely("Calculator", Document(f"412 and 77{far} 489"))
    assert likely("Calculator", Document(f"{far} 412 and 77 make 489{far}"))


def test_of_texts_that_only_hold_three_numbers_a_share_is_taken_whatever_their_order():
    texts = [
        Document(f"Keys 3, 91 and 7{n:04d} lie in box 55 of row 6.", id=str(n)) for n in range(4000)
    ]
    chosen = [d.id for d in texts if likely("Calculator", d)]
    assert 0 < len(chosen) < 4 * SHARE * len(texts)
    assert chosen == [d.id for d in reversed(texts) if likely("Calculator", d)][::-1]


@pytest.mark.parametrize(
    ("tool", "text", "wanted"),
    [
        ("Calendar", "It opened on 9 November 1989.", True),
        ("Calendar", "On Sept. 5 we met.", True),
        ("Calendar", "Due 2024-03-05.", True),
        ("Calendar", "We may come in spring.", False),
        ("WikiSearch", "The river rises near Ulm and flows east.", True),
        ("WikiSearch", "Then it rained. Nobody came. I slept.", False),
        ("QA", "東京は大きい。", True),
        ("MT", "The name derives from la tortuga, the Spanish word for turtle.", True),
        ("MT", "He said: der Hund und die Katze ist nicht da.", True),
        ("MT", "The sign says Москва in red.", True),
        ("MT", "A plain café by the road.", False),
        ("Mine", "Anything.", True),
    ],
)
def test_each_tool_has_its_own_rule(tool, text, wanted):
    assert likely(tool, Document(text)) is wanted


def test_a_document_with_a_date_is_likely_to_need_the_calendar():
    assert likely("Calendar", Document("Nothing.", date=datetime.date(2024, 3, 5)))


def test_texts_are_counted_for_each_tool():
    texts = [Document("Anna has 2 and 3, so 5."), Document("It was 3 March 2031 in Ulm.")]
    assert counted(["Calculator", "Calendar"], texts) == (
        2,
        {"Calculator": 1, "Calendar": 1},
    )


def test_only_texts_that_are_likely_to_need_a_tool_are_annotated_and_counted(tmp_path):
    texts = tmp_path / "texts.txt"
    texts.write_text("Anna had 41 and got 7, so 48.\n\nIt was 3 March 2031.\n\nNobody came at all.")
    run = kdst_core.run(
        "toolformer", out=tmp_path / "run", texts=texts, stage="sample", choose="likely"
    )
    metrics = run.metrics
    assert metrics["texts.given"] == 3
    assert metrics["documents"] == 2
    assert metrics["likely.Calculator"] == metrics["likely.Calendar"] == 1


def test_texts_of_which_none_is_likely_to_need_a_tool_are_refused(tmp_path):
    texts = tmp_path / "texts.txt"
    texts.write_text("Nobody came at all.")
    with pytest.raises(KdstError, match=r"none of the 1 texts of .* is likely to need"):
        kdst_core.run("toolformer", out=tmp_path / "run", texts=texts, choose="likely")
