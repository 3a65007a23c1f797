"""The CPU rasteriser against the published formulas in float64."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from kdst_3dgs import rasterize, rasterize_reference
from kdst_3dgs.constants import EPS2D, NEAR
from kdst_3dgs.reference import project, spherical_harmonics

PARAMETERS = ("means", "quats", "log_scales", "opacity_logits", "sh")
ORACLE = "oracles/reconstruct/oracle_200g_64x48_2cam_sh3_f64.npz"


@pytest.fixture(scope="module")
def oracle() -> dict[str, np.ndarray]:
    root = os.environ.get("KDST_TEST_DATA")
    if root is None:
        pytest.skip("KDST_TEST_DATA is not set: no oracle to compare with")
    return dict(np.load(Path(root, ORACLE)))


def render_oracle(render, oracle, dtype):
    """Images, alphas and the gradients of the oracle's loss."""
    get = lambda key: torch.tensor(oracle[key], dtype=dtype)  # noqa: E731
    parameters = [get(name).requires_grad_() for name in PARAMETERS]
    size = (int(oracle["width"]), int(oracle["height"]))
    loss, images = torch.zeros((), dtype=dtype), []
    for i in "01":
        camera = (get("viewmat" + i), get("K" + i), *size, get("background"))
        rgb, alpha, _ = render(*parameters, *camera)
        loss = loss + (rgb * get("w_rgb" + i)).sum() + (alpha * get("w_alpha" + i)).sum()
        images.append((rgb.detach().numpy(), alpha.detach().numpy()))
    loss.backward()
    return images, {n: p.grad.numpy() for n, p in zip(PARAMETERS, parameters, strict=True)}


@pytest.mark.parametrize(
    ("render", "dtype", "image_tolerance", "gradient_tolerance"),
    [(rasterize, torch.float32, 5e-6, 1e-5), (rasterize_reference, torch.float64, 1e-9, 1e-9)],
    ids=["kernels-float32", "reference-float64"],
)
def test_images_and_gradients_match_gsplat_formulas(
    oracle, render, dtype, image_tolerance, gradient_tolerance
):
    images, gradients = render_oracle(render, oracle, dtype)
    for i, (rgb, alpha) in enumerate(images):
        assert np.abs(rgb - oracle[f"rgb{i}"]).max() <= image_tolerance
        assert np.abs(alpha - oracle[f"alpha{i}"]).max() <= image_tolerance
    for name, gradient in gradients.items():
        expected = oracle["grad_" + name]
        error = np.linalg.norm(gradient - expected) / np.linalg.norm(expected)
        assert error <= gradient_tolerance, name


def camera(width: int, height: int) -> tuple[Tensor, Tensor, int, int]:
    """A camera 4 units before the origin, slightly turned."""
    angle = torch.tensor(0.2, dtype=torch.float64)
    viewmat = torch.eye(4, dtype=torch.float64)
    viewmat[0, 0] = viewmat[2, 2] = angle.cos()
    viewmat[0, 2], viewmat[2, 0] = angle.sin(), -angle.sin()
    viewmat[2, 3] = 4
    K = torch.tensor([[40.0, 0, width / 2 - 1], [0, 38.0, height / 2 + 1], [0, 0, 1]])
    return viewmat, K.double(), width, height


def scene(seed: int, count: int, spread: float, size: float, opacity: float, coefficients: int):
    """Random float64 Gaussians; `spread` puts some behind the camera and outside the image."""
    generator = torch.Generator().manual_seed(seed)
    normal = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    return [
        spread * normal(count, 3),
        normal(count, 4),
        size + 0.7 * normal(count, 3),
        opacity + normal(count),
        0.3 * normal(count, coefficients, 3),
    ]


def loss_and_gradients(render, parameters, view, weights, **options):
    """Images (H, W, 4) and the gradients of their weighted sum."""
    leaves = [p.detach().clone().requires_grad_() for p in parameters]
    rgb, alpha, rest = render(*leaves, *view, **options)
    depth = rest["depth"] if isinstance(rest, dict) else rest
    image = torch.cat([rgb, alpha[..., None], 0.1 * depth[..., None]], -1)
    gradients = torch.autograd.grad((image * weights).sum(), leaves, allow_unused=True)
    return image.detach(), gradients


NEAREST = 0.5


def move_what_is_almost_at_the_camera(parameters, viewmat):
    """Push Gaussians between the camera and NEAREST behind it.

    Their depth is a small difference of coordinates of several units, of which float32 keeps too few
    digits for 1e-5: a limit of the inputs' precision, not of the kernels.
    """
    means = parameters[0]
    depth = means @ viewmat[2, :3] + viewmat[2, 3]
    near = (depth > 0) & (depth < NEAREST)
    means[near] -= 2 * NEAREST * viewmat[2, :3]
    return parameters


def thresholds(parameters, view, antialiased):
    """Where float32 may fall on the other side of a threshold: pixels (H, W), and Gaussians (N,).

    Pixels: some alpha is almost 1/255 or .999, or the light left is almost 1e-4 where blending would
    stop. Gaussians: a colour is almost 0, where it is clamped; x/z or y/z is almost where the
    Jacobian stops following it; or another one's depth is almost the same, so that the order of the
    two is a matter of rounding.
    """
    means, quats, log_scales, logits, sh = parameters
    viewmat, K, width, height, _ = view
    means2d, covariance, depth = project(means, quats, log_scales, viewmat, K, width, height)
    filtered = covariance + EPS2D * torch.eye(2, dtype=means.dtype)
    opacity = torch.sigmoid(logits)
    if antialiased:
        ratio = torch.linalg.det(covariance) / torch.linalg.det(filtered)
        opacity = opacity * ratio.clamp_min(0).sqrt()
    ys = torch.arange(height, dtype=means.dtype) + 0.5
    xs = torch.arange(width, dtype=means.dtype) + 0.5
    places = torch.stack(torch.meshgrid(xs, ys, indexing="xy"), -1)
    offset = places[None] - means2d[:, None, None]
    inverse = torch.linalg.inv(filtered)
    sigma = 0.5 * torch.einsum("nhwi,nij,nhwj->nhw", offset, inverse, offset)
    front = depth > NEAR
    order = torch.argsort(torch.where(front, depth, torch.inf), stable=True)[: int(front.sum())]
    free = (opacity[:, None, None] * torch.exp(-sigma))[order]
    near = ((free * 255 - 1).abs() < 1e-4) | ((free / 0.999 - 1).abs() < 1e-4)
    alpha = torch.where(free >= 1 / 255, free.clamp(max=0.999), 0 * free)
    left = torch.cumprod(1 - alpha, 0)
    near |= ((left / 1e-4 - 1).abs() < 1e-3) & (alpha > 0)
    centre = -viewmat[:3, :3].T @ viewmat[:3, 3]
    colour = spherical_harmonics(means - centre, sh)
    raw = spherical_harmonics(means - centre, torch.cat([sh[:, :1] + 100, sh[:, 1:]], 1))
    raw = raw - 100 * 0.28209479177387814
    assert torch.allclose(raw.clamp_min(0), colour, atol=1e-9)
    doubtful = (raw.abs() < 1e-5).any(-1)
    camera = means @ viewmat[:3, :3].T + viewmat[:3, 3]
    for axis, side in ((0, width), (1, height)):
        slope, focal, middle = camera[:, axis] / depth, K[axis, axis], K[axis, 2]
        for end in (-middle - 0.15 * side, side - middle + 0.15 * side):
            doubtful |= (slope - end / focal).abs() < 1e-5
    gaps = depth[order].diff() < 1e-5
    doubtful[order[1:][gaps]] = True
    doubtful[order[:-1][gaps]] = True
    return near.any(0), doubtful & front


@settings(max_examples=80, deadline=None)
@example(609, 17, 6.0, -6.0, -6.0, 1, (37, 41), False)
@example(458, 60, 0.3, 1.5, 6.0, 1, (50, 33), False)
@example(6744, 1, 6.0, 1.5, 0.0, 9, (16, 16), False)
@given(
    seed=st.integers(0, 10_000),
    count=st.sampled_from([0, 1, 15, 16, 17, 60]),
    spread=st.sampled_from([0.3, 1.5, 6.0]),
    size=st.sampled_from([-6.0, -2.5, -1.0, 1.5]),
    opacity=st.sampled_from([-6.0, 0.0, 6.0]),
    coefficients=st.sampled_from([1, 4, 9, 16]),
    shape=st.sampled_from([(1, 1), (16, 16), (37, 41), (50, 33)]),
    antialiased=st.booleans(),
)
def test_kernels_match_the_float64_reference_on_random_scenes(
    seed, count, spread, size, opacity, coefficients, shape, antialiased
):
    """Behind the camera, at the border, huge, tiny, transparent, opaque, none at all.

    Images agree within 5e-6 of their largest value and gradients within 1e-5 relative L2. Left out
    is only what `thresholds` names: pixels get no weight, and Gaussians are removed. Gradients that
    nearly cancel, as those of huge, faint or hidden Gaussians do, also have 1e-6 of the largest of the
    five, or what the exact gradient changes when its inputs are rounded to float32, 128 times.
    """
    viewmat, K, width, height = camera(*shape)
    doubles = scene(seed, count, spread, size, opacity, coefficients)
    floats = [p.float() for p in move_what_is_almost_at_the_camera(doubles, viewmat)]
    background = torch.tensor([0.2, 0.3, 0.1])
    view = (viewmat.float(), K.float(), width, height, background)
    exact = (view[0].double(), view[1].double(), width, height, background.double())
    _, doubtful = thresholds([p.double() for p in floats], exact, antialiased)
    floats = [p[~doubtful] for p in floats]
    near, _ = thresholds([p.double() for p in floats], exact, antialiased)
    weights = torch.randn(height, width, 5, generator=torch.Generator().manual_seed(seed))
    weights[near] = 0
    options = {"antialiased": antialiased}
    image, gradients = loss_and_gradients(
        rasterize, floats, view, weights, depth=True, threads=1, **options
    )
    doubles = [p.double() for p in floats]
    expected, references = loss_and_gradients(
        rasterize_reference, doubles, exact, weights.double(), **options
    )
    assert near.sum() <= 1 + 0.2 * near.numel()
    largest = max(1.0, expected.abs().max().item())
    wrong = ((image - expected).abs() > 5e-6 * largest).any(-1) & ~near
    assert not wrong.any()
    cancelled = 1e-6 * max(reference.norm() for reference in references)
    rounded = changes_by_rounding(doubles, exact, weights.double(), references, seed, options)
    for name, gradient, reference, change in zip(
        PARAMETERS, gradients, references, rounded, strict=True
    ):
        assert torch.isfinite(gradient).all()
        allowed = 1e-5 * reference.norm() + max(cancelled, 128 * change)
        assert (gradient - reference).norm() <= allowed, name


def changes_by_rounding(parameters, view, weights, references, seed, options):
    """Return how far the exact gradients move when every input moves by half a digit of float32."""
    generator = torch.Generator().manual_seed(seed)

    def moved(x):
        signs = torch.randint(0, 2, x.shape, generator=generator) * 2 - 1
        return x * (1 + 2.0**-24 * signs)

    changes = [torch.zeros((), dtype=torch.float64)] * len(references)
    for _ in range(2):
        nearby = (moved(view[0]), moved(view[1]), *view[2:])
        _, gradients = loss_and_gradients(
            rasterize_reference, [moved(p) for p in parameters], nearby, moved(weights), **options
        )
        changes = [
            torch.maximum(c, (g - r).norm())
            for c, g, r in zip(changes, gradients, references, strict=True)
        ]
    return changes


def test_gradient_of_an_opaque_gaussian_s_opacity_keeps_its_digits():
    """1 - sigmoid(x) is sigmoid(-x): at logit 9 the difference would keep 3 digits of float32."""
    parameters = scene(2, 1, 0.0, -1.0, 0.0, 1)
    parameters[3][:] = 6.5
    viewmat, K, width, height = camera(37, 41)
    weights = torch.ones(height, width, 5, dtype=torch.float64)
    weights[15:26, 13:24] = 0  # where alpha is clamped
    views = [
        (viewmat.to(kind), K.to(kind), width, height, torch.zeros(3, dtype=kind))
        for kind in (torch.float32, torch.float64)
    ]
    floats = [p.float() for p in parameters]
    _, gradients = loss_and_gradients(rasterize, floats, views[0], weights.float(), depth=True)
    doubles = [p.double() for p in floats]
    exact = (views[0][0].double(), views[0][1].double(), *views[1][2:])
    _, references = loss_and_gradients(rasterize_reference, doubles, exact, weights)
    assert references[3].abs() > 0
    assert gradients[3].double() == pytest.approx(references[3], rel=1e-5)


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    spread=st.sampled_from([0.5, 6.0]),
    size=st.sampled_from([-4.0, -1.2, 1.0]),
    opacity=st.sampled_from([-4.0, 0.0, 5.0]),
    antialiased=st.booleans(),
)
def test_reference_gradients_match_finite_differences_where_no_threshold_is_crossed(
    seed, spread, size, opacity, antialiased
):
    """Central differences along a random direction, on the pixels that stay on their side."""
    viewmat, K, width, height = camera(12, 10)
    parameters = scene(seed, 6, spread, size, opacity, 16)
    parameters = move_what_is_almost_at_the_camera(parameters, viewmat)
    background = torch.tensor([0.2, 0.3, 0.1], dtype=torch.float64)
    view = (viewmat, K, width, height, background)
    _, doubtful = thresholds(parameters, view, antialiased)
    parameters = [p[~doubtful] for p in parameters]
    near, _ = thresholds(parameters, view, antialiased)
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(height, width, 5, generator=generator, dtype=torch.float64)
    weights[near] = 0
    _, gradients = loss_and_gradients(
        rasterize_reference, parameters, view, weights, antialiased=antialiased
    )
    for index, (name, gradient) in enumerate(zip(PARAMETERS, gradients, strict=True)):
        direction = torch.randn(parameters[index].shape, generator=generator, dtype=torch.float64)
        ends = []
        for step in (1e-6, -1e-6):
            moved = list(parameters)
            moved[index] = parameters[index] + step * direction
            rgb, alpha, depth = rasterize_reference(*moved, *view, antialiased=antialiased)
            image = torch.cat([rgb, alpha[..., None], 0.1 * depth[..., None]], -1)
            ends.append((image * weights).sum().item())
        slope = (gradient * direction).sum().item()
        scale = (gradient * direction).norm().item()
        assert (ends[0] - ends[1]) / 2e-6 == pytest.approx(
            slope, rel=1e-5, abs=1e-6 + 1e-5 * scale
        ), name


def big_scene():
    parameters = [p.float() for p in scene(1, 3000, 1.0, -3.0, 0.0, 16)]
    viewmat, K, _, _ = camera(100, 90)
    return parameters, (viewmat.float(), 2 * K.float(), 100, 90, torch.ones(3))


def test_any_number_of_threads_gives_the_same_bits():
    parameters, view = big_scene()
    weights = torch.randn(90, 100, 5, generator=torch.Generator().manual_seed(0))
    runs = [
        loss_and_gradients(rasterize, parameters, view, weights, depth=True, threads=threads)
        for threads in (1, 2, 3)
    ]
    for image, gradients in runs[1:]:
        assert torch.equal(image, runs[0][0])
        assert all(torch.equal(a, b) for a, b in zip(gradients, runs[0][1], strict=True))


def test_info_holds_what_density_control_reads():
    parameters, view = big_scene()
    leaves = [p.requires_grad_() for p in parameters]
    rgb, _, info = rasterize(*leaves, *view)
    rgb.square().sum().backward()
    drawn = info["visible"]
    assert info["means2d"].shape == info["means2d"].grad.shape == (1, 3000, 2)
    assert ((info["radii"][0] > 0).all(-1) == drawn).all()
    assert (info["means2d"].grad[0, ~drawn] == 0).all()
    assert (info["means2d"].absgrad >= info["means2d"].grad.abs() * (1 - 1e-4) - 1e-5).all()


def test_gradient_of_means2d_is_that_of_the_projected_centre():
    """Moving a Gaussian sideways moves its centre by f/z: the two gradients must agree."""
    means = torch.tensor([[0.1, -0.05, 0.0]], requires_grad=True)
    rest = (torch.tensor([[1.0, 0, 0, 0]]), torch.full((1, 3), -1.5), torch.zeros(1))
    viewmat = torch.eye(4)
    viewmat[2, 3] = 4
    K = torch.tensor([[1000.0, 0, 16], [0, 1000.0, 16], [0, 0, 1]])
    rgb, _, info = rasterize(means, *rest, torch.ones(1, 1, 3), viewmat, K, 32, 32)
    (rgb[..., 0] * torch.linspace(0, 1, 32)).sum().backward()
    assert torch.allclose(means.grad[0, 0], info["means2d"].grad[0, 0, 0] * 1000 / 4, rtol=2e-2)


def test_lower_sh_degree_ignores_the_rest():
    parameters, view = big_scene()
    degree1 = [*parameters[:4], parameters[4][:, :4].contiguous()]
    assert torch.equal(rasterize(*parameters, *view, sh_degree=1)[0], rasterize(*degree1, *view)[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"quats": torch.zeros(2, 3)}, r"quats has shape \(2, 3\); it must be \(2, 4\)"),
        ({"sh": torch.zeros(2, 5, 3)}, "K = 1, 4, 9 or 16"),
        ({"width": 0}, "0×8; both sides must be at least 1"),
    ],
)
def test_wrong_shapes_are_named(change, message):
    call = {
        "means": torch.zeros(2, 3),
        "quats": torch.ones(2, 4),
        "log_scales": torch.zeros(2, 3),
        "opacity_logits": torch.zeros(2),
        "sh": torch.zeros(2, 1, 3),
        "viewmat": torch.eye(4),
        "K": torch.eye(3),
        "width": 8,
        "height": 8,
    }
    with pytest.raises(ValueError, match=message):
        rasterize(**(call | change))


def test_not_a_number_is_not_drawn():
    parameters, view = big_scene()
    parameters[0][5] = torch.nan
    parameters[2][6] = torch.nan
    rgb, _, info = rasterize(*parameters, *view)
    assert torch.isfinite(rgb).all()
    assert not info["visible"][5]
    assert not info["visible"][6]


def test_importing_the_package_loads_no_torch():
    code = (
        "import sys, kdst_3dgs; assert not {'torch', 'numba', 'numpy', 'gsplat'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
