"""Time of the CPU rasteriser, forward and backward, against one 1024×1024 matrix product.

python benchmarks/rasterize.py             the main case, growth, threads, plain torch
python benchmarks/rasterize.py --memory    peak memory of a training step of 1,000,000 Gaussians
"""

import argparse
import resource
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from castle_scene import Capture, load_castle, random_gaussians
from torch import Tensor

from kdst_3dgs import rasterize, rasterize_reference
from kdst_3dgs.adam import VisibleAdam
from kdst_3dgs.loss import photometric_loss

WIDTH, HEIGHT = 640, 480


class Times:
    """Medians of CPU and wall milliseconds."""

    def __init__(self) -> None:
        self.cpu: list[float] = []
        self.wall: list[float] = []

    def measure(self, call: Callable[[], Any]) -> Any:
        """Run once and keep the times."""
        cpu, wall = time.process_time(), time.perf_counter()
        result = call()
        self.cpu.append(1e3 * (time.process_time() - cpu))
        self.wall.append(1e3 * (time.perf_counter() - wall))
        return result

    @property
    def median(self) -> tuple[float, float]:
        """(CPU, wall) milliseconds."""
        return statistics.median(self.cpu), statistics.median(self.wall)


def passes(
    capture: Capture,
    gaussians: list[Tensor],
    width: int,
    height: int,
    threads: int,
    repeats: int,
    product: Times | None = None,
) -> tuple[Times, Times, dict[str, Any]]:
    """Times of `repeats` forward and backward passes (and of matrix products between them)."""
    K = capture.intrinsics[5].clone()
    K[:2] *= width / WIDTH
    leaves = [g.detach().requires_grad_() for g in gaussians]
    generator = torch.Generator().manual_seed(0)
    d_rgb = torch.randn(height, width, 3, generator=generator)
    d_alpha = torch.randn(height, width, generator=generator)
    matrix = torch.randn(1024, 1024, generator=generator)
    forward, backward = Times(), Times()
    background = torch.ones(3)
    view = (capture.viewmats[5], K, width, height, background)
    rasterize(*leaves, *view, threads=threads)
    for _ in range(repeats):
        for leaf in leaves:
            leaf.grad = None
        if product is not None:
            product.measure(lambda: torch.mm(matrix, matrix))
        rgb, alpha, info = forward.measure(lambda: rasterize(*leaves, *view, threads=threads))
        images = (rgb, alpha)
        backward.measure(lambda i=images: torch.autograd.backward(i, (d_rgb, d_alpha)))
    return forward, backward, info


def square_tiles(info: dict[str, Any]) -> int:
    """Tiles of 16×16 that the bounding boxes of the drawn Gaussians meet."""
    centre, radius = info["means2d"].detach()[0], info["radii"][0].float()
    first = ((centre - radius) / 16).floor().clamp_min(0)
    end = torch.tensor([WIDTH / 16, HEIGHT / 16])
    last = torch.minimum(((centre + radius) / 16).ceil(), end)
    return int(((last - first).clamp_min(0).prod(-1) * info["visible"]).sum())


def main_case(capture: Capture, repeats: int) -> None:
    """50,000 Gaussians at 640×480 with 1 and 2 threads."""
    gaussians = random_gaussians(capture, 50_000)
    walls = {}
    for threads in (1, 2):
        product = Times()
        forward, backward, info = passes(
            capture, gaussians, WIDTH, HEIGHT, threads, repeats, product
        )
        if threads == 1:
            print(
                f"640×480, 50,000 Gaussians, {int(info['visible'].sum())} drawn, {square_tiles(info)} "
                f"intersections with 16×16 tiles by bounding box, {info['n_entries']} tile entries"
            )
        cpu, wall = (f + b for f, b in zip(forward.median, backward.median, strict=True))
        mm = product.median[0]
        walls[threads] = wall
        print(
            f"{threads} thread(s): forward {forward.median[0]:.1f}, backward "
            f"{backward.median[0]:.1f}, both {cpu:.1f} CPU-ms, {wall:.1f} ms wall; "
            f"torch.mm 1024 {mm:.1f} CPU-ms; ratio {cpu / mm:.2f} (CPU), {wall / mm:.2f} (wall)"
        )
    print(f"gain of two threads over one: {walls[1] / walls[2]:.2f}")


def growth(capture: Capture) -> None:
    """Both passes over the number of Gaussians, then over the size of the image."""
    print("Gaussians at 640×480: forward + backward CPU-ms, and ns a Gaussian")
    for count in (10_000, 30_000, 100_000, 300_000, 1_000_000):
        gaussians = random_gaussians(capture, count)
        forward, backward, info = passes(capture, gaussians, WIDTH, HEIGHT, 1, 5)
        cpu = forward.median[0] + backward.median[0]
        entries = info["n_entries"]
        print(f"{count:>9} {cpu:8.1f} {1e6 * cpu / count:8.0f}   {entries} entries")
    print("image of 50,000 Gaussians: forward + backward CPU-ms, and ns a pixel")
    gaussians = random_gaussians(capture, 50_000)
    for width, height in ((320, 240), (640, 480), (960, 720), (1280, 960), (1920, 1440)):
        forward, backward, info = passes(capture, gaussians, width, height, 1, 5)
        cpu = forward.median[0] + backward.median[0]
        pixel = 1e6 * cpu / width / height
        print(f"{width}×{height:<5} {cpu:8.1f} {pixel:8.0f}   {info['n_entries']} entries")


def plain_torch(capture: Capture) -> None:
    """The dense torch rendering of a small case beside ours."""
    gaussians = random_gaussians(capture, 1000)
    K = capture.intrinsics[5].clone()
    K[:2] /= 5
    view = (capture.viewmats[5], K, 128, 96, torch.ones(3))
    for name, render in (("plain torch", rasterize_reference), ("kernels", rasterize)):
        times = Times()
        for _ in range(5):
            leaves = [g.detach().requires_grad_() for g in gaussians]
            times.measure(lambda r=render, p=leaves: r(*p, *view)[0].sum().backward())
        print(f"1,000 Gaussians at 128×96, {name}: {times.median[0]:.1f} CPU-ms")


def memory(capture: Capture, count: int) -> None:
    """Peak memory of the process over training steps."""
    leaves = [g.requires_grad_() for g in random_gaussians(capture, count)]
    optimizers = [VisibleAdam([leaf], 1e-4) for leaf in leaves]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    target = torch.rand(HEIGHT, WIDTH, 3, generator=torch.Generator().manual_seed(0))
    for _ in range(3):
        rgb, _, info = rasterize(*leaves, capture.viewmats[5], capture.intrinsics[5], WIDTH, HEIGHT)
        photometric_loss(rgb, target).backward()
        for optimizer in optimizers:
            optimizer.step(info["visible"])
            optimizer.zero_grad(set_to_none=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"training {count} Gaussians at 640×480: {peak:.2f} GiB at the peak ({before:.2f} before)"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--memory", action="store_true", help="only the peak memory")
    parser.add_argument("--count", type=int, default=1_000_000, help="Gaussians for --memory")
    parser.add_argument("--repeats", type=int, default=25)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    castle = load_castle()
    if arguments.memory:
        memory(castle, arguments.count)
    else:
        main_case(castle, arguments.repeats)
        growth(castle)
        plain_torch(castle)
