"""PixArt-α and -Σ: transformers whose self- and cross-attention are apart, sampled by diffusion.

Chen et al., PixArt-α (ICLR 2024) and PixArt-Σ (ECCV 2024).
"""

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from kdst_core.errors import KdstError
from kdst_edit.families.conditioning import Conditioning, Lowered, TokenRange
from kdst_edit.families.family import Family, Told, check_channels, each_once, expanded
from kdst_edit.families.layer import Kind, Layer
from kdst_edit.families.unet import PROCESSORS


class PixArt(Family):
    """`PixArtTransformer2DModel`; it predicts noise, and its attention leaves padding out."""

    network = "PixArtTransformer2DModel"
    pipelines = ("PixArtSigmaPipeline", "PixArtAlphaPipeline")
    flow = False
    processors = PROCESSORS
    usual = "AttnProcessor2_0"

    def layers(self, network: Any) -> list[Layer]:
        """Return self- and cross-attention of every block."""
        kinds: tuple[tuple[str, Kind], ...] = (("attn1", "self"), ("attn2", "cross"))
        return [
            Layer(
                f"transformer_blocks.{number}.{name}",
                kind,
                "block",
                self.patch(network),
                number,
                getattr(block, name),
            )
            for number, block in enumerate(network.transformer_blocks)
            for name, kind in kinds
        ]

    def texts(self, pipeline: Any) -> tuple[TokenRange, ...]:
        """Return the range of T5, which reads prompts in lower case."""
        return (TokenRange(Lowered(pipeline.tokenizer), 0, _length(pipeline)),)

    def condition(
        self, pipeline: Any, prompts: Sequence[str], size: tuple[int, int]
    ) -> Conditioning:
        """Return the words of T5, their mask, and the image's size where the network takes it."""
        different, which = each_once(prompts)
        network = pipeline.transformer
        given = {"device": network.device, "do_classifier_free_guidance": False}
        found = [pipeline.encode_prompt([p], **given) for p in different]
        words, mask = (torch.cat([encoded[k] for encoded in found])[which] for k in (0, 1))
        added = {"encoder_attention_mask": mask}
        if network.use_additional_conditions:
            shape = torch.tensor([size], dtype=words.dtype, device=words.device)
            added["resolution"] = shape.expand(len(which), -1)
            added["aspect_ratio"] = (shape[:, :1] / shape[:, 1:]).expand(len(which), -1)
        return Conditioning(words, added)

    def predict(self, network: Any, x: Tensor, t: Any, words: Conditioning, told: Told) -> Tensor:
        """Return the noise, without the variance that the network learned besides."""
        found: Tensor = network(
            x,
            encoder_hidden_states=words.embeddings,
            encoder_attention_mask=words.added["encoder_attention_mask"],
            timestep=expanded(t, x),
            added_cond_kwargs={
                "resolution": words.added.get("resolution"),
                "aspect_ratio": words.added.get("aspect_ratio"),
            },
            return_dict=False,
        )[0]
        return found[:, : x.shape[1]]

    def statistics(self, pipeline: Any) -> tuple[Any, Any]:
        """Return none: the pipeline reads no `shift_factor`."""
        return 0.0, 1.0

    def defaults(self, pipeline: Any) -> tuple[int, float]:
        """Return the pipeline's own steps and guidance."""
        return 20, 4.5

    def check(self, pipeline: Any, name: str) -> None:
        """Raise KdstError for other latents than the autoencoder's."""
        network = pipeline.transformer
        latent = network.config.in_channels
        check_channels(pipeline, network, latent, name)
        if network.out_channels not in (latent, 2 * latent):
            raise KdstError(
                f"model {name} predicts {network.out_channels} channels for {latent}; PixArt predicts"
                " the noise, or noise and variance"
            )


def _length(pipeline: Any) -> int:
    """The tokens that the pipeline itself pads prompts to: 120 for α, 300 for Σ."""
    return int(inspect.signature(pipeline.encode_prompt).parameters["max_sequence_length"].default)
