"""The CPU rasteriser against the published formulas in float64."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from kdst_3dgs import rasterize, rasterize_reference

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


@settings(max_examples=60, deadline=None)
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
    """Behind the camera, at the border, huge, tiny, transparent, opaque, none at all."""
    doubles = scene(seed, count, spread, size, opacity, coefficients)
    floats = [p.float() for p in doubles]
    viewmat, K, width, height = camera(*shape)
    background = torch.tensor([0.2, 0.3, 0.1])
    weights = torch.randn(height, width, 5, generator=torch.Generator().manual_seed(seed))
    image, gradients = loss_and_gradients(
        rasterize,
        floats,
        (viewmat.float(), K.float(), width, height, background),
        weights,
        antialiased=antialiased,
        depth=True,
        threads=1,
    )
    expected, references = loss_and_gradients(
        rasterize_reference,
        [p.double() for p in floats],
        (viewmat.float().double(), K.float().double(), width, height, background.double()),
        weights.double(),
        antialiased=antialiased,
    )
    # A pixel at a threshold (1/255, T = 1e-4, .999) may fall on the other side in float32.
    error = (image - expected).abs()
    assert error.max() <= 1.2 / 255 * max(1.0, expected.abs().max().item())
    assert (error > 2e-5 * max(1.0, expected.abs().max().item())).double().mean() <= 0.02
    if (error > 2e-5).any():
        return
    for gradient, reference in zip(gradients, references, strict=True):
        if reference is None:
            continue
        assert torch.isfinite(gradient).all()
        assert (gradient - reference).norm() <= 2e-4 * reference.norm() + 2e-5


def test_reference_gradients_match_finite_differences():
    parameters = scene(3, 6, 0.5, -1.2, 0.0, 16)
    viewmat, K, width, height = camera(12, 10)
    background = torch.tensor([0.2, 0.3, 0.1], dtype=torch.float64)

    def images(*leaves):
        return rasterize_reference(*leaves, viewmat, K, width, height, background)

    leaves = [p.requires_grad_() for p in parameters]
    assert torch.autograd.gradcheck(images, leaves, eps=1e-7, atol=1e-5, rtol=1e-4, fast_mode=True)


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
