"""Search in a local corpus by BM25, as the paper's search in Wikipedia (Toolformer, section 3)."""

from typing import Any

from kdst_core.contracts import Document, Tool
from kdst_tools.tools import passages
from kdst_tools.tools.kit import FunctionTool, needed_path

WORDS = 40
"""Words of a passage that an answer shows."""

EXAMPLES = (
    (
        "The lighthouse of Alexandria was more than 100 metres high before an earthquake broke it.",
        "The lighthouse of Alexandria was more than [WikiSearch(lighthouse of Alexandria height)] "
        "100 metres high before an earthquake broke it.",
    ),
    (
        "Gymnosperms such as the ginkgo carry their seeds without a fruit around them.",
        "Gymnosperms such as the ginkgo carry their seeds [WikiSearch(gymnosperm seeds)] without a "
        "fruit around them.",
    ),
    (
        "Silver tarnishes because sulphur in the air reacts with its surface.",
        "Silver tarnishes because [WikiSearch(why silver tarnishes)] sulphur in the air reacts "
        "with its surface.",
    ),
)


class Index:
    """BM25 over passages; stop words are left out of queries and passages."""

    def __init__(self, found: list[passages.Passage]) -> None:
        import bm25s  # type: ignore[import-untyped]

        self.passages, self._bm25s = found, bm25s
        self._index: Any = bm25s.BM25()
        texts = [f"{passage.title} {passage.text}" for passage in found]
        self._index.index(self._tokens(texts), show_progress=False)

    def _tokens(self, texts: list[str]) -> Any:
        return self._bm25s.tokenize(texts, stopwords="en", show_progress=False)

    def best(self, query: str) -> passages.Passage:
        """Return the passage that fits a query best; ValueError where none shares a word with it."""
        words = self._tokens([query])
        if words.vocab:
            indices, scores = self._index.retrieve(words, k=1, show_progress=False)
            if scores[0, 0] > 0:
                return self.passages[int(indices[0, 0])]
        raise ValueError(f"nothing found for {query[:40]!r}")


def make(argument: str | None) -> Tool:
    """Return search in a text file, or in those of a directory, as a tool."""
    what = f"a {', '.join(passages.SUFFIXES)} file or a directory of them"
    path = needed_path("search", argument, what, directory=None)
    index = Index(passages.read(path))

    def answer(query: str, _document: Document) -> str:
        passage = index.best(query)
        return f"{passage.title} > {' '.join(passage.text.split()[:WORDS])}"

    return FunctionTool(
        "WikiSearch",
        "The input is a short search term; the result is the title and the beginning of the best "
        "passage.",
        answer,
        EXAMPLES,
        timeout=10.0,
    )
