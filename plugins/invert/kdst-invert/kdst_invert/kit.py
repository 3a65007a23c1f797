"""For authors of methods that invert: a small embedder, vectors of a few notes, and a short inversion."""

import hashlib
import json
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from attrs import field, frozen
from torch import Tensor

from kdst_core.contracts import Embedder, Inversion, InvertRequest, RunServices
from kdst_core.plugins.method import Method
from kdst_invert.default.notes import notes
from kdst_invert.embedders.minilm import minilm
from kdst_invert.embedders.wrapped import Wrapped
from kdst_invert.options import with_option

ROWS, STEPS = 4, 2


@frozen
class Remembering(Wrapped):
    """An embedder that embeds each text once, since every check asks for much the same texts."""

    known: dict[str, Tensor] = field(factory=dict)

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Return (n, D), new memory each time."""
        if not texts:
            return torch.empty(0, self.dimension)
        if new := [text for text in dict.fromkeys(texts) if text not in self.known]:
            self.known.update(zip(new, self.inner(new), strict=True))
        return torch.stack([self.known[text] for text in texts])


@cache
def _encoder() -> Embedder:
    """The embedder behind that of the checks, loaded once."""
    return minilm()


@cache
def small_embedder() -> Embedder:
    """The embedder of the checks."""
    return Remembering(_encoder())


@cache
def small_vectors() -> Tensor:
    """Embeddings of a few held-out notes, by an embedder that no method gets."""
    return _encoder()([note.text for note in notes("held-out", ROWS)])


def small_options(options: Any) -> Any:
    """Options of a few steps with a narrow beam, where the method has such options."""
    return with_option(with_option(options, "steps", STEPS), "beam", 2)


def small_inversion(
    method: Method, options: Any, run: RunServices, blocks: Sequence[range] | None = None
) -> list[Inversion]:
    """Call the hook on the small vectors."""
    generator = torch.Generator().manual_seed(run.seed)
    request = InvertRequest(small_vectors(), small_embedder(), generator, blocks)
    found = method.call(request, small_options(options), run)
    with method.working():
        return list(found)


def digest(method: Method, options: Any, run: RunServices) -> str:
    """Return a digest of the texts that the small inversion returns."""
    found = small_inversion(method, options, run)
    texts = json.dumps([[i.step, list(i.texts)] for i in found])
    return hashlib.sha256(texts.encode()).hexdigest()
