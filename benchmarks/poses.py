"""Put noise on the castle's cameras, refine them, and print how much of the loss is won back.

python benchmarks/poses.py [--degrees 1] [--percent 1] [--holdout 5] [--fit true|noisy|refined]

Three fits: with the true cameras, with noisy ones, and with noisy ones that are refined. The points
are the true ones, which keep the scene where it is. The camera of the view held out is the true one;
since scenes of noisy cameras may lie a little apart from it, its pose is then fitted to the left half
of the photograph, in all three alike, and scored on the right half.
"""

import argparse
import time

import torch
from castle import settings
from castle_scene import Capture, load_castle
from torch import Tensor

from kdst_3dgs import cameras
from kdst_3dgs.loss import photometric_loss
from kdst_3dgs.method import Trainer, one_torch_thread
from kdst_3dgs.scene import Scene, apply_gain, exposure_gain
from kdst_3dgs.starting import PosedPhotographs

STEPS, RATE = 100, 3e-3
"""Of fitting the pose of the view held out."""


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


def psnr(rgb: Tensor, truth: Tensor) -> float:
    """PSNR in dB."""
    return -10 * float((rgb.clamp(0, 1) - truth).square().mean().log10())


def aligned(scene: Scene, capture: Capture, row: int) -> tuple[float, float]:
    """Return the PSNR in dB of the right half of a view with its true pose, and with one that was
    fitted to the left half."""
    truth = capture.images[row].float() / 255
    height, width, _ = truth.shape
    half, K = width // 2, capture.intrinsics[row]
    gain = exposure_gain(float(capture.exposures[row]), scene.reference_exposure)
    viewmat = scene.to_unit_frame(capture.viewmats[row])
    mean, square = torch.zeros(6, dtype=torch.float64), torch.zeros(6, dtype=torch.float64)
    scores = []
    for step in range(1, STEPS + 2):
        rgb, alpha, _ = scene.draw(viewmat, K, width, height, scene.background)
        rgb = apply_gain(rgb, alpha, scene.background, gain)
        if step in (1, STEPS + 1):
            scores.append(psnr(rgb[:, half:].detach(), truth[:, half:]))
        photometric_loss(rgb[:, :half].contiguous(), truth[:, :half].contiguous()).backward()
        gradients = {n: p.grad for n, p in scene.parameters.items() if p.grad is not None}
        pose = cameras.pose_gradient(scene.parameters, gradients, viewmat, 3)
        for parameter in scene.parameters.values():
            parameter.grad = None
        mean.mul_(0.9).add_(0.1 * pose)
        square.mul_(0.99).add_(0.01 * pose**2)
        unbiased = (square / (1 - 0.99**step)).sqrt() + 1e-15
        change = -RATE * 0.01 ** (step / STEPS) * mean / (1 - 0.9**step) / unbiased
        viewmat = (cameras.motion(change) @ viewmat.double()).float()
    return scores[0], scores[1]


def pixels(machine: Trainer, capture: Capture, rows: list[int]) -> float:
    """Pixels, in the median, between where points are seen by a trainer's cameras and by the true."""
    found = []
    points = (capture.points - machine.scene.origin) / machine.scene.unit
    for view, row in zip(machine.views, rows, strict=True):
        seen, R = capture.tracks[row], view.viewmat[:3, :3]
        here = (points[seen] @ R.T + view.viewmat[:3, 3]) @ view.K.T
        viewmat = capture.viewmats[row]
        there = (capture.points[seen] @ viewmat[:3, :3].T + viewmat[:3, 3]) @ capture.intrinsics[
            row
        ].T
        found.append((here[:, :2] / here[:, 2:] - there[:, :2] / there[:, 2:]).norm(dim=1).median())
    return float(torch.stack(found).median())


def main() -> None:
    """Fit and score, each as asked, and print what was won back."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--holdout", type=int, default=5)
    parser.add_argument("--width", type=int, default=320)
    parser.add_argument("--degrees", type=float, default=1.0)
    parser.add_argument("--percent", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fit", choices=("true", "noisy", "refined"), action="append")
    parser.add_argument("--set", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"))
    given = parser.parse_args()
    capture = load_castle(given.width)
    rows = [i for i in range(len(capture.images)) if i != given.holdout]
    true = capture.viewmats[rows]
    centres = -(true[:, :3, :3].mT @ true[:, :3, 3:])[..., 0]
    extent = 1.1 * float((centres - centres.mean(0)).norm(dim=-1).max())
    moved = noisy(true, given.degrees, given.percent, extent, given.seed)
    for kind in given.fit or ("true", "noisy", "refined"):
        chosen = {"background": "white", "init_fill": "40"} | dict(given.set)
        options = settings(chosen | {"refine_cameras": str(kind == "refined").lower()})
        started = time.process_time()
        machine = Trainer(
            options,
            PosedPhotographs(
                capture.images[rows],
                capture.intrinsics[rows],
                true if kind == "true" else moved,
                capture.points,
                capture.colors,
                tracks=[capture.tracks[i] for i in rows],
                exposures=capture.exposures[rows],
            ),
            generator=torch.Generator().manual_seed(0),
        )
        for iteration, _ in machine.run():
            if iteration % 100 == 0:
                print(
                    f"  {iteration} {pixels(machine, capture, rows):.2f} pixels apart", flush=True
                )
        with one_torch_thread():
            apart, together = aligned(machine.scene, capture, given.holdout)
        seconds = time.process_time() - started
        print(
            f"{kind}: right half of view {given.holdout} {apart:.2f} dB, with its pose fitted to the"
            f" left half {together:.2f} dB, {seconds:.0f} CPU-s",
            flush=True,
        )


if __name__ == "__main__":
    main()
