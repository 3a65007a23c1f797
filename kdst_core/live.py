"""Names of live objects in a configuration, by which a resumed run sees that it is given others."""

import hashlib
import sys
from collections.abc import Iterator, Mapping
from typing import Any

WHOLE = 1 << 28
"""Bytes of an array up to which all are read; of a longer one evenly spaced blocks."""
BLOCKS, BLOCK = 64, 1 << 20
DEEPEST = 4
"""Tuples in tuples whose arrays are looked at."""


def describe(value: Any) -> str:
    """Return `<module.Class digest>`; without a digest where an object does not show what it holds."""
    name = f"{type(value).__module__}.{type(value).__qualname__}"
    digits = digest(value)
    return f"<{name} {digits}>" if digits else f"<{name}>"


def digest(value: Any) -> str:
    """Return 12 hexadecimal digits of what arrays, tensors, networks, and tuples of them hold.

    Empty where something in it shows no content, such as a data loader or a lazy layer.
    """
    hasher = hashlib.sha256()
    try:
        for label, data in _parts(value, DEEPEST):
            hasher.update(label.encode())
            hasher.update(data)
    except Exception:  # whatever an object raises that does not want to be read
        return ""
    return hasher.hexdigest()[:12]


def _parts(value: Any, depth: int) -> Iterator[tuple[str, Any]]:
    """Yield a label and bytes of each part; TypeError for what shows no content."""
    if hasattr(value, "state_dict") and hasattr(value, "parameters"):
        state = value.state_dict()
        if not isinstance(state, Mapping) or not state:
            raise TypeError
        for name, part in state.items():
            yield f"{name} ", b""
            yield from _parts(part, depth - 1)
    elif hasattr(value, "detach") or hasattr(value, "__array_interface__"):
        yield from _blocks(value)
    elif isinstance(value, tuple | list) and depth and value:
        yield f"{len(value)} ", b""
        for part in value:
            yield from _parts(part, depth - 1)
    elif isinstance(value, str | bytes | int | float | None):
        yield repr(value), b""
    else:
        raise TypeError


def _blocks(array: Any) -> Iterator[tuple[str, Any]]:
    """Yield shape and type of an array or a tensor, then its bytes."""
    label = f"{tuple(array.shape)} {array.dtype} "
    if hasattr(array, "detach"):
        torch: Any = sys.modules["torch"]
        if array.is_sparse or array.is_quantized or array.is_meta:
            raise TypeError
        array = array.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    yield label, b""
    if array.dtype.hasobject:
        raise TypeError
    if array.nbytes <= WHOLE:
        yield "", array.tobytes()
        return
    flat = array.reshape(-1)
    size = max(BLOCK // flat.itemsize, 1)
    for number in range(BLOCKS):
        start = (len(flat) - size) * number // (BLOCKS - 1)
        yield "", flat[start : start + size].tobytes()
