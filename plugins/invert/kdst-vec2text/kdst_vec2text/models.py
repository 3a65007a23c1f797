"""The two networks: a hypothesiser e → x⁰ and a corrector (e, ê, x̂) → x (Morris et al., section 3).

Attribute names are those of the official checkpoints, so that their weights load by name.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import T5Config, T5ForConditionalGeneration

SEPARATORS = 4
"""[eos] tokens of the corrector's input: before each of the three embeddings, and after the last."""


def embedding_map(dimension: int, width: int, k: int, dropout: float) -> nn.Sequential:
    """z = W₂ GELU(Dropout(W₁ e + b₁)) + b₂: (…, D) to (…, k · width)."""
    return nn.Sequential(
        nn.Linear(dimension, dimension),
        nn.Dropout(dropout),
        nn.GELU(),
        nn.Linear(dimension, width * k),
    )


EOS = 1
"""The token id that ends a text in every T5."""


class Inverter(nn.Module):
    """What both networks share: a T5 that reads pseudo-tokens, its eos and pad, and k."""

    def __init__(self, t5: T5Config, dimension: int, k: int) -> None:
        super().__init__()
        self.encoder_decoder = T5ForConditionalGeneration(t5)
        self.dimension, self.k = dimension, k

    @property
    def width(self) -> int:
        """Hidden size d of the T5."""
        return int(self.encoder_decoder.config.d_model)

    @property
    def pad(self) -> int:
        """Token id of padding."""
        return int(self.encoder_decoder.config.pad_token_id or 0)

    @property
    def eos(self) -> int:
        """Token id of the end of a text."""
        eos = self.encoder_decoder.config.eos_token_id
        return eos if isinstance(eos, int) else EOS

    def pseudo_tokens(self, network: nn.Module, e: Tensor) -> Tensor:
        """Embeddings (B, D) as k pseudo-tokens (B, k, d)."""
        tokens: Tensor = network(e).unflatten(-1, (self.k, self.width))
        return tokens

    def logits(self, inputs: tuple[Tensor, Tensor], labels: Tensor) -> Tensor:
        """Logits (B, T, V) of labels (B, T), each token from those before it."""
        model = self.encoder_decoder
        written = model.prepare_decoder_input_ids_from_labels(labels)
        logits: Tensor = model(
            inputs_embeds=inputs[0],
            attention_mask=inputs[1],
            decoder_input_ids=written,
            use_cache=False,
        ).logits
        return logits

    def loss(self, inputs: tuple[Tensor, Tensor], labels: Tensor) -> Tensor:
        """Mean cross-entropy of the tokens labels (B, T), -100 where there is none."""
        logits = self.logits(inputs, labels)
        return nn.functional.cross_entropy(logits.float().flatten(0, 1), labels.flatten())


class Hypothesiser(Inverter):
    """The first hypothesis x⁰: a T5 whose encoder reads the k pseudo-tokens of e alone."""

    def __init__(self, t5: T5Config, dimension: int, k: int) -> None:
        super().__init__(t5, dimension, k)
        self.embedding_transform = embedding_map(dimension, self.width, k, t5.dropout_rate)

    def inputs(self, e: Tensor) -> tuple[Tensor, Tensor]:
        """Encoder input (B, k, d) and mask (B, k) of embeddings (B, D)."""
        embeds = self.pseudo_tokens(self.embedding_transform, e)
        return embeds, torch.ones(embeds.shape[:2], dtype=torch.long, device=e.device)


class Corrector(Inverter):
    """A better text from an embedding, a hypothesis and the hypothesis's embedding.

    starts: whether x̂ begins with the decoder's start token, which is padding and so masked, but moves
    x̂ by a position. The official correctors were trained on such texts, those of `fit` were not.
    """

    starts = False

    def __init__(self, t5: T5Config, dimension: int, k: int) -> None:
        super().__init__(t5, dimension, k)
        for i in (1, 2, 3):
            network = embedding_map(dimension, self.width, k, t5.dropout_rate)
            self.add_module(f"embedding_transform_{i}", network)
        self.layernorm = nn.LayerNorm(self.width)

    def inputs(self, e: Tensor, e_hat: Tensor, x_hat: Tensor) -> tuple[Tensor, Tensor]:
        """Encoder input (B, 4 + 3k + T, d) and mask of e, ê (B, D) and token ids x̂ (B, T).

        LayerNorm([eos] T₁(e) [eos] T₃(ê) [eos] T₂(e - ê) [eos] emb(x̂)); T₂ takes the difference.
        """
        if self.starts:
            x_hat = nn.functional.pad(x_hat, (1, 0), value=self.pad)
        embed = self.encoder_decoder.shared
        eos = embed.weight[self.eos].expand(len(e), 1, -1)
        part = [
            self.pseudo_tokens(self.get_submodule(f"embedding_transform_{i}"), value)
            for i, value in ((1, e), (3, e_hat), (2, e - e_hat))
        ]
        tokens = embed(x_hat)
        embeds = torch.cat([eos, part[0], eos, part[1], eos, part[2], eos, tokens], dim=1)
        ones = x_hat.new_ones(len(e), SEPARATORS + 3 * self.k)
        normed: Tensor = self.layernorm(embeds)
        return normed, torch.cat([ones, (x_hat != self.pad).long()], dim=1)


def t5_config(fields: Mapping[str, Any]) -> T5Config:
    """A T5 configuration in which decoding starts from padding, as T5's does."""
    known = {"pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0, **fields}
    return T5Config(**known)
