"""Readers of SVAMP (JSON), of GSM8K (JSON lines), and of ASDiv and MAWPS as CSV files with masks."""

import csv
import json
import math
import re
from pathlib import Path
from typing import Any

from kdst_core.errors import KdstError
from kdst_tools.corpora.lines import is_unicode, numbered_lines
from kdst_tools.evaluation.problems import Problem

ENDING = "The answer is"
"""What follows every question, so that a number comes next."""

FINAL = "####"
"""What stands before the final answer in a solution of GSM8K."""

_MASK = re.compile(r"\bnumber(\d+)\b")


def svamp(path: Path) -> list[Problem]:
    """Return the problems of SVAMP.json; KdstError for another file."""
    try:
        rows = json.loads(path.read_text(encoding="utf-8-sig"))
        if not rows:
            raise ValueError("it is empty")
        return [_problem(_joined(row["Body"], row["Question"]), row["Answer"]) for row in rows]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise KdstError(
            f"{path} is not SVAMP.json: a list of objects with Body, Question and Answer ({error!r})"
        ) from error


def gsm8k(path: Path) -> list[Problem]:
    """Return the problems of a file of GSM8K, plain or compressed; KdstError for another file.

    Each line has a question and an answer, of which what stands behind the last `####` counts.
    """
    skipped: list[str] = []
    found = [
        _solved(path, number, line)
        for number, line in numbered_lines(path, skipped)
        if line.strip()
    ]
    if skipped or not found:
        raise KdstError(f"{path} is not a file of GSM8K: {', '.join(skipped[:3]) or 'it is empty'}")
    return found


def _solved(path: Path, number: int, line: str) -> Problem:
    """The problem of a line; KdstError that names the line where it has none."""
    try:
        row = json.loads(line)
        _, mark, answer = row["answer"].rpartition(FINAL)
        if not mark:
            raise ValueError(f"the answer has no {FINAL}")
        return _problem(row["question"], re.sub(r"[$,\s]", "", answer))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise KdstError(
            f"{path}, line {number}, is no problem of GSM8K: an object with question, and answer with"
            f" {FINAL} before a number ({error!r})"
        ) from error


def masked(path: Path) -> list[Problem]:
    """Return the problems of a CSV file with the columns Question, Numbers and Answer.

    `number0` in a question stands for the first of Numbers. KdstError for a file without the columns,
    and for a question that asks for a number which is not there.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (UnicodeDecodeError, csv.Error) as error:
        raise KdstError(f"{path} is no CSV file in UTF-8: {error}") from error
    missing = {"Question", "Numbers", "Answer"} - set(rows[0] if rows else ())
    if missing:
        raise KdstError(f"{path} lacks the columns {', '.join(sorted(missing))}, or any row")
    found = []
    for number, row in enumerate(rows, 1):
        try:
            if None in (row["Question"], row["Numbers"], row["Answer"]):
                raise ValueError("its row is too short")
            found.append(_problem(refilled(row["Question"], row["Numbers"]), row["Answer"]))
        except (IndexError, ValueError) as error:
            raise KdstError(f"{path}, problem {number}: {error}") from error
    return found


def refilled(question: str, numbers: str) -> str:
    """Return a question with its numbers put back, whole ones without `.0`."""
    known = [_written(number) for number in numbers.split()]

    def number(found: re.Match[str]) -> str:
        place = int(found[1])
        if place >= len(known):
            raise IndexError(f"number{place} is asked for, and there are {len(known)}")
        return known[place]

    return _MASK.sub(number, question)


def _joined(body: str, question: str) -> str:
    """Return body and question as two sentences."""
    text = body.strip()
    return f"{text}{'' if text[-1:] in '.?!,' else '.'} {question.strip()}".strip()


def _problem(question: str, answer: Any) -> Problem:
    """Return a problem; ValueError for a question that no tokenizer takes, or an answer without a number."""
    if not is_unicode(question):
        raise ValueError("the question holds half of a surrogate pair")
    return Problem(f"{' '.join(question.split())} {ENDING}", _written(answer))


def _written(number: Any) -> str:
    """Return a number without needless zeros; ValueError for what is none."""
    try:
        value = float(number)
    except OverflowError:
        value = math.inf
    if not math.isfinite(value):
        raise ValueError(f"{number} is no finite number")
    return f"{value:.12g}"
