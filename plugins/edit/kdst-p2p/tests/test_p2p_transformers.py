"""Prompt-to-Prompt where image and text share one attention, or have several tokenizers."""

from pathlib import Path
from typing import Any

import attrs
import pytest
import torch
from torch import Tensor

from kdst_authors.testing import make_run
from kdst_core.contracts import EditRequest
from kdst_edit.families.registry import family_of, network_of
from kdst_edit.kit import texts
from kdst_edit.models.transformers import LAYOUTS, Layout, build
from kdst_p2p.alignment import refine_mapper, replace_mapper, word_indices
from kdst_p2p.method import edit_prompt_to_prompt
from kdst_p2p.options import Options
from kdst_p2p.ranges import indices, injected, refinement, replacement, weights

SOURCE, TARGET = "a red cat", "a blue cat"


def request_of(layout: Layout, *targets: str) -> EditRequest:
    pipeline = build(layout)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(1, 4, 8, 8, generator=generator)
    told = bool(family_of(pipeline).told(pipeline, [1.0]))
    return EditRequest(
        pipeline,
        SOURCE,
        None,
        targets or (TARGET,),
        generator,
        noise,
        num_steps=3,
        guidance=3.5 if told else 2.0,
    )


def edited(request: EditRequest, tmp_path: Path, **options: Any) -> Any:
    return edit_prompt_to_prompt(request, Options(**options), make_run(tmp_path))


@pytest.fixture(params=LAYOUTS)
def request_(request: pytest.FixtureRequest) -> EditRequest:
    return request_of(request.param)


def test_an_edit_differs_from_the_source_and_shows_its_words(
    request_: EditRequest, tmp_path: Path
) -> None:
    network = network_of(request_.pipeline)
    before = dict(network.attn_processors)
    edit = edited(request_, tmp_path, self_tau=0.4, tau=["1", "blue=.5"], blend=["cat"])
    shown = edit.images[0]
    assert (shown.image - edit.reconstruction).abs().max() > 1e-4
    assert set(edit.attention) == {"a", "red", "cat"}
    assert set(shown.attention) == {"a", "blue", "cat"}
    assert shown.mask is not None
    assert not edit.warnings
    assert network.attn_processors == before
    assert [edit.alignments[0].target[j] for _, j, _ in edit.alignments[0].links if j]


def test_c_of_one_is_the_identity(request_: EditRequest, tmp_path: Path) -> None:
    same = attrs.evolve(request_, targets=(SOURCE,))
    edit = edited(same, tmp_path, reweight=["red=1"], tau=["1"])
    torch.testing.assert_close(edit.images[0].image, edit.reconstruction, rtol=0, atol=1e-4)
    other = edited(same, tmp_path, reweight=["red=2"], tau=["1"])
    assert (other.images[0].image - edit.reconstruction).abs().max() > 1e-5


def test_a_bound_on_rows_and_other_targets_change_nothing(tmp_path: Path) -> None:
    request = request_of("sd3", TARGET, "a red cat here")
    both = edited(request, tmp_path)
    bounded = edited(attrs.evolve(request, max_rows=1), tmp_path)
    for a, b in zip(both.images, bounded.images, strict=True):
        torch.testing.assert_close(a.image, b.image, rtol=0, atol=1e-3)


@pytest.mark.parametrize("layout", ["sd3", "flux-dev"])
def test_ranges_are_aligned_apart(layout: Layout) -> None:
    """Against each tokenizer's own mappers, put side by side."""
    request = request_of(layout)
    ranges = texts(request)
    target = "a green cat"
    total = sum(r.length for r in ranges)
    replace = replacement(ranges, SOURCE, target, "corrected")
    mapper, kept = refinement(ranges, SOURCE, "a red big cat")
    expected = torch.zeros(total, total)
    for r in ranges:
        here = slice(r.start, r.start + r.length)
        own = replace_mapper(SOURCE, target, r.tokenizer, r.length, profile="corrected")
        expected[here, here] = own
        theirs, alphas = refine_mapper(SOURCE, "a red big cat", r.tokenizer, r.length)
        known = alphas.bool()
        assert torch.equal(mapper[here][known], theirs[known] + r.start)
        assert torch.equal(kept[here], alphas)
        at = [r.start + p for p in word_indices(target, "green", r.tokenizer)]
        assert set(at) <= set(indices(ranges, target, "green"))
        assert (weights(ranges, target, {"green": 2.0})[0, at] == 2).all()
        tau = injected(ranges, [SOURCE, target], 4, {"default_": 1.0, "green": 0.5})
        assert tau[:, 0, 0, 0, at[0]].tolist() == [1, 1, 0, 0, 0]
    assert torch.equal(replace, expected)


def test_zeros_in_the_place_of_a_missing_encoder_are_injected_as_they_are(tmp_path: Path) -> None:
    request = request_of("sd3")
    request.pipeline.text_encoder_3 = request.pipeline.tokenizer_3 = None
    ranges = texts(request)
    assert [r.tokenizer is None for r in ranges] == [False, True]
    replace: Tensor = replacement(ranges, SOURCE, TARGET, "corrected")
    assert torch.equal(replace[77:, 77:], torch.eye(256))
    assert not replace[:77, 77:].any()
    edit = edited(request, tmp_path)
    assert set(edit.attention) == {"a", "red", "cat"}
