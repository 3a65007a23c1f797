"""What a run needs, loaded and checked: pipeline, photograph, mask, prompts that fit."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from kdst_core.errors import KdstError
from kdst_edit import images, models, parts, suited
from kdst_edit.inputs import EditInputs
from kdst_edit.latents import latent_factor, native_size, size_multiple
from kdst_edit.lora import Lora, add
from kdst_edit.words import token_ids


def pipeline(inputs: EditInputs, live: Any, device: str) -> Any:
    """The pipeline that --model names, or one that was given from Python."""
    added = [Lora.parse(text) for text in inputs.lora]
    if live is None:
        found = models.load(inputs.model, device, inputs.model_config)
        if inputs.vae is not None:
            _replace_autoencoder(found, inputs.vae, device)
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


def check_prompts(pipeline: Any, prompts: Sequence[str]) -> None:
    """Raise KdstError for a prompt that is longer than the model's tokenizers allow.

    A learned word of several vectors becomes more words on the way to the text encoder, so that none of
    the tokens behind it is where the prompt has it; it is refused, too.
    """
    for name in ("", "_2"):
        tokenizer = getattr(pipeline, f"tokenizer{name}", None)
        encoder = getattr(pipeline, f"text_encoder{name}", None)
        if tokenizer is None or encoder is None:
            continue
        _check_tokenizer(tokenizer, encoder)
        for prompt in prompts:
            ids = token_ids(tokenizer, prompt)
            convert = getattr(pipeline, "maybe_convert_prompt", None)
            if convert is not None and convert(prompt, tokenizer) != prompt:
                raise KdstError(
                    f"the prompt {prompt[:60]!r} has a learned word of several vectors; edits need words"
                    " of one vector"
                )
            _check_known(encoder, ids, prompt)


def _check_tokenizer(tokenizer: Any, encoder: Any) -> None:
    """Raise KdstError for a tokenizer that is longer than its text encoder."""
    room = getattr(encoder.config, "max_position_embeddings", tokenizer.model_max_length)
    if tokenizer.model_max_length > room:
        given = tokenizer.model_max_length
        raise KdstError(
            f"the model's tokenizer pads prompts to {given if given < 1e9 else 'any number of'} tokens,"
            f" its text encoder takes {room}: set model_max_length to {room} (in tokenizer_config.json)"
        )


def _check_known(encoder: Any, ids: Sequence[int], prompt: str) -> None:
    """Raise KdstError for a token that a text encoder has no embedding of."""
    known = encoder.get_input_embeddings().num_embeddings
    if max(ids) >= known:
        raise KdstError(
            f"the prompt {prompt[:60]!r} has a token that the model's text encoder does not know: it has"
            f" {known}, the tokenizer more. Resize its embeddings, or take tokenizer and encoder of one"
            " model"
        )


def image(pipeline: Any, inputs: EditInputs, live: Any) -> tuple[Tensor | None, Sequence[str]]:
    """The photograph (3, H, W) in [0, 1] to edit, or None, and what was changed to fit it."""
    multiple, side = size_multiple(pipeline), inputs.size or native_size(pipeline)
    if live is not None:
        return _live(live, multiple), ()
    if inputs.image is None:
        return None, ()
    found = images.read(inputs.image, multiple, side)
    return found.image, found.notes


def _live(image: Any, multiple: int) -> Tensor:
    """A tensor from Python, checked."""
    if not isinstance(image, Tensor) or image.ndim != 3 or len(image) != 3:
        raise KdstError("image must be a tensor (3, H, W) with values in [0, 1]")
    height, width = image.shape[-2:]
    if height % multiple or width % multiple or not image.numel():
        raise KdstError(
            f"the image has {width}×{height} pixels; both sides must be divisible by {multiple}"
        )
    if not bool(((image >= 0) & (image <= 1)).all()):
        raise KdstError("the image has values outside [0, 1]")
    return image.float().cpu()


def size(pipeline: Any, inputs: EditInputs, image: Tensor | None) -> tuple[int, int]:
    """Height and width in pixels of the images of a run."""
    if image is not None:
        return image.shape[-2], image.shape[-1]
    side, multiple = inputs.size or native_size(pipeline), size_multiple(pipeline)
    if side % multiple:
        near = max(round(side / multiple), 1) * multiple
        raise KdstError(f"--size {side} is not divisible by {multiple}; {near} is")
    return side, side


def confined(pipeline: Any, inputs: EditInputs, mask: Tensor | None) -> Tensor | None:
    """Which latents (h, w) edits may change under --confine: those half covered by the mask or more."""
    if mask is None or not inputs.confine:
        return None
    from torch.nn.functional import avg_pool2d

    inside = avg_pool2d(mask[None, None].float(), latent_factor(pipeline))[0, 0] >= 0.5
    if not inside.any():
        raise KdstError(
            f"--mask {inputs.mask} is too small for --confine: no latent is half covered"
        )
    return inside.float()


def mask(
    inputs: EditInputs, size: tuple[int, int], live: Any = None
) -> tuple[Tensor | None, Sequence[str]]:
    """Where (H, W) the edit is wanted, of an image file, and what was changed to fit it.

    The mask has the shape of the photograph's file or of the images of the run (H, W).
    Raises KdstError for a mask of another shape, or one without a region.
    """
    if inputs.mask is None:
        if inputs.confine:
            raise KdstError("--confine needs --mask, an image that is white where the edit may act")
        return None, ()
    shapes = [size]
    if inputs.image is not None and live is None:
        shapes.append(images.upright_size(inputs.image))
    white, notes = images.read_mask(inputs.mask, size, shapes)
    if not white.any() or white.all():
        told = " ".join(("", *notes))
        raise KdstError(
            f"--mask {inputs.mask} is all {'white' if white.any() else 'black'}; white is where the"
            f" edit may act.{told}"
        )
    return white, notes
