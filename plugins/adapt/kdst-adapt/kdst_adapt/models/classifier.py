"""Which classifier a run adapts: embedded, built-in, from the user's factory, or a live module."""

import copy
import importlib
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from kdst_adapt.inputs import AdaptInputs
from kdst_adapt.models import checkpoints, clip, outputs, packaged, pretrained
from kdst_adapt.models.checkpoints import load_into, mismatch, reason
from kdst_adapt.models.imagenet_resnet import LAYERS, ImageNetResNet
from kdst_adapt.models.norms import single_precision
from kdst_adapt.models.resnet import DEPTHS, Normalized, ResNet
from kdst_core.errors import KdstError, did_you_mean

WIDE = re.compile(r"wrn-(\d+)-(\d+)")
PROBABLE = 1e-3
"""Rows of outputs from 0 on that sum to 1 up to this are probabilities."""
IMAGENET_MEAN, IMAGENET_STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def load(inputs: AdaptInputs, live: Any = None, folders: Sequence[str] = ()) -> nn.Module:
    """Return the classifier that the options name, images in [0, 1] to logits, with its weights.

    folders: names of class folders of the data, by which a CLIP-like model may call its classes. A model
    of half precision becomes one of float32, and has an attribute `was_half` that is true.
    """
    _check_prompts(inputs, live)
    model = _load(inputs, live, folders)
    if any(map(is_lazy, (*model.parameters(), *model.buffers()))):
        raise KdstError(
            f"the model ({type(model).__name__}) has lazy layers without weights.\n"
            "Load its weights, or call it on a batch of images once"
        )
    if any(t.is_meta for t in (*model.parameters(), *model.buffers())):
        raise KdstError(
            f"the model ({type(model).__name__}) lies on the device meta, so that its weights have no"
            " values.\nMake it on a real device and load its weights"
        )
    if single_precision(model):
        model.was_half = True  # type: ignore[assignment]
    return model


def _check_prompts(inputs: AdaptInputs, live: Any) -> None:
    """Raise KdstError for options of a CLIP-like model without one, and for weights beside its own."""
    is_clip = live is None and inputs.model.startswith("clip:")
    wanted = [
        flag
        for flag, value in (
            ("--class-names", inputs.class_names),
            ("--templates", inputs.templates),
        )
        if value is not None
    ]
    if wanted and not is_clip:
        raise KdstError(f"{wanted[0]} is for --model clip:DIR, whose classes are prompts")
    if is_clip and inputs.weights is not None:
        raise KdstError("--weights is not for --model clip:DIR, which brings its own")


def _load(inputs: AdaptInputs, live: Any, folders: Sequence[str]) -> nn.Module:
    """Return the classifier as it comes."""
    mean, std = _normalisation(inputs)
    if live is not None:
        if not isinstance(live, nn.Module):
            raise KdstError(f"model must be a name or an nn.Module, not {type(live).__name__}")
        return _normalised(_with_weights(_copied(live), inputs.weights), mean, std)
    if inputs.model == "embedded":
        return _embedded(inputs)
    if inputs.model in (*DEPTHS, *LAYERS) or WIDE.fullmatch(inputs.model):
        net, own_mean, own_std = _built_in(inputs)
        return _normalised(net, mean or own_mean, std or own_std)
    if packaged.knows(inputs.model):
        net, own_mean, own_std = packaged.load(inputs.model, inputs.weights)
        return _normalised(net, mean or own_mean, std or own_std)
    if inputs.model.startswith("clip:"):
        names = clip.read_names(inputs.class_names, inputs.data.partition(":")[0], folders)
        templates = clip.read_templates(inputs.templates)
        return clip.load(inputs.model.partition(":")[2], names, templates, mean, std)
    if inputs.model.startswith("transformers:"):
        net, own_mean, own_std = pretrained.load(inputs.model.partition(":")[2])
        return _normalised(_with_weights(net, inputs.weights), mean or own_mean, std or own_std)
    if ":" in inputs.model:
        return _normalised(_with_weights(_factory(inputs.model), inputs.weights), mean, std)
    known = ["embedded", *DEPTHS, *LAYERS, "wrn-28-10", packaged.LITE]
    raise KdstError(
        f"no model {inputs.model!r}.{did_you_mean(inputs.model, known)}\n"
        f"Give {', '.join(known)}, transformers:DIR, clip:DIR, timm:NAME or module.path:factory"
    )


def _normalisation(inputs: AdaptInputs) -> tuple[list[float], list[float]]:
    """Return --mean and --std, both or neither given."""
    if bool(inputs.mean) != bool(inputs.std) or len(inputs.mean) != len(inputs.std):
        raise KdstError("give --mean and --std together, one number a channel in each")
    if any(s <= 0 for s in inputs.std):
        raise KdstError("--std must be above 0")
    return inputs.mean, inputs.std


def _normalised(net: nn.Module, mean: list[float], std: list[float]) -> nn.Module:
    """Return the network behind its normalisation, in evaluation mode."""
    return Normalized(net, mean, std).eval() if mean else net.eval()


def _embedded(inputs: AdaptInputs) -> nn.Module:
    """Return the digits network."""
    from kdst_adapt.default.model import load as load_digits

    if inputs.weights is not None:
        raise KdstError("--weights needs --model: resnet20|32|44|56 or another network")
    return load_digits()


def _built_in(inputs: AdaptInputs) -> tuple[nn.Module, list[float], list[float]]:
    """Return a network with as many classes as its weights have, and its mean and standard deviation.

    Those come from the weights where they hold them, as RobustBench's do.
    """
    if inputs.weights is None:
        raise KdstError(f"--model {inputs.model} needs --weights FILE, its trained state dict")
    found = checkpoints.read(inputs.weights)
    state, mean, std = _without_normalisation(found.state)
    head = "linear.weight" if inputs.model in DEPTHS else "fc.weight"
    last = state.get(head)
    if last is None or last.dim() != 2:
        raise KdstError(mismatch(inputs.weights, [head], sorted(state), []))
    wide = WIDE.fullmatch(inputs.model)
    if wide:
        state = {k: v for k, v in state.items() if not k.startswith("sub_block1.")}
        net = _wide(int(wide[1]), int(wide[2]), len(last))
    else:
        net = _residual(inputs.model, len(last))
        mean, std = mean or IMAGENET_MEAN, std or IMAGENET_STD
    net = load_into(net, state, inputs.weights)
    net.other_weights = found.others  # type: ignore[assignment]
    return net, mean, std


def _residual(name: str, classes: int) -> nn.Module:
    """Return a residual network, CIFAR's or ImageNet's."""
    return ResNet(DEPTHS[name], classes) if name in DEPTHS else ImageNetResNet(name, classes)


def _wide(depth: int, widen: int, classes: int) -> nn.Module:
    """Return a wide residual network; KdstError for a depth that is not 6n + 4."""
    from kdst_adapt.models.wideresnet import WideResNet

    if depth < 10 or (depth - 4) % 6 or widen < 1:
        raise KdstError(f"no model wrn-{depth}-{widen}: the depth must be 10, 16, 22, 28, 34 or 40")
    return WideResNet(depth, widen, classes)


def _without_normalisation(
    state: dict[str, Tensor],
) -> tuple[dict[str, Tensor], list[float], list[float]]:
    """Return a state dict without the normalisation of the inputs that it may hold, and that.

    RobustBench's networks keep it as `mu` and `sigma`, or in a module `normalize` before `model`.
    """
    if any(k.startswith("model.") for k in state):
        state = {k.removeprefix("model."): v for k, v in state.items()}
    for names in (("mu", "sigma"), ("normalize.mean", "normalize.std"), ("mean", "std")):
        if all(n in state for n in names):
            mean, std = (state[n].double().flatten().tolist() for n in names)
            return {k: v for k, v in state.items() if k not in names}, mean, std
    return state, [], []


def _factory(name: str) -> nn.Module:
    """Import and call the user's factory."""
    module_name, _, attribute = name.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        factory = getattr(importlib.import_module(module_name), attribute)
        model = factory()
    except Exception as e:
        raise KdstError(f"--model {name}: {type(e).__name__}: {e}") from e
    if not isinstance(model, nn.Module):
        raise KdstError(f"--model {name} returned {type(model).__name__}, not an nn.Module")
    return model


def _with_weights(model: nn.Module, weights: Path | None) -> nn.Module:
    """Load weights into a user's model where there are any; return what gives its logits.

    KdstError for modules whose layers cannot be changed.
    """
    if isinstance(model, torch.jit.ScriptModule):
        raise KdstError(
            "the model is compiled by torch.jit, so that its layers cannot be adapted.\n"
            "Give the nn.Module that it was made from"
        )
    if isinstance(plain := getattr(model, "_orig_mod", None), nn.Module):
        model = plain  # what torch.compile made would be compiled again for each copy and batch
    if weights is not None:
        found = checkpoints.read(weights)
        model = load_into(model, found.state, weights)
        model.other_weights = found.others  # type: ignore[assignment]
    return pretrained.Logits(model) if pretrained.is_classifier(model) else model


def _copied(model: nn.Module) -> nn.Module:
    """Return a copy of a model; KdstError where it cannot be copied, as with lazy layers."""
    try:
        return copy.deepcopy(model)
    except Exception as e:  # what layers of others raise is open
        raise KdstError(
            f"the model ({type(model).__name__}) cannot be copied: {reason(e)}.\n"
            "Methods work on copies: call lazy layers once, and take off weight_norm"
        ) from e


def num_classes(model: nn.Module, x: Tensor, device: str) -> int:
    """Return the number of logits of a model on images (B, C, H, W); KdstError when it fails."""
    logits = _output(model, x, device)
    if not isinstance(logits, Tensor) or logits.dim() != 2 or len(logits) != len(x):
        raise KdstError(f"the model must return logits (B, classes), it returned {_told(logits)}")
    if not logits.is_floating_point():
        kind = str(logits.dtype).removeprefix("torch.")
        raise KdstError(f"the model must return logits as floats, it returned {kind}")
    if not logits.isfinite().all():
        raise KdstError("the model returns NaN or infinite logits on the first images")
    if logits.shape[1] < 2:
        raise KdstError(
            f"the model returns {logits.shape[1]} logit for an image; methods need one for each class, so"
            " two or more.\nOf one logit z for two classes make two: 0 and z"
        )
    if logits.min() >= 0 and (logits.sum(1) - 1).abs().max() < PROBABLE:
        raise KdstError(
            "the model returns probabilities, methods need logits.\nLeave out the softmax at its end"
        )
    return logits.shape[1]


def with_logits_only(model: nn.Module, x: Tensor, device: str) -> tuple[nn.Module, bool]:
    """Return a model that returns logits where it returns more on images (B, C, H, W), and whether it did."""
    output = _output(model, x, device)
    more = not isinstance(output, Tensor) and isinstance(outputs.logits_of(output), Tensor)
    if more or _loses_rows(model, x, device):
        model = outputs.picking(model)
    return model, more


def _loses_rows(model: nn.Module, x: Tensor, device: str) -> bool:
    """Return whether a model gives logits (C,) for one image, as after a `squeeze()` of its features."""
    try:
        one = outputs.logits_of(_output(model, x[:1], device))
    except KdstError:  # one image alone is too few for it
        return False
    return isinstance(one, Tensor) and outputs.lost_row(one)


@torch.no_grad()
def _output(model: nn.Module, x: Tensor, device: str) -> Any:
    """Return what a copy of a model makes of images; KdstError when it fails."""
    probe = _copied(model).to(device).eval()
    dtype = next((p.dtype for p in probe.parameters()), x.dtype)
    try:
        return probe(x.to(device, dtype, copy=True))
    except Exception as e:
        shape = "×".join(map(str, x.shape[1:]))
        raise KdstError(
            f"the model ({type(model).__name__}) does not take images of {shape} (C×H×W): {reason(e)}"
        ) from e


def _told(output: Any) -> str:
    """Return an output in words: its shape, or the shapes of its parts."""
    if isinstance(output, Tensor):
        return str(tuple(output.shape))
    parts = output if isinstance(output, tuple | list) else ()
    return f"{type(output).__name__} " + ", ".join(_told(p) for p in parts)
