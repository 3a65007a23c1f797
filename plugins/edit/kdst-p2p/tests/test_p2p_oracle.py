"""Alignment, schedule and edited attention equal the authors' on prompts with reference outputs."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kdst_core.errors import KdstError
from kdst_p2p.alignment import refine_mapper, replace_mapper, word_indices
from kdst_p2p.control import cross_weights, edit_cross
from kdst_p2p.schedule import cross_alphas, equalizer

ROOT = os.environ.get("KDST_TEST_DATA")
FOLDER = Path(ROOT or ".") / "oracles" / "edit"
pytestmark = pytest.mark.skipif(
    not ROOT or not FOLDER.is_dir(), reason="KDST_TEST_DATA names no folder with oracles/edit"
)
PAIRS = range(7)
TOLERANCE = 1e-6


class Pair:
    """One set of prompts with its reference values."""

    def __init__(self, number: int) -> None:
        from transformers import PreTrainedTokenizerFast

        self.arrays = np.load(FOLDER / f"pair_{number:02}.npz", allow_pickle=False)
        self.meta: dict[str, Any] = json.loads(str(self.arrays["meta"]))
        folder = FOLDER / f"tokenizer_{self.meta['tokenizer']}"
        self.tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
        self.prompts: list[str] = self.meta["prompts"]
        self.most: int = self.meta["max_words"]

    def tensor(self, name: str) -> torch.Tensor:
        return torch.from_numpy(self.arrays[name])

    def has(self, name: str) -> bool:
        return name in self.arrays.files


@pytest.fixture(params=PAIRS)
def pair(request: pytest.FixtureRequest) -> Pair:
    return Pair(request.param)


def test_word_indices_are_the_published_ones(pair: Pair) -> None:
    names = [n for n in pair.arrays.files if n.startswith("word_inds")]
    assert names
    for name in names:
        prompt, word = map(int, name.split("_")[2:])
        found = word_indices(pair.prompts[prompt], word, pair.tokenizer)
        assert found == pair.tensor(name).tolist()


def test_replace_mapper_is_the_published_one(pair: Pair) -> None:
    source, *targets = pair.prompts
    if not pair.has("replace_mapper"):
        with pytest.raises(KdstError, match="same number of words"):
            replace_mapper(source, targets[0], pair.tokenizer, pair.most)
        return
    for target, expected in zip(targets, pair.tensor("replace_mapper"), strict=True):
        found = replace_mapper(source, target, pair.tokenizer, pair.most)
        torch.testing.assert_close(found, expected, rtol=0, atol=TOLERANCE)


def test_refine_mapper_is_the_published_one(pair: Pair) -> None:
    source, *targets = pair.prompts
    for number, target in enumerate(targets):
        mapper, alphas = refine_mapper(source, target, pair.tokenizer, pair.most)
        assert torch.equal(mapper, pair.tensor("refine_mapper")[number])
        assert torch.equal(alphas, pair.tensor("refine_alphas")[number])


def test_cross_alphas_are_the_published_ones(pair: Pair) -> None:
    steps, tau = pair.meta["num_steps"], pair.meta["cross_replace_steps"]
    found = cross_alphas(pair.prompts, steps, tau, pair.tokenizer, pair.most)
    assert torch.equal(found, pair.tensor("cross_replace_alpha"))


def test_equalizer_is_the_published_one(pair: Pair) -> None:
    weights = pair.meta["equalizer"]
    if not weights:
        pytest.skip("this pair has no weights")
    text, words, values = pair.prompts[1], list(weights), list(weights.values())
    found = equalizer(text, words, values, pair.tokenizer, pair.most)
    assert torch.equal(found, pair.tensor("equalizer"))


def edits(pair: Pair) -> Iterator[tuple[str, dict[str, Any]]]:
    """The five combinations, as far as a pair has them."""
    source, *targets = pair.prompts
    pairs = [refine_mapper(source, t, pair.tokenizer, pair.most) for t in targets]
    kinds: dict[str, dict[str, Any]] = {
        "refine": {"refine": tuple(torch.stack(x) for x in zip(*pairs, strict=True))}
    }
    if pair.has("replace_mapper"):
        mappers = [replace_mapper(source, t, pair.tokenizer, pair.most) for t in targets]
        kinds["replace"] = {"replace": torch.stack(mappers)}
    yield from kinds.items()
    if pair.has("equalizer"):
        weights = {"equalizer": pair.tensor("equalizer")}
        yield "reweight", weights
        for name, kind in kinds.items():
            yield f"{name}_reweight", {**kind, **weights}


def test_edited_attention_is_the_published_one_in_all_combinations(pair: Pair) -> None:
    alphas = pair.tensor("cross_replace_alpha")
    shape = (2, len(pair.prompts), pair.meta["heads"])
    compared = 0
    for name, kind in edits(pair):
        for step in (0, 3, 5, 7, 9):
            for layer, (_, is_cross) in enumerate(pair.meta["layers"]):
                if not is_cross or not pair.has(f"out_{name}_s{step}_l{layer}"):
                    continue
                given = pair.tensor(f"in_s{step}_l{layer}").unflatten(0, shape)[1]
                expected = pair.tensor(f"out_{name}_s{step}_l{layer}").unflatten(0, shape)[1]
                found = edit_cross(given, alphas[step], **kind)
                torch.testing.assert_close(found, expected, rtol=0, atol=TOLERANCE)
                weights, own = cross_weights(alphas[step], **kind)
                summed = given[0] @ weights[:, None]
                if own is not None:
                    summed = summed + given[1:] * own[:, None, None]
                torch.testing.assert_close(summed, expected[1:], rtol=0, atol=TOLERANCE)
                compared += 1
    assert compared >= 15


def test_self_attention_is_copied_in_the_published_steps(pair: Pair) -> None:
    share = pair.meta["self_replace_steps"]
    begin, end = (0.0, share) if isinstance(share, float) else share
    steps = range(int(begin * pair.meta["num_steps"]), int(end * pair.meta["num_steps"]))
    shape = (2, len(pair.prompts), pair.meta["heads"])
    for step in (0, 3, 5, 7, 9):
        for layer, (_, is_cross) in enumerate(pair.meta["layers"]):
            name = f"out_refine_s{step}_l{layer}"
            if is_cross or not pair.has(name):
                continue
            given = pair.tensor(f"in_s{step}_l{layer}").unflatten(0, shape)
            expected = given.clone()
            if step in steps:
                expected[1, 1:] = given[1, :1]
            assert torch.equal(pair.tensor(name).unflatten(0, shape), expected)
