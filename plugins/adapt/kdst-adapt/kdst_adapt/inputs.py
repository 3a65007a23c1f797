"""The bench's own options: what to adapt to, which model, by which protocol."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from attrs import frozen

from kdst_adapt.streams import protocols
from kdst_core.options import option


@frozen
class AdaptInputs:
    """Data, model and protocol of a test-time adaptation run."""

    data: str = option(
        "digits",
        "digits (embedded), cifar10-c:DIR, cifar100-c:DIR, imagenet-c:DIR, folder:DIR (one folder a"
        " class), npz:FILE (images, labels).",
    )
    protocol: protocols.Name = option(
        "none",
        "A paper's protocol by name: order, images, types, severities, resets and batch are as it has"
        " them, and another value given for one of these is refused. Where a run departs from the paper"
        " is said in the result.",
    )
    types: list[str] = option([], "Corruption types to run, in this order. Default: all.")
    severity: str = option("5", "Severities to run: 5, 1-5, or 1,3,5.")
    corrupt: list[str] = option(
        [],
        "Corruptions to apply on the fly, TYPE or TYPE:SEVERITY: gaussian_noise, shot_noise,"
        " impulse_noise, defocus_blur, glass_blur, motion_blur, zoom_blur, snow, frost, fog, brightness,"
        " contrast, elastic_transform, pixelate, jpeg_compression; all is all of them.",
    )
    model: str = option(
        "embedded",
        "embedded (for digits); resnet20, 32, 44 or 56 for CIFAR; resnet18, 34, 50, 101 or 152 for"
        " ImageNet; wrn-DEPTH-WIDTH such as wrn-28-10; efficientnet-lite0 (ImageNet, with its weights, from"
        " packages); timm:NAME; transformers:DIR (an image classifier with safetensors);"
        " clip:DIR (a CLIP model of transformers with safetensors and tokenizer); or module.path:factory,"
        " a function without arguments that returns an nn.Module.",
    )
    class_names: Path | None = option(
        None,
        "Names of the classes for the prompts of clip:DIR, a line each in the order of the logits."
        " Default: those of the class folders, of the digits and of CIFAR-10.",
    )
    templates: Path | None = option(
        None,
        "Templates of the prompts of clip:DIR, a line each with {} for the name; a class has the mean of"
        " its prompts. Default: 'a photo of a {}.'",
    )
    weights: Path | None = option(
        None, "State dict of the model: safetensors, or a file for torch.load(weights_only=True)."
    )
    mean: list[float] = option(
        [], "Mean of each channel. Default: ImageNet's for built-in networks, none for a factory."
    )
    std: list[float] = option([], "Standard deviation of each channel, used with --mean.")
    source: str = option("", "npz:FILE or folder:DIR of source data, for methods that need it.")
    batch_size: int | None = option(
        None, "Images a batch. Default: 200, for the embedded digits 50.", min=1
    )
    amp: Literal["no", "bfloat16", "float16"] = option(
        "no",
        "Precision of the model's forward passes, of baselines and methods: no is that of its weights; in"
        " bfloat16 or float16 (CUDA) by torch.autocast, with weights, losses and logits in float32. A CPU"
        " without instructions for bfloat16 gets slower by it.",
    )
    threads: int | None = option(
        None,
        "CPU threads. Default: torch's choice; 1 for the embedded digits, whose network is so small"
        " that threads cost more than they give.",
        min=1,
    )
    images: int | None = option(
        None,
        "Only N images of every stream: the first, of folder: and imagenet-c: so many of each class"
        " alike. Default: all.",
        min=1,
    )
    order: Literal["stored", "shuffled"] | None = option(
        None,
        "Order of the images: stored, or shuffled by the seed. Default: shuffled for folder: and"
        " imagenet-c:, which lie class by class, else stored.",
    )
    resize: int | None = option(
        None,
        "Shorter side in pixels to which images of folder: and imagenet-c: are resized (bilinear)."
        " Default: as they are; for efficientnet-lite0 and timm:NAME as the network takes them.",
        min=1,
    )
    crop: int | None = option(
        None,
        "Side of the square cut from their middle, after --resize. Default: as --resize.",
        min=1,
    )
    classes: Path | None = option(
        None,
        "Which logit the class folders have: a line NAME NUMBER each, or the names in the order of the"
        " logits; or JSON. Default: by the model's own names, ImageNet's WordNet ids, or numbers, else"
        " in alphabetical order.",
    )
    reset: Literal["shift", "never"] = option(
        "shift", "Reset the method at every shift (type and severity), or never (continual)."
    )
    setting: Literal["separate", "gradual", "mixed", "changing"] = option(
        "separate",
        "separate: one stream a shift. gradual: each type at severities 1-2-3-4-5-4-3-2-1, reset between"
        " types. mixed: the images of all shifts shuffled into one stream. changing: one stream in which"
        " one corruption fades into the next, as hard for the source model all along.",
    )
    dirichlet: float | None = option(
        None,
        "Label-correlated streams: concentration of the Dirichlet distribution that spreads each class"
        " over the stream; .1 is strongly correlated. Default: not correlated.",
        above=0,
    )
    imbalance: float | None = option(
        None,
        "Class-imbalanced streams: the commonest class has this many times the images of the rarest,"
        " in geometric steps. Default: all images.",
        min=1,
    )
    window: int | None = option(
        None,
        "Sliding window: a method is given each batch after the images before it, this many together,"
        " for batches down to one image. Default: the batch alone.",
        min=2,
    )
    study: Literal["none", "energy", "generation", "calibration", "selection"] = option(
        "none",
        "energy: how the reduction of energy goes with loss and accuracy over the streams, and how well"
        " energy tells clean, shifted and unrelated images apart. generation: images drawn from the"
        " model by class, before and after adaptation. calibration: the maximum calibration error too."
        " selection: label-free criteria by which settings of a method can be chosen.",
    )
    clean: str = option(
        "",
        "npz:FILE or folder:DIR of images without shift, for --study energy. Default: the test part of"
        " the digits for --data digits, else none.",
    )
    unrelated: str = option(
        "",
        "npz:FILE or folder:DIR of images of none of the classes, for --study energy. Default: coloured"
        " fractals.",
    )

    shared_baselines: Path | None = option(
        None,
        "Folder in which runs on the same streams keep the records of source and norm, so that the first"
        " computes them for all. kdst compare gives one.",
        where=True,
    )

    @classmethod
    def complete(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options that were given with those that their protocol fixes."""
        return protocols.complete(given)
