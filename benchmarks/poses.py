"""Put noise on the castle's cameras, refine them, and print how much of the loss is won back.

python benchmarks/poses.py [--degrees 1] [--percent 1] [--holdout 5] [--fit true|noisy|refined]

Three fits: with the true cameras, with noisy ones, and with noisy ones that are refined. Cameras of the
views held out are noisy like the others, and stay so: no fit sees them. Their poses are therefore fitted
to one half of the photograph and scored on the other, in all three fits alike, as `--align pose` does.
The fit that refines has the iterations that placing takes on top, so that all three scenes are fitted
for as long; --within leaves them out. The points are the true ones, which keep the scene where it is;
--points noisy has them triangulated from the noisy cameras, by where their true places are seen.
"""

import argparse
import time
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import attrs
import torch
from castle import settings
from castle_scene import Capture, load_castle
from torch import Tensor

from kdst_3dgs import cameras
from kdst_3dgs.method import Trainer, one_torch_thread
from kdst_3dgs.reconstruction import GaussianScene
from kdst_3dgs.starting import PosedPhotographs
from kdst_core.contracts import Camera
from kdst_reconstruct.holdout.views import HeldOut
from kdst_reconstruct.measures.alignment import score_aligned
from kdst_reconstruct.measures.views import score_views

METHOD: Any = SimpleNamespace(
    working=nullcontext, plugin=SimpleNamespace(qualified="kdst-3dgs:3dgs")
)


def noisy(viewmats: Tensor, degrees: float, percent: float, extent: float, seed: int) -> Tensor:
    """Turn cameras (N, 4, 4) about random axes through their centres and shift these, by normal noise
    of so many degrees and per cent of the scene's extent, root mean square."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for viewmat in viewmats.double():
        turn, shift = torch.randn(2, 3, generator=generator, dtype=torch.float64) / 3**0.5
        turn, shift = turn * degrees * torch.pi / 180, shift * percent / 100 * extent
        found.append(cameras.motion(torch.cat([turn, shift])) @ viewmat)
    return torch.stack(found).float()


def triangulated(capture: Capture, viewmats: Tensor, rows: list[int]) -> Tensor:
    """Points (P, 3) nearest to the rays on which the views of `rows` see them by other cameras."""
    points = capture.points.double()
    A = torch.zeros(len(points), 3, 3, dtype=torch.float64)
    b = torch.zeros(len(points), 3, dtype=torch.float64)
    for row in rows:
        seen, true, moved = capture.tracks[row], capture.viewmats[row], viewmats[row].double()
        rays = points[seen] @ true[:3, :3].double().T + true[:3, 3].double()
        rays = torch.nn.functional.normalize(rays, dim=1) @ moved[:3, :3]
        across = torch.eye(3, dtype=torch.float64) - rays[:, :, None] * rays[:, None]
        A[seen] += across
        b[seen] += across @ -(moved[:3, :3].T @ moved[:3, 3])
    known = torch.linalg.cond(A) < 1e4
    found = points.clone()
    found[known] = torch.linalg.solve(A[known], b[known])
    return found.float()


def held_out(capture: Capture, viewmats: Tensor, rows: list[int]) -> HeldOut:
    """The views that are scored, with the cameras that a run would have of them."""
    images = [capture.images[row].float() / 255 for row in rows]
    shown = [
        Camera(
            capture.intrinsics[row],
            viewmats[row],
            image.shape[1],
            image.shape[0],
            float(capture.exposures[row]),
        )
        for row, image in zip(rows, images, strict=True)
    ]
    sealed = SimpleNamespace(images=images, cameras=shown, names=[str(r) for r in rows], masks=None)
    return HeldOut.of(sealed)  # type: ignore[arg-type]


def pixels(machine: Trainer, capture: Capture, rows: list[int]) -> float:
    """Pixels, in the median, between where points are seen by a trainer's cameras and by the true."""
    found = []
    points = (capture.points - machine.scene.origin) / machine.scene.unit
    for view, row in zip(machine.views, rows, strict=True):
        seen, R = capture.tracks[row], view.viewmat[:3, :3]
        here = (points[seen] @ R.T + view.viewmat[:3, 3]) @ view.K.T
        viewmat, K = capture.viewmats[row], capture.intrinsics[row]
        there = (capture.points[seen] @ viewmat[:3, :3].T + viewmat[:3, 3]) @ K.T
        found.append((here[:, :2] / here[:, 2:] - there[:, :2] / there[:, 2:]).norm(dim=1).median())
    return float(torch.stack(found).median())


def fitted(kind: str, given: argparse.Namespace, capture: Capture, moved: Tensor) -> list[float]:
    """Fit and print the scores of the held-out views, as they are and with poses fitted; return them."""
    rows = [i for i in range(len(capture.images)) if i not in given.holdout]
    viewmats = capture.viewmats if kind == "true" else moved
    points = capture.points
    if kind != "true" and given.points == "noisy":
        points = triangulated(capture, moved, rows)
    chosen = {"background": "white", "init_fill": "40"} | dict(given.set)
    options = settings(chosen | {"refine_cameras": str(kind == "refined").lower()})
    if kind == "refined" and not given.within:
        placing = cameras.ROUNDS * len(rows)
        options = attrs.evolve(options, iterations=options.iterations + placing)
    started = time.process_time()
    machine = Trainer(
        options,
        PosedPhotographs(
            capture.images[rows],
            capture.intrinsics[rows],
            viewmats[rows],
            points,
            capture.colors,
            tracks=[capture.tracks[i] for i in rows],
            exposures=capture.exposures[rows],
        ),
        generator=torch.Generator().manual_seed(0),
    )
    for iteration, _ in machine.run():
        if iteration % 100 == 0 and given.talk:
            print(f"  {iteration} {pixels(machine, capture, rows):.2f} pixels apart", flush=True)
    views, scene = held_out(capture, viewmats, given.holdout), GaussianScene(machine.scene)
    with one_torch_thread():
        plain = score_views(METHOD, scene, views)
        aligned = score_aligned(METHOD, scene, views, ("pose",))
    means = [sum(s.psnr for s in scores) / len(scores) for scores in (plain, aligned)]
    print(
        f"{kind}: {means[0]:.2f} dB with the cameras given, {means[1]:.2f} dB with poses fitted to the"
        f" other half ({', '.join(f'{s.psnr:.2f}' for s in aligned)});"
        f" points {pixels(machine, capture, rows):.2f} pixels off;"
        f" {time.process_time() - started:.0f} CPU-s",
        flush=True,
    )
    return means


def main() -> None:
    """Fit and score, each as asked, and print what was won back."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--holdout", type=lambda text: [int(t) for t in text.split(",")])
    parser.add_argument("--width", type=int, default=320)
    parser.add_argument("--degrees", type=float, default=1.0)
    parser.add_argument("--percent", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--points", choices=("true", "noisy"), default="true")
    parser.add_argument("--fit", choices=("true", "noisy", "refined"), action="append")
    parser.add_argument("--within", action="store_true", help="as many iterations for all fits")
    parser.add_argument("--talk", action="store_true", help="print how cameras come nearer")
    parser.add_argument("--set", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"))
    given = parser.parse_args()
    given.holdout = given.holdout or [5]
    capture = load_castle(given.width)
    centres = -(capture.viewmats[:, :3, :3].mT @ capture.viewmats[:, :3, 3:])[..., 0]
    extent = 1.1 * float((centres - centres.mean(0)).norm(dim=-1).max())
    moved = noisy(capture.viewmats, given.degrees, given.percent, extent, given.seed)
    kinds = given.fit or ["true", "noisy", "refined"]
    found = {kind: fitted(kind, given, capture, moved)[1] for kind in kinds}
    if len(found) == 3:
        lost = found["true"] - found["noisy"]
        won = found["refined"] - found["noisy"]
        print(
            f"won back: {100 * won / lost:.0f} % of {lost:.2f} dB, with poses fitted in all three"
        )


if __name__ == "__main__":
    main()
