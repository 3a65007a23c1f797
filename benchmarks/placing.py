"""Place 200 pictures by structure from motion, and print CPU time and the error of their rotations.

python benchmarks/placing.py [--count 200] [--width 320] [--grain 1] [--folder DIR]

The pictures are the castle's 11 photographs and an orbit of the embedded solids, whose cameras are
known: two groups that do not overlap, of which the larger is scored. The solids are smooth, and larger
pictures of them show no more; --grain adds detail, with 0 they are as embedded. DIR keeps pictures and
features, so that a run that was stopped goes on; the CPU time is then that of what was left.
"""

import argparse
import os
import resource
import shutil
import tempfile
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import orbit
import pycolmap
from PIL import Image

from kdst_core.progress import progress
from kdst_reconstruct.captures import sfm
from kdst_reconstruct.default import solids


def write(folder: Path, count: int, width: int, grain: float) -> None:
    """Write the castle's photographs, and pictures of the solids with their rotations."""
    castle = sorted(Path(os.environ["KDST_TEST_DATA"], "data", "castle", "images").iterdir())
    folder.mkdir(parents=True)
    for file in castle:
        shutil.copyfile(file, folder / f"castle-{file.name}")
    small = solids.capture(views=count - len(castle), width=16, height=12, points=1)
    poses = [camera.viewmat.double().numpy() for camera in small.cameras]
    K = small.cameras[0].K.double().numpy()
    drawn = orbit.photograph(K, poses[0], 16, 12, 3, 0.0)
    np.testing.assert_allclose(drawn, small.images[0].numpy(), atol=1e-4)
    K[:2] *= width / 16
    for number, pose in enumerate(poses):
        drawn = orbit.photograph(K, pose, width, 3 * width // 4, 3 if width <= 640 else 2, grain)
        picture = Image.fromarray((255 * drawn).round().astype(np.uint8))
        picture.save(folder / f"orbit-{number:04d}.png", compress_level=1)
    np.save(folder.parent / "rotations.npy", np.stack([pose[:3, :3] for pose in poses]))


def errors(model: Path, rotations: np.ndarray) -> np.ndarray:
    """Degrees between the placed cameras' rotations and the true ones, once turned together."""
    images = pycolmap.Reconstruction(model).images.values()
    rows = {str(image.name): image.cam_from_world().rotation.matrix() for image in images}
    names = [name for name in rows if name.startswith("orbit-")]
    if not names:
        raise SystemExit("The castle's group is the larger one: too few pictures of the orbit.")
    found = np.stack([rows[name] for name in names])
    true = rotations[[int(Path(name).stem[6:]) for name in names]]
    u, _, vt = np.linalg.svd((found.transpose(0, 2, 1) @ true).sum(0))
    together = u @ np.diag([1, 1, np.linalg.det(u @ vt)]) @ vt
    apart = np.einsum("nij,jk,nlk->nil", found, together, true)
    cosine = (np.trace(apart, axis1=1, axis2=2) - 1) / 2
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))


def main() -> None:
    """Write the pictures, place them and print what came out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--width", type=int, default=320)
    parser.add_argument("--grain", type=float, default=1.0)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    kept = nullcontext(str(given.folder)) if given.folder else tempfile.TemporaryDirectory()
    with kept as name:
        root = Path(name)
        if not (root / "rotations.npy").exists():
            shutil.rmtree(root / "images", ignore_errors=True)
            write(root / "images", given.count, given.width, given.grain)
        shots = [sfm.Shot(file.name, file) for file in sorted((root / "images").iterdir())]
        before = resource.getrusage(resource.RUSAGE_SELF)
        placement = sfm.place(shots, root / "sfm", "auto", _shown, "200 pictures")
        after = resource.getrusage(resource.RUSAGE_SELF)
        minutes = (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / 60
        apart = errors(placement.model, np.load(root / "rotations.npy"))
        print(
            f"{placement.registered} of {placement.images} placed, groups"
            f" {', '.join(map(str, placement.sizes))}; {placement.compared:,} pairs compared,"
            f" {placement.pairs:,} match; {minutes:.1f} CPU-minutes; rotations {np.median(apart):.3f}°"
            f" off in the median, {apart.max():.3f}° at most"
        )


def _shown(total: int, label: str):  # type: ignore[no-untyped-def]
    """Progress in the terminal."""
    return progress(total, label, "auto")


if __name__ == "__main__":
    main()
