"""The photograph to edit and its mask, checked and brought to the model's size."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from kdst_core.errors import KdstError
from kdst_edit.inputs import EditInputs
from kdst_edit.models.latents import latent_factor, native_size, size_multiple
from kdst_edit.pictures import reading


def image(pipeline: Any, inputs: EditInputs, live: Any) -> tuple[Tensor | None, Sequence[str]]:
    """The photograph (3, H, W) in [0, 1] to edit, or None, and what was changed to fit it."""
    multiple, side = size_multiple(pipeline), inputs.size or native_size(pipeline)
    if live is not None:
        return _live(live, multiple), ()
    if inputs.image is None:
        return None, ()
    found = reading.read(inputs.image, multiple, side)
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
        shapes.append(reading.upright_size(inputs.image))
    white, notes = reading.read_mask(inputs.mask, size, shapes)
    if not white.any() or white.all():
        told = " ".join(("", *notes))
        raise KdstError(
            f"--mask {inputs.mask} is all {'white' if white.any() else 'black'}; white is where the"
            f" edit may act.{told}"
        )
    return white, notes
