"""The weight files of a saved pipeline: which variant is read, in which precision they are."""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kdst_core.errors import KdstError

PARTS = ("unet", "transformer", "vae", "text_encoder", "text_encoder_2", "text_encoder_3")
SUFFIX = ".safetensors"


def parts_of(index: Mapping[str, Any]) -> list[str]:
    """The parts with weights that a pipeline description names."""
    named = [index.get(part) for part in PARTS]
    return [p for p, x in zip(PARTS, named, strict=True) if isinstance(x, list | tuple) and x[0]]


def variant_of(files: Iterable[str], parts: Sequence[str], name: str) -> str | None:
    """The variant to read (`fp16`) where parts have no other weights, or None.

    files: paths of the pipeline, as `unet/diffusion_pytorch_model.fp16.safetensors`. Raises KdstError
    where parts have weights of different variants only, which no pipeline is read from.
    """
    there = list(files)
    wanted: list[set[str]] = []
    for part in parts:
        stems = [
            path.removeprefix(f"{part}/").removesuffix(SUFFIX)
            for path in there
            if path.startswith(f"{part}/") and path.endswith(SUFFIX)
        ]
        found = {_variant(stem) for stem in stems}
        if found and "" not in found:
            wanted.append(found)
    common = set.intersection(*wanted) if wanted else {""}
    if not common:
        several = ", ".join(sorted(set.union(*wanted)))
        raise KdstError(f"{name} has weights of several variants ({several}); keep those of one")
    return next(iter(sorted(common, key=lambda v: (v != "fp16", v)))) or None


def _variant(stem: str) -> str:
    """`fp16` of `model.fp16`, `model.fp16-00001-of-00002` and `model-00001-of-00002.fp16`."""
    return stem.partition(".")[2].split("-")[0]


def check(folder: Path, index: Mapping[str, Any]) -> str | None:
    """The variant to read from a directory; KdstError when a part has no readable weights."""
    parts = parts_of(index)
    files = []
    for part in parts:
        here = folder / part
        if not (here / "config.json").is_file():
            raise KdstError(f"{folder} is incomplete: {part}/config.json is missing")
        names = [path.name for path in here.glob(f"*{SUFFIX}")]
        if not names:
            raise KdstError(
                f"{here} has no .safetensors weights. Other formats can run code when they are read;"
                f" convert the model first, where you trust it:\n{conversion(folder)}"
            )
        files += [f"{part}/{name}" for name in names]
    return variant_of(files, parts, str(folder))


def conversion(folder: Path) -> str:
    """The command, as a shell takes it, that writes a pipeline's weights as safetensors."""
    program = (
        "import sys, diffusers; diffusers.DiffusionPipeline.from_pretrained(sys.argv[1],"
        " use_safetensors=False).save_pretrained(sys.argv[2])"
    )
    source = folder.resolve()
    return shlex.join(["python", "-c", program, str(source), f"{source}-safetensors"])


def checkpoint_conversion(path: Path) -> str:
    """The command, as a shell takes it, that writes a checkpoint's tensors as safetensors."""
    program = (
        "import sys, torch, safetensors.torch as s; t = torch.load(sys.argv[1], weights_only=True);"
        " t = t.get('state_dict', t); s.save_file({k: v.clone().contiguous() for k, v in t.items() if"
        " torch.is_tensor(v)}, sys.argv[2])"
    )
    source = path.resolve()
    return shlex.join(["python", "-c", program, str(source), f"{source}.safetensors"])


def saved_in(folder: Path, index: Mapping[str, Any], variant: str | None) -> dict[str, Any]:
    """The precision of each part's weights, as their files have it, and float32 for all else.

    What a part's config.json says is that of another save, where a directory holds several variants.
    """
    import torch

    found = {"default": torch.float32}
    for part in parts_of(index):
        chosen = files_of(folder / part, variant) or files_of(folder / part, None)
        if chosen:
            found[part] = _precision(chosen[0])
    return found


def files_of(folder: Path, variant: str | None) -> list[Path]:
    """The files of a part's weights in a variant, in the order of their names."""
    files = sorted(folder.glob(f"*{SUFFIX}"))
    return [p for p in files if _variant(p.name.removesuffix(SUFFIX)) == (variant or "")]


def _precision(path: Path) -> Any:
    """The dtype of the first real tensor in a safetensors file; float32 unless it is a half."""
    import torch
    from safetensors import SafetensorError, safe_open

    halves = {"F16": torch.float16, "BF16": torch.bfloat16}
    try:
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118
                kind = file.get_slice(name).get_dtype()
                if kind.startswith(("F", "BF")):
                    return halves.get(kind, torch.float32)
    except (OSError, SafetensorError):
        return torch.float32
    return torch.float32
