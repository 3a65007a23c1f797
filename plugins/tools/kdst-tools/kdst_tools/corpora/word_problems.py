"""Plain texts made of word problems and their answers, with prose between them, to be annotated."""

import re
from collections.abc import Iterable, Iterator, Sequence
from random import Random

from kdst_core.errors import KdstError
from kdst_tools.default import documents
from kdst_tools.evaluation.problems import Problem

MANY_WORDS = 5
"""Words of a sentence from which on two problems that share it are taken for versions of one."""

_BEFORE = re.compile(r" +([.,?!;:]|'s\b)")
_DOLLAR = re.compile(r"\$ +(?=\d)")
_NUMBER = re.compile(r"\d[\d.,]*")
_END = re.compile(r"(?<=[.?!])\s+")


def word_problem_texts(
    problems: Iterable[Problem],
    count: int,
    prose: float,
    generator: Random,
    leave_out: Iterable[Problem] = (),
) -> list[str]:
    """Return `count` texts in random order: problems, each once with its answer, and prose.

    prose: their share, 0 to 1. leave_out: problems that are measured on; a problem that has a sentence
    of `MANY_WORDS` words in common with one of them, numbers aside, is not used, nor are two that differ
    in numbers only. KdstError where too few are left.
    """
    measured = {s for problem in leave_out for s in _sentences(problem.prompt)}
    distinct = list(_distinct(problems, measured))
    wanted = count - round(prose * count)
    if wanted > len(distinct):
        raise KdstError(
            f"{wanted} texts of problems are wanted, and {len(distinct)} differ from each other and"
            " from what is left out; ask for fewer, or name more problems"
        )
    chosen = generator.sample(distinct, wanted)
    texts = [f"{tidy(problem.prompt)} {problem.answer}." for problem in chosen]
    texts += [text.text for text in documents(count - wanted, generator, shares={"prose": 1.0})]
    generator.shuffle(texts)
    return texts


def tidy(text: str) -> str:
    """Return a text without the spaces that splitting into words left at punctuation, `'s` and `$`."""
    return _DOLLAR.sub("$", _BEFORE.sub(r"\1", text))


def _distinct(problems: Iterable[Problem], measured: set[str]) -> Iterator[Problem]:
    """Yield the problems that share no long sentence with those measured, each wording once."""
    seen = set[str]()
    for problem in problems:
        wording = _wording(problem.prompt)
        if wording not in seen and measured.isdisjoint(_sentences(problem.prompt)):
            seen.add(wording)
            yield problem


def _sentences(text: str) -> Sequence[str]:
    """The long sentences of a text, as wordings."""
    found = map(_wording, _END.split(tidy(text)))
    return [sentence for sentence in found if len(sentence.split()) >= MANY_WORDS]


def _wording(text: str) -> str:
    """A text in lower case without punctuation, a `#` for each number."""
    return " ".join(re.sub(r"[^\w#]", " ", _NUMBER.sub("#", text.lower())).split())
