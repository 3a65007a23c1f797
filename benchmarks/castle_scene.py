"""The castle capture as tensors, and random Gaussians spread over its points."""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pycolmap
import torch
from PIL import ExifTags, Image
from scipy.spatial import cKDTree
from torch import Tensor


class Capture(NamedTuple):
    """Photographs in name order with their cameras, and the SfM points."""

    images: Tensor  # (N, H, W, 3) uint8
    intrinsics: Tensor  # (N, 3, 3), pixels
    viewmats: Tensor  # (N, 4, 4), world to camera
    points: Tensor  # (P, 3)
    colors: Tensor  # (P, 3) uint8
    tracks: list[Tensor]  # for each image the indices of the points seen in it
    exposures: Tensor  # (N,) seconds · ISO / f-number²


def load_castle(width: int | None = None) -> Capture:
    """Read `castle` from the folder that KDST_TEST_DATA names, resized to `width`."""
    if "KDST_TEST_DATA" not in os.environ:
        raise SystemExit("Set KDST_TEST_DATA to the folder that holds data/castle.")
    root = Path(os.environ["KDST_TEST_DATA"], "data", "castle")
    model = pycolmap.Reconstruction(root / "sparse" / "0")
    rows = {identifier: row for row, identifier in enumerate(model.points3D)}
    images, intrinsics, viewmats, tracks, exposures = [], [], [], [], []
    for view in sorted(model.images.values(), key=lambda view: str(view.name)):
        file = Image.open(root / "images" / view.name)
        exif = file.getexif().get_ifd(ExifTags.IFD.Exif)
        tags = (ExifTags.Base.ExposureTime, ExifTags.Base.ISOSpeedRatings, ExifTags.Base.FNumber)
        seconds, iso, f_number = (float(exif[tag]) for tag in tags)
        exposures.append(seconds * iso / f_number**2)
        photograph = file.convert("RGB")
        K = torch.tensor(view.camera.calibration_matrix(), dtype=torch.float32)
        if width is not None:
            height = round(photograph.height * width / photograph.width)
            K[0] *= width / photograph.width
            K[1] *= height / photograph.height
            photograph = photograph.resize((width, height), Image.Resampling.LANCZOS)
        viewmat = torch.eye(4)
        viewmat[:3] = torch.tensor(view.cam_from_world().matrix())
        seen = [rows[p.point3D_id] for p in view.points2D if p.has_point3D()]
        images.append(torch.from_numpy(np.array(photograph)))
        intrinsics.append(K)
        viewmats.append(viewmat)
        tracks.append(torch.tensor(sorted(set(seen))))
    points = torch.tensor(np.array([p.xyz for p in model.points3D.values()]), dtype=torch.float32)
    colors = torch.tensor(np.array([p.color for p in model.points3D.values()]), dtype=torch.uint8)
    stacked = (torch.stack(images), torch.stack(intrinsics), torch.stack(viewmats))
    return Capture(*stacked, points, colors, tracks, torch.tensor(exposures))


def neighbour_distance(points: np.ndarray) -> np.ndarray:
    """Mean distance (N,) of each point to its 3 nearest neighbours."""
    distances, _ = cKDTree(points).query(points, k=4)
    return np.maximum(distances[:, 1:].mean(1), 1e-7)


def random_gaussians(capture: Capture, count: int, seed: int = 0) -> list[Tensor]:
    """means, quats, log_scales, opacity_logits and sh of `count` Gaussians around the points."""
    rng = np.random.default_rng(seed)
    points = capture.points.numpy().astype(np.float64)
    chosen = rng.integers(len(points), size=count)
    noise = rng.standard_normal((count, 3)) * 0.5 * neighbour_distance(points)[chosen, None]
    means = points[chosen] + noise
    log_scales = np.log(neighbour_distance(means))[:, None] + 0.4 * rng.standard_normal((count, 3))
    quats = rng.standard_normal((count, 4))
    logits = 2 * rng.standard_normal(count)
    sh = 0.05 * rng.standard_normal((count, 16, 3))
    arrays = (means, quats, log_scales, logits, sh)
    return [torch.tensor(a, dtype=torch.float32) for a in arrays]
