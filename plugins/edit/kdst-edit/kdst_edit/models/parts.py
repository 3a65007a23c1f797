"""Read the parts of a saved pipeline so that every weight has the value that its files give it."""

import importlib
import importlib.util
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kdst_core.errors import KdstError, first_line
from kdst_edit.models import weights

VOCABULARIES = (
    ("tokenizer.json",),
    ("vocab.json", "merges.txt"),
    ("vocab.txt",),
    ("spiece.model",),
)
"""The files that hold a tokenizer's vocabulary, any of these sets."""
TOKENIZERS = ("tokenizer", "tokenizer_2", "tokenizer_3")
NAMED = frozenset({*weights.PARTS, *TOKENIZERS, "scheduler"})
UNUSED = frozenset({"safety_checker", "feature_extractor", "image_encoder"})
"""Parts that sampling without images does not read."""


def read(folder: Path, index: Mapping[str, Any], variant: str | None) -> dict[str, Any]:
    """Network, autoencoder and text encoders of a directory, by name.

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
    given: dict[str, Any] = {"torch_dtype" if library == "diffusers" else "dtype": dtype}
    given["variant"] = variant if weights.files_of(folder / part, variant) else None
    return _from(cls, folder / part, **given)


def _from(cls: Any, folder: Path, **given: Any) -> tuple[Any, list[str]]:
    """A network of a directory and the names of its weights that no file holds."""
    if cls.__module__.startswith("diffusers"):
        given["low_cpu_mem_usage"] = importlib.util.find_spec("accelerate") is not None
    found, info = cls.from_pretrained(
        folder, use_safetensors=True, output_loading_info=True, **given
    )
    missing = [str(key) for key in info["missing_keys"]]
    return found, sorted(key for key in missing if not key.endswith("position_ids"))


def autoencoder(folder: Path) -> Any:
    """The autoencoder of a directory, or of its folder `vae`; KdstError for what cannot be used."""
    from diffusers import AutoencoderKL

    here = folder / "vae" if (folder / "vae").is_dir() else folder
    names = [path.name for path in here.glob(f"*{weights.SUFFIX}")]
    if not (here / "config.json").is_file() or not names:
        raise KdstError(
            f"--vae {folder} holds no autoencoder (config.json and .safetensors weights)"
        )
    variant = weights.variant_of([f"vae/{name}" for name in names], ["vae"], f"--vae {folder}")
    try:
        kind = json.loads((here / "config.json").read_text(encoding="utf-8"))["_class_name"]
        found, missing = _from(AutoencoderKL, here, variant=variant)
    except Exception as e:  # diffusers raises what it stumbles on
        raise KdstError(f"--vae {folder} cannot be loaded: {first_line(e)[:160]}") from e
    if kind != "AutoencoderKL":
        raise KdstError(f"--vae {folder} is a {kind}; an AutoencoderKL can be used")
    if missing:
        raise KdstError(
            f"--vae {folder} lacks weights that its config.json asks for ({missing[0]},"
            f" {len(missing)} in all)"
        )
    return found


def check_others(index: Mapping[str, Any], name: str) -> None:
    """Raise KdstError for parts that would steer the model's own pipeline and that edits do not use."""
    parts = [k for k, v in index.items() if isinstance(v, list) and len(v) == 2 and v[0]]
    others = [k for k in parts if k not in NAMED | UNUSED and not k.startswith("_")]
    if others:
        raise KdstError(
            f"model {name} is sampled with a {others[0]} besides (model_index.json), which edits do"
            " not use. Give the plain text-to-image pipeline of the same parts"
        )
