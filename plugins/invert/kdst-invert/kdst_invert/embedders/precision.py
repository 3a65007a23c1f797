"""What `auto` means for a precision: the one place where it is decided, for embedding and training."""

from typing import Any, Literal

Precision = Literal["auto", "float32", "bfloat16"]
Settled = Literal["float32", "bfloat16"]


def settled(precision: Precision, device: str, *, training: bool = False) -> Settled:
    """Return the precision that products are computed in on a device.

    `auto` is bfloat16 where it pays. training: gradients are computed as well.
    """
    if precision != "auto":
        return precision
    return "bfloat16" if bfloat16_pays(device, training=training) else "float32"


def bfloat16_pays(device: str, *, training: bool = False) -> bool:
    """Return whether a device multiplies bfloat16 faster than float32.

    A processor embeds faster by AVX-512's instructions for it, and trains faster only by AMX.
    """
    import torch

    if device.startswith("cuda"):
        return bool(torch.cuda.is_bf16_supported())
    if device != "cpu":
        return False
    if training:
        return bool(torch.cpu._is_amx_tile_supported())
    return bool(torch.cpu._is_avx512_bf16_supported())


def precision_of(embedder: Any) -> Settled | None:
    """Return the precision of an encoder that was loaded here, None of any other embedder."""
    found = getattr(embedder, "precision", None)
    return found if found in ("float32", "bfloat16") else None
