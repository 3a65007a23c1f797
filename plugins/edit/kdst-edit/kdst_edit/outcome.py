"""What a run leaves: metrics, pictures and tables, warnings, lines of the terminal."""

import json
from collections.abc import Mapping
from typing import Any

import torch

from kdst_core.bench.contract import Outcome
from kdst_core.contracts import Edit
from kdst_core.files import write_atomically
from kdst_core.runs.rundir import Run
from kdst_edit import audit, measures
from kdst_edit.families.registry import family_of
from kdst_edit.inversion.result import Inversion
from kdst_edit.load.target import Target
from kdst_edit.loop import Finished
from kdst_edit.measures import PromptedImage
from kdst_edit.models.latents import digest
from kdst_edit.models.precision import stated
from kdst_edit.options import inverts
from kdst_edit.pictures import artifacts
from kdst_edit.sampling.schedulers import takes_guidance


def outcome(target: Target, finished: Finished, run: Run) -> Outcome:
    """Measure, and write pictures and tables; within `target.working`."""
    edit, plain = finished.edit, finished.uncontrolled
    first = edit.reconstruction.cpu() if target.image is None else target.image
    source = PromptedImage(first, target.source, edit.attention)
    edits = [PromptedImage(e.image.cpu(), e.prompt, e.attention) for e in edit.images]
    regions = [measures.source_region(source, prompt, target.mask) for prompt in target.targets]
    where = [region[0] if region else None for region in regions]
    rows = [measures.score(e, source, r) for e, r in zip(edits, where, strict=True)]
    pairs = zip(plain, where, strict=bool(plain))
    plain_rows = [measures.score(e, source, r) for e, r in pairs]
    metrics = measures.mean(rows)
    if plain:
        metrics |= {f"plain.{name}": v for name, v in measures.mean(plain_rows).items()}
    if target.image is not None:
        everywhere = torch.ones(target.image.shape[-2:], dtype=torch.bool)
        reconstruction = edit.reconstruction.cpu()
        metrics["reconstruction_psnr"] = measures.psnr(reconstruction, target.image, everywhere)
    table = {"edit": rows, "plain": plain_rows, "targets": list(target.targets)}
    write_atomically(run.artifacts / "scores.json", json.dumps(table))
    names = artifacts.write(run.artifacts, source, edit, edits, plain, where[0])
    return Outcome(
        metrics,
        {name: f"artifacts/{name}" for name in ["scores.json", *names]},
        protocol(target, finished.inversion, regions[0][1] if regions[0] else "not known"),
        warnings=warnings(target, edit, plain, metrics),
        summary=[*edit.notes, *summary(metrics), *confinement(target), *without_noise(target)],
    )


def warnings(
    target: Target, edit: Edit, plain: list[PromptedImage], metrics: Mapping[str, float]
) -> list[str]:
    """Return what was changed to fit the model, and what had no effect, as sentences."""
    inputs, guidance = target.inputs, target.plan.guidance
    prompts = [target.source, *target.targets, inputs.negative_prompt]
    sentences = [
        *target.notes,
        *audit.options(
            inputs,
            guidance,
            target.image is not None,
            target.source,
            inverting=inverts(target.job.options),
        ),
        *audit.guidance(inputs, guidance, takes_guidance(target.pipeline)),
        *edit.warnings,
        *audit.syntax(prompts),
        *audit.words(
            family_of(target.pipeline).texts(target.pipeline)[0].tokenizer, prompts, edit.learned
        ),
        *audit.outcome(edit, [shown.image for shown in plain], metrics),
    ]
    return list(dict.fromkeys(sentences))


def confinement(target: Target) -> list[str]:
    """Return what --confine did, as a line of the terminal; none without it."""
    if target.mask is None or not target.inputs.confine:
        return []
    outside = 1 - float(target.mask.float().mean())
    return [
        f"confined to the mask: {outside:.0%} of the picture was put back after every step, so the"
        " edit cannot continue there"
    ]


def without_noise(target: Target) -> list[str]:
    """Return why a photograph's edit has no comparison without control, as a line; none where it has."""
    if target.image is None or target.inverted or not target.inputs.baseline:
        return []
    return [
        "no comparison without control: the method edits without an inversion, so there is no noise to"
        " sample the target from"
    ]


def protocol(target: Target, inversion: Inversion | None, region: str) -> dict[str, Any]:
    """Return everything that decides what was measured."""
    stated_inputs: dict[str, Any] = {
        "source": target.source,
        "target": " | ".join(target.targets),
        "steps": target.plan.asked,
        "guidance": target.plan.guidance,
        "scheduler": target.plan.name,
        "dtype": stated(target.dtype),
        "region": region,
        "model_digest": digest(target.pipeline)[:16],
    }
    if inversion is not None:
        stated_inputs |= {"inversion_kind": inversion.kind, "inversion_psnr": inversion.psnr}
    return stated_inputs


def summary(metrics: Mapping[str, float]) -> list[str]:
    """Lines for the terminal."""
    names = {
        "background_psnr": ("outside the region", "{:.1f} dB"),
        "mask_iou": ("IoU of source and edit", "{:.2f}"),
        "success": ("success", "{:.2f}"),
    }
    parts = []
    for name, (label, shape) in names.items():
        if name in metrics:
            plain = metrics.get(f"plain.{name}")
            against = "" if plain is None else f" (without control {shape.format(plain)})"
            parts.append(f"{label} {shape.format(metrics[name])}{against}")
    lines = ["; ".join(parts)]
    if "reconstruction_psnr" in metrics:
        lines.append(f"reconstruction of the image {metrics['reconstruction_psnr']:.1f} dB")
    return lines
