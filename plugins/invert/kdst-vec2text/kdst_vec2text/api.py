"""Inversion from Python: load an inverter, give it vectors or texts, get texts with their scores."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypedDict, Unpack

import torch
from attrs import frozen
from torch import Tensor

from kdst_core.contracts import Embedder, Inversion
from kdst_invert.embedders.choose import choose
from kdst_invert.embedders.function import as_embedder
from kdst_invert.inputs import InvertInputs
from kdst_vec2text.inversion import InversionSettings, invert_block
from kdst_vec2text.pair import Vec2Text, load_corrector

__all__ = ["Inverted", "invert_embeddings", "invert_strings", "load_corrector"]

AnyEmbedder = str | Embedder | Callable[[Sequence[str]], Any]
"""A name as `--embedder` takes it, an embedder, or a function from a list of texts to (n, D)."""
BLOCK = 64
"""Vectors inverted together; what is found does not leave memory before its block is done."""


@frozen
class Inverted:
    """What was recovered of one vector.

    text: the best text seen. cosine: of its embedding and the vector. step: the correction that found
    it, 0 for the first hypothesis. texts: the best text after each step.
    """

    text: str
    cosine: float
    step: int
    texts: Sequence[str]


def invert_embeddings(
    embeddings: Tensor,
    corrector: Vec2Text,
    embedder: AnyEmbedder | None = None,
    num_steps: int = 20,
    sequence_beam_width: int = 4,
    *,
    patience: int = 4,
    budget: int | None = None,
    jsonl: Path | None = None,
) -> list[Inverted]:
    """The texts behind embeddings (N, D), which stay as they are.

    embedder: a name as `--embedder` takes it, an embedder, or a function from a list of texts to
    (n, D); by default the one that the inverter was trained on. jsonl: a new file that gets a line
    (row, step, text, cosine) as soon as a step is done. Raises KdstError when vectors or embedder do
    not fit the inverter.
    """
    embed = _embedder(embedder, corrector)
    embeddings = torch.as_tensor(embeddings)
    corrector.check_vectors(embeddings)
    corrector.check_embedder(embed)
    settings = InversionSettings(num_steps, sequence_beam_width, patience=patience, budget=budget)
    found: list[Inverted] = []
    for start in range(0, len(embeddings), BLOCK):
        rows = range(start, min(start + BLOCK, len(embeddings)))
        e = embeddings[rows.start : rows.stop]
        steps = []
        for inversion in invert_block(corrector, embed, e, settings, rows):
            steps.append(inversion)
            if jsonl is not None:
                _append(jsonl, inversion, rows)
        found += _collected(steps)
    return found


class How(TypedDict, total=False):
    """What `invert_embeddings` takes by name."""

    num_steps: int
    sequence_beam_width: int
    patience: int
    budget: int | None
    jsonl: Path | None


def invert_strings(
    strings: Sequence[str],
    corrector: Vec2Text,
    embedder: AnyEmbedder | None = None,
    **how: Unpack[How],
) -> list[Inverted]:
    """Embed strings and recover them from the embeddings alone; see `invert_embeddings`."""
    embed = _embedder(embedder, corrector)
    return invert_embeddings(embed(list(strings)), corrector, embed, **how)


def _embedder(given: AnyEmbedder | None, model: Vec2Text) -> Embedder:
    """The embedder that is meant."""
    name = given if given is not None else model.config.embedder_model_name or "minilm"
    if isinstance(name, str):
        return choose(InvertInputs(embedder=name), "cpu")
    return as_embedder(name, getattr(name, "__name__", "the embedder"))


def _collected(steps: Sequence[Inversion]) -> Iterator[Inverted]:
    """One result a row from the steps of a block."""
    last = steps[-1]
    for i, text in enumerate(last.texts):
        texts = [inversion.texts[i] for inversion in steps]
        yield Inverted(text, float(last.cosine[i]), texts.index(text), texts)


def _append(path: Path, inversion: Inversion, rows: range) -> None:
    """Add a step's rows to a file."""
    active = inversion.active
    with path.open("a", encoding="utf-8") as file:
        for i, row in enumerate(rows):
            if active is None or bool(active[i]):
                cosine = float(inversion.cosine[i])
                line = {
                    "row": row,
                    "step": inversion.step,
                    "text": inversion.texts[i],
                    "cosine": cosine,
                }
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
