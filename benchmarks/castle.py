"""Train the castle at width 320 with one view held out, and print its PSNR as it goes.

python benchmarks/castle.py --holdout 5 [--set NAME VALUE …]
"""

import argparse
import resource
import time
from typing import Any

import attrs
import torch
from castle_scene import load_castle

from kdst_3dgs.method import Trainer
from kdst_3dgs.options import Options
from kdst_3dgs.starting import PosedPhotographs


def main() -> None:
    """Train, score the held-out view every 100 iterations, print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--holdout", type=int, default=5)
    parser.add_argument("--width", type=int, default=320)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--every", type=int, default=100)
    parser.add_argument("--set", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"))
    parser.add_argument("--no-exif", action="store_true", help="ignore the exposures in the EXIF")
    arguments = parser.parse_args()
    options = settings(dict(arguments.set))
    capture = load_castle(arguments.width)
    training = [i for i in range(len(capture.images)) if i != arguments.holdout]
    trainer = Trainer(
        options,
        PosedPhotographs(
            capture.images[training],
            capture.intrinsics[training],
            capture.viewmats[training],
            capture.points,
            capture.colors,
            tracks=[capture.tracks[i] for i in training],
            exposures=None if arguments.no_exif else capture.exposures[training],
        ),
        generator=torch.Generator().manual_seed(arguments.seed),
    )
    exposure = None if arguments.no_exif else float(capture.exposures[arguments.holdout])
    truth = capture.images[arguments.holdout].float() / 255
    camera = (capture.viewmats[arguments.holdout], capture.intrinsics[arguments.holdout])
    height, width, _ = truth.shape
    start, wall, best = time.process_time(), time.perf_counter(), 0.0
    for iteration, scene in trainer.run():
        if iteration % arguments.every == 0:
            rgb, _, _ = scene.render(*camera, width, height, exposure)
            psnr = -10 * (rgb - truth).square().mean().log10().item()
            best = max(best, psnr)
            seconds = time.process_time() - start
            print(f"{iteration:6d} {psnr:6.2f} dB {len(scene):7d} Gaussians {seconds:6.1f} CPU-s")
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"held out {arguments.holdout}: end {psnr:.2f} dB, best {best:.2f} dB, {len(scene)} "
        f"Gaussians, {time.process_time() - start:.1f} CPU-s, "
        f"{time.perf_counter() - wall:.1f} s wall, {memory:.2f} GiB at the peak"
    )


def settings(given: dict[str, str]) -> Options:
    """Options with 1,500 iterations and what --set gives."""
    kinds = {field.name: type(field.default) for field in attrs.fields(Options)}
    return Options(**{"iterations": 1500, **{k: _value(kinds[k], v) for k, v in given.items()}})


def _value(kind: type, text: str) -> Any:
    """The value of an option; numbers where its default is open."""
    if kind is bool:
        return text == "true"
    if kind is type(None):
        return int(text) if text.isdigit() else float(text)
    return kind(text)


if __name__ == "__main__":
    main()
