"""A capture that is given live is looked at before any work."""

from typing import Any

import attrs
import pytest
import torch

from kdst_core.contracts import Capture
from kdst_core.errors import KdstError
from kdst_reconstruct.captures.source import load_source
from kdst_reconstruct.inputs import ReconstructInputs
from kdst_reconstruct.kit import small_capture


def camera_with(name: str, value: Any) -> Any:
    """A change of the second camera."""

    def change(capture: Capture) -> Capture:
        cameras = list(capture.cameras)
        cameras[1] = attrs.evolve(cameras[1], **{name: value})
        return attrs.evolve(capture, cameras=cameras)

    return change


def images_with(image: Any) -> Any:
    """A change of the second image."""
    return lambda c: attrs.evolve(c, images=[c.images[0], image, *c.images[2:]])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: attrs.evolve(c, images=[]), "no images"),
        (lambda c: attrs.evolve(c, cameras=c.cameras[:4]), "10 images and 4 cameras"),
        (lambda c: attrs.evolve(c, names=c.names[:9]), "10 images and 9 names"),
        (lambda c: attrs.evolve(c, masks=[None]), "10 images and 1 masks"),
        (images_with(torch.zeros(48, 60, 3)), r"image of 01\.png has shape \(48, 60, 3\)"),
        (images_with(torch.zeros(48, 64)), r"has shape \(48, 64\)"),
        (camera_with("width", 32), r"its camera 32×48"),
        (camera_with("K", torch.full((3, 3), float("nan"))), r"camera of 01\.png has a value"),
        (camera_with("viewmat", torch.full((4, 4), float("inf"))), "not finite"),
    ],
)
def test_a_live_capture_that_cannot_be_used_is_refused(change: Any, said: str) -> None:
    with pytest.raises(KdstError, match=said):
        load_source(ReconstructInputs(), change(small_capture()), "quiet")


def test_a_sound_live_capture_is_taken_as_it_is() -> None:
    capture = small_capture()
    assert load_source(ReconstructInputs(), capture, "quiet").capture is capture
