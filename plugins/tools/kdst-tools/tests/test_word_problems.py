"""Texts of word problems: what is chosen, how it is written, and `kdst tools texts`."""

import json
from pathlib import Path
from random import Random

import pytest
from click.testing import CliRunner, Result

from kdst_core.cli import cli
from kdst_core.errors import KdstError
from kdst_tools.corpora.word_problems import tidy, word_problem_texts
from kdst_tools.evaluation.problems import Problem

HEADER = "Question,Numbers,Answer\n"
ROWS = (
    '"Ann had number0 pens and gave number1 to Bo . How many pens are left ?",7.0 2.0,5.0',
    '"Ann had number0 pens and gave number1 to Bo . How many pens are left ?",9.0 4.0,5.0',
    '"A book costs $ number0 . What do number1 books cost ?",3.0 4.0,12.0',
    '"Each of number0 cats eats number1 fish a day . How many fish is that ?",2.0 0.5,1.0',
)


def problems() -> list[Problem]:
    return [
        Problem("Ann had 7 pens and gave 2 to Bo . How many are left ? The answer is", "5"),
        Problem("Ann had 9 pens and gave 4 to Bo . How many are left ? The answer is", "5"),
        Problem("A book costs $ 3 . What do 4 books cost ? The answer is", "12"),
        Problem("Two cats eat 1.5 fish . How many do 4 cats eat ? The answer is", "3"),
    ]


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("He had $ 3 , and Ann 's cat 2 .", "He had $3, and Ann's cat 2."),
        ("Why ? It 'stays' , $ he said", "Why? It 'stays', $ he said"),
    ],
)
def test_spaces_of_a_tokenizer_go(given: str, wanted: str) -> None:
    assert tidy(given) == wanted


def test_wordings_occur_once_with_their_own_answers() -> None:
    texts = word_problem_texts(problems(), 3, 0.0, Random(0))
    assert sorted(texts) == [
        "A book costs $3. What do 4 books cost? The answer is 12.",
        "Ann had 7 pens and gave 2 to Bo. How many are left? The answer is 5.",
        "Two cats eat 1.5 fish. How many do 4 cats eat? The answer is 3.",
    ]


def test_versions_of_measured_problems_are_left_out() -> None:
    measured = [Problem("Ann had 81 pens, and gave 3 to Bo. How many has he? The answer is", "3")]
    texts = word_problem_texts(problems(), 2, 0.0, Random(0), measured)
    assert not any("Ann" in text for text in texts)
    with pytest.raises(KdstError, match="3 texts of problems are wanted, and 2 differ"):
        word_problem_texts(problems(), 3, 0.0, Random(0), measured)


def test_share_of_prose_and_seed() -> None:
    one, same, other = (word_problem_texts(problems(), 12, 0.75, Random(s)) for s in (0, 0, 1))
    assert one == same != other
    assert len(one) == 12
    assert sum("The answer is" in text for text in one) == 3


def written(tmp_path: Path, *words: str) -> Result:
    table = tmp_path / "mawps.csv"
    table.write_text(HEADER + "\n".join(ROWS) + "\n")
    return CliRunner().invoke(cli, ["tools", "texts", *words, "--problems", f"mawps:{table}"])


def test_command_writes_texts_that_a_run_reads(tmp_path: Path) -> None:
    out = tmp_path / "made" / "texts.jsonl"
    found = written(tmp_path, str(out), "--count", "4", "--prose", ".25")
    assert found.exit_code == 0, found.output
    assert "4 texts, 1 of them prose" in found.output
    texts = [json.loads(line)["text"] for line in out.read_text().splitlines()]
    assert "Each of 2 cats eats 0.5 fish a day. How many fish is that? The answer is 1." in texts


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("texts.txt",), "give a .jsonl file"),
        (("there.jsonl",), "is there already"),
        (("texts.jsonl", "--count", "9"), "7 texts of problems are wanted, and 3 differ"),
        (("texts.jsonl", "--leave-out", "svamp:none.json"), "--leave-out svamp:none.json"),
    ],
)
def test_refused_before_anything_is_written(
    tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    (tmp_path / "there.jsonl").write_text("mine")
    found = written(tmp_path, str(tmp_path / words[0]), *words[1:])
    assert isinstance(found.exception, KdstError | SystemExit)
    assert message in f"{found.output}{found.exception}"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mawps.csv", "there.jsonl"]
    assert (tmp_path / "there.jsonl").read_text() == "mine"
