"""Causal language models and their tokenizers: embedded, from a directory or hub id, saved."""

import shutil
from pathlib import Path
from typing import Any, cast

from kdst_core.errors import KdstError, first_line
from kdst_core.files import whole_folder
from kdst_tools.audit import require_whole
from kdst_tools.calls.begin import put_before
from kdst_tools.models import configs, gguf

Pair = tuple[Any, Any]
"""A model of transformers, in evaluation mode, and its fast tokenizer."""


def load(name: str, device: str, stage: str = "warm", as_saved: bool = False) -> Pair:
    """Return a model by directory or hub id, or the embedded one at a stage; KdstError if it fails.

    as_saved: in the precision of its file, not in that of the device.
    """
    if name == "tiny":
        from kdst_tools import default

        pair: Pair = default.load(cast(Any, stage))
        model, tokenizer = pair
        put_before(tokenizer, tokenizer.bos_token_id)
        return model.to(device), tokenizer
    return _pretrained(name, device, as_saved)


def _pretrained(name: str, device: str, as_saved: bool) -> Pair:
    """Load from a directory or the hub, weights from safetensors or GGUF, in 32 bits on a CPU."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    given = name
    if file := gguf.wanted(name):
        name = str(gguf.converted(file))
    if Path(name).exists() and not (Path(name) / "config.json").is_file():
        raise KdstError(f"--model {name} holds no model: config.json is missing")
    if _is_path(name) and not Path(name).exists():
        raise KdstError(f"--model {given}: there is no such folder")
    dtype: Any = torch.float32 if device == "cpu" else torch.bfloat16
    dtype = "auto" if as_saved else dtype
    try:
        tokenizer = AutoTokenizer.from_pretrained(name)
        found: Any = AutoModelForCausalLM.from_pretrained(
            name, dtype=dtype, use_safetensors=True, output_loading_info=True
        )
    except Exception as e:
        reason = first_line(e)
        raise KdstError(
            f"--model {given} cannot be loaded: {reason[:160]}\nGive tiny, smollm2, a directory that a"
            " causal language model and its tokenizer were saved in, a .gguf file, or a hub id"
            " (owner/name)"
        ) from e
    model, loading = found
    require_whole(loading, f"--model {given}")
    return check(model.to(device).eval(), tokenizer, given)


def _is_path(name: str) -> bool:
    """Whether a name cannot be that of a model on a hub (owner/name)."""
    return Path(name).is_absolute() or name.startswith((".", "~")) or name.count("/") > 1


def check(model: Any, tokenizer: Any, name: str) -> Pair:
    """Raise KdstError for a tokenizer that does not belong to the model."""
    size = configs.vocabulary(model)
    if len(tokenizer) > size:
        raise KdstError(
            f"--model {name}: the tokenizer has {len(tokenizer)} tokens, the model {size}; they do"
            " not belong together"
        )
    return model, tokenizer


def save(model: Any, tokenizer: Any, directory: Path) -> None:
    """Save both into a directory that is there whole or not at all."""
    with whole_folder(directory) as unfinished:
        model.save_pretrained(unfinished)
        tokenizer.save_pretrained(unfinished)


def copy(directory: Path, target: Path) -> None:
    """Copy a saved model to a directory that is there whole or not at all."""
    with whole_folder(target) as unfinished:
        shutil.copytree(directory, unfinished, dirs_exist_ok=True)
