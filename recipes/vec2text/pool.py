"""The training notes and their embeddings, computed once and kept in files of 2,000."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import torch
from attrs import frozen
from torch import Tensor

from kdst_core.contracts import Embedder
from kdst_core.files import whole_file
from kdst_invert.default.notes import close_notes, near_notes, notes

CHUNK = 2_000
CLOSE = 4
"""Notes of a close family."""
Progress = Callable[[int, str], AbstractContextManager[Callable[[int], None]]]


@frozen
class Pool:
    """Base notes and near variants of each; kind 0 is the notes, 1 to `copies` their variants."""

    directory: Path
    seed: int
    copies: int
    embed: Embedder

    def texts(self, kind: int, chunk: int) -> list[str]:
        """The texts of one file."""
        start = chunk * CHUNK
        if kind == 0:
            found = notes("train", CHUNK, self.seed, start)
        else:
            found = near_notes("train", CHUNK, self.seed, start, kind - 1)
        return [note.text for note in found]

    def file(self, kind: int, chunk: int) -> Path:
        """Where the embeddings of one file's texts are kept."""
        name = "train" if kind == 0 else f"near{kind - 1}"
        return self.directory / f"{name}-{chunk:03d}.npy"

    def embeddings(self, kind: int, chunk: int) -> Tensor:
        """The embeddings (2000, D) of one file's texts."""
        return kept(self.file(kind, chunk), self.embed, lambda: self.texts(kind, chunk))

    def load(self, count: int, progress: Progress) -> tuple[list[str], Tensor]:
        """`count` base notes, rounded up to whole files, with all variants: texts and (n, D).

        Base note i is followed by its variants, so that families lie together.
        """
        chunks = range(-(-count // CHUNK))
        kinds = range(self.copies + 1)
        texts: list[str] = []
        vectors: list[Tensor] = []
        with progress(len(chunks) * len(kinds), "embeddings") as advance:
            for chunk in chunks:
                rows = [self.texts(kind, chunk) for kind in kinds]
                found = []
                for kind in kinds:
                    found.append(self.embeddings(kind, chunk))
                    advance(1)
                texts += [text for family in zip(*rows, strict=True) for text in family]
                vectors.append(torch.stack(found, dim=1).flatten(0, 1))
        return texts, torch.cat(vectors)


@frozen
class Families:
    """Fresh notes, each followed by three that differ from it in a field or two."""

    directory: Path
    seed: int
    embed: Embedder

    def texts(self, chunk: int) -> list[str]:
        """The texts of one file, family by family."""
        count = CHUNK // CLOSE
        start = chunk * count
        parts = [notes("train", count, self.seed, start)]
        parts += [close_notes("train", count, self.seed, start, copy) for copy in range(CLOSE - 1)]
        return [note.text for family in zip(*parts, strict=True) for note in family]

    def embeddings(self, chunk: int) -> Tensor:
        """The embeddings (2000, D) of one file's texts."""
        return kept(
            self.directory / f"close-{chunk:03d}.npy", self.embed, lambda: self.texts(chunk)
        )

    def load(self, count: int, progress: Progress) -> tuple[list[str], Tensor]:
        """`count` families, rounded up to whole files: texts and (n, D)."""
        chunks = range(-(-count * CLOSE // CHUNK))
        with progress(len(chunks), "close notes") as advance:
            vectors = []
            for chunk in chunks:
                vectors.append(self.embeddings(chunk))
                advance(1)
        return [text for chunk in chunks for text in self.texts(chunk)], torch.cat(vectors)


def kept(path: Path, embed: Embedder, texts: Callable[[], list[str]]) -> Tensor:
    """The embeddings in a file, computed first where it is not there yet."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        keep(path, embed(texts()))
    return torch.from_numpy(np.load(path, allow_pickle=False))


def keep(path: Path, vectors: Tensor) -> None:
    """Write vectors whole or not at all."""
    with whole_file(path) as temporary, temporary.open("wb") as file:
        np.save(file, vectors.numpy(), allow_pickle=False)


def family_pairs(texts: Sequence[str], size: int, shifts: Sequence[int]) -> list[tuple[int, int]]:
    """Pairs (text, hypothesis) of different texts in one family of `size` that lie together."""
    pairs = []
    for i, text in enumerate(texts):
        first = i - i % size
        for shift in shifts:
            j = first + (i - first + shift) % size
            if texts[j] != text:
                pairs.append((i, j))
    return pairs
