"""The report of a run: headline numbers, pictures, where words attend, which tokens were aligned."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kdst_core.reports import charts
from kdst_core.reports.blocks import Figure, ReportContent, Stat, Table
from kdst_edit.default import FOLDERS
from kdst_show.artifacts import Artifacts

INSTRUMENT = (
    "The model {} draws 32-pixel shapes: an instrument on which claims are checked exactly, and no"
    " evidence for photographs."
)
ROWS = {
    "background_psnr": ("PSNR outside the region, dB", "{:.2f}"),
    "beyond_edge_psnr": ("the same, without one pixel around it, dB", "{:.2f}"),
    "background_ssim": ("SSIM outside the region", "{:.3f}"),
    "background_mse": ("MSE outside the region", "{:.2e}"),
    "object_psnr": ("PSNR inside the region, dB", "{:.2f}"),
    "mask_iou": ("IoU of source and edit", "{:.3f}"),
    "success": ("shows what the target says", "{:.2f}"),
    "shift_px": ("object moved by, pixels", "{:.2f}"),
}


def content(result: Mapping[str, Any], directory: Path) -> ReportContent:
    """Return the content of a report from a result and the artifacts beside it."""
    saved = Artifacts(result, directory)
    told, scores = saved.json("alignment.json"), saved.json("scores.json")
    blocks: list[Figure | Table] = [_comparison(result, saved)]
    if "words.png" in saved:
        blocks.append(_words(saved))
    if "mask.png" in saved:
        blocks.append(_mask(result, saved))
    blocks += [_alignment(a, n) for n, a in enumerate(told["alignments"])]
    blocks += _sheets(saved, told["sheets"])
    blocks += _notes(told["notes"])
    blocks.append(_table(scores))
    given = result["input"]
    stats = _stats(result["metrics"], given["model"] in FOLDERS, "inversion_kind" in given)
    return ReportContent(_subtitle(result), stats, blocks)


def _subtitle(result: Mapping[str, Any]) -> str:
    """Say in one sentence what was edited towards what."""
    given = result["input"]
    origin = f"the photograph {Path(given['image']).name}" if given["image"] else "an image"
    said = f" of “{given['source']}”" if given["source"] else ""
    targets = "”, “".join(given["target"].split(" | "))
    instrument = f" {INSTRUMENT.format(given['model'])}" if given["model"] in FOLDERS else ""
    return (
        f"Edit of {origin}{said} towards “{targets}” with the model {given['model']}.{instrument}"
    )


def _stats(metrics: Mapping[str, float], tiny: bool = False, inverted: bool = True) -> list[Stat]:
    """Return the headline numbers, each beside that of plain sampling.

    inverted: whether a photograph was inverted; where not, what is drawn again is the autoencoder's.
    """
    shown = [
        ("background_psnr", "Outside the region", "{:.1f} dB"),
        ("mask_iou", "Source and edit, IoU", "{:.2f}"),
        ("success", "Success", "{:.0%}"),
        ("object_psnr", "Inside the region", "{:.1f} dB"),
    ]
    stats = []
    for name, label, shape in shown:
        if name in metrics:
            plain = metrics.get(f"plain.{name}")
            note = "" if plain is None else f"without control {shape.format(plain)}"
            value = shape.format(metrics[name])
            stats.append(Stat(label, value, note, strong=name == "background_psnr"))
    if "reconstruction_psnr" in metrics:
        value = f"{metrics['reconstruction_psnr']:.1f} dB"
        note = "the photograph, " + (
            "drawn again by the model" if inverted else "not inverted, through the autoencoder"
        )
        if tiny:
            note += ", whose autoencoder changes nothing"
        stats.append(Stat("Reconstruction", value, note))
    return stats


def _comparison(result: Mapping[str, Any], saved: Artifacts) -> Figure:
    """Source, edit and difference of every target."""
    targets = result["input"]["target"].split(" | ")
    rows = f" In the order of the targets: {'; '.join(targets)}." if len(targets) > 1 else ""
    caption = (
        "The source, the edit and how far they differ (black: equal; white: half of the range or"
        f" more). Without control: the same noise, the target prompt alone.{rows}"
    )
    picture = saved.bytes("comparison.png")
    return Figure("Source, edit, difference", caption, png=picture)


def _words(saved: Artifacts) -> Figure:
    """Where each word of the source prompt attends."""
    caption = (
        "Mean cross-attention of every word of the source prompt, each scaled to its own maximum,"
        " over steps, heads and the layers of one resolution."
    )
    picture = saved.bytes("words.png")
    return Figure("Where the words attend", caption, png=picture)


def _mask(result: Mapping[str, Any], saved: Artifacts) -> Figure:
    """What may change."""
    caption = (
        "White: what the method let change in the first edit; where it has no mask of its own, the"
        f" region. Preservation is measured outside the region: {result['input']['region']}."
    )
    return Figure("Mask", caption, png=saved.bytes("mask.png"), pixelated=True)


def _alignment(told: Mapping[str, Any], number: int) -> Figure:
    """Source tokens on the left, target tokens on the right, a line where attention is taken."""
    most = max(len(told["source"]), len(told["target"]))
    with charts.figure(4.8, 0.6 + 0.27 * most) as (fig, axes):
        axes.axis("off")
        axes.set_xlim(0, 1)
        axes.set_ylim(most - 0.5, -1.3)
        taken = {j for _, j, _ in told["links"]}
        for i, j, weight in told["links"]:
            same = told["source"][i] == told["target"][j]
            colour = charts.SERIES[0] if same else charts.SERIES[2]
            axes.plot([0.36, 0.64], [i, j], color=colour, lw=0.6 + 1.2 * weight)
        for x, side, align in ((0.34, "source", "right"), (0.66, "target", "left")):
            axes.text(x, -1, side, ha=align, va="center", color=charts.MUTED)
            for row, token in enumerate(told[side]):
                new = side == "target" and row not in taken
                axes.text(x, row, f"{token} (new)" if new else token, ha=align, va="center")
        picture = charts.svg(fig, f"alignment-{number}")
    caption = (
        f"Towards “{told['prompt']}”. Each token on the right takes the attention of the one it is"
        " joined with; a new one keeps its own. In colour: tokens that differ."
    )
    return Figure("Token alignment", caption, svg=picture)


def _sheets(saved: Artifacts, titles: Sequence[str]) -> list[Figure]:
    """Contact sheets."""
    figures = []
    for number, title in enumerate(titles):
        name = "sheet.png" if number == 0 else f"sheet-{number + 1}.png"
        picture = saved.bytes(name)
        caption = "One edit over a grid of parameters; all come from one source branch."
        figures.append(Figure(f"Contact sheet: {title}", caption, png=picture))
    return figures


def _notes(notes: Sequence[str]) -> list[Table]:
    """The explanation of the edit."""
    return [Table("Explanation", ["what each token does"], [[n] for n in notes])] if notes else []


def _table(scores: Mapping[str, Any]) -> Table:
    """All measures of every target, beside those without control."""
    columns, header = [], ["measure"]
    for number, target in enumerate(scores["targets"]):
        columns.append(scores["edit"][number])
        header.append(target)
        if scores["plain"]:
            columns.append(scores["plain"][number])
            header.append("without control")
    rows = [
        [label, *(shape.format(c[name]) if name in c else "–" for c in columns)]
        for name, (label, shape) in ROWS.items()
        if any(name in column for column in columns)
    ]
    rows += _says(columns)
    return Table("Measures", header, rows, "Against the source image.")


def _says(columns: Sequence[Mapping[str, float]]) -> list[list[str]]:
    """Whether the image shows each attribute that its prompt names."""
    names = dict.fromkeys(name for c in columns for name in c if name.startswith("says."))
    return [
        [
            f"{name.removeprefix('says.')} as the target says",
            *(("yes" if c[name] else "no") if name in c else "–" for c in columns),
        ]
        for name in names
    ]
