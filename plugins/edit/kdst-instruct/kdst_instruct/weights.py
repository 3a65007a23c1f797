"""Read a stock pipeline from a local directory: safetensors only, no code of its own, no checker."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from kdst_core.bench.libraries import silence_libraries
from kdst_core.errors import KdstError, first_line
from kdst_instruct.options import Instructed
from kdst_instruct.processor import Processor

CHECKER: dict[str, Any] = {"safety_checker": None, "requires_safety_checker": False}


def load(options: Instructed, device: str) -> Any:
    """Return the pipeline of `options.weights` on `device`; KdstError where it cannot be read."""
    import diffusers

    made: Any = getattr(diffusers, options.pipeline)
    try:
        with silence_libraries("diffusers"):
            pipeline = made.from_pretrained(
                options.weights,
                local_files_only=True,
                use_safetensors=True,
                torch_dtype=precision(options, device),
                **_given(options),
            ).to(device)
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as e:
        raise KdstError(f"--weights {options.weights} cannot be read: {first_line(e)}") from e
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _given(options: Instructed) -> dict[str, Any]:
    """Return parts that are not read from the directory: no checker; Qwen's processor without torchvision."""
    if options.pipeline.startswith("StableDiffusion"):
        return CHECKER
    if options.pipeline.startswith("Qwen") and find_spec("torchvision") is None:
        return {"processor": Processor.read(Path(str(options.weights)))}
    return {}


def precision(options: Instructed, device: str) -> torch.dtype:
    """Return the precision that the model computes in."""
    if options.weights_dtype != "auto":
        chosen: torch.dtype = getattr(torch, options.weights_dtype)
        return chosen
    return torch.float32 if device == "cpu" else torch.bfloat16
