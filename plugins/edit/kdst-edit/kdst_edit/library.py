"""Editing as a function: a pipeline and prompts to edited images."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import evolve

from kdst_core.bench.contract import Job
from kdst_core.bench.library import Bound

if TYPE_CHECKING:
    from torch import Tensor

    from kdst_core.contracts import Edit

INPUTS = (
    *(
        "source",
        "target",
        "negative_prompt",
        "size",
        "mask",
        "confine",
        "model_config",
        "lora",
        "vae",
    ),
    *("attention_slicing", "inversion", "inversion_prompt", "substeps", "fixed_point", "skip"),
    *("rf_gamma", "rf_eta", "rf_led"),
    *("steps", "guidance", "guidance_rescale", "scheduler", "dtype", "max_rows"),
)
"""Options of the bench that a call takes: prompts, sampling and inversion."""


def edited(
    bound: Bound,
    pipeline: Any,
    image: "Tensor | None" = None,
) -> "Edit":
    """Edit a generated source, or an image, and return the edited images with what explains them.

    pipeline: of diffusers, used where it lies and left as it was, unless `device`
    names another place; or what `--model` takes.
    image: (3, H, W) in [0, 1].
    """
    from kdst_edit import loop
    from kdst_edit.load import load_target

    named = isinstance(pipeline, str | Path)
    inputs = evolve(bound.inputs, model=str(pipeline)) if named else bound.inputs
    live = {} if named else {"model": pipeline}
    if image is not None:
        live["image"] = image
    where = "auto" if named else str(getattr(pipeline, "device", "cpu"))
    device = where if bound.device == "auto" else bound.device
    job = Job(bound.method, bound.options, inputs, bound.seed, device, live, "quiet")
    target = load_target(job)
    with target.working():
        return loop.edited(target, bound.services(target.device))[2]
