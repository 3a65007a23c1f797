"""A flight along the path of the cameras, as cameras and as a video."""

from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch
from scipy.interpolate import CubicSpline
from scipy.spatial.transform import Rotation, RotationSpline

from kdst_core.contracts import Camera, Scene
from kdst_core.files import whole_file

FRAMES_A_SECOND = 24
CLOSED = 1.5
"""A path is a loop when its ends are nearer than this many of its usual steps."""


def along(cameras: Sequence[Camera], frames: int) -> list[Camera]:
    """Return `frames` cameras on a smooth path through the given ones, in their order.

    A path that ends where it began becomes a loop. Intrinsics and size are the first camera's, no
    exposure is set, and sides are made even, as video needs them.
    """
    poses = np.stack([c.viewmat.double().numpy() for c in cameras])
    rotations = poses[:, :3, :3].transpose(0, 2, 1)
    centres = -(rotations @ poses[:, :3, 3:])[..., 0]
    steps = np.linalg.norm(np.diff(centres, axis=0), axis=1)
    closed = len(poses) > 3 and np.linalg.norm(centres[-1] - centres[0]) < CLOSED * np.median(steps)
    if closed:
        centres = np.concatenate([centres, centres[:1]])
        rotations = np.concatenate([rotations, rotations[:1]])
    knots = np.arange(len(centres))
    at = np.linspace(0, len(centres) - 1, frames, endpoint=not closed)
    places = CubicSpline(knots, centres, bc_type="periodic" if closed else "natural")(at)
    turns = RotationSpline(knots, Rotation.from_matrix(rotations))(at).as_matrix()
    return [_camera(cameras[0], turn, place) for turn, place in zip(turns, places, strict=True)]


def _camera(first: Camera, turn: Any, place: Any) -> Camera:
    """Return a camera at a place (3,) turned by (3, 3), camera to world."""
    pose = np.eye(4)
    pose[:3, :3] = turn.T
    pose[:3, 3] = -turn.T @ place
    return attrs.evolve(
        first,
        viewmat=torch.from_numpy(pose).float(),
        width=first.width // 2 * 2,
        height=first.height // 2 * 2,
        exposure=None,
    )


def write_video(
    scene: Scene, cameras: Sequence[Camera], path: Path, advance: Callable[[int], None]
) -> None:
    """Render the cameras and write an mp4 (H.264), whole or not at all; `advance` counts frames."""
    import imageio_ffmpeg

    size = (cameras[0].width, cameras[0].height)
    with whole_file(path) as temporary:
        writer = imageio_ffmpeg.write_frames(
            str(temporary), size, fps=FRAMES_A_SECOND, quality=8, macro_block_size=2
        )
        with closing(writer):
            writer.send(None)
            for camera in cameras:
                frame = scene.render(camera).rgb.detach().cpu().clamp(0, 1)
                writer.send((frame * 255).round().to(torch.uint8).contiguous().numpy().tobytes())
                advance(1)
