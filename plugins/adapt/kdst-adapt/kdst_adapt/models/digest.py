"""A digest of a classifier, by which a run names it."""

import hashlib
from typing import Any

from torch import Tensor, nn


def model_digest(model: nn.Module) -> str:
    """Return a digest of a model's parameters and buffers, by which a run names its model."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(_bytes(tensor))
    return digest.hexdigest()[:16]


def _bytes(value: Any) -> bytes:
    """Return the bytes of a tensor; of what quantised layers keep in its place, tuples of tensors."""
    if isinstance(value, Tensor):
        plain = value.detach().cpu()
        plain = plain.dequantize() if plain.is_quantized else plain
        return plain.contiguous().float().numpy().tobytes()
    if isinstance(value, tuple | list):
        return b"".join(map(_bytes, value))
    return repr(value).encode()
