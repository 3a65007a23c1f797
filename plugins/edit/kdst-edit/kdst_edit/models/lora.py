"""LoRA weights, added to those of a pipeline: W + weight · (alpha / rank) · up · down.

Hu et al., LoRA: Low-Rank Adaptation of Large Language Models (ICLR 2022). Files of diffusers, of peft
and of the trainers that name layers `lora_unet_…` are read by diffusers' own converter.
"""

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from attrs import frozen
from torch import Tensor

from kdst_core.bench.libraries import silence_libraries
from kdst_core.errors import KdstError, first_line

PAIRS = (
    (".lora_A.weight", ".lora_B.weight"),
    (".lora.down.weight", ".lora.up.weight"),
    (".lora_linear_layer.down.weight", ".lora_linear_layer.up.weight"),
)
PROCESSOR = re.compile(r"\.processor\.to_(q|k|v|out)_lora\.")
TEXT = re.compile(r"\.self_attn\.to_(q|k|v|out)_lora\.")
OTHER = re.compile(r"dora_scale|magnitude_vector|hada_|lokr_|lora_mid|oft_|\.diff(_b)?$|glora")
PARTS = ("unet", "text_encoder", "text_encoder_2")


@frozen
class Lora:
    """A file of LoRA weights and how strongly it is added."""

    path: Path
    weight: float = 1.0

    @classmethod
    def parse(cls, text: str) -> "Lora":
        """Read `DIR_OR_FILE` or `DIR_OR_FILE=WEIGHT`; KdstError for what is neither."""
        name, given, value = text.rpartition("=")
        try:
            weight = float(value) if given and not Path(text).exists() else 1.0
        except ValueError:
            weight = math.nan
        if not math.isfinite(weight):
            raise KdstError(f"--lora {text}: {value!r} is no weight, as in FILE=0.8")
        found = cls(Path(name if given and not Path(text).exists() else text).expanduser(), weight)
        return cls(found._file(), weight)

    def _file(self) -> Path:
        """The file itself, also where its directory was given."""
        path = self.path
        if path.is_dir():
            files = sorted(path.glob("*.safetensors"))
            if len(files) != 1:
                raise KdstError(
                    f"--lora {path} holds {len(files) or 'no'} .safetensors files; name the file"
                )
            return files[0]
        if path.suffix != ".safetensors" or not path.is_file():
            raise KdstError(f"--lora {path}: give a .safetensors file, or a directory with one")
        return path


@torch.no_grad()
def add(pipeline: Any, lora: Lora) -> None:
    """Add a LoRA to the weights of UNet and text encoders, in place.

    Raises KdstError, before anything is changed, for a file of another kind or of another model.
    """
    changes = list(_changes(pipeline, lora))
    for weight, change in changes:
        weight.copy_((weight.double() + change).to(weight.dtype))


def _changes(pipeline: Any, lora: Lora) -> Iterator[tuple[Tensor, Tensor]]:
    """Each weight that is changed, with what is added to it in float64."""
    weights, alphas = _read(pipeline, lora.path)
    left = dict(weights)
    for key in weights:
        for down_end, up_end in PAIRS:
            if not key.endswith(down_end):
                continue
            name = key.removesuffix(down_end)
            down, up = left.pop(key), left.pop(name + up_end, None)
            target = _weight(pipeline, name)
            if up is None or target is None or not _fits(target, down, up):
                raise KdstError(
                    f"--lora {lora.path} does not fit this model: it has no such layer as {name}"
                )
            scale = lora.weight * alphas.get(name, len(down)) / len(down)
            change = scale * up.double().flatten(1) @ down.double().flatten(1)
            yield target, change.view_as(target).to(target.device)
    left = {key: value for key, value in left.items() if not key.endswith(".alpha")}
    if left or not weights:
        what = f"entries such as {next(iter(left))}" if left else "no weights"
        raise KdstError(f"--lora {lora.path} holds {what}, which is no LoRA that can be added")


def _fits(weight: Tensor, down: Tensor, up: Tensor) -> bool:
    """Whether up · down has the shape of a layer's weight."""
    shaped = min(weight.ndim, down.ndim, up.ndim) > 1
    return shaped and (len(up), down[0].numel(), up[0].numel()) == (
        len(weight),
        weight[0].numel(),
        len(down),
    )


def _check_kind(path: Path) -> None:
    """Raise KdstError for entries of other kinds, some of which the converter drops without a word."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            keys = list(file.keys())
    except (OSError, SafetensorError) as e:
        raise KdstError(f"--lora {path} cannot be read: {str(e)[:120]}") from e
    other = next((key for key in keys if OTHER.search(key)), None)
    if other is not None:
        raise KdstError(
            f"--lora {path} holds {other}, which is no LoRA that can be added: it is of another kind"
            " (DoRA, LoHa, LoKr, LoCon with a middle weight and the like)"
        )


def _read(pipeline: Any, path: Path) -> tuple[Mapping[str, Tensor], Mapping[str, float]]:
    """The weights by diffusers' names of layers, and each layer's alpha where it is given."""
    _check_kind(path)
    with silence_libraries("diffusers"):
        from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline

        double = getattr(pipeline, "text_encoder_2", None) is not None
        cls: Any = StableDiffusionXLPipeline if double else StableDiffusionPipeline
        given: dict[str, Any] = {"use_safetensors": True, "local_files_only": True}
        given |= {"weight_name": path.name, "unet_config": pipeline.unet.config}
        try:
            weights, found, metadata = cls.lora_state_dict(
                str(path.parent), return_lora_metadata=True, **given
            )
        except Exception as e:  # the converter raises what it stumbles on
            reason = first_line(e)
            raise KdstError(f"--lora {path} cannot be read: {reason[:160]}") from e
    weights = {_usual(key): value for key, value in weights.items()}
    alphas = {_layer(_usual(key)): float(alpha) for key, alpha in (found or {}).items()}
    return weights, alphas | _recorded(weights, metadata or {}, path)


def _usual(key: str) -> str:
    """A key as newer files have it, where older ones and the converter name an attention's processor."""
    key = TEXT.sub(lambda m: f".self_attn.{m[1]}_proj.lora.", key)
    return PROCESSOR.sub(lambda m: f".to_{m[1]}{'.0' if m[1] == 'out' else ''}.lora.", key)


def _recorded(
    weights: Mapping[str, Tensor], metadata: Mapping[str, Any], path: Path
) -> dict[str, float]:
    """The alphas that peft records beside the weights."""
    alphas: dict[str, float] = {}
    for part in PARTS:
        if metadata.get(f"{part}.use_rslora") or metadata.get(f"{part}.use_dora"):
            raise KdstError(f"--lora {path} is of a kind (rsLoRA or DoRA) that cannot be added")
        usual = metadata.get(f"{part}.lora_alpha")
        if usual is None:
            continue
        patterns = metadata.get(f"{part}.alpha_pattern") or {}
        for key in weights:
            if key.startswith(f"{part}.") and key.endswith(PAIRS[0][0]):
                name = key.removesuffix(PAIRS[0][0])
                own = [a for p, a in patterns.items() if name.endswith(f".{p}")]
                alphas[name] = float(own[0] if own else usual)
    return alphas


def _layer(key: str) -> str:
    """The layer that an alpha belongs to."""
    return key.removesuffix(".alpha").partition(".lora")[0]


def _weight(pipeline: Any, name: str) -> Tensor | None:
    """The weight of a layer, as in `unet.mid_block.attentions.0.proj_in`; None where there is none."""
    part, _, path = name.partition(".")
    module: Any = getattr(pipeline, part, None) if part in PARTS else None
    if module is None:
        return None
    for inner in (path, path.removeprefix("text_model."), f"text_model.{path}"):
        try:
            found: Tensor = module.get_submodule(inner).weight
        except AttributeError:
            continue
        return found
    return None
