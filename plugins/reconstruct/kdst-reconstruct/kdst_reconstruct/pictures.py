"""Pictures of held-out views: photograph, render, error map.

Where pycolmap has broken zlib, a process of its own compresses them.
"""

import io
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from kdst_core.bench.compression import zlib_is_broken

GAP = 4
LARGE = 500_000
"""Pixels of a picture above which it is compressed quickly."""
ERROR_SHOWN = 0.25
"""Mean absolute error over the channels that is drawn white."""


def picture(rgb: Tensor) -> bytes:
    """Return PNG bytes of an image (H, W, 3) in [0, 1]."""
    from PIL import Image

    return png(Image.fromarray(_bytes(rgb)))


def comparison(photograph: Tensor, rgb: Tensor) -> bytes:
    """Return PNG bytes of photograph, render and error map (H, W, 3) side by side."""
    from PIL import Image

    panels = [photograph, rgb, error_map(photograph, rgb)]
    height, width, _ = photograph.shape
    canvas = Image.new("RGBA", (3 * width + 2 * GAP, height))
    for number, panel in enumerate(panels):
        canvas.paste(Image.fromarray(_bytes(panel)), (number * (width + GAP), 0))
    return png(canvas)


def error_map(photograph: Tensor, rgb: Tensor) -> Tensor:
    """Return the mean absolute error of each pixel as a colour (H, W, 3): black, red, white."""
    error = ((photograph - rgb).abs().mean(-1) / ERROR_SHOWN).clamp(0, 1)
    return torch.stack([2 * error, 2 * error - 1, 2 * error - 1], -1).clamp(0, 1)


def stack(pictures: Sequence[bytes]) -> bytes:
    """Return PNG pictures below one another as one."""
    from PIL import Image

    opened = [Image.open(io.BytesIO(p)) for p in pictures]
    width = max(p.width for p in opened)
    height = sum(p.height + GAP for p in opened) - GAP
    canvas = Image.new("RGBA", (width, height))
    top = 0
    for picture in opened:
        canvas.paste(picture, (0, top))
        top += picture.height + GAP
    return png(canvas)


def _bytes(image: Tensor) -> Any:
    """Return an image (H, W, 3) in [0, 1] as uint8 pixels."""
    return (image.clamp(0, 1) * 255).round().to(torch.uint8).contiguous().numpy()


def png(image: Any) -> bytes:
    """Return PNG bytes of a PIL image."""
    if zlib_is_broken():
        return _png_elsewhere(image)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", compress_level=_level(image))
    return buffer.getvalue()


def _level(image: Any) -> int:
    """Return zlib's level: 9, or for large pictures 3, which takes a fifth of the time and 1 % more
    room."""
    return 9 if image.width * image.height <= LARGE else 3


def _png_elsewhere(image: Any) -> bytes:
    """Return PNG bytes of a PIL image, compressed by another Python."""
    program = (
        "import sys; from PIL import Image; mode, width, height, level = sys.argv[1:];"
        " size = int(width), int(height);"
        " Image.frombytes(mode, size, sys.stdin.buffer.read())"
        ".save(sys.stdout.buffer, 'PNG', compress_level=int(level))"
    )
    level = _level(image)
    command = [sys.executable, "-c", program, image.mode, *map(str, image.size), str(level)]
    return subprocess.run(command, input=image.tobytes(), capture_output=True, check=True).stdout
