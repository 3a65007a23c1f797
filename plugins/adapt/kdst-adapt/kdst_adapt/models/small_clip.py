"""A small random CLIP-like model, for the checks of methods that read prompts."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdst_adapt.models.clip import TEMPLATE, Clip, mean_features
from kdst_adapt.models.text import TextTower

NAMES = ("ant", "brown_bear", "cat", "dog", "eel")
LETTERS, WIDTH, LONGEST, START, END = 128, 12, 64, 1, 2


def small_clip() -> Clip:
    """Return a model of five classes for images (B, 3, 8, 8), weights from a fixed seed."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = SimpleNamespace(
            vision_model=_Vision(),
            visual_projection=nn.Linear(WIDTH, WIDTH, bias=False),
            text_model=_Text(),
            text_projection=nn.Linear(WIDTH, WIDTH, bias=False),
            logit_scale=torch.tensor(3.0),
            config=SimpleNamespace(
                vision_config=SimpleNamespace(image_size=8),
                text_config=SimpleNamespace(max_position_embeddings=LONGEST),
            ),
        )
    text = TextTower(net, _letters, NAMES)
    half = (0.5,) * 3
    return Clip(net, mean_features(text, [TEMPLATE]), NAMES, half, half, text).eval()


def _letters(prompts: Sequence[str], **_: Any) -> dict[str, Tensor]:
    """Return a token a letter, between start and end of text, padded to the longest."""
    rows = [[START, *(ord(c) % LETTERS for c in p if c != " "), END] for p in prompts]
    longest = max(map(len, rows))
    ids = [[*row, *[0] * (longest - len(row))] for row in rows]
    mask = [[1] * len(row) + [0] * (longest - len(row)) for row in rows]
    return {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}


class _Vision(nn.Module):
    """An image tower of two layers, with normalisation layers to adapt."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, WIDTH, 3, padding=1), nn.BatchNorm2d(WIDTH)
        self.last = nn.Linear(WIDTH, WIDTH)

    def forward(self, pixel_values: Tensor) -> Any:
        """Return the pooled features (B, WIDTH) of images (B, 3, 8, 8)."""
        x = F.gelu(self.norm(self.first(pixel_values)))
        return SimpleNamespace(pooler_output=self.last(x.mean((2, 3))))


class _Text(nn.Module):
    """A causal text tower of one layer: a token sees the mean of those before it."""

    def __init__(self) -> None:
        super().__init__()
        self.embeddings = nn.ModuleDict({"token_embedding": nn.Embedding(LETTERS, WIDTH)})
        self.places, self.mix = nn.Embedding(LONGEST, WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
        """Return the features (n, WIDTH) of the last tokens of prompts (n, T)."""
        count = torch.arange(1, input_ids.shape[1] + 1, device=input_ids.device)
        x = self.embeddings["token_embedding"](input_ids) + self.places(count - 1)
        x = torch.tanh(self.mix(x.cumsum(1) / count.sqrt()[:, None].to(x.dtype)))
        rows = torch.arange(len(x), device=x.device)
        return SimpleNamespace(pooler_output=x[rows, attention_mask.sum(1) - 1])
