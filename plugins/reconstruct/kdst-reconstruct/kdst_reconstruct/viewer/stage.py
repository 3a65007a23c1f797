"""A scene in the browser, by viser: Gaussians, the photographs at their cameras, orbit and fly."""

import contextlib
import html
import io
import math
import socket
from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np
import torch
import viser

from kdst_core.contracts import Camera, Splats
from kdst_core.errors import KdstError
from kdst_reconstruct.rendering.orbit import around_scene, around_views, extent, placement, upward
from kdst_reconstruct.saved_scene import Views
from kdst_reconstruct.viewer.guard import Guard, standing

THUMBNAIL = 160
"""Width of a photograph in the scene, in pixels."""
BEFORE = 4.0
"""The first look is taken this many frustums in front of the cameras, which then hide nothing."""
TRAINED, HELD_OUT = (60, 120, 200), (220, 110, 20)
"""Colours of the cameras."""

OFFLINE = """<script>
if (location.protocol === "file:") {
  const Inherited = Worker;
  window.Worker = class extends Inherited {
    constructor(url, options) {
      if (String(url).startsWith("blob:")) throw new Error("blob: workers fail in local files");
      super(url, options);
    }
  };
}
</script>"""
"""In a page that is opened from disk, Chromium starts no module worker from a blob, and Gaussians
would stay unsorted. The client has a second way, which it takes when the first one throws."""

FILTER = 0.3
"""Variance in square pixels by which viewer and training widen a splat on the screen."""
FILTERED = 16
"""Cameras from which the filter's effect on opacity is taken."""
Array = np.ndarray[Any, np.dtype[np.float64]]


def start(guard: Guard, port: int) -> viser.ViserServer:
    """Start a server without a word, behind a guard; port 0 takes a free one.

    Raises KdstError when it cannot listen.
    """
    host = guard.host
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.create_server((host, port), family=family) as probe:
            free = probe.getsockname()[1]
    except (OSError, OverflowError) as e:
        reason = getattr(e, "strerror", None) or str(e)
        raise KdstError(
            f"cannot listen on {host}:{port}: {reason}.\nGive another --port, or 0 for any"
        ) from e
    with contextlib.redirect_stdout(io.StringIO()), standing(guard):
        return viser.ViserServer(host, free, label="kdst view", verbose=False)


def filtered(splats: Splats, cameras: Sequence[Camera]) -> Splats:
    """Return splats with the opacities that antialiasing shows from the photographs.

    The viewer widens each splat on the screen by the same filter as training, but does not make it
    fainter for that (Mip-Splatting, eq. 9). How much fainter it is depends on its size on the
    screen; taken is the median over the cameras that see it.
    """
    rows = np.unique(np.linspace(0, len(cameras) - 1, min(len(cameras), FILTERED)).round())
    factors = torch.stack([_fainter(splats, cameras[int(k)]) for k in rows])
    factor = factors.nanmedian(0).values.nan_to_num(1.0)
    return attrs.evolve(splats, opacities=splats.opacities * factor)


def _fainter(splats: Splats, camera: Camera) -> torch.Tensor:
    """Return the share (N,) of opacity that the filter leaves in a view, nan outside of it."""
    view, K = camera.viewmat.double(), camera.K.double()
    seen = splats.means.double().cpu() @ view[:3, :3].T + view[:3, 3]
    x, y, z = seen.unbind(-1)
    depth = z.clamp_min(1e-6)
    zero = torch.zeros_like(depth)
    rows = [K[0, 0] / depth, zero, -K[0, 0] * x / depth**2]
    rows += [zero, K[1, 1] / depth, -K[1, 1] * y / depth**2]
    project = torch.stack(rows, -1).reshape(-1, 2, 3) @ view[:3, :3]
    shape = project @ splats.covariances.double().cpu() @ project.mT
    widened = shape + FILTER * torch.eye(2, dtype=torch.float64)
    share = (torch.linalg.det(shape) / torch.linalg.det(widened)).clamp(0, 1).sqrt().float()
    across = (K[0, 0] * x / depth + K[0, 2]) / camera.width
    down = (K[1, 1] * y / depth + K[1, 2]) / camera.height
    inside = (z > 1e-6) & (across >= 0) & (across <= 1) & (down >= 0) & (down <= 1)
    return torch.where(inside.to(share.device), share, share.new_tensor(float("nan")))


def show(server: viser.ViserServer, splats: Splats, views: Views | None, up: Array | None) -> None:
    """Put a scene and its photographs on stage; `up` (3,) overrides what the cameras say."""
    draw(server, splats)
    middle, _ = extent(splats)
    if views is None:
        sky = np.array([0.0, -1.0, 0.0]) if up is None else up
        first, centre = around_scene(splats, sky, 1, (640, 480))[0], middle
    else:
        sky = upward(views.capture.cameras) if up is None else up
        first = around_views(views.capture.cameras, middle, 1, up)[0]
        centre = _ahead(first, middle)
    place = placement([first])[0][0]
    if views is not None:
        size = _add_photographs(server, views)
        place = place + min(BEFORE * size / float(np.linalg.norm(centre - place)), 0.5) * (
            centre - place
        )
    server.scene.set_up_direction(tuple(sky))
    camera = server.initial_camera
    camera.position, camera.look_at, camera.fov = place, centre, _field_of_view(first)


def draw(server: viser.ViserServer, splats: Splats) -> None:
    """Draw splats in place of those that were drawn before; everything else stays."""
    server.scene.add_gaussian_splats(
        "/scene",
        centers=splats.means.float().cpu().numpy(),
        covariances=splats.covariances.float().cpu().numpy(),
        rgbs=splats.colors.float().cpu().numpy(),
        opacities=splats.opacities.float().cpu().numpy()[:, None],
    )


def page(server: viser.ViserServer, title: str, dark: bool) -> str:
    """Return what is on stage as one HTML page that needs no network."""
    client, _, rest = server.scene.as_html(dark_mode=dark).partition("<title>Viser</title>")
    return f"{client}<title>{html.escape(title)}</title>{OFFLINE}{rest}"


def stop(server: viser.ViserServer) -> None:
    """Stop a server without a word."""
    with contextlib.redirect_stdout(io.StringIO()):
        server.stop()


def _ahead(camera: Camera, middle: Array) -> Array:
    """Return the point on a camera's axis that is as far away as the middle of the scene."""
    centres, rotations = placement([camera])
    forward = rotations[0, :, 2]
    return centres[0] + max(float((middle - centres[0]) @ forward), 1e-3) * forward


def _field_of_view(camera: Camera) -> float:
    """Return the vertical field of view in radians."""
    return 2 * math.atan(camera.height / 2 / float(camera.K[1, 1]))


def _add_photographs(server: viser.ViserServer, views: Views) -> float:
    """Add a frustum with its photograph for every view, a click flies there; return their size."""
    from scipy.spatial.transform import Rotation

    capture = views.capture
    centres, rotations = placement(capture.cameras)
    size = _frustum_size(centres)
    for row, (camera, image) in enumerate(zip(capture.cameras, capture.images, strict=True)):
        x, y, z, w = Rotation.from_matrix(rotations[row]).as_quat()
        handle = server.scene.add_camera_frustum(
            f"/photographs/{row:04d}",
            fov=_field_of_view(camera),
            aspect=camera.width / camera.height,
            scale=size,
            thickness=size / 40,
            color=HELD_OUT if row in views.holdout else TRAINED,
            image=_thumbnail(image),
            wxyz=(w, x, y, z),
            position=tuple(centres[row]),
        )
        forward = rotations[row, :, 2]
        handle.on_click(_flight_to(centres[row] + _depth(camera, size) * forward, forward, size))
    return size


def _depth(camera: Camera, size: float) -> float:
    """Return how far in front of its camera viser draws a photograph, and a little more."""
    half = math.tan(_field_of_view(camera) / 2)
    return 1.05 * size / math.cbrt(half * half * camera.width / camera.height / 3)


def _flight_to(place: Array, forward: Array, size: float) -> Any:
    """Return what a click on a photograph does: look from its place, past it, at the scene."""

    def fly(event: Any) -> None:
        camera = event.client.camera
        with event.client.atomic():
            camera.position = place
            camera.look_at = place + 10 * size * forward

    return fly


def _frustum_size(centres: Array) -> float:
    """Return a length that keeps neighbouring frustums apart."""
    if len(centres) < 2:
        return 0.3
    apart = np.linalg.norm(centres[:, None] - centres[None], axis=-1)
    np.fill_diagonal(apart, np.inf)
    nearest = float(np.median(apart.min(1)))
    return 0.25 * nearest if nearest > 0 else 0.3


def _thumbnail(image: Any) -> Any:
    """Return a photograph (H, W, 3) as small uint8 pixels."""
    from PIL import Image

    pixels = (image.clamp(0, 1) * 255).round().byte().cpu().numpy()
    picture = Image.fromarray(pixels)
    picture.thumbnail((THUMBNAIL, THUMBNAIL))
    return np.asarray(picture)
