"""When an output answers a problem (Toolformer, section 4.2): the first number in it is the answer."""

import re

from kdst_tools.evaluation.problems import Problem

HALF_A_CENT = 0.005
"""Numbers agree when they do to two decimals, as the calculator rounds."""

_NUMBER = re.compile(r"(?<![\w.])[-−]?\$?(?:\d{1,3}(?:,\d{3})+(?![\d,])|\d+)(?:\.\d+)?|[-−]?\.\d+")


def first_number(text: str) -> float | None:
    """Return the first number of a text, `1,250.5` being one, or None."""
    found = _NUMBER.search(text)
    if found is None:
        return None
    return float(re.sub(r"[$,]", "", found[0]).replace("−", "-"))


def is_right(output: str, problem: Problem) -> bool:
    """Return whether a continuation of the prompt, without calls, answers it.

    An answer that is no number, such as a date with its weekday, must be what the output begins with.
    """
    wanted = as_number(problem.answer)
    if wanted is None:
        words, answer = output.split(), problem.answer.split()
        return [w.rstrip(".,;:") for w in words[: len(answer)]] == answer
    given = first_number(output)
    return given is not None and abs(given - wanted) <= HALF_A_CENT


def as_number(answer: str) -> float | None:
    """Return an answer's value, or None where it is no number."""
    try:
        return float(answer)
    except ValueError:
        return None
