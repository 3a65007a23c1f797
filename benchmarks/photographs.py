"""Fit 100 photographs of 1,600 by 1,200 pixels for a few iterations, and print the peak memory.

python benchmarks/photographs.py [--count 100] [--width 1600] [--iterations 20]
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from plyfile import PlyData, PlyElement

import kdst_core
from kdst_reconstruct.default import solids


def main() -> None:
    """Write the photographs of the embedded solids, enlarged, and run the method on them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--width", type=int, default=1600)
    parser.add_argument("--iterations", type=int, default=20)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        write(root / "capture", given.count, given.width)
        result = kdst_core.run(
            "3dgs",
            data=str(root / "capture"),
            iterations=given.iterations,
            holdout="none",
            flight_frames=0,
            out=root / "run",
        )
        print(f"{given.count} photographs of {result.data['input']['sizes'][0]}", end=": ")
        print(f"{result.metrics['peak_memory_mb']:.0f} MiB at the peak")


def write(root: Path, count: int, width: int) -> None:
    """Write photographs, transforms.json and points.ply."""
    capture = solids.capture(views=count)
    scale = width / solids.WIDTH
    size = (width, round(scale * solids.HEIGHT))
    (root / "images").mkdir(parents=True)
    frames = []
    for number, (image, camera) in enumerate(zip(capture.images, capture.cameras, strict=True)):
        picture = Image.fromarray((255 * image.numpy()).round().astype(np.uint8))
        picture.resize(size, Image.Resampling.BICUBIC).save(root / "images" / f"{number:04d}.jpg")
        pose = np.linalg.inv(camera.viewmat.double().numpy()) @ np.diag([1, -1, -1, 1])
        frames.append({"file_path": f"images/{number:04d}.jpg", "transform_matrix": pose.tolist()})
    K = scale * capture.cameras[0].K.double().numpy()
    scene = {"w": size[0], "h": size[1], "fl_x": K[0, 0], "fl_y": K[1, 1], "cx": K[0, 2]}
    scene |= {"cy": K[1, 2], "ply_file_path": "points.ply", "frames": frames}
    (root / "transforms.json").write_text(json.dumps(scene))
    kinds = [(axis, "f4") for axis in "xyz"] + [(c, "u1") for c in ("red", "green", "blue")]
    table = np.zeros(len(capture.points), kinds)
    for axis, values in zip("xyz", capture.points.numpy().T, strict=True):
        table[axis] = values
    for color, values in zip(("red", "green", "blue"), capture.colors.numpy().T, strict=True):
        table[color] = (255 * values).round()
    PlyData([PlyElement.describe(table, "vertex")]).write(root / "points.ply")


if __name__ == "__main__":
    main()
