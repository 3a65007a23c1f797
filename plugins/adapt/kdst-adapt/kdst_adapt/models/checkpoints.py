"""Weights from checkpoints as training scripts save them: wrappers, prefixes, what does not fit."""

import argparse
import re
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from attrs import frozen
from torch import Tensor, nn

from kdst_core.errors import KdstError, first_line

WRAPPERS = (
    *("state_dict", "model_state_dict", "model_state", "model", "net", "network", "state"),
    *("params", "weights", "module", "checkpoint", "model_ema", "state_dict_ema", "ema"),
)
"""Keys under which training scripts save a state dict, in the order in which they are looked for."""
COUNTERS = ("n_averaged",)
"""Tensors beside the wrapped module's in checkpoints of averaged weights."""
CONTROL = re.compile(r"\x1b\[[0-9;]*[A-Za-z]|[\x00-\x1f\x7f]")
"""Colours and other control codes in torch's messages."""
UNKNOWN = re.compile(r"GLOBAL (\S+)")
"""How torch names a class that reading a file would need."""
HARMLESS: list[Any] = [
    *(argparse.Namespace, np.dtype, np.float64(0).__reduce__()[0]),
    *(type(np.dtype(kind)) for kind in ("f8", "f4", "i8", "i4", "?")),
]
"""Classes that training scripts save beside weights: options, and numbers of NumPy."""


@frozen
class Checkpoint:
    """A state dict without wrappers and `module.` prefixes, and the keys of networks beside it."""

    state: dict[str, Tensor]
    others: tuple[str, ...] = ()


def read(path: Path) -> Checkpoint:
    """Return the state dict of a file; KdstError where it holds none.

    Reads safetensors, or what torch.load(weights_only=True) accepts, which runs no code.
    """
    try:
        if path.suffix == ".safetensors" or _is_safetensors(path):
            from safetensors.torch import load_file

            content: Any = load_file(path)
        else:
            with torch.serialization.safe_globals(HARMLESS):
                content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise KdstError(f"--weights {path} does not exist") from None
    except Exception as e:
        raise KdstError(
            f"--weights {path} cannot be read as safetensors or a plain state dict ({reason(e)})"
        ) from e
    content, others = _unwrapped(content)
    if not isinstance(content, Mapping):
        raise KdstError(f"--weights {path} holds {type(content).__name__}, not a state dict")
    state = {str(k): v for k, v in content.items() if isinstance(v, Tensor)}
    if not state:
        held = ", ".join(map(str, [*content][:5])) or "nothing"
        raise KdstError(f"--weights {path} holds no tensors; it holds: {held}")
    return Checkpoint(_without_wrappers(state), tuple(others))


def _is_safetensors(path: Path) -> bool:
    """Return whether a file begins as safetensors do, with the length of a header in JSON."""
    with path.open("rb") as file:
        return file.read(9)[8:] == b"{"


def reason(error: Exception) -> str:
    """Return the first sentence of an error's message, without control codes, in whole words."""
    needed = UNKNOWN.search(CONTROL.sub(" ", str(error)))
    if needed:
        return f"it holds an object of {needed[1]}, whose code is not run; save model.state_dict()"
    first = first_line(error)
    text = CONTROL.sub("", first).partition(". ")[0].strip() or type(error).__name__
    return textwrap.shorten(text, 160, placeholder=" …")


def _unwrapped(content: Any) -> tuple[Any, list[str]]:
    """Return the state dict inside of what training scripts save around it, and the keys of others."""
    others: list[str] = []
    for _ in range(3):
        inner = [
            w
            for w in WRAPPERS
            if isinstance(content, Mapping) and isinstance(content.get(w), Mapping)
        ]
        if not inner:
            break
        others += [f"{w} beside {inner[0]}" for w in inner[1:]]
        content = content[inner[0]]
    return content, others


def _without_wrappers(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict without the prefixes of DataParallel and torch.compile, wherever they stand."""
    for _ in range(3):
        state = {k.replace("_orig_mod.", ""): v for k, v in state.items()}
        if all(k.startswith("module.") for k in state if k not in COUNTERS):
            state = {k.removeprefix("module."): v for k, v in state.items() if k not in COUNTERS}
    return state


def _fitted(state: dict[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict under the model's names, where all of its names have one more prefix or one less.

    Of Lightning's `model.` and the like only a prefix that all tensors have is taken off, or put on, or
    the one under which all of the model's tensors lie, beside those of a loss.
    """
    if state.keys() & own.keys():
        return state
    heads = {k.partition(".")[0] for k in state}
    wanted = {k for k in own if not k.endswith("num_batches_tracked")}
    parts = [{k[len(h) + 1 :]: v for k, v in state.items() if k.startswith(f"{h}.")} for h in heads]
    whole = [part for part in parts if wanted <= part.keys()]
    if len(whole) == 1:
        return whole[0]
    if len(heads) == 1:
        shorter = {k.partition(".")[2]: v for k, v in state.items()}
        return _fitted(shorter, own) if all(shorter) else state
    heads = {k.partition(".")[0] for k in own}
    longer = {f"{min(heads)}.{k}": v for k, v in state.items()} if len(heads) == 1 else {}
    return longer if longer.keys() & own.keys() else state


def _tied(own: Mapping[str, Tensor], known: Mapping[str, Tensor]) -> set[str]:
    """Return names of a model's tensors that are the same memory as one in a state dict."""
    places = {(own[k].data_ptr(), own[k].shape) for k in own if k in known and own[k].numel()}
    return {k for k, v in own.items() if k not in known and (v.data_ptr(), v.shape) in places}


def load_into(model: nn.Module, state: dict[str, Tensor], path: Path) -> nn.Module:
    """Load a state dict; KdstError that names the first keys and shapes that do not match."""
    own = model.state_dict()
    state = _fitted(state, own)
    optional = {k for k in own if k.endswith("num_batches_tracked")} | _tied(own, state)
    missing = sorted(own.keys() - state.keys() - optional)
    unexpected = sorted(state.keys() - own.keys())
    shapes = [
        f"{k} is {tuple(state[k].shape)}, the model has {tuple(own[k].shape)}"
        for k in own
        if k in state and state[k].shape != own[k].shape
    ]
    shapes += [
        f"{k} is {_kind(state[k])}, the model has {_kind(own[k])}"
        for k in own
        if k in state and own[k].is_floating_point() and not state[k].is_floating_point()
    ]
    if missing or unexpected or shapes:
        raise KdstError(mismatch(path, missing, unexpected, shapes))
    model.load_state_dict(state, strict=False)
    return model


def _kind(tensor: Tensor) -> str:
    """Return the type of a tensor's values in a word."""
    return str(tensor.dtype).removeprefix("torch.")


def mismatch(path: Path, missing: list[str], unexpected: list[str], shapes: list[str]) -> str:
    """Return the message for weights of another network."""
    parts = [
        f"{label}: {', '.join(names[:3])}{f' and {len(names) - 3} more' if len(names) > 3 else ''}"
        for label, names in (("missing", missing), ("unexpected", unexpected), ("shape", shapes))
        if names
    ]
    return f"--weights {path} does not fit the model; {'; '.join(parts)}"
