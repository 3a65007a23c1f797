"""The pipeline of a run: the model, with the autoencoder and the LoRA weights that were asked for."""

from pathlib import Path
from typing import Any

from kdst_core.bench.contract import Job
from kdst_core.bench.device import has_cuda
from kdst_core.errors import KdstError
from kdst_edit.default import FOLDERS
from kdst_edit.families.registry import family_of, network_of
from kdst_edit.inputs import EditInputs
from kdst_edit.models import parts, pipelines, suited
from kdst_edit.models.latents import latent_factor
from kdst_edit.models.lora import Lora, add


def automatic(inputs: EditInputs, job: Job) -> str:
    """Return the device of `--device auto`: CUDA where there is one; the CPU is enough for what ships."""
    if "cuda" in job.method.description.needs:
        return "cuda"
    small = inputs.model in FOLDERS and "model" not in job.objects
    return "cuda" if has_cuda() and not small else "cpu"


def pipeline(inputs: EditInputs, live: Any, device: str) -> Any:
    """The pipeline that --model names, or one that was given from Python."""
    added = [Lora.parse(text) for text in inputs.lora]
    if live is None:
        found = pipelines.load(inputs.model, device, inputs.model_config)
        if inputs.vae is not None:
            _replace_autoencoder(found, inputs.vae, device)
        _check_unet_options(found, inputs)
        for lora in added:
            add(found, lora)
        if inputs.attention_slicing:
            found.enable_attention_slicing(1)
        return found
    if added or inputs.vae is not None or inputs.attention_slicing:
        raise KdstError(
            "--lora, --vae and --attention-slicing are for models that are loaded here; a pipeline from"
            " Python keeps what it has"
        )
    suited.check_live(live)
    return live.to(device)


def _check_unet_options(pipeline: Any, inputs: EditInputs) -> None:
    """Raise KdstError for options that transformers do not have."""
    given = {"--lora": inputs.lora, "--attention-slicing": inputs.attention_slicing}
    if family_of(pipeline).part != "unet" and any(given.values()):
        name = next(flag for flag, value in given.items() if value)
        kind = type(network_of(pipeline)).__name__
        raise KdstError(f"{name} is for UNets; the model's network is a {kind}. Leave it out")


def _replace_autoencoder(pipeline: Any, folder: Path, device: str) -> None:
    """Put the autoencoder of a directory in the place of the pipeline's; KdstError when it does not fit."""
    found = parts.autoencoder(folder)
    old = latent_factor(pipeline), pipeline.vae.config.latent_channels
    new = 2 ** (len(found.config.block_out_channels) - 1), found.config.latent_channels
    if old != new:
        raise KdstError(
            f"--vae {folder} does not fit the model: a latent of it is {new[0]} pixels wide with"
            f" {new[1]} channels, the model's {old[0]} with {old[1]}"
        )
    pipeline.register_modules(vae=found.eval().requires_grad_(False).to(device))
