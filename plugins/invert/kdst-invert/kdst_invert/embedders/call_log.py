"""What a service was sent and what it answered, kept so that a kill neither loses nor hides a call."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import define, field

SENT = "sent"


@define
class CallLog:
    """Answers by digest of their texts, and the number of texts that the service may have embedded.

    Texts are counted in the file before they are sent: what is killed in between counts, since nobody
    can tell whether the service had embedded it.
    """

    path: Path | None = None
    calls: int = 0
    known: dict[str, list[float]] = field(factory=dict, repr=False)

    def keep_in(self, path: Path) -> None:
        """Keep calls and answers in a file from now on, and count and know those that it holds."""
        so_far, calls = dict(self.known), self.calls
        self.path = path
        self.recall()
        self.calls += calls
        fresh = {digest: v for digest, v in so_far.items() if digest not in self.known}
        self.known.update(so_far)
        if calls or fresh:
            self._append([{SENT: calls}, *_rows(fresh)])

    def recall(self) -> None:
        """Read what an earlier session sent and was answered."""
        if self.path is None or not self.path.exists():
            return
        self.calls = 0
        for row in _read(self.path):
            if SENT in row:
                self.calls += int(row[SENT])
            elif "sha256" in row:
                self.known[row["sha256"]] = row["vector"]
        self.calls = max(self.calls, len(self.known))

    def fresh(self, texts: Sequence[str]) -> list[str]:
        """The texts without an answer, each once."""
        return [t for t in dict.fromkeys(texts) if digest(t) not in self.known]

    def vector(self, text: str) -> list[float]:
        """The answer for a text."""
        return self.known[digest(text)]

    def count(self, texts: int) -> None:
        """Count texts that are about to be sent; a negative number those that were turned away."""
        self.calls += texts
        self._append([{SENT: texts}])

    def answered(self, texts: Sequence[str], vectors: Sequence[list[float]]) -> None:
        """Remember answers."""
        rows = {digest(t): v for t, v in zip(texts, vectors, strict=True)}
        self.known.update(rows)
        self._append(list(_rows(rows)))

    def _append(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add lines to the file, where there is one."""
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            # a kill may have left half a line
            file.write("\n" + "".join(json.dumps(row) + "\n" for row in rows))


def _rows(known: Mapping[str, list[float]]) -> Iterator[dict[str, Any]]:
    """Answers as lines of the file."""
    for key, vector in known.items():
        yield {"sha256": key, "vector": vector}


def _read(path: Path) -> Iterator[dict[str, Any]]:
    """The whole lines of a file."""
    for line in path.read_text(encoding="utf-8").split("\n"):
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            yield row


def digest(text: str) -> str:
    """What stands for a text in the file, so that no text is stored."""
    return hashlib.sha256(text.encode()).hexdigest()
