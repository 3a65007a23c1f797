"""What options alone tell of a run: its order, and what is refused before torch is there."""

from typing import TYPE_CHECKING

from kdst_adapt.inputs import AdaptInputs
from kdst_core.errors import KdstError

if TYPE_CHECKING:
    from kdst_core.plugins.method import Method

FOLDERS = ("folder", "imagenet-c")
"""Kinds of data that lie class by class: shuffled by default, and N images are taken across classes."""


def order(inputs: AdaptInputs, *, live: bool = False) -> str:
    """Return the order of the images: as the options say, else shuffled for folders of classes."""
    if inputs.order is not None:
        return inputs.order
    in_folders = not live and inputs.data.partition(":")[0] in FOLDERS
    return "shuffled" if in_folders else "stored"


def refuse(method: "Method", inputs: AdaptInputs) -> None:
    """Raise KdstError, before anything is loaded, for inputs that a method cannot run on."""
    check_method(inputs.study, method.name)
    check_images(inputs)
    if "source" in method.description.needs and not inputs.source and inputs.data != "digits":
        raise needs_source(method.name)
    if "text" in method.description.needs and not inputs.model.startswith("clip:"):
        raise needs_text(method.name)


def check_method(study: str, method: str) -> None:
    """Raise KdstError for a study of what a method changes where it changes nothing."""
    if study in ("energy", "generation") and method in ("source", "norm"):
        raise KdstError(f"--study {study} needs a method that adapts, {method} does not")


def check_images(inputs: AdaptInputs) -> None:
    """Raise KdstError for images of a study that is not asked for."""
    given = [f for f, v in (("--clean", inputs.clean), ("--unrelated", inputs.unrelated)) if v]
    if given and inputs.study != "energy":
        raise KdstError(f"{given[0]} is for --study energy, this is --study {inputs.study}")


def needs_source(method: str) -> KdstError:
    """Return the error of a method that learns from source data where there are none."""
    return KdstError(f"{method} needs source data: --source npz:FILE or folder:DIR")


def needs_text(method: str) -> KdstError:
    """Return the error of a method that reads prompts where the model has no text tower."""
    return KdstError(f"{method} needs a CLIP-like model with its text tower: --model clip:DIR")
