"""Render a scene along a path, or its held-out views with their scores."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from kdst_core.errors import KdstError
from kdst_reconstruct.commands import (
    FILE,
    capture_options,
    method_option,
    scene_argument,
    up_option,
)

FRAMES = 120


@click.command("render", short_help="Render a scene to a video or to pictures.")
@scene_argument()
@click.option(
    "--path",
    "kind",
    type=click.Choice(["orbit", "capture", "holdout"]),
    default="orbit",
    show_default=True,
    help="Around what the photographs show; along their cameras; or the held-out views, scored.",
)
@click.option(
    "--frames",
    type=click.IntRange(1),
    default=FRAMES,
    show_default=True,
    help="Frames of an orbit or along the cameras.",
)
@click.option(
    "--width",
    type=click.IntRange(16),
    help="Width in pixels.  [default: the photographs'; without any, 640]",
)
@click.option("--out", type=FILE, help="Video (a name that ends in .mp4) or a new folder of PNGs.")
@click.option(
    "--lpips",
    default="auto",
    show_default=True,
    help="Folder with the weights of LPIPS for held-out views; auto; or none.",
)
@up_option()
@capture_options
@method_option()
def command(
    scene: Path,
    kind: str,
    frames: int,
    width: int | None,
    out: Path | None,
    lpips: str,
    up: str | None,
    data: str | None,
    holdout: str | None,
    method: str,
) -> None:
    """Render the scene of a run or of a .ply, headless.

    The held-out views are compared with their photographs, so a .ply can be scored on any capture:
    --path holdout --data DIR --holdout 0,8. For them --out may be left out.
    """
    from kdst_core.progress import progress
    from kdst_reconstruct.rendering import paths
    from kdst_reconstruct.saved_scene import load_views, open_scene

    if out is None and kind != "holdout":
        raise KdstError("give --out FILE.mp4 or --out FOLDER")
    if out is not None:
        paths.check_target(out)
    opened = open_scene(scene, method)
    if kind == "holdout":
        views = load_views(opened, data, holdout, width)
        cameras, names = paths.held_out(views)
        _print_scores(opened, views, lpips)
    else:
        views = load_views(opened, data, holdout)
        cameras = paths.path(kind, opened.scene, views, frames, width or 0, up)
        names = [f"{number:04d}.png" for number in range(frames)]
    if out is None:
        return
    with progress(len(cameras), "render") as advance:
        paths.write(opened.scene, cameras, names, out, advance)
    click.echo(str(out))


def _print_scores(opened: Any, views: Any, weights: str) -> None:
    """Print the scores of every held-out view, and their means."""
    from kdst_reconstruct.holdout.choice import subset
    from kdst_reconstruct.holdout.views import HeldOut
    from kdst_reconstruct.measures import lpips
    from kdst_reconstruct.measures.views import lpips_of, score_views

    side = min(min(views.capture.images[k].shape[:2]) for k in views.holdout)
    measure, net = lpips.find(weights, side)
    seen = (opened.method, opened.scene, HeldOut.of(subset(views.capture, views.holdout)))
    scores = score_views(*seen)
    columns = {"PSNR, dB": [s.psnr for s in scores], "SSIM": [s.ssim for s in scores]}
    if measure is not None:
        columns[f"LPIPS, {net}"] = lpips_of(*seen, measure)
    names = [f"{k} {views.capture.names[k]}" for k in views.holdout]
    width = max(len(name) for name in [*names, "mean"])
    click.echo("  ".join([" " * width, *(f"{title:>12}" for title in columns)]))
    for name, values in zip(names, zip(*columns.values(), strict=True), strict=True):
        click.echo(_line(name, width, values))
    click.echo(_line("mean", width, [sum(v) / len(v) for v in columns.values()]))
    if measure is None:
        click.echo(f"LPIPS: {net}", err=True)


def _line(name: str, width: int, values: Sequence[float]) -> str:
    """Return a line of the table: PSNR with two decimals, the others with four."""
    psnr, *others = values
    return "  ".join([f"{name:<{width}}", f"{psnr:12.2f}", *(f"{v:12.4f}" for v in others)])
