"""Read the parts of a saved pipeline so that every weight has the value that its files give it."""

import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kdst_core.errors import KdstError
from kdst_edit import weights

VOCABULARIES = (
    ("tokenizer.json",),
    ("vocab.json", "merges.txt"),
    ("vocab.txt",),
    ("spiece.model",),
)
"""The files that hold a tokenizer's vocabulary, any of these sets."""
TOKENIZERS = ("tokenizer", "tokenizer_2")
NAMED = frozenset({*weights.PARTS, *TOKENIZERS, "scheduler"})
UNUSED = frozenset({"safety_checker", "feature_extractor", "image_encoder"})
"""Parts that sampling without images does not read."""


def read(folder: Path, index: Mapping[str, Any], variant: str | None) -> dict[str, Any]:
    """UNet, autoencoder and text encoders of a directory, by name.

    Libraries draw weights at random that a file does not have, and give a tokenizer without files an
    empty vocabulary; both is a KdstError here.
    """
    for name in TOKENIZERS:
        _check_tokenizer(folder, name, index)
    kinds = weights.saved_in(folder, index, variant)
    found = {}
    for part in weights.parts_of(index):
        dtype = kinds.get(part, kinds["default"])
        found[part], missing = _part(folder, part, index[part], variant, dtype)
        if missing:
            raise KdstError(
                f"{folder / part} lacks weights that its config.json asks for ({missing[0]}"
                f", {len(missing)} in all); it is of another model, or incomplete"
            )
    return found


def _check_tokenizer(folder: Path, name: str, index: Mapping[str, Any]) -> None:
    """Raise KdstError for a tokenizer without a vocabulary."""
    named = index.get(name)
    if not isinstance(named, list) or not named[0]:
        return
    here = folder / name
    if not any(all((here / file).is_file() for file in files) for files in VOCABULARIES):
        raise KdstError(
            f"{folder} is incomplete: {name}/ holds no vocabulary (tokenizer.json, or vocab.json and"
            " merges.txt)"
        )


def _part(
    folder: Path, part: str, named: Sequence[Any], variant: str | None, dtype: Any
) -> tuple[Any, list[str]]:
    """One part and the names of its weights that no file holds."""
    library, name = named
    cls = getattr(importlib.import_module(str(library)), str(name), None)
    if not hasattr(cls, "from_pretrained") or library not in ("diffusers", "transformers"):
        raise KdstError(f"{folder}: {part} is a {name}, which {library} does not have")
    made: Any = cls
    given: dict[str, Any] = {"use_safetensors": True, "torch_dtype": dtype}
    given["variant"] = variant if weights.files_of(folder / part, variant) else None
    if library == "diffusers":
        given["low_cpu_mem_usage"] = importlib.util.find_spec("accelerate") is not None
    else:
        given["dtype"] = given.pop("torch_dtype")
    found, info = made.from_pretrained(folder / part, output_loading_info=True, **given)
    missing = [str(key) for key in info["missing_keys"]]
    return found, sorted(key for key in missing if not key.endswith("position_ids"))


def check_others(index: Mapping[str, Any], name: str) -> None:
    """Raise KdstError for parts that would steer the model's own pipeline and that edits do not use."""
    parts = [k for k, v in index.items() if isinstance(v, list) and len(v) == 2 and v[0]]
    others = [k for k in parts if k not in NAMED | UNUSED and not k.startswith("_")]
    if others:
        raise KdstError(
            f"model {name} is sampled with a {others[0]} besides (model_index.json), which edits do"
            " not use. Give the plain text-to-image pipeline of the same parts"
        )
