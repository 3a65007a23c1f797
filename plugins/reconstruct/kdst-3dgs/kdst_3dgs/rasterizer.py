"""`rasterize`: Gaussians to an image on the CPU, differentiable and deterministic."""

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from kdst_3dgs import binning, compositing, projection
from kdst_3dgs.constants import CLAMP_MARGIN, FAR, NEAR
from kdst_3dgs.layout import RX, RY, WIDTH
from kdst_3dgs.parallel import available_threads, compiling, split_work
from kdst_3dgs.simd import LANES, kept_on_disk


class _Call(NamedTuple):
    """What one call of `rasterize` fixes besides the Gaussians."""

    camera: Any  # (27,) float32, layout in layout.py
    width: int
    height: int
    background: Any  # (3,) float32
    coefficients: int  # SH coefficients in use
    antialiased: bool
    depth: bool
    threads: int

    @property
    def tile_rows(self) -> int:
        return -(-self.height // binning.TILE_HEIGHT)


class _Tables(NamedTuple):
    """The visible splats and their tiles, kept from the forward for the backward pass."""

    splats: Any  # (N, 16) float32
    visible: Any  # (N,) bool
    starts: Any  # (T + 1,) int64
    entries: Any  # (E, 2) int32
    slot_range: Any  # (N, 2) int64


def _blocks(count: int) -> int:
    return -(-count // LANES)


def _arrays(tensors: Sequence[Tensor]) -> list[Any]:
    return [t.detach().contiguous().numpy() for t in tensors]


def camera_vector(viewmat: Tensor, K: Tensor, width: int, height: int, near: float = NEAR) -> Any:
    """The camera as the projection kernels read it."""
    view = viewmat.detach().double().numpy()
    fx, fy, cx, cy = (float(K[i]) for i in ((0, 0), (1, 1), (0, 2), (1, 2)))
    margin_x, margin_y = CLAMP_MARGIN * width / fx, CLAMP_MARGIN * height / fy
    limits = [-cx / fx - margin_x, (width - cx) / fx + margin_x]
    limits += [-cy / fy - margin_y, (height - cy) / fy + margin_y]
    R, t = view[:3, :3], view[:3, 3]
    rest = [fx, fy, cx, cy, *limits, width, height, near, FAR]
    return np.concatenate([R.ravel(), t, -R.T @ t, rest]).astype(np.float32)


def project_and_bin(parameters: list[Any], call: _Call) -> _Tables:
    """Project every Gaussian, sort the visible ones by depth and hand them to tiles."""
    count = len(parameters[0])
    splats = np.empty((count, WIDTH), np.float32)
    visible = np.empty(count, np.bool_)
    shared = (*parameters, call.coefficients, call.camera, call.antialiased, splats, visible)
    split_work(projection.project_forward, _blocks(count), call.threads, *shared)
    order = binning.depth_order(splats, visible)
    binned = binning.bin_splats(splats, visible, order, call.width, call.height)
    return _Tables(splats, visible, *binned)


class _Rasterize(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        means: Tensor,
        quats: Tensor,
        log_scales: Tensor,
        opacity_logits: Tensor,
        sh: Tensor,
        means2d: Tensor,
        call: _Call,
        info: dict[str, Any],
    ) -> tuple[Tensor, Tensor, Tensor]:
        parameters = (means, quats, log_scales, opacity_logits, sh)
        tables = project_and_bin(_arrays(parameters), call)
        rgb, alpha = torch.empty(call.height, call.width, 3), torch.empty(call.height, call.width)
        depth = torch.empty((call.height, call.width) if call.depth else (0, 0))
        shared = (call.width, call.height, tables.starts, tables.entries, tables.splats)
        left_over, stopped = torch.empty_like(alpha), torch.empty_like(alpha)
        images = _arrays((rgb, alpha, depth, left_over, stopped))
        split_work(
            compositing.composite_forward,
            call.tile_rows,
            call.threads,
            *shared,
            call.background,
            *images,
        )
        ctx.save_for_backward(*parameters, left_over, stopped)
        ctx.tables, ctx.call, ctx.means2d = tables, call, means2d
        info["tables"] = tables
        return rgb, alpha, depth

    @staticmethod
    def backward(ctx: Any, *d_images: Tensor) -> Any:
        *parameters, left_over, stopped = ctx.saved_tensors
        tables, call, means2d = ctx.tables, ctx.call, ctx.means2d
        slots = np.empty((len(tables.entries), WIDTH), np.float32)
        images = _arrays((left_over, stopped, *d_images))
        shared = (call.width, call.height, tables.starts, tables.entries, tables.splats)
        split_work(
            compositing.composite_backward,
            call.tile_rows,
            call.threads,
            *shared,
            call.background,
            *images,
            slots,
        )
        gradients = [torch.empty(p.shape) for p in parameters]
        d_means2d, absolute = torch.empty_like(means2d), torch.empty_like(means2d)
        inputs = (*_arrays(parameters), call.coefficients, call.camera, call.antialiased)
        outputs = (*_arrays(gradients), d_means2d.numpy()[0], absolute.numpy()[0])
        split_work(
            projection.project_backward,
            _blocks(len(tables.visible)),
            call.threads,
            *inputs,
            tables.visible,
            tables.slot_range,
            slots,
            *outputs,
        )
        means2d.absgrad = absolute
        return *gradients, d_means2d, None, None


def rasterize(
    means: Tensor,
    quats: Tensor,
    log_scales: Tensor,
    opacity_logits: Tensor,
    sh: Tensor,
    viewmat: Tensor,
    K: Tensor,
    width: int,
    height: int,
    background: Tensor | None = None,
    *,
    sh_degree: int | None = None,
    antialiased: bool = False,
    depth: bool = False,
    threads: int | None = None,
    near: float = NEAR,
) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """Render Gaussians with one pinhole camera on the CPU (Kerbl et al. 2023, sections 4 and 6).

    means (N, 3) in world units; quats (N, 4) wxyz, of any length; log_scales (N, 3);
    opacity_logits (N,); sh (N, K, 3) with K = 1, 4, 9 or 16; viewmat (4, 4) world to camera,
    OpenCV axes; K (3, 3) in pixels; background (3,), black when None. `sh_degree` uses only that
    many degrees of `sh`; `antialiased` scales opacities for what the screen filter adds
    (Mip-Splatting, eq. 9); `threads` defaults to the processors at hand;
    Gaussians nearer than `near`, in world units, are not drawn.

    Returns rgb (H, W, 3), alpha (H, W) and info: `means2d` (1, N, 2) pixels, a leaf whose `.grad`
    and `.absgrad` the backward pass fills; `radii` (1, N, 2) int32 half extents in pixels, 0 where
    not drawn; `visible` (N,) bool; `n_entries` tile entries; `width`, `height`, `n_cameras`; and
    with `depth` the map `depth` (H, W), the alpha-weighted sum of camera z.

    Gradients flow to the first five arguments, the same whatever the number of threads; not to
    the camera or the background. Raises ValueError for shapes that do not fit.
    """
    _check(means, quats, log_scales, opacity_logits, sh, width, height)
    compile_rasterizer()
    parameters = [p.float() for p in (means, quats, log_scales, opacity_logits, sh)]
    ground = torch.zeros(3) if background is None else background.detach().float()
    call = _Call(
        camera_vector(viewmat, K, width, height, near),
        width,
        height,
        ground.contiguous().numpy(),
        sh.shape[1] if sh_degree is None else min((sh_degree + 1) ** 2, sh.shape[1]),
        antialiased,
        depth,
        threads or available_threads(),
    )
    info: dict[str, Any] = {}
    wanted = torch.is_grad_enabled() and any(p.requires_grad for p in parameters)
    means2d = torch.zeros(1, len(means), 2, requires_grad=wanted)
    rgb, alpha, far = _Rasterize.apply(*parameters, means2d, call, info)  # type: ignore[no-untyped-call]
    tables = info.pop("tables")
    info.update(_describe(tables, means2d), width=width, height=height, n_cameras=1)
    if depth:
        info["depth"] = far
    return rgb, alpha, info


def _describe(tables: _Tables, means2d: Tensor) -> dict[str, Any]:
    """What density control reads: positions, extents and visibility on the screen."""
    visible = tables.visible
    centres, extents = tables.splats[:, :2], tables.splats[:, RX : RY + 1]
    shown = visible[:, None]
    means2d.data[0] = torch.from_numpy(np.where(shown, centres, 0))
    radii = np.ceil(np.minimum(np.where(shown, extents, 0), 1e6)).astype(np.int32)
    return {
        "means2d": means2d,
        "radii": torch.from_numpy(radii)[None],
        "visible": torch.from_numpy(visible),
        "gaussian_ids": None,
        "n_entries": len(tables.entries),
    }


def _check(
    means: Tensor,
    quats: Tensor,
    log_scales: Tensor,
    opacity_logits: Tensor,
    sh: Tensor,
    width: int,
    height: int,
) -> None:
    n = len(means)
    expected = {"means": (n, 3), "quats": (n, 4), "log_scales": (n, 3), "opacity_logits": (n,)}
    given = (means, quats, log_scales, opacity_logits)
    for (name, shape), tensor in zip(expected.items(), given, strict=True):
        if tuple(tensor.shape) != shape:
            raise ValueError(f"{name} has shape {tuple(tensor.shape)}; it must be {shape}.")
    if sh.ndim != 3 or sh.shape[0] != n or sh.shape[1] not in (1, 4, 9, 16) or sh.shape[2] != 3:
        raise ValueError(
            f"sh has shape {tuple(sh.shape)}; it must be ({n}, K, 3) with K = 1, 4, 9 or 16."
        )
    if means.device.type != "cpu":
        raise ValueError(f"rasterize works on the CPU; means is on {means.device}.")
    if width < 1 or height < 1:
        raise ValueError(f"The image is {width}×{height}; both sides must be at least 1.")


@cache
def compile_rasterizer() -> None:
    """Load or compile every kernel on one Gaussian, so that later calls have steady times."""
    means = torch.tensor([[0.0, 0.0, 1.0]], requires_grad=True)
    quats, scales = torch.tensor([[1.0, 0.0, 0.0, 0.0]]), torch.zeros(1, 3)
    rest = (quats, scales, torch.zeros(1), torch.zeros(1, 1, 3))
    camera = camera_vector(torch.eye(4), torch.eye(3), 1, 1)
    call = _Call(camera, 1, 1, np.zeros(3, np.float32), 1, False, False, 1)
    with compiling(kept_on_disk(projection.project_forward)), torch.enable_grad():
        means2d = torch.zeros(1, 1, 2, requires_grad=True)
        rgb, _, _ = _Rasterize.apply(means, *rest, means2d, call, {})  # type: ignore[no-untyped-call]
        rgb.sum().backward()
