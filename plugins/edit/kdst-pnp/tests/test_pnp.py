"""Plug-and-Play injects what was published, where and when it was published."""

from pathlib import Path
from types import MethodType
from typing import Any

import attrs
import pytest
import torch
from torch import Tensor

from kdst_authors.testing import make_run
from kdst_core.contracts import EditRequest, SourcePath
from kdst_core.errors import KdstError
from kdst_edit.control.layers import find_layers
from kdst_edit.control.rules import CopyFeature, CopyQK
from kdst_edit.control.session import Control, Row
from kdst_edit.models.latents import condition
from kdst_edit.models.layouts import build
from kdst_edit.models.pipelines import load
from kdst_pnp import Options, edit
from kdst_pnp.method import AttentionAfter, Features, rules

ROWS = (Row(0, True), Row(1, False), Row(1, True))
PUBLISHED = Features((4,), 1)


def request(pipeline: Any, steps: int = 50, targets: tuple[str, ...] = ("a b",)) -> EditRequest:
    generator = torch.Generator().manual_seed(0)
    channels, side = pipeline.unet.config.in_channels, pipeline.unet.config.sample_size
    noise = torch.randn(1, channels, side, side, generator=generator)
    return EditRequest(
        pipeline, "a c", None, targets, generator, noise, num_steps=steps, guidance=3.0
    )


@pytest.fixture(scope="module")
def tiny() -> Any:
    return load("tiny")


@pytest.fixture(scope="module", params=["sd15", "sd21"])
def stable(request: pytest.FixtureRequest) -> Any:
    return build(request.param, latent_size=16)


def test_defaults_on_stable_diffusion_are_the_published_layers_and_steps(stable: Any) -> None:
    features, queries = rules(request(stable), Options())
    layers = find_layers(stable.unet)
    assert [x.name for x in layers if features.layers(x)] == ["up_blocks.1.resnets.1"]
    published = [(1, n) for n in (1, 2)] + [(level, n) for level in (2, 3) for n in range(3)]
    assert [x.name for x in layers if queries.layers(x)] == [
        f"up_blocks.{block}.attentions.{n}.transformer_blocks.0.attn1" for block, n in published
    ]
    assert (features.steps, queries.steps) == (range(40), range(25))


def three_rows(pipeline: Any, seed: int = 0) -> tuple[Tensor, dict[str, Any]]:
    """A batch as the authors': the source without words, the edit's negative and its prompt."""
    side = pipeline.unet.config.sample_size
    x = torch.randn(2, 4, side, side, generator=torch.Generator().manual_seed(seed))
    words = condition(pipeline, ["", "ugly", "a bronze horse"], (8 * side, 8 * side))
    return x[[0, 1, 1]], words.kwargs()


def controlled(pipeline: Any, rule: Any, x: Tensor, words: dict[str, Any]) -> Tensor:
    with torch.no_grad(), Control(pipeline.unet, [rule], (x.shape[-2], x.shape[-1])) as control:
        control.expect(0, ROWS)
        out: Tensor = pipeline.unet(x, 500, **words).sample
    return out


def patched_block(self: Any, hidden: Tensor, temb: Tensor, *_: Any, **__: Any) -> Tensor:
    """A residual block that overwrites its edits' rows just before the skip is added."""
    out = self.conv1(self.nonlinearity(self.norm1(hidden)))
    out = out + self.time_emb_proj(self.nonlinearity(temb))[:, :, None, None]
    out = self.conv2(self.dropout(self.nonlinearity(self.norm2(out))))
    out[1:] = out[:1]
    skip = hidden if self.conv_shortcut is None else self.conv_shortcut(hidden)
    return (skip + out) / self.output_scale_factor


def test_the_feature_rule_equals_the_published_patched_block_exactly(stable: Any) -> None:
    x, words = three_rows(stable)
    ours = controlled(stable, CopyFeature(layers=PUBLISHED, rows="all"), x, words)
    block = stable.unet.up_blocks[1].resnets[1]
    original, block.forward = block.forward, MethodType(patched_block, block)
    with torch.no_grad():
        theirs = stable.unet(x, 500, **words).sample
    block.forward = original
    with torch.no_grad():
        plain = stable.unet(x, 500, **words).sample
    assert torch.equal(ours, theirs)
    assert not torch.allclose(ours[1:], plain[1:], atol=1e-5)
    assert torch.equal(ours[0], plain[0])


class InjectedMaps:
    """Self-attention by explicit maps, in which every row takes the first row's map."""

    def __call__(self, attn: Any, hidden: Tensor, *_: Any, **__: Any) -> Tensor:
        q, k, v = (attn.head_to_batch_dim(f(hidden)) for f in (attn.to_q, attn.to_k, attn.to_v))
        maps = attn.get_attention_scores(q, k).unflatten(0, (len(hidden), attn.heads))
        maps = maps[:1].expand_as(maps).flatten(0, 1)
        out: Tensor = attn.to_out[1](attn.to_out[0](attn.batch_to_head_dim(maps @ v)))
        return out


def test_copying_queries_and_keys_equals_injecting_maps(stable: Any) -> None:
    x, words = three_rows(stable)
    chosen = AttentionAfter(PUBLISHED)
    ours = controlled(stable, CopyQK(layers=chosen, rows="all"), x, words)
    layers = [layer for layer in find_layers(stable.unet) if chosen(layer)]
    originals = [layer.module.processor for layer in layers]
    for layer in layers:
        layer.module.set_processor(InjectedMaps())
    with torch.no_grad():
        theirs = stable.unet(x, 500, **words).sample
    for layer, original in zip(layers, originals, strict=True):
        layer.module.set_processor(original)
    with torch.no_grad():
        plain = stable.unet(x, 500, **words).sample
    assert torch.allclose(ours, theirs, atol=1e-5)
    assert not torch.allclose(ours[1:], plain[1:], atol=1e-5)


def test_without_injection_the_edit_is_the_target_prompt_alone(tiny: Any, tmp_path: Path) -> None:
    from kdst_edit.models.latents import decode
    from kdst_edit.sampling.sample import Branch, sample

    asked = request(tiny, 4, ("a blue disc on a white background",))
    off = edit(asked, Options(pnp_f_t=0, pnp_attn_t=0), make_run(tmp_path))
    alone = sample(tiny, asked.latents, [Branch(asked.targets[0], guidance=3.0)], num_steps=4)
    assert torch.allclose(off.images[0].image, decode(tiny, alone)[0], atol=1e-5)
    on = edit(asked, Options(), make_run(tmp_path / "on"))
    assert not torch.allclose(on.images[0].image, off.images[0].image, atol=1e-2)


def test_full_injection_of_an_unchanged_prompt_changes_nothing(tiny: Any, tmp_path: Path) -> None:
    asked = attrs.evolve(request(tiny, 4), targets=("a c",))
    same = edit(asked, Options(pnp_f_t=1, pnp_attn_t=1), make_run(tmp_path))
    assert torch.allclose(same.images[0].image, same.reconstruction, atol=1e-5)


def test_a_real_image_gives_its_features_without_words(tiny: Any, tmp_path: Path) -> None:
    asked = request(tiny, 4, ("a blue disc on a white background",))
    path = SourcePath(torch.randn(5, 3, 32, 32), prompt="", guidance=1.0, resets=True)
    asked = attrs.evolve(asked, path=path, latents=path.latents[:1])
    done = edit(asked, Options(), make_run(tmp_path))
    wanted = (path.latents[-1] / 2 + 0.5).clamp(0, 1)
    assert torch.allclose(done.reconstruction, wanted, atol=1e-5)
    assert done.attention == {}


def test_levels_can_be_chosen_and_wrong_ones_are_named(tiny: Any, tmp_path: Path) -> None:
    chosen = rules(request(tiny), Options(feature_factors=[1], attention_factors=[2]))
    names = [[x.name for x in find_layers(tiny.unet) if r.layers(x)] for r in chosen]
    assert names[0] == ["up_blocks.2.resnets.1"]
    assert all(name.startswith("up_blocks.1.attentions") for name in names[1])
    with pytest.raises(KdstError, match="--feature-factors 8: this model has such layers at 1"):
        rules(request(tiny), Options(feature_factors=[8]))
    with pytest.raises(KdstError, match=r"--attention-factors 1: .* at 2, 4 only"):
        rules(request(tiny), Options(attention_factors=[1]))
    with pytest.raises(KdstError, match="chooses no layer"):
        edit(request(tiny), Options(feature_block=5), make_run(tmp_path))


@pytest.mark.parametrize("name", ["pnp_f_t", "pnp_attn_t"])
@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_shares_outside_zero_to_one_are_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=name):
        Options(**{name: value})


def test_steps_that_an_inversion_skips_are_not_asked_for(tiny: Any, tmp_path: Path) -> None:
    """Shares are of the four steps that are left, not of all ten."""
    path = SourcePath(torch.randn(11, 3, 32, 32), prompt="", guidance=1.0, start=6, resets=True)
    asked = attrs.evolve(request(tiny, 10), path=path, latents=path.latents[6:7])
    features, attention = rules(asked, Options())
    assert features.steps == range(6, 9)
    assert attention.steps == range(6, 8)
    assert len(edit(asked, Options(), make_run(tmp_path)).images) == 1
