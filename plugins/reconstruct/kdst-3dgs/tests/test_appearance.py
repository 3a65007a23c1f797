"""Bilateral grids: slicing and its gradients, learning, resuming, and what they are for."""

import math
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import attrs
import numpy as np
import pytest
import torch
from torch import Tensor

from kdst_3dgs import bilateral, grids
from kdst_3dgs.bilateral import SHAPE
from kdst_3dgs.grids import BilateralGrids
from kdst_3dgs.method import Trainer
from kdst_3dgs.options import Options
from kdst_3dgs.priors import trial_options
from kdst_3dgs.reconstruction import GaussianReconstruction
from kdst_3dgs.starting import PosedPhotographs
from kdst_core.contracts import Capture, ReconstructRequest
from kdst_reconstruct.default import solids
from kdst_reconstruct.holdout.choice import subset
from kdst_reconstruct.holdout.views import HeldOut
from kdst_reconstruct.measures.alignment import score_aligned

Array = np.ndarray[Any, np.dtype[np.float64]]


def plain_slice(rgb: Array, grid: Array) -> Array:
    """The algorithm, a pixel after the other: the eight cells around it, each by its nearness."""
    height, width, _ = rgb.shape
    out = np.zeros_like(rgb)
    for y in range(height):
        for x in range(width):
            luminance = 0.299 * rgb[y, x, 0] + 0.587 * rgb[y, x, 1] + 0.114 * rgb[y, x, 2]
            place = (
                (y + 0.5) / height * 15,
                min(max(luminance, 0.0), 1.0) * 7,
                (x + 0.5) / width * 15,
            )
            matrix = np.zeros((3, 4))
            for cell in np.ndindex(2, 2, 2):
                corner = [math.floor(p) + c for p, c in zip(place, cell, strict=True)]
                weight = math.prod(1 - abs(p - c) for p, c in zip(place, corner, strict=True))
                if weight > 0:
                    matrix += weight * grid[tuple(corner)]
            out[y, x] = matrix[:, :3] @ rgb[y, x] + matrix[:, 3]
    return out


def inputs(height: int = 18, width: int = 21) -> tuple[Tensor, Tensor, Tensor]:
    """Colours, some outside 0 to 1, a grid, and weights of the output, float64."""
    generator = torch.Generator().manual_seed(4)
    rgb = 1.3 * torch.rand(height, width, 3, generator=generator, dtype=torch.float64) - 0.15
    noise = torch.randn(*SHAPE, generator=generator, dtype=torch.float64)
    weights = torch.randn(height, width, 3, generator=generator, dtype=torch.float64)
    return rgb, torch.eye(3, 4, dtype=torch.float64) + 0.2 * noise, weights


def gradients(
    rgb: Tensor, grid: Tensor, weights: Tensor, threads: int = 1
) -> tuple[Tensor, Tensor, Tensor]:
    """What `sliced` gives, and the gradients of its weighted sum by colours and grid."""
    leaves = [rgb.clone().requires_grad_(), grid.clone().requires_grad_()]
    out = bilateral.sliced(*leaves, threads)
    (out * weights).sum().backward()
    return (out.detach(), *(leaf.grad for leaf in leaves))  # type: ignore[return-value]


def test_slicing_is_that_of_the_plain_algorithm() -> None:
    for size in ((18, 21), (16, 40), (33, 17)):
        rgb, grid, _ = inputs(*size)
        expected = torch.from_numpy(plain_slice(rgb.numpy(), grid.numpy()))
        assert (bilateral.sliced(rgb, grid) - expected).abs().max() < 1e-10
        found = bilateral.sliced(rgb.float(), grid.float())
        assert (found - expected).abs().max() < 5e-6


def test_gradients_are_those_of_finite_differences_in_float64() -> None:
    rgb, grid, weights = inputs()
    luminance = rgb @ torch.tensor(bilateral.LUMINANCE, dtype=torch.float64)
    level = 7 * luminance
    near = (level - level.round()).abs() < 1e-3  # a corner of the blend, or the end of the levels
    weights[near] = 0
    kernels = gradients(*(t.float() for t in (rgb, grid, weights)))
    exact = gradients(rgb, grid, weights)
    generator = torch.Generator().manual_seed(2)
    for number, given in enumerate((rgb, grid)):
        step = 1e-6 * torch.randn(*given.shape, generator=generator, dtype=torch.float64)
        moved = [
            [given + sign * step if k == number else t for k, t in enumerate((rgb, grid))]
            for sign in (1, -1)
        ]
        ends = [plain_slice(a.numpy(), b.numpy()) for a, b in moved]
        slope = float((weights * torch.from_numpy(ends[0] - ends[1])).sum()) / 2
        assert float((exact[number + 1] * step).sum()) == pytest.approx(slope, rel=1e-6)
        apart = (kernels[number + 1] - exact[number + 1]).norm()
        assert apart < 2e-6 * exact[number + 1].norm()


def test_threads_do_not_change_a_bit() -> None:
    given = [t.float() for t in inputs(40, 30)]
    one, three = (gradients(*given, threads=n) for n in (1, 3))
    assert all(torch.equal(a, b) for a, b in zip(one, three, strict=True))


def plain_learning(steps: list[tuple[int, Array, float]], count: int) -> Array:
    """Adam (Kingma and Ba 2015, algorithm 1) on the data's gradients and those of the total variation,
    taken by hand; steps: the photograph drawn, its gradient, the share of the fit."""
    grid = np.broadcast_to(np.eye(3, 4), (count, *SHAPE)).copy()
    mean, square = np.zeros_like(grid), np.zeros_like(grid)
    for t, (index, pulled, progress) in enumerate(steps, 1):
        gradient = np.zeros_like(grid)
        gradient[index] = pulled
        for axis in (1, 2, 3):
            apart = np.diff(grid, axis=axis)
            share = 10.0 * 2 * apart / apart.size  # of the mean square over all differences
            first = [slice(None)] * grid.ndim
            second = list(first)
            first[axis], second[axis] = slice(None, -1), slice(1, None)
            gradient[tuple(first)] -= share
            gradient[tuple(second)] += share
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.99 * square + 0.01 * gradient**2
        rate = 1e-3 * 0.1**progress * math.sin(math.pi / 2 * min(1, progress / 0.2))
        grid -= rate * (mean / (1 - 0.9**t)) / (np.sqrt(square / (1 - 0.99**t)) + 1e-15)
    return grid


def learnt(steps: list[tuple[int, Array, float]], count: int, dtype: torch.dtype) -> Tensor:
    """What `BilateralGrids` makes of the same steps."""
    machine = BilateralGrids(count, 1e-3, 10.0)
    machine.grids, machine.moments = machine.grids.to(dtype), machine.moments.to(dtype)
    if dtype == torch.float64:
        machine._step = machine.step_in_torch  # type: ignore[method-assign]
    for index, pulled, progress in steps:
        machine.applied(torch.zeros(16, 16, 3, dtype=dtype), index)
        assert machine._drawn is not None
        machine._drawn[1].grad = torch.from_numpy(pulled).to(dtype)
        machine.step(progress)
    return machine.grids


def test_learning_is_adam_on_the_loss_with_the_total_variation() -> None:
    rng = np.random.default_rng(1)
    steps = [(k % 3, rng.normal(size=SHAPE), 0.05 + 0.15 * k) for k in range(7)]
    expected = torch.from_numpy(plain_learning(steps, 3))
    assert (learnt(steps, 3, torch.float64) - expected).abs().max() < 1e-10
    apart = (learnt(steps, 3, torch.float32) - expected).abs()
    assert apart.max() < 2e-5  # where a gradient is nearly nothing, Adam enlarges its rounding
    assert apart.mean() < 1e-7


def test_total_variation_is_a_mean_over_differences_and_grids() -> None:
    _, grid, _ = inputs()
    two = torch.stack([grid, torch.zeros_like(grid)])
    by_hand = sum(np.square(np.diff(grid.numpy(), axis=axis)).mean() for axis in range(3)) / 2
    assert float(grids.total_variation(two)) == pytest.approx(float(by_hand), rel=1e-12)


def photographed(capture: Capture) -> Capture:
    """The capture as a camera shows it whose exposure and white balance change from one photograph to
    the next, with darker corners."""
    rng, images = np.random.default_rng(3), []
    height, width, _ = capture.images[0].shape
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    corners = torch.from_numpy(x**2 + y**2).float()[..., None]
    for image in capture.images:
        gain = torch.from_numpy(np.exp(rng.normal(0, 0.25, 3) + rng.normal(0, 0.2))).float()
        images.append((0.6 * image * gain * (1 - 0.1 * corners)).clamp(0, 1))
    return attrs.evolve(capture, images=images)


@pytest.fixture(scope="module")
def capture() -> Capture:
    return photographed(solids.capture(views=16, width=48, height=36, points=1500))


def trainer(capture: Capture, seed: int = 0, **options: Any) -> Trainer:
    defaults: dict[str, Any] = {"iterations": 300, "threads": 1, "init_fill": 0}
    defaults |= {"background": "white"}
    poses = [torch.stack([getattr(c, name) for c in capture.cameras]) for name in ("K", "viewmat")]
    shown = PosedPhotographs(capture.images, *poses, capture.points, capture.colors)
    generator = torch.Generator().manual_seed(seed)
    return Trainer(Options(**(defaults | options)), shown, generator=generator)


class InCapture:
    """A scene of the trainer's as the bench renders it."""

    def __init__(self, machine: Trainer) -> None:
        self.scene = machine.scene

    def render(self, camera: Any) -> Any:
        size = (camera.width, camera.height)
        rgb, alpha, depth = self.scene.render(camera.viewmat, camera.K, *size)
        return SimpleNamespace(rgb=rgb, alpha=alpha, depth=depth)


def held_out_psnr(capture: Capture, appearance: str) -> float:
    """PSNR in dB of three views left out, after the same alignment of colours."""
    held = [2, 7, 12]
    machine = trainer(
        subset(capture, [k for k in range(16) if k not in held]), appearance=appearance
    )
    for _ in machine.run():
        pass
    method: Any = SimpleNamespace(working=nullcontext)
    scene: Any = InCapture(machine)
    scores = score_aligned(method, scene, HeldOut.of(subset(capture, held)), ("colour",))
    return sum(s.psnr for s in scores) / len(scores)


def test_grids_keep_the_camera_s_changes_out_of_the_scene(capture: Capture) -> None:
    assert held_out_psnr(capture, "bilateral") > held_out_psnr(capture, "none") + 3


@pytest.mark.parametrize("appearance", ["exposure", "bilateral"])
def test_a_resumed_fit_ends_in_the_same_bits(
    capture: Capture, appearance: str, tmp_path: Any
) -> None:
    options: dict[str, Any] = {"iterations": 24, "appearance": appearance, "sh_degree": 0}
    whole, stopped = trainer(capture, **options), trainer(capture, **options)
    for _ in whole.run():
        pass
    for iteration, _ in stopped.run():
        if iteration == 11:
            break
    torch.save(stopped.state_dict(), tmp_path / "state.pt")
    resumed = trainer(capture, seed=9, **options)
    resumed.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    for _ in resumed.run():
        pass
    states = [machine.state_dict() for machine in (whole, resumed)]
    name = "grids" if appearance == "bilateral" else "exposures"
    assert torch.equal(*(state[name] for state in states))
    assert not torch.equal(states[0][name][0], torch.eye(3, 4).expand_as(states[0][name][0]))
    for key, value in states[0]["parameters"].items():
        assert torch.equal(value, states[1]["parameters"][key])


def test_the_user_is_told_that_no_scene_file_holds_the_grids(capture: Capture) -> None:
    request = ReconstructRequest(capture, torch.Generator().manual_seed(0), 12)
    options = Options(appearance="bilateral", init_fill=0, background="white")
    fit = GaussianReconstruction(request, options, "cpu")
    assert fit.alignment == ("colour",)
    assert "no scene file" in fit.notes[-1]
    plain = GaussianReconstruction(request, Options(init_fill=0, background="white"), "cpu")
    assert plain.alignment == ()
    assert not [note for note in plain.notes if "scene file" in note]


def test_a_short_fit_learns_its_grids_faster() -> None:
    rates = [Options(iterations=n).scheduled().bilateral_lr for n in (30_000, 1500, 100)]
    assert rates == [0.001, 0.002, 0.01]


def test_exposure_has_two_names_and_no_third_beside_it() -> None:
    assert Options(exposure=True).appears == Options(appearance="exposure").appears == "exposure"
    with pytest.raises(ValueError, match="exposure and appearance bilateral exclude each other"):
        Options(exposure=True, appearance="bilateral")


def test_short_fits_of_priors_learn_no_appearance() -> None:
    assert trial_options(Options(iterations=100, appearance="bilateral")).appears == "none"
