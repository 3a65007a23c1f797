"""Load a text-to-image pipeline: the embedded one, a diffusers directory, or a model of the hub."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kdst_core.bench.libraries import silence_libraries
from kdst_core.errors import KdstError, first_line
from kdst_edit.default import FOLDERS, weights_dir
from kdst_edit.families.family import Family
from kdst_edit.families.registry import SUPPORTED
from kdst_edit.families.registry import named as family_named
from kdst_edit.models import hub, parts, single, weights
from kdst_edit.models.suited import check_parts

LIBRARIES = frozenset({"diffusers", "transformers", "stable_diffusion", "stable_diffusion_xl"})


def load(name: str, device: str = "cpu", config: Path | None = None) -> Any:
    """Return a pipeline in evaluation mode, on `device`, without a safety checker.

    All parts keep the precision that they were saved in; `precision.computing_in` casts them.

    name: `tiny`, a directory that a diffusers pipeline was saved in, a single-file checkpoint, or a hub
    id such as `owner/model` or `owner/model@revision`. config: of a checkpoint. Weights are read from
    safetensors files only, and no code that comes with a model is run. Raises KdstError for a model
    that cannot be edited.
    """
    file = Path(name).expanduser()
    if file.is_file():
        pipeline = _from_file(file, config)
    else:
        folder = _folder(name) or hub.fetched(name, check_index)
        index = _index(folder)
        check_index(index, name)
        pipeline = _read(index, folder, weights.check(folder, index), name)
    check_parts(pipeline, name)
    for part in (getattr(pipeline, part, None) for part in weights.PARTS):
        if part is not None:
            part.eval().requires_grad_(False)
    return _moved(pipeline, device)


def _folder(name: str) -> Path | None:
    """The directory that `name` means, or None when it can only be a hub id."""
    if name in FOLDERS:
        return weights_dir(name)
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise KdstError(
            f"no model {name!r}: give 'tiny', 'tiny-flow', a directory with a diffusers pipeline, or a hub id"
            " such as owner/model"
        )
    return None


def _from_file(path: Path, config: Path | None) -> Any:
    """The pipeline of a single-file checkpoint."""
    if path.suffix != ".safetensors":
        raise KdstError(
            f"model {path} is a file that is not .safetensors. Give the directory of a diffusers"
            " pipeline (the one that holds model_index.json); other checkpoints can run code when they"
            f" are read; convert one first, where you trust it:\n{weights.checkpoint_conversion(path)}"
        )
    folder = single.configuration(path, config)
    index = _index(folder)
    check_index(index, str(folder))
    if family_in(index).part != "unet":
        raise KdstError(
            f"the checkpoint {path} is of a transformer; give the directory of its diffusers pipeline (the"
            " one that holds model_index.json)"
        )
    return single.load(path, folder, "text_encoder_2" in weights.parts_of(index))


def _index(folder: Path) -> Mapping[str, Any]:
    """The parsed model_index.json of a directory; KdstError when it is not a saved pipeline."""
    path = folder / "model_index.json"
    if not path.is_file():
        if (folder / "config.json").is_file():
            raise KdstError(
                f"{folder} holds one part of a pipeline; give the directory above it, the one with"
                " model_index.json"
            )
        raise KdstError(f"{folder} is not a diffusers pipeline: it has no model_index.json")
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        raise KdstError(f"{path} cannot be read: {first_line(e)}") from e
    if not isinstance(index, dict):
        raise KdstError(f"{path} does not describe a pipeline")
    return index


def check_index(index: Mapping[str, Any], name: str) -> None:
    """Raise KdstError unless a model_index.json describes a pipeline that can be edited."""
    named = {k: v for k, v in index.items() if isinstance(v, list) and len(v) == 2 and v[0]}
    part = next((p for p in ("unet", "transformer") if p in named), None)
    if part is None:
        raise KdstError(f"model {name} has no UNet (model_index.json names none); {SUPPORTED}")
    foreign = sorted({str(library) for library, _ in named.values()} - LIBRARIES)
    if foreign:
        raise KdstError(
            f"model {name} has parts of its own code ({', '.join(foreign)}), which is not run"
        )
    family = family_named(str(named[part][1]))
    if family is None or family.part != part:
        raise KdstError(
            f"model {name} has a {named[part][1]}, whose attention cannot be controlled here; {SUPPORTED}"
        )
    needed = [
        f"{p}{n}" for n in ("", "_2")[: family.encoders] for p in ("text_encoder", "tokenizer")
    ]
    missing = [p for p in ("vae", *needed, "scheduler") if p not in named]
    if missing:
        raise KdstError(f"model {name} has no {missing[0]}; {SUPPORTED}")
    parts.check_others(index, name)


def family_in(index: Mapping[str, Any]) -> Family:
    """Return the family of a pipeline description that `check_index` has let pass."""
    for part in ("unet", "transformer"):
        found = index.get(part)
        if isinstance(found, list) and (family := family_named(str(found[1]))) is not None:
            return family
    raise KdstError(f"model_index.json names no network that can be edited; {SUPPORTED}")


def _read(index: Mapping[str, Any], folder: Path, variant: str | None, name: str) -> Any:
    """Load the weights with the pipeline class that the parts ask for."""
    with silence_libraries("diffusers"):
        import diffusers

        kind, extra = _pipeline_class(index)
        cls: Any = getattr(diffusers, kind)
        try:
            return cls.from_pretrained(str(folder), **parts.read(folder, index, variant), **extra)
        except KdstError:
            raise
        except Exception as e:
            reason = first_line(e)
            raise KdstError(f"model {name} cannot be loaded: {reason[:200]}") from e


def _pipeline_class(index: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The class that samples the parts, and what it is to do without."""
    family = family_in(index)
    usual = family.pipelines[0]
    if family.part == "unet":
        double = isinstance(index.get("text_encoder_2"), list)
        extra: dict[str, Any] = {"feature_extractor": None, "image_encoder": None}
        extra |= {} if double else {"safety_checker": None, "requires_safety_checker": False}
        return family.pipelines[1] if double else usual, extra
    kind = str(index.get("_class_name"))
    left = [k for k, v in index.items() if isinstance(v, list) and not any(v)]
    without = [k for k in (*left, "feature_extractor", "image_encoder") if k in index]
    return kind if kind in family.pipelines else usual, dict.fromkeys(without)


def _moved(pipeline: Any, device: str) -> Any:
    """The pipeline on `device`; KdstError when the device does not exist."""
    try:
        return pipeline.to(device)
    except (RuntimeError, AssertionError) as e:
        raise KdstError(f"device {device} cannot be used: {first_line(e)[:120]}") from e
