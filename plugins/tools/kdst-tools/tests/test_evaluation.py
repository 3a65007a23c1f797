"""Readers, protocol and measures of the evaluation."""

import datetime
import gzip
import json
import math
import os
from pathlib import Path

import pytest
import torch
from attrs import evolve

from kdst_core.bench import sealed
from kdst_core.contracts import Document, Generation, ToolCall
from kdst_core.errors import KdstError
from kdst_tools import default
from kdst_tools.default.texts import Help
from kdst_tools.evaluation import calling
from kdst_tools.evaluation.answers import first_number, is_right
from kdst_tools.evaluation.filtering import curve, quality
from kdst_tools.evaluation.judged import Judged
from kdst_tools.evaluation.problems import Problem
from kdst_tools.evaluation.readers import refilled
from kdst_tools.evaluation.sets import load

DATA = os.environ.get("KDST_TEST_DATA")
needs_data = pytest.mark.skipif(DATA is None, reason="KDST_TEST_DATA is not set")

SETS = {"svamp": "SVAMP.json", "asdiv": "asdiv-a.csv", "mawps": "mawps.csv"}
HAND_CHECKED = {
    "svamp": {0: (["76", "25"], "51"), 1: (["3", "4"], "1"), 2: (["26", "17", "14", "9"], "17")},
    "asdiv": {0: (["7", "2"], "9"), 17: (["34", "41"], "7"), 100: (["6", "5"], "30"),
              1216: (["43", "1720", "9"], "40")},
    "mawps": {0: (["56", "9"], "504"), 2: (["41", "44", "57"], "98"), 17: (["232", "101"], "131"),
              500: (["2479", "6085"], "8564")},
}  # fmt: skip


@needs_data
@pytest.mark.parametrize(("name", "count"), [("svamp", 1000), ("asdiv", 1217), ("mawps", 1920)])
def test_hand_checked_problems_have_their_numbers_and_answers(name: str, count: int) -> None:
    problems = load(f"{name}:{DATA}/data/math/{SETS[name]}", 10_000)
    assert len(problems) == count
    assert not any("number0" in problem.prompt for problem in problems)
    for index, (numbers, answer) in HAND_CHECKED[name].items():
        words = problems[index].prompt.replace(".", " ").split()
        assert [word for word in words if word.isdigit()] == numbers
        assert problems[index].answer == answer
        assert is_right(f" {answer}.", problems[index])
        assert not is_right(f" {int(answer) + 1}.", problems[index])


SOLVED = [
    {
        "question": "A book costs $ 1,200.\nHow much are two?",
        "answer": "<<1200*2=2400>>\n#### 2,400",
    },
    {"question": "What is left?", "answer": "#### no\nIt is less.\n#### -5"},
    {"question": "How much?", "answer": "#### $0.50 "},
]


@pytest.mark.parametrize("packed", [False, True])
def test_problems_of_gsm8k_have_the_number_behind_the_last_mark(
    tmp_path: Path, packed: bool
) -> None:
    path = tmp_path / ("test.jsonl.gz" if packed else "test.jsonl")
    lines = "\n".join(map(json.dumps, SOLVED)).encode() + b"\n\n"
    path.write_bytes(gzip.compress(lines) if packed else lines)
    problems = load(f"gsm8k:{path}", 10)
    assert [problem.answer for problem in problems] == ["2400", "-5", "0.5"]
    assert problems[0].prompt == "A book costs $ 1,200. How much are two? The answer is"
    assert is_right(" 2,400 dollars", problems[0])
    assert len(load(f"gsm8k:{path}", 2)) == 2


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("[]", "line 2"),
        ("{}", "question"),
        ('{"question": "a", "answer": "5"}', "no ####"),
        ('{"question": "a", "answer": "#### five"}', "five"),
        ('{"question": 5, "answer": "#### 5"}', "line 2"),
        ('{"question": "a", "answer": "#### inf"}', "inf"),
        ("no", "line 2"),
    ],
)
def test_another_file_is_not_taken_for_gsm8k(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "test.jsonl"
    path.write_text(f"{json.dumps(SOLVED[0])}\n{line}\n")
    with pytest.raises(KdstError, match=said):
        load(f"gsm8k:{path}", 10)
    path.write_text("\n")
    with pytest.raises(KdstError, match="empty"):
        load(f"gsm8k:{path}", 10)


def test_numbers_are_put_back_without_needless_zeros() -> None:
    text = "number1 of number10 and number0"
    assert refilled(text, "7.0 2.50 " + "1 " * 8 + "25000.0") == "2.5 of 25000 and 7"
    with pytest.raises(IndexError, match="number2 is asked for, and there are 2"):
        refilled("number2", "1 2")


@pytest.mark.parametrize(
    ("name", "said"),
    [("svam:x", "Did you mean 'svamp'"), ("svamp:gone.json", "no such file"), ("asdiv", "no such")],
)
def test_a_wrong_set_is_named(name: str, said: str) -> None:
    with pytest.raises(KdstError, match=said):
        load(name, 5)


def test_a_file_of_another_kind_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "x"
    row = '{"Body": "a", "Question": "b", "Answer": '
    for content in (
        *("{", "[1]", '[{"Body": "a"}]', '{"a": 1}', "[]", "[" * 10_000),
        *(f"[{row}1{'0' * 400}}}]", f"[{row}null}}]", f"[{row}1}}]".replace("b", "\\ud83d")),
    ):
        path.write_text(content)
        with pytest.raises(KdstError, match=r"not SVAMP\.json"):
            load(f"svamp:{path}", 5)
    path.write_text("Question,Answer\na,1\n")
    with pytest.raises(KdstError, match="lacks the columns Numbers"):
        load(f"mawps:{path}", 5)
    path.write_text("Question,Numbers,Answer\nnumber1,5,1\n")
    with pytest.raises(KdstError, match="problem 1: number1"):
        load(f"mawps:{path}", 5)
    for content in ("Question,Numbers,Answer\nnumber0,5\n", "Numbers,Answer,Question\n5,1\n"):
        path.write_text(content)
        with pytest.raises(KdstError, match="problem 1: its row is too short"):
            load(f"mawps:{path}", 5)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        (" 51 dollars, not 7", 51.0),
        (" $1,250.50.", 1250.5),
        (" about 3.", 3.0),
        (" -4 or −5", -4.0),
        ("12,5", 12.0),
        (" A4 paper costs 7", 7.0),
        (" .5", 0.5),
        (" none", None),
        ("", None),
    ],
)
def test_the_first_number_counts(text: str, number: float | None) -> None:
    assert first_number(text) == number


def test_an_answer_in_words_must_come_first_and_whole() -> None:
    problem = Problem("", "Monday 17 March 2031")
    assert is_right(" Monday 17 March 2031. Then", problem)
    assert not is_right(" Monday 17 March 203", problem)
    assert not is_right(" on Monday 17 March 2031", problem)


def a_call(**changes: object) -> ToolCall:
    call = ToolCall("d", 3, "Calculator", "1 + 1", "2", gain=2.0, kept=True, offset=10)
    return evolve(call, **changes)


TRUTH = {"d": (Help(10, "Calculator", "1 + 1", "2"),), "e": (Help(4, "Calculator", "2 + 2", "4"),)}


def test_precision_counts_kept_calls_and_recall_calls_that_help() -> None:
    calls = [
        a_call(),
        a_call(input="2 * 1", gain=1.9, kept=False),
        a_call(result="3", gain=1.5),
        a_call(offset=5, gain=0.1, kept=False),
        a_call(doc="e", offset=4, result="4", gain=0.9, kept=False),
        a_call(doc="f", gain=None, kept=False),
    ]
    metrics = quality(calls, TRUTH)
    assert (metrics["filter.candidates"], metrics["filter.useful"]) == (4, 2)
    assert (metrics["filter.precision"], metrics["filter.recall"]) == (0.5, 0.5)
    low, at, high = curve(calls, TRUTH, [0.5, 1.0, 3.0])
    assert (low.precision, low.recall) == (2 / 3, 1.0)
    assert (at.precision, at.recall) == (0.5, 0.5)
    assert (high.precision, high.recall) == (1.0, 0.0)


def test_perplexity_equals_a_plain_loop_over_texts_and_parts() -> None:
    from kdst_tools.evaluation.perplexity import perplexity
    from kdst_tools.models import layouts

    texts = ["one two three", "four", "five " * 300]
    tokenizer = layouts.tokenizer([*texts, " [a] b"])
    model = layouts.model("llama", len(tokenizer), seed=1)
    total, count = 0.0, 0
    for text in texts:
        ids = tokenizer(text).input_ids
        for first in range(0, len(ids), 255):
            part = torch.tensor([[tokenizer.bos_token_id, *ids[first : first + 255]]])
            with torch.no_grad():
                logits = model(input_ids=part).logits[0, :-1].double()
            total -= logits.log_softmax(-1).gather(1, part[0, 1:, None]).sum().item()
            count += part.shape[1] - 1
    assert perplexity(model, tokenizer, texts, "always") == pytest.approx(
        math.exp(total / count), rel=1e-5
    )


def test_answers_and_held_out_texts_are_out_of_reach_while_a_method_works() -> None:
    day = datetime.date(2024, 2, 29)
    judged = Judged.of([Problem("2 + 2 =", "4")], [Document("A text.", "x", day)])
    with sealed.closed():
        for read in (
            judged.problems,
            judged.texts,
            lambda: default.problems(1),
            lambda: default.prose(1),
        ):
            with pytest.raises(RuntimeError, match="judged by"):
                read()
    assert judged.problems() == [Problem("2 + 2 =", "4")]
    assert judged.texts() == [Document("A text.", "x", day)]


def generation(text: str, *results: str | None) -> Generation:
    made = [ToolCall("d", 0, "Calculator", "1", result=result) for result in results]
    return Generation(Document("p"), text, text, made)


def test_calls_on_problems_are_scored_by_whether_they_are_made_right_and_copied() -> None:
    outputs = [
        generation(" 5 apples.", "5"),
        generation(" 6 apples.", "5"),
        generation(" 7 apples.", "7"),
        generation(" 5 apples.", None),
        generation(" 5 apples."),
        generation(" 5.", "4", "5", None),
    ]
    found = calling.scores(outputs, [Problem("p", "5")] * 6, "after")
    shares = {name: found[f"calls.after.{name}"] for name in calling.SCORES}
    assert shares == {"made": 4 / 6, "right": 3 / 4, "copied": 3 / 4}
    assert found["calls.after.made.low"] < 4 / 6 < found["calls.after.made.high"]
    ((name, made, *_),) = calling.rows(found, ["before", "after"])
    assert (name, made[:5]) == ("after", "66.7%")


def test_a_model_that_makes_no_call_has_no_share_of_calls() -> None:
    found = calling.scores([generation(" 5.")], [Problem("p", "5")], "before")
    assert found.keys() == {f"calls.before.made{end}" for end in ("", ".low", ".high")}
    assert calling.rows(found, ["before"])[0][2:] == ["–", "–"]
