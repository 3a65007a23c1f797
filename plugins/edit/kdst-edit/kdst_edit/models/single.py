"""Single-file checkpoints, by diffusers' own converter and configuration files on this machine."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from kdst_core.bench.libraries import silence_libraries
from kdst_core.errors import KdstError, first_line

INDEX = "model_index.json"


def configuration(path: Path, given: Path | None) -> Path:
    """The directory of configuration and tokenizer for a checkpoint; KdstError when there is none.

    The one that was given, that of the file, or what an earlier fetch of its usual model left.
    """
    if given is not None:
        if not (given / INDEX).is_file():
            raise KdstError(
                f"--model-config {given} is no directory of a pipeline: it has no {INDEX}"
            )
        return given
    if (path.parent / INDEX).is_file():
        return path.parent
    usual = _usual(path)
    kept = _kept(usual) if usual else None
    if kept is None:
        as_of = f", as of {usual}" if usual else ""
        raise KdstError(
            f"the checkpoint {path} holds weights alone; give --model-config DIR, a directory of a"
            f" diffusers pipeline in the same layout (configurations and tokenizers{as_of};"
            " weights there are not read)"
        )
    return kept


def _usual(path: Path) -> str | None:
    """The model whose configuration diffusers takes for a checkpoint's names and sizes, or None."""
    with silence_libraries("diffusers"):
        from diffusers.loaders.single_file_utils import fetch_diffusers_config

        usual: Any = fetch_diffusers_config
        try:
            found = usual(_opened(path))
        except KdstError:
            raise
        except Exception:  # the names are of no model that it knows
            return None
    return str(found["pretrained_model_name_or_path"])


def _opened(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a checkpoint without their values; KdstError for a damaged one."""
    from safetensors import SafetensorError, safe_open

    kinds = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32}
    found = {}
    try:
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118
                part = file.get_slice(name)
                dtype = kinds.get(part.get_dtype(), torch.int64)
                found[name] = torch.empty(part.get_shape(), dtype=dtype, device="meta")
    except (OSError, SafetensorError) as e:
        raise KdstError(f"the checkpoint {path} cannot be read: {str(e)[:120]}") from e
    return found


def _kept(model: str) -> Path | None:
    """The snapshot of a model's configuration on this machine."""
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(model, local_files_only=True))
    except Exception:  # the client's errors have no common base
        return None
    return folder if (folder / INDEX).is_file() else None


def load(path: Path, folder: Path, double: bool) -> Any:
    """The pipeline of a checkpoint (`.safetensors`), configured by a directory, in float32 or its own half.

    double: whether it has two text encoders. Raises KdstError where the weights do not fit the
    configuration, or leave some of it without values.
    """
    halves = {torch.float16, torch.bfloat16}
    kinds = {value.dtype for value in _opened(path).values() if value.is_floating_point()}
    dtype = next(iter(kinds)) if len(kinds) == 1 and kinds <= halves else torch.float32
    with silence_libraries("diffusers"), _missing() as missing:
        from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline

        cls: Any = StableDiffusionXLPipeline if double else StableDiffusionPipeline
        extra: dict[str, Any] = {"feature_extractor": None, "image_encoder": None}
        extra |= {} if double else {"safety_checker": None, "requires_safety_checker": False}
        try:
            made = cls.from_single_file(
                str(path), config=str(folder), local_files_only=True, torch_dtype=dtype, **extra
            )
        except Exception as e:  # the converter raises what it stumbles on
            reason = first_line(e)
            raise KdstError(
                f"the checkpoint {path} does not fit the configuration {folder}: {reason[:160]}"
            ) from e
    if missing or any(value.is_meta for value in _values(made)):
        raise KdstError(
            f"the checkpoint {path} lacks weights that the configuration {folder} asks for"
            f" ({missing[0] if missing else 'some'}, {len(missing)} in all); it is of another layout"
        )
    return made


def _values(pipeline: Any) -> Iterator[torch.Tensor]:
    """All weights of a pipeline."""
    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            yield from part.parameters()


@contextmanager
def _missing() -> Iterator[list[str]]:
    """The names of weights that modules were not given while this lasts.

    The converter loads without strictness and says nothing of what stays as it was drawn.
    """
    found: list[str] = []
    every: Any = torch.nn.Module
    original = every.load_state_dict

    def recording(module: Any, *args: Any, **kwargs: Any) -> Any:
        result = original(module, *args, **kwargs)
        found.extend(name for name in result.missing_keys if not name.endswith("position_ids"))
        return result

    every.load_state_dict = recording
    try:
        yield found
    finally:
        every.load_state_dict = original
