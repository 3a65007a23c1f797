"""Held-out views after alignment: what half of a view tells is taken out, and no pixel judges itself."""

import math
import sys
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import attrs
import numpy as np
import pytest
import torch
from torch import Tensor

from kdst_core.contracts import Camera, Capture, Render
from kdst_reconstruct.holdout.choice import subset
from kdst_reconstruct.holdout.views import HeldOut
from kdst_reconstruct.inputs import ReconstructInputs
from kdst_reconstruct.measures import alignment, pose
from kdst_reconstruct.measures.colour import affine, half
from kdst_reconstruct.measures.views import score_views

WIDTH, HEIGHT = 64, 48


class Corner:
    """A floor and a wall of soft waves, as a scene that renders exactly, with what it saw meanwhile."""

    def __init__(self, photograph: Tensor | None = None) -> None:
        self.photograph, self.seen = photograph, 0

    def render(self, camera: Camera) -> Render:
        if self.photograph is not None:
            self.seen += self._in_frames()
        y, x = torch.meshgrid(
            torch.arange(camera.height), torch.arange(camera.width), indexing="ij"
        )
        pixels = torch.stack([x + 0.5, y + 0.5, torch.ones_like(x)], -1).double()
        R, t = camera.viewmat[:3, :3].double(), camera.viewmat[:3, 3].double()
        rays, centre = pixels @ torch.linalg.inv(camera.K.double()).T @ R, -R.T @ t
        floor = torch.where(rays[..., 2] < 0, -centre[2] / rays[..., 2], torch.inf)
        wall = torch.where(rays[..., 1] > 0, (2 - centre[1]) / rays[..., 1], torch.inf)
        depth = torch.minimum(floor, wall)
        place = centre + depth[..., None] * rays
        waves = torch.stack(
            [(3 * place + k).sin().prod(-1) + (4 * place - k).cos().mean(-1) for k in range(3)], -1
        )
        rgb = (0.5 + 0.25 * waves).clamp(0, 1).float()
        return Render(rgb, torch.ones_like(rgb[..., 0]), depth.float())

    def _in_frames(self) -> int:
        """How many calls above this one hold the photograph, at any size that has its mean."""
        assert self.photograph is not None
        mean, frame, found = float(self.photograph.mean()), sys._getframe(2), 0
        while frame is not None:
            for value in frame.f_locals.values():
                if isinstance(value, Tensor) and value.ndim == 3 and value.is_floating_point():
                    found += abs(float(value.mean()) - mean) < 1e-6
            frame = frame.f_back  # type: ignore[assignment]
        return found


@contextmanager
def working() -> Any:
    yield


METHOD: Any = SimpleNamespace(working=working, plugin=SimpleNamespace(qualified="test:corner"))


def camera(aside: float) -> Camera:
    """A camera above the floor that looks at the wall, from so far beside the middle."""
    K = torch.tensor([[60.0, 0, WIDTH / 2], [0, 60.0, HEIGHT / 2], [0, 0, 1]])
    down = torch.tensor([0.3, 0, 0, 0, 0, 0], dtype=torch.float64)
    upright = torch.tensor([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]], dtype=torch.float64)
    viewmat = torch.eye(4, dtype=torch.float64)
    viewmat[:3, :3] = upright
    viewmat[:3, 3] = -upright @ torch.tensor([aside, -1.0, 1.0], dtype=torch.float64)
    return Camera(K, (pose.motion(down) @ viewmat).float(), WIDTH, HEIGHT)


@pytest.fixture(scope="module")
def capture() -> Capture:
    cameras = [camera(0.2), camera(-0.3)]
    images, nothing = [Corner().render(c).rgb for c in cameras], torch.zeros(0, 3)
    return Capture(images, cameras, ["a", "b"], None, nothing, nothing)


def recoloured(capture: Capture) -> Capture:
    """The photographs with another exposure and white balance."""
    gain, plus = torch.tensor([0.5, 0.7, 0.6]), torch.tensor([0.1, 0.0, 0.2])
    return attrs.evolve(capture, images=[image * gain + plus for image in capture.images])


def turned(capture: Capture, degrees: float, shift: float) -> Capture:
    """The capture with cameras that are off by so much."""
    off = torch.tensor([math.radians(degrees)] * 2 + [math.radians(-degrees)] + [shift] * 3)
    moved = [
        attrs.evolve(c, viewmat=(pose.motion(off.double()) @ c.viewmat.double()).float())
        for c in capture.cameras
    ]
    return attrs.evolve(capture, cameras=moved)


def mean_psnr(views: HeldOut, kinds: tuple[str, ...]) -> float:
    scene: Any = Corner()
    scores = (
        alignment.score_aligned(METHOD, scene, views, kinds)
        if kinds
        else score_views(METHOD, scene, views)
    )
    return sum(s.psnr for s in scores) / len(scores)


def test_colours_of_half_a_view_tell_those_of_the_other(capture: Capture) -> None:
    views = HeldOut.of(recoloured(capture))
    assert mean_psnr(views, ()) < 20
    assert mean_psnr(views, ("colour",)) > 55


def test_the_pose_of_half_a_view_tells_that_of_the_other(capture: Capture) -> None:
    views = HeldOut.of(turned(capture, 1.0, 0.03))
    assert mean_psnr(views, ()) < 31
    assert mean_psnr(views, ("pose",)) > 40


def test_a_pose_many_pixels_off_is_found(capture: Capture) -> None:
    views = HeldOut.of(turned(capture, 8.0, 0.2))
    assert mean_psnr(views, ()) < 16
    assert mean_psnr(views, ("pose",)) > 60


def test_pose_and_colours_are_found_together(capture: Capture) -> None:
    views = HeldOut.of(recoloured(turned(capture, 1.0, 0.03)))
    both = mean_psnr(views, ("colour", "pose"))
    assert both > max(mean_psnr(views, ("colour",)), mean_psnr(views, ("pose",))) + 3


@pytest.mark.parametrize("kinds", [("colour",), ("colour", "pose")])
def test_no_pixel_is_fitted_to_that_it_is_scored_by(capture: Capture, kinds: Any) -> None:
    """With other pixels in the half that is scored, what is shown there is the same, bit for bit."""
    spoilt = []
    for image in capture.images:
        other = image.clone()
        other[:, WIDTH // 2 :] = 1 - other[:, WIDTH // 2 :]
        spoilt.append(other)
    scene: Any = Corner()
    shown = [
        alignment._fitted(METHOD, scene, HeldOut.of(c), 0, True, kinds)
        for c in (capture, attrs.evolve(capture, images=spoilt))
    ]
    assert torch.equal(*shown)


def test_no_frame_of_a_render_holds_a_photograph(capture: Capture) -> None:
    scene: Any = Corner(recoloured(capture).images[0])
    views = HeldOut.of(subset(recoloured(capture), [0]))
    alignment.score_aligned(METHOD, scene, views, ("colour", "pose"))
    assert scene.seen == 0
    held = recoloured(capture).images[0]
    scene.render(capture.cameras[0])
    assert scene.seen > 0, f"the look does not see {held.shape}"


def test_masked_pixels_take_no_part(capture: Capture) -> None:
    mask = torch.ones(HEIGHT, WIDTH, dtype=torch.bool)
    mask[:12] = False
    spoilt = [torch.cat([1 - image[:12], image[12:]]) for image in capture.images]
    scene: Any = Corner()
    scores = [
        alignment.score_aligned(METHOD, scene, HeldOut.of(c), ("colour",))
        for c in (
            attrs.evolve(capture, images=images, masks=[mask, mask])
            for images in (capture.images, spoilt)
        )
    ]
    assert [s.psnr for s in scores[0]] == [s.psnr for s in scores[1]]


def test_an_affine_change_is_the_least_squares_one() -> None:
    generator = torch.Generator().manual_seed(0)
    shown = torch.rand(500, 3, generator=generator, dtype=torch.float64)
    photograph = torch.rand(500, 3, generator=generator, dtype=torch.float64)
    given = np.concatenate([shown.numpy(), np.ones((500, 1))], 1)
    expected = np.linalg.lstsq(given, photograph.numpy(), rcond=None)[0]
    assert np.abs(affine(shown, photograph).numpy() - expected).max() < 1e-2
    nothing = affine(shown[:0], photograph[:0])
    assert torch.equal(nothing, torch.eye(4, 3, dtype=torch.float64))


def test_halves_make_a_whole() -> None:
    left, right = half((3, 7), True), half((3, 7), False)
    assert int(left.sum()) == 9
    assert torch.equal(left, ~right)


def test_auto_fits_what_the_method_asks_for() -> None:
    assert alignment.kinds_of("auto", ()) == ()
    assert alignment.kinds_of("auto", ("pose", "colour")) == ("colour", "pose")
    assert alignment.kinds_of("none", ("pose",)) == ()
    assert alignment.kinds_of("both", ()) == ("colour", "pose")


def test_align_without_a_view_held_out_is_named() -> None:
    given = ReconstructInputs(align="colour")
    said = given.unused(raw=False, video=False, scored=False, seen_through=False)
    assert said == ["--align has no effect: no view is held out."]
