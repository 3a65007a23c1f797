"""Which texts are likely to need a tool (Toolformer, appendix A), by what can be seen without a model.

Calculator: a number that an operation makes of two others near it, or a number behind `=`, `equals`,
`total of` and the like, or three numbers, of which a share is taken. Calendar: a date. WikiSearch and
QA: a name. MT: words of another language. The paper takes the date from a page's address and the
language from a classifier, and chooses no texts for search and questions. Lookup and other tools have
no rule: every text is likely to need them.
"""

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import combinations, permutations

from attrs import evolve

from kdst_core.contracts import Document
from kdst_core.errors import KdstError
from kdst_tools.corpora.documents import Corpus

WORDS = 100
"""Words within which the three numbers of an operation stand (the paper: tokens)."""
MOST_NUMBERS = 24
"""Numbers among those words that are held against each other; tables have more."""
SHARE = 0.01
"""Share of the texts that only hold three numbers which is taken, by the hash of their ids."""

_NUMBER = r"\d+(?:,\d{3})+(?![\d,])(?:\.\d+)?|\d+(?:\.\d+)?"
_TOKEN = re.compile(rf"(?P<number>{_NUMBER})(?P<percent>\s?%)?|[^\W\d_]+")
_STATED = re.compile(
    rf"(?:=|\bequals|\bequal to|\btotal of|\baverage of)\s*[-−]?\s*[$€£]?\s*(?:{_NUMBER})",
    re.IGNORECASE,
)
_MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?"
    r"|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\b\.?"
)
_DATE = re.compile(
    rf"\b\d{{4}}-\d\d-\d\d\b|\b\d{{1,2}}(?:st|nd|rd|th)?\s+(?:of\s+)?{_MONTH}|\b{_MONTH}\s+\d{{1,4}}\b"
    r"|\b\d{1,2}[/.]\d{1,2}[/.]\d{2,4}\b",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"(?<=[.!?:;])[\"'”’)\]]*\s+|\n+")
_WORD = re.compile(r"[^\W\d_][\w'’-]*")
_CAPITAL = "i i'm i'd i'll i've i’m i’d i’ll i’ve mr mrs ms dr"
_NO_NAMES = frozenset(_CAPITAL.split())
_LANGUAGE = re.compile(
    r"\b(?:french|german|spanish|italian|latin|portuguese|dutch|russian|chinese|japanese|arabic|greek"
    r"|hindi|turkish|polish|swedish|korean)\s+(?:word|phrase|name|term|for|expression|proverb|title)\b"
    r"|\b(?:in|from)\s+(?:the\s+)?(?:french|german|spanish|italian|latin|portuguese|dutch)\b",
    re.IGNORECASE,
)
_FREQUENT = (
    "el los las una del por para como pero muy está le les des du et est une dans pour avec sur qui que"
    " nous vous der das und ist nicht mit ein eine auf für zu il gli di della che sono uma não com os"
    " het een van niet och att som"
)
_FOREIGN = frozenset(_FREQUENT.split())
"""Frequent words of other languages that no English text is made of."""
FOREIGN_WORDS = 3
"""So many of them in a row of text as long as a sentence make it another language's."""


def arithmetic(document: Document) -> bool:
    """Return whether a text states or implies a computation."""
    text = document.text
    if _STATED.search(text):
        return True
    places = list(_numbers(text))
    if any(_operation(near) for near in _near(places)):
        return True
    return len(places) >= 3 and _drawn(document.id) < SHARE


def dated(document: Document) -> bool:
    """Return whether a document has a date of its own, or its text names one."""
    return document.date is not None or _DATE.search(document.text) is not None


def named(document: Document) -> bool:
    """Return whether a text names something: a capital inside a sentence, or letters without any."""
    sentences = _SENTENCE.split(document.text)
    words = [word for sentence in sentences for word in _WORD.findall(sentence)[1:]]
    if any(w[0].isupper() and w.casefold() not in _NO_NAMES for w in words):
        return True
    return any(unicodedata.category(c) == "Lo" for c in document.text)


def foreign(document: Document) -> bool:
    """Return whether a text holds another language than English beside it, or speaks of a word of one."""
    text = document.text
    if _LANGUAGE.search(text):
        return True
    words = [word.casefold() for word in _WORD.findall(text)]
    scripts = Counter(_latin(word) for word in words)
    if scripts[False]:
        return True
    return any(
        sum(w.casefold() in _FOREIGN for w in _WORD.findall(part)) >= FOREIGN_WORDS
        for part in _SENTENCE.split(text)
    )


RULES: Mapping[str, Callable[[Document], bool]] = {
    "Calculator": arithmetic,
    "Calendar": dated,
    "WikiSearch": named,
    "QA": named,
    "MT": foreign,
}
"""The rule of a tool, by its name."""


def likely(tool: str, document: Document) -> bool:
    """Return whether a document is likely to need a tool; True for a tool without a rule."""
    rule = RULES.get(tool)
    return rule is None or rule(document)


def counted(tools: Sequence[str], documents: Iterable[Document]) -> tuple[int, dict[str, int]]:
    """Return how many documents there are, and how many of them are likely to need each tool."""
    total, found = 0, dict.fromkeys(tools, 0)
    for document in documents:
        total += 1
        for tool in tools:
            found[tool] += likely(tool, document)
    return total, found


def chosen(found: Corpus, tools: Sequence[str]) -> Corpus:
    """Return a corpus without the documents that no tool is likely for; KdstError where none is left."""

    def read(skipped: list[str]) -> Iterator[Document]:
        return (d for d in found.read(skipped) if any(likely(tool, d) for tool in tools))

    left = evolve(found, read=read, count=0)
    if not any(True for _ in left):
        raise KdstError(
            f"--choose likely: none of the {found.count} texts of {found.name} is likely to need"
            f" {' or '.join(tools)}.\nGive other texts or --tools, or --choose all"
        )
    return left.scan()


def _numbers(text: str) -> Iterator[tuple[int, float, bool]]:
    """The numbers of a text: behind how many words each stands, its value, whether it is percent."""
    for place, token in enumerate(_TOKEN.finditer(text)):
        if token["number"] and len(token["number"]) < 16:
            yield place, float(token["number"].replace(",", "")), token["percent"] is not None


def _near(places: Sequence[tuple[int, float, bool]]) -> Iterator[list[tuple[float, bool]]]:
    """The numbers that stand within `WORDS` words, one run of them for each number that begins one."""
    for first, (start, _, _) in enumerate(places):
        run = places[first : first + MOST_NUMBERS]
        yield [(value, percent) for place, value, percent in run if place - start < WORDS]


def _operation(numbers: Sequence[tuple[float, bool]]) -> bool:
    """Whether the first number and two others of a run are an operation and its result."""
    if len(numbers) < 3:
        return False
    first, rest = numbers[0], numbers[1:]
    makes = (
        _is_result(first[0], rest[n][0], rest[m]) for n, m in permutations(range(len(rest)), 2)
    )
    made = (_is_result(a[0], b[0], first) for a, b in combinations(rest, 2))
    return any(makes) or any(made)


def _is_result(a: float, b: float, result: tuple[float, bool]) -> bool:
    """Whether a number, or percentage, is what an operation makes of two."""
    value, percent = result
    for found in _results(a, b):
        if _same(value, found):
            return True
        if percent and value in (round(100 * found), round(100 * found, 1)):
            return True
    return False


def _results(a: float, b: float) -> list[float]:
    """What the four operations make of two numbers, apart from those numbers and `7 / 7`, `7 - 7`."""
    found = [] if 0 in (a, b) else [a + b]
    if a != b:
        found.append(abs(a - b))
    if not {a, b} & {0.0, 1.0}:
        found += [a * b] if a == b else [a * b, a / b, b / a]
    return [value for value in found if value not in (a, b)]


def _same(written: float, value: float) -> bool:
    """Whether a number is a value, or that to two decimals."""
    return abs(written - value) < 1e-9 * max(1.0, abs(value)) or written == round(value, 2) != 0


def _latin(word: str) -> bool:
    """Whether a word is written in Latin letters."""
    return all(unicodedata.name(c, "LATIN").startswith("LATIN") for c in word if c.isalpha())


def _drawn(name: str) -> float:
    """A number in [0, 1) that depends on the id of a document alone."""
    digest = hashlib.sha256(f"three numbers {name}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:6], "big") / 2**48
