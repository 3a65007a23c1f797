"""What is looked at before any work: options that exclude each other, room for photographs, and captures
that are given live."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kdst_core import memory
from kdst_core.errors import KdstError
from kdst_reconstruct.formats import corners
from kdst_reconstruct.inputs import ReconstructInputs

if TYPE_CHECKING:
    from kdst_core.contracts import Camera, Capture

BYTES_A_PIXEL = 4
"""Of a photograph that is kept: three channels and a mask."""
BYTES_OPENED = 12
"""A pixel of the photograph that is being read, in its full size."""


def check_inputs(inputs: ReconstructInputs, options: Any) -> None:
    """Raise KdstError for options that exclude each other, or a crop that is no box."""
    if inputs.minutes and getattr(options, "iterations", 0):
        raise KdstError("--minutes and --iterations exclude each other: give one of them")
    if inputs.crop:
        corners(inputs.crop)


def check_live(capture: "Capture") -> None:
    """Raise KdstError for a live capture whose parts do not belong together or cannot be used."""
    count = len(capture.images)
    if not count:
        raise KdstError("the capture has no images")
    for name in ("cameras", "names", "masks", "tracks"):
        part = getattr(capture, name)
        if part is not None and len(part) != count:
            raise KdstError(f"the capture has {count} images and {len(part)} {name}; give as many")
    for name, camera, image in zip(capture.names, capture.cameras, capture.images, strict=True):
        _check_view(name, camera, tuple(image.shape))


def _check_view(name: str, camera: "Camera", shape: tuple[int, ...]) -> None:
    """Raise KdstError for a view whose image has another size than its camera, or numbers that are not
    finite."""
    if len(shape) != 3 or shape[:2] != (camera.height, camera.width):
        raise KdstError(
            f"the image of {name} has shape {shape}, its camera {camera.width}×{camera.height}:"
            " it must be (H, W, 3)"
        )
    if not (bool(camera.K.isfinite().all()) and bool(camera.viewmat.isfinite().all())):
        raise KdstError(f"the camera of {name} has a value that is not finite; remove the view")


def check_room(sizes: Sequence[tuple[int, int]], largest: int) -> None:
    """Raise KdstError where photographs (width, height) do not fit into memory; warn where hardly.

    largest: pixels of the largest file among them.
    """
    pixels = sum(width * height for width, height in sizes)
    need, left = BYTES_A_PIXEL * pixels + BYTES_OPENED * largest, memory.left()
    if left is None or 2 * need <= left:
        return
    width = max(width for width, _ in sizes)
    fits = max(16, int(width * min(1.0, 0.5 * left / need) ** 0.5))
    state = (
        f"{len(sizes)} photographs need {memory.as_text(need)} of memory, {memory.as_text(left)} are"
        f" left"
    )
    todo = f"--width {fits} keeps within it"
    if need > left:
        raise KdstError(f"{state}.\nStart again: {todo}")
    print(f"Memory gets short: {state}; {todo}.", file=sys.stderr, flush=True)
