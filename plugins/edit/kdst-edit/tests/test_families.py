"""A new family of networks is one class: with it, all of the engine acts on a network it never saw."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kdst_core.errors import KdstError
from kdst_edit.control.layers import Layers
from kdst_edit.control.rules import CopyKV, CopyQK, EditCrossMap, StoreMaps
from kdst_edit.families import registry
from kdst_edit.families.conditioning import Conditioning, TokenRange
from kdst_edit.families.family import Family, Told, expanded
from kdst_edit.families.layer import Layer
from kdst_edit.families.sd3 import JointAttention
from kdst_edit.inversion.ddim import invert, resample
from kdst_edit.inversion.denoise import Denoiser
from kdst_edit.inversion.invert import schedule_of
from kdst_edit.models.transformers import piece_tokenizer
from kdst_edit.sampling.sample import Branch, sample


class Patchless(nn.Module):
    """A flow network without patches: one joint attention over single latents and letters."""

    def __init__(self) -> None:
        from diffusers.models.attention_processor import Attention, JointAttnProcessor2_0

        super().__init__()
        self.config = {"in_channels": 3}
        self.into, self.out = nn.Linear(4, 16), nn.Linear(16, 3)
        shape = {"added_kv_proj_dim": 16, "dim_head": 8, "heads": 2, "context_pre_only": False}
        self.attn = Attention(16, **shape, processor=JointAttnProcessor2_0())

    def forward(self, x: Tensor, t: Tensor, words: Tensor) -> Tensor:
        """Predict a velocity for latents (B, 3, h, w)."""
        level = (t / 1000)[:, None, None, None].expand(-1, 1, *x.shape[2:]).to(x)
        tokens = self.into(torch.cat([x, level], 1).flatten(2).mT)
        image, _ = self.attn(tokens, encoder_hidden_states=words)
        return self.out(tokens + image).mT.unflatten(-1, x.shape[2:])


# the whole of a new family ---------------------------------------------------------------------


class PatchlessFamily(Family):
    """`Patchless`."""

    network, pipelines = "Patchless", ("PatchlessPipeline",)
    processors, usual = frozenset({("any", "any")}), "any"

    def layers(self, network: Any) -> list[Layer]:
        """Return its attention, as self- and as cross-attention."""
        joint = JointAttention()
        return [
            Layer("attn", "self", "block", 1, 0, network.attn, joint),
            Layer("attn.text", "cross", "block", 1, 0, network.attn, joint),
        ]

    def texts(self, pipeline: Any) -> tuple[TokenRange, ...]:
        """Return the letters."""
        return (TokenRange(pipeline.tokenizer, 0, 12),)

    def condition(
        self, pipeline: Any, prompts: Sequence[str], size: tuple[int, int]
    ) -> Conditioning:
        """Embed the letters."""
        ids = pipeline.tokenizer(list(prompts), padding="max_length", max_length=12).input_ids
        return Conditioning(pipeline.embedding(torch.tensor(ids)))

    def predict(self, network: Any, x: Tensor, t: Any, words: Conditioning, told: Told) -> Tensor:
        """Return the velocity."""
        found: Tensor = network(x, expanded(t, x), words.embeddings)
        return found

    def check(self, pipeline: Any, name: str) -> None:
        """Refuse nothing."""


# -----------------------------------------------------------------------------------------------


class PatchlessPipeline:
    """The parts that the engine asks for."""

    def __init__(self) -> None:
        from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.transformer = Patchless()
            self.tokenizer: Any = piece_tokenizer()
            self.embedding = nn.Embedding(len(self.tokenizer), 16)
            self.vae: Any = AutoencoderKL(block_out_channels=(32,), latent_channels=3)
        self.scheduler = FlowMatchEulerDiscreteScheduler(shift=2.0)


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(registry, "FAMILIES", (*registry.FAMILIES, PatchlessFamily()))
    return PatchlessPipeline()


NOISE = torch.randn(1, 3, 6, 6, generator=torch.Generator().manual_seed(0))
BRANCHES = [Branch("a cat", "", 2.0), Branch("a dog", "", 2.0)]


def draw(pipeline: Any, *rules: Any, **given: Any) -> Tensor:
    return sample(pipeline, NOISE, BRANCHES, rules, num_steps=4, **given)


def test_a_network_without_a_family_is_refused_in_a_line() -> None:
    with pytest.raises(KdstError, match="a Patchless cannot be controlled here"):
        draw(PatchlessPipeline())


@pytest.mark.parametrize(
    "rule",
    [
        lambda: CopyQK(layers=Layers("self")),
        lambda: CopyKV(layers=Layers("self"), rows="all"),
        lambda: EditCrossMap(
            layers=Layers("cross"), edit=lambda maps, step, at: maps[:1].expand_as(maps)
        ),
        lambda: EditCrossMap(
            layers=Layers("cross"),
            edit=lambda maps, step, at: 2 * maps,
            weights=lambda step, at: (torch.zeros(1, 12, 12), torch.full((1, 12), 2.0)),
        ),
    ],
)
def test_every_rule_acts_on_a_new_family(pipeline: Any, rule: Any) -> None:
    plain, ruled = draw(pipeline), draw(pipeline, rule())
    assert torch.equal(plain[0], draw(pipeline)[0])
    torch.testing.assert_close(ruled[0], plain[0], rtol=0, atol=1e-5)
    assert (ruled[1] - plain[1]).abs().max() > 1e-5
    torch.testing.assert_close(draw(pipeline, rule(), max_rows=1), ruled, rtol=0, atol=1e-5)
    store = StoreMaps(layers=Layers("cross"))
    draw(pipeline, rule(), store)
    assert store.mean([0, 1]).shape == (2, 6, 6, 12)


def test_a_new_family_is_inverted(pipeline: Any) -> None:
    words = PatchlessFamily().condition(pipeline, ["", "a cat"], (6, 6))
    denoise = Denoiser.of(pipeline, words.rows([1]), words.rows([0]), 1.0)
    schedule = schedule_of(pipeline, NOISE, 8)
    path = invert(denoise, schedule, NOISE, fixed_point=6)
    torch.testing.assert_close(resample(denoise, schedule, path[:1]), NOISE, rtol=0, atol=1e-4)
