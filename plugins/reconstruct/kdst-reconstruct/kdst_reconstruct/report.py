"""The report of a run: headline numbers, held-out views, curves."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kdst_core.reports import charts
from kdst_core.reports.blocks import Figure, ReportContent, Stat, Table
from kdst_show.artifacts import Artifacts

SHOWN = 6
"""Held-out views that are pictured."""


def content(result: Mapping[str, Any], directory: Path) -> ReportContent:
    """Return the content of a report from a result and the artifacts beside it."""
    artifacts = Artifacts(result, directory)
    trace = artifacts.json("trace.json")
    blocks: list[Figure | Table] = []
    if result["input"]["held_out"]:
        blocks += [_views(artifacts), _view_scores(trace)]
    blocks += _flight(artifacts)
    blocks += [_psnr(trace)] if trace["psnr"] else []
    blocks += [_gaussians(trace), _table(trace)]
    blocks += [_priors(result["priors"])] if result.get("priors") else []
    return ReportContent(_subtitle(result), _stats(result), blocks)


def _subtitle(result: Mapping[str, Any]) -> str:
    """Say in one sentence what was measured."""
    protocol = result["input"]
    held = ", ".join(map(str, protocol["held_out"])) or "none"
    return (
        f"Reconstruction of {protocol['data']}: {protocol['views']} views of"
        f" {', '.join(protocol['sizes'])} pixels, held out: {held}; {protocol['points']:,} points."
    )


def _stats(result: Mapping[str, Any]) -> list[Stat]:
    """Return the headline numbers."""
    m = result["metrics"]
    stats = []
    if "psnr.holdout" in m:
        note = f"held-out views, best seen {m['psnr.best']:.2f}"
        stats.append(Stat("PSNR, dB", f"{m['psnr.holdout']:.2f}", note, strong=True))
        stats.append(Stat("SSIM", f"{m['ssim.holdout']:.3f}", _lpips_note(result)))
    if "psnr.aligned" in m:
        note = f"SSIM {m['ssim.aligned']:.3f}; {result['input']['aligned']}"
        stats.append(Stat("PSNR after alignment, dB", f"{m['psnr.aligned']:.2f}", note))
    note = f"after {m['iterations']:,} iterations"
    stats.append(Stat("Gaussians", f"{m['gaussians']:,}", note))
    rate = f"{m['iterations_per_second']:.1f} / s"
    stats.append(Stat("Iterations", rate, f"peak memory {m['peak_memory_mb']:.0f} MiB"))
    stats.append(Stat("Rendering", f"{m['render_fps']:.0f} / s", "frames of a view's size"))
    return stats


def _lpips_note(result: Mapping[str, Any]) -> str:
    """Say what LPIPS is, where it was measured."""
    m = result["metrics"]
    if "lpips.holdout" not in m:
        return "held-out views; LPIPS not measured"
    return f"held-out views; LPIPS {m['lpips.holdout']:.3f} ({result['input']['lpips_net']})"


def _views(artifacts: Artifacts) -> Figure:
    """Held-out views beside the photographs with error maps."""
    from kdst_reconstruct import pictures

    names = [n for n in artifacts.result["artifacts"] if n.startswith("holdout/")]
    shown = [artifacts.bytes(name) for name in names[:SHOWN]]
    rest = f" The first {SHOWN} of {len(names)}; all are in artifacts." * (len(names) > SHOWN)
    caption = (
        "Photograph, render, absolute error (black: none, white:"
        f" {pictures.ERROR_SHOWN:g} or more of the range).{rest}"
    )
    return Figure("Held-out views", caption, png=pictures.stack(shown), wide=True)


def _flight(artifacts: Artifacts) -> list[Figure]:
    """The flight along the path of the cameras."""
    if "flight.mp4" not in artifacts:
        return []
    caption = (
        "Rendered from an orbit around what the photographs show."
        if artifacts.result["input"]["flight"] == "orbit"
        else "Rendered from a smooth path through all cameras, those of held-out views included."
    )
    video = artifacts.bytes("flight.mp4")
    return [Figure("Flight", caption, mp4=video, wide=True)]


def _view_scores(trace: Mapping[str, Any]) -> Table:
    """The scores of each held-out view at the end."""
    columns = {"psnr": "PSNR, dB", "ssim": "SSIM", "lpips": "LPIPS"}
    columns |= {"psnr_aligned": "PSNR after alignment, dB", "ssim_aligned": "SSIM after alignment"}
    used = [key for key in columns if all(key in view for view in trace["views"])]
    rows = [
        [view["name"], *(f"{view[key]:.{2 if key.startswith('psnr') else 4}f}" for key in used)]
        for view in trace["views"]
    ]
    return Table("Held-out views at the end", ["view", *(columns[k] for k in used)], rows)


def _psnr(trace: Mapping[str, Any]) -> Figure:
    """PSNR of the held-out views along the fit."""
    with charts.figure(4.8, 3.0) as (fig, axes):
        axes.plot(trace["iterations"], trace["psnr"], color=charts.SERIES[2], marker="o", ms=3)
        axes.set_xlabel("iteration")
        axes.set_ylabel("PSNR of held-out views, dB")
        picture = charts.svg(fig, "psnr")
    caption = "Mean over the held-out views. They choose nothing: the end is what is reported."
    return Figure("PSNR along the fit", caption, svg=picture)


def _gaussians(trace: Mapping[str, Any]) -> Figure:
    """Number of Gaussians along the fit."""
    with charts.figure(4.8, 3.0) as (fig, axes):
        axes.plot(trace["iterations"], trace["gaussians"], color=charts.SERIES[1], marker="o", ms=3)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("iteration")
        axes.set_ylabel("Gaussians")
        picture = charts.svg(fig, "gaussians")
    return Figure("Gaussians along the fit", "What density control made of them.", svg=picture)


def _priors(priors: Sequence[Mapping[str, Any]]) -> Table:
    """What the method assumed of the scene, and what it tried and left."""
    rows = [
        [
            p["name"],
            "kept" if p["kept"] else "not kept",
            "" if p["gain"] is None else f"{p['gain']:+.2f}",
            p["said"],
        ]
        for p in priors
    ]
    caption = "Gain in dB on training views that a short fit left out; held-out views play no part."
    return Table("Assumptions", ["assumption", "verdict", "gain, dB", "why"], rows, caption)


def _table(trace: Mapping[str, Any]) -> Table:
    """All scores."""
    scored = bool(trace["psnr"])
    header = ["iteration", *(["PSNR, dB", "SSIM"] if scored else []), "Gaussians"]
    rows = []
    for k, iteration in enumerate(trace["iterations"]):
        found = [f"{trace['psnr'][k]:.2f}", f"{trace['ssim'][k]:.4f}"] if scored else []
        rows.append([f"{iteration:,}", *found, f"{trace['gaussians'][k]:,}"])
    return Table("Scores", header, rows, "SSIM with a Gaussian window of 1.5 pixels.")
