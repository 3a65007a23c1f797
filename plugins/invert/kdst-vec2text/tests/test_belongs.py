"""Whether an embedder belongs to an inverter that stores no pairs."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from attrs import evolve

from kdst_invert.embedders.minilm import minilm
from kdst_vec2text.belongs import SAMPLES, embedder_notes, same_name, told_apart
from kdst_vec2text.pair import Vec2Text, load_corrector


@pytest.fixture(scope="module")
def tiny() -> Vec2Text:
    """The embedded inverter without its stored pairs."""
    return evolve(load_corrector("tiny", "none"), examples=None)


@pytest.fixture(scope="module")
def vectors() -> torch.Tensor:
    """The sample texts in MiniLM's vectors."""
    return minilm(precision="float32")(SAMPLES)


def embedder(name: str, vectors: torch.Tensor) -> Any:
    """An embedder that makes the same vectors of anything."""
    found = lambda texts: vectors  # noqa: E731
    return type("Fixed", (SimpleNamespace,), {"__call__": lambda _, texts: found(texts)})(name=name)


def test_only_the_right_vectors_are_told_apart(tiny: Vec2Text, vectors: torch.Tensor) -> None:
    turned = torch.linalg.qr(torch.randn(384, 384, generator=torch.Generator().manual_seed(0)))[0]
    assert told_apart(tiny, vectors)
    assert not told_apart(tiny, vectors @ turned)


def test_another_name_is_said_and_so_are_vectors_that_are_not_read(
    tiny: Vec2Text, vectors: torch.Tensor
) -> None:
    own = tiny.config.embedder_model_name
    assert embedder_notes(tiny, embedder(own, vectors)) == ()
    (said,) = embedder_notes(tiny, embedder("other", vectors))
    assert repr(own) in said
    assert "cannot tell" not in said
    (said,) = embedder_notes(tiny, embedder(own, vectors.flip(1)))
    assert "cannot tell which text is whose" in said
    whole = load_corrector("tiny", "none")
    assert embedder_notes(whole, embedder("other", vectors)) == ()
    assert embedder_notes(whole, embedder("other", vectors), ask=False)


def test_names_of_one_embedder_are_the_same() -> None:
    assert same_name("gtr_base", "sentence-transformers/gtr-t5-base")
    assert same_name("MiniLM", "minilm")
    assert not same_name("gtr_base", "minilm")
