"""Cameras of a path through a scene, and what they see as a video or as pictures."""

from collections.abc import Callable, Sequence
from pathlib import Path

import attrs
import numpy as np
import torch

from kdst_core.contracts import Camera, Scene
from kdst_core.errors import KdstError
from kdst_core.files import whole_folder, write_atomically
from kdst_core.runs.rundir import slug
from kdst_reconstruct import pictures
from kdst_reconstruct.rendering import flight
from kdst_reconstruct.rendering.orbit import around_scene, around_views, axis, extent
from kdst_reconstruct.saved_scene import Views

ALONE = (640, 480)
"""Size of renders when no photograph gives one."""


def check_target(out: Path) -> None:
    """Raise KdstError for a target that cannot be written or holds other files."""
    if not out.parent.is_dir():
        raise KdstError(f"--out {out}: there is no folder {out.parent}")
    if out.suffix.lower() == ".mp4":
        if out.is_dir():
            raise KdstError(f"--out {out} is a folder")
    elif out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise KdstError(f"--out {out} exists; give a name that ends in .mp4, or a new folder")


def path(
    kind: str,
    scene: Scene,
    views: Views | None,
    frames: int,
    width: int = 0,
    up: str | None = None,
) -> list[Camera]:
    """Return the cameras of a path: `orbit`, or `capture` along the photographs' own.

    width: of the frames in pixels, 0 for the photographs'. up: an axis, for scenes without
    photographs. Raises KdstError when the path needs photographs and there are none.
    """
    if views is None:
        if kind == "capture":
            raise KdstError("nothing names the photographs; give --data DIR, or --path orbit")
        size = (width or ALONE[0], round((width or ALONE[0]) * ALONE[1] / ALONE[0]))
        sky = axis(up or "-y")
        return [_even(c) for c in around_scene(scene.splats(), sky, frames, size)]
    cameras = views.capture.cameras
    if kind == "orbit":
        middle, _ = extent(scene.splats())
        found = around_views(cameras, middle, frames, None if up is None else axis(up))
    else:
        found = flight.along(cameras, frames)
    return [_even(scaled(c, width) if width else c) for c in found]


def held_out(views: Views | None) -> tuple[list[Camera], list[str]]:
    """Return the cameras of the held-out views and a file name for each."""
    if views is None:
        raise KdstError("nothing names the photographs; give --data DIR")
    if not views.holdout:
        raise KdstError("no view is held out; name some: --holdout 0,8")
    names = [Path(views.capture.names[k]).stem for k in views.holdout]
    files = [f"{k:03d}-{slug(name)}.png" for k, name in zip(views.holdout, names, strict=True)]
    return [views.capture.cameras[k] for k in views.holdout], files


def scaled(camera: Camera, width: int) -> Camera:
    """Return a camera that sees the same in an image of another width."""
    height = max(1, round(camera.height * width / camera.width))
    factor = torch.tensor([[width / camera.width], [height / camera.height], [1.0]])
    return attrs.evolve(camera, K=camera.K * factor, width=width, height=height)


def write(
    scene: Scene,
    cameras: Sequence[Camera],
    names: Sequence[str],
    out: Path,
    advance: Callable[[int], None],
) -> None:
    """Write a video where `out` ends in .mp4, else a folder of PNGs; whole or not at all."""
    if out.suffix.lower() == ".mp4":
        if len({(c.width, c.height) for c in cameras}) > 1:
            raise KdstError(f"--out {out}: views of several sizes make no video; give a folder")
        flight.write_video(scene, [_even(c) for c in cameras], out, advance)
        return
    with whole_folder(out) as temporary:
        for camera, name in zip(cameras, names, strict=True):
            rgb = scene.render(camera).rgb.detach().float().cpu()
            write_atomically(temporary / name, pictures.picture(rgb))
            advance(1)
        if out.is_dir():
            out.rmdir()  # never what somebody put there since


def _even(camera: Camera) -> Camera:
    """Return a camera whose sides are even, as video needs them."""
    size = np.maximum(np.array([camera.width, camera.height]) // 2 * 2, 2)
    return attrs.evolve(camera, width=int(size[0]), height=int(size[1]))
