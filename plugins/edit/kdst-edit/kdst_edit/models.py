"""Load a text-to-image pipeline: the embedded one, a diffusers directory, or a model of the hub."""

import importlib.util
import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kdst_core.errors import KdstError
from kdst_edit.quiet import quiet

LIBRARIES = frozenset({"diffusers", "transformers", "stable_diffusion", "stable_diffusion_xl"})
UNET = "UNet2DConditionModel"
SUPPORTED = "Stable Diffusion 1.x, 2.x and XL can be edited"


def load(name: str, device: str = "cpu") -> Any:
    """Return a pipeline in evaluation mode, on `device`, without a safety checker.

    Text encoders keep the dtype that they were saved in; `precision.computing_in` casts all parts.

    name: `tiny`, a directory that a diffusers pipeline was saved in, or a hub id such as
    `owner/model` or `owner/model@revision`. Weights are read from safetensors files only, and no
    code that comes with a model is run. Raises KdstError for a model that cannot be edited.
    """
    folder = _folder(name)
    source, revision = (str(folder), None) if folder else _hub_id(name)
    index = _index(folder) if folder else _hub_index(source, revision)
    check_index(index, name)
    variant = _check_weights(folder, index) if folder else None
    pipeline = _read(index, source, revision, variant, name)
    check_parts(pipeline, name)
    for part in (pipeline.unet, pipeline.vae, pipeline.text_encoder):
        part.eval().requires_grad_(False)
    return _moved(pipeline, device)


def _folder(name: str) -> Path | None:
    """The directory that `name` means, or None when it can only be a hub id."""
    if name == "tiny":
        from kdst_edit.tiny import weights_dir

        return weights_dir()
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if path.exists():
        raise KdstError(
            f"model {name} is a file; give the directory of a diffusers pipeline (the one that holds"
            " model_index.json)"
        )
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise KdstError(
            f"no model {name!r}: give 'tiny', a directory with a diffusers pipeline, or a hub id"
            " such as owner/model"
        )
    return None


def _hub_id(name: str) -> tuple[str, str | None]:
    """Split `owner/model@revision`."""
    model, _, revision = name.partition("@")
    return model, revision or None


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
        raise KdstError(f"{path} cannot be read: {(str(e).splitlines() or [''])[0]}") from e
    if not isinstance(index, dict):
        raise KdstError(f"{path} does not describe a pipeline")
    return index


def _hub_index(model: str, revision: str | None) -> Mapping[str, Any]:
    """The pipeline description of a hub model; KdstError when it cannot be fetched."""
    with quiet():
        from diffusers import DiffusionPipeline

        try:
            index: Mapping[str, Any] = DiffusionPipeline.load_config(model, revision=revision)
        except (OSError, ValueError) as e:
            raise KdstError(_unreachable(model)) from e
    return index


def _unreachable(model: str) -> str:
    """What to say when a hub model is neither cached nor fetched."""
    return (
        f"model {model!r} is not a directory here, and could not be fetched from the hub.\n"
        "Check the name and the network, or give the directory of a downloaded model."
    )


def check_index(index: Mapping[str, Any], name: str) -> None:
    """Raise KdstError unless a model_index.json describes a pipeline that can be edited."""
    parts = {k: v for k, v in index.items() if isinstance(v, list) and len(v) == 2 and v[0]}
    if "unet" not in parts:
        transformer = parts.get("transformer")
        if transformer:
            raise KdstError(
                f"model {name} has a transformer ({transformer[1]}) instead of a UNet; attention"
                f" control needs a UNet: {SUPPORTED}"
            )
        raise KdstError(f"model {name} has no UNet (model_index.json names none); {SUPPORTED}")
    foreign = sorted({str(library) for library, _ in parts.values()} - LIBRARIES)
    if foreign:
        raise KdstError(
            f"model {name} has parts of its own code ({', '.join(foreign)}), which is not run"
        )
    if parts["unet"][1] != UNET:
        raise KdstError(f"model {name} has a {parts['unet'][1]}, not a {UNET}; {SUPPORTED}")
    missing = [p for p in ("vae", "text_encoder", "tokenizer", "scheduler") if p not in parts]
    if missing:
        raise KdstError(f"model {name} has no {missing[0]}; {SUPPORTED}")


def _check_weights(folder: Path, index: Mapping[str, Any]) -> str | None:
    """The variant to read (`fp16`), where a part has no other weights; KdstError when it has none."""
    variants = dict[str, None]()
    parts = ["unet", "vae", "text_encoder"]
    parts += ["text_encoder_2"] if isinstance(index.get("text_encoder_2"), list) else []
    for part in parts:
        here = folder / part
        if not (here / "config.json").is_file():
            raise KdstError(f"{folder} is incomplete: {part}/config.json is missing")
        names = [path.name.removesuffix(".safetensors") for path in here.glob("*.safetensors")]
        if not names:
            raise KdstError(
                f"{here} has no .safetensors weights. Other formats can run code when they are read;"
                f" convert the model first, where you trust it:\n{_conversion(folder)}"
            )
        if all("." in name for name in names):
            variants |= dict.fromkeys(name.split(".")[1].split("-")[0] for name in names)
    if len(variants) > 1:
        raise KdstError(
            f"{folder} has weights of several variants ({', '.join(variants)}); keep those of one"
        )
    return next(iter(variants), None)


def _conversion(folder: Path) -> str:
    """The command, as a shell takes it, that writes a pipeline's weights as safetensors."""
    program = (
        "import sys, diffusers; diffusers.DiffusionPipeline.from_pretrained(sys.argv[1],"
        " use_safetensors=False).save_pretrained(sys.argv[2])"
    )
    source = folder.resolve()
    return shlex.join(["python", "-c", program, str(source), f"{source}-safetensors"])


def _read(
    index: Mapping[str, Any], source: str, revision: str | None, variant: str | None, name: str
) -> Any:
    """Load the weights with the pipeline class that the parts ask for."""
    with quiet():
        from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline

        double = isinstance(index.get("text_encoder_2"), list)
        cls: Any = StableDiffusionXLPipeline if double else StableDiffusionPipeline
        extra = {} if double else {"safety_checker": None, "requires_safety_checker": False}
        try:
            return cls.from_pretrained(
                source,
                revision=revision,
                variant=variant,
                use_safetensors=True,
                low_cpu_mem_usage=importlib.util.find_spec("accelerate") is not None,
                **extra,
            )
        except Exception as e:
            reason = (str(e).strip().splitlines() or [type(e).__name__])[0]
            raise KdstError(f"model {name} cannot be loaded: {reason[:200]}") from e


def check_parts(pipeline: Any, name: str) -> None:
    """Raise KdstError for a UNet that expects more than the noisy latents and a text.

    Inpainting and instruct-pix2pix models take images, latent consistency models the guidance.
    """
    if pipeline.unet.config.get("time_cond_proj_dim") is not None:
        raise KdstError(
            f"model {name} is a latent consistency model (its UNet takes the guidance as an input);"
            f" it cannot be sampled by DDIM, which edits need. {SUPPORTED}"
        )
    given, wanted = pipeline.vae.config.latent_channels, pipeline.unet.config.in_channels
    if given != wanted:
        raise KdstError(
            f"model {name} is not a plain text-to-image model: its UNet takes {wanted} channels,"
            f" its autoencoder gives {given} (an inpainting or depth model?)"
        )


def _moved(pipeline: Any, device: str) -> Any:
    """The pipeline on `device`; KdstError when the device does not exist."""
    try:
        return pipeline.to(device)
    except (RuntimeError, AssertionError) as e:
        raise KdstError(f"device {device} cannot be used: {str(e).splitlines()[0][:120]}") from e
