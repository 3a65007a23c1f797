"""Pictures of edits: labelled panels, maps over images, contact sheets, as PNG bytes."""

import io
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

GAP = 16
LABEL = 40
INK, PAPER = (125, 125, 120), (255, 255, 255, 0)
ACROSS = 1040
"""Pixels that a grid of small images is enlarged to, without smoothing: twice what a report shows it at,
so that labels stay legible on any screen."""


def png(picture: Any) -> bytes:
    """PNG bytes of a PIL image."""
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def to_pil(image: Tensor) -> Any:
    """A PIL image of (3, H, W) or (H, W) in [0, 1]."""
    from PIL import Image

    pixels = (image.detach().float().cpu().clamp(0, 1) * 255).round().to(torch.uint8)
    if pixels.ndim == 3:
        pixels = pixels.permute(1, 2, 0)
    return Image.fromarray(pixels.contiguous().numpy())


def image_png(image: Tensor) -> bytes:
    """PNG bytes of an image (3, H, W) or (H, W) in [0, 1], at its own size."""
    return png(to_pil(image))


def difference(image: Tensor, other: Tensor) -> Tensor:
    """Where and how far two images (3, H, W) differ: black is equal, white is .5 or more."""
    apart = (image - other).abs().amax(0) * 2
    return torch.stack([2 * apart, 2 * apart - 0.5, 2 * apart - 1]).clamp(0, 1)


def overlay(image: Tensor, heat: Tensor) -> Tensor:
    """A map (h, w), scaled to its maximum, over a greyed image (3, H, W)."""
    wide = F.interpolate(heat[None, None].float(), size=image.shape[-2:], mode="bilinear")[0, 0]
    share = (wide / wide.max().clamp(min=1e-12)).clamp(0, 1)
    grey = image.mean(0).expand_as(image) * 0.6 + 0.25
    warm = torch.stack([torch.ones_like(share), 0.25 + 0.5 * share, torch.zeros_like(share)])
    return grey * (1 - 0.85 * share) + warm * 0.85 * share


def grid(rows: Sequence[Sequence[Tensor]], labels: Sequence[Sequence[str]]) -> bytes:
    """PNG bytes of images (3, H, W) in rows, each with a label above it."""
    from PIL import Image, ImageDraw, ImageFont

    height, width = rows[0][0].shape[-2:]
    columns = max(map(len, rows))
    scale = max(1, ACROSS // (columns * width))
    cell = (width * scale + GAP, height * scale + LABEL + GAP)
    canvas = Image.new("RGBA", (columns * cell[0] - GAP, len(rows) * cell[1] - GAP), PAPER)
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=28)
    for y, (row, names) in enumerate(zip(rows, labels, strict=True)):
        for x, (image, name) in enumerate(zip(row, names, strict=True)):
            picture = to_pil(image).convert("RGB")
            picture = picture.resize((width * scale, height * scale), Image.Resampling.NEAREST)
            corner = (x * cell[0], y * cell[1])
            text = _fitted(draw, name, font, width * scale)
            draw.text((corner[0], corner[1] + 2), text, fill=INK, font=font)
            canvas.paste(picture, (corner[0], corner[1] + LABEL))
    return png(canvas)


def _fitted(draw: Any, text: str, font: Any, width: int) -> str:
    """A text shortened to a width in pixels."""
    if draw.textlength(text, font=font) <= width:
        return text
    while text and draw.textlength(text + "…", font=font) > width:
        text = text[:-1]
    return text + "…"
