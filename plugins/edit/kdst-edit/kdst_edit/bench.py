"""The bench of `edit`: prepares a run, carries it out, and reports on it."""

import hashlib
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from kdst_core.bench.compare import Column
from kdst_core.bench.contract import Check, Job
from kdst_core.bench.device import has_cuda, usable
from kdst_core.bench.library import Library
from kdst_core.bench.sealed import seal_array
from kdst_core.errors import KdstError
from kdst_core.plugins.method import Method
from kdst_core.reports.blocks import ReportContent
from kdst_core.runs.codecs import TorchCodec
from kdst_core.runs.rundir import Run
from kdst_edit.inputs import DEFAULT_SOURCE, DEFAULT_TARGET, EditInputs
from kdst_edit.prepared import PreparedEdit


class EditBench:
    """The bench that the entry point `edit` of the group `kdst.benches` names."""

    capability = "edit"
    package = "kdst-edit"
    inputs = EditInputs
    live = frozenset({"model", "image"})
    codec = TorchCodec()
    headline = (
        Column("background_psnr", "background, dB", 1.0, 1),
        Column("success", "success, %", 100.0, 0),
    )
    """What a list of runs says of one."""

    def prepare(self, job: Job) -> PreparedEdit:
        """Load model and image, and check that every prompt fits the model."""
        inputs: EditInputs = job.inputs
        device = usable(job.device if job.device != "auto" else automatic(inputs, job))
        source, targets = prompts(inputs, "image" in job.objects)
        from kdst_edit.quiet import quiet

        with quiet():
            from kdst_edit import loading, schedulers

            pipeline = loading.pipeline(inputs, job.objects.get("model"), device)
            given = [source, *targets, inputs.negative_prompt, inputs.inversion_prompt or ""]
            loading.check_prompts(pipeline, given)
            image, notes = loading.image(pipeline, inputs, job.objects.get("image"))
            size = loading.size(pipeline, inputs, image)
            mask, more = loading.mask(inputs, size, job.objects.get("image"))
            plan = schedulers.plan(pipeline, inputs, image is not None)
            confine = loading.confined(pipeline, inputs, mask)
        told = (*notes, *more, *plan.notes)
        kept = None if mask is None else seal_array(mask.numpy())
        return PreparedEdit(
            job, device, pipeline, source, targets, image, kept, told, plan, confine
        )

    def library(self) -> Library:
        """Return the function behind `kdst_core.load(METHOD)(…)`."""
        from kdst_edit.library import INPUTS, edited

        return Library(partial(edited, self.prepare), INPUTS)

    def report(self, result: Mapping[str, Any], directory: Path) -> ReportContent:
        """Build the report of a run."""
        from kdst_edit.report import content

        return content(result, directory)

    def smoke(self, method: Method, options: Any, run: Run) -> str:
        """Edit one image of the tiny model in a few steps; return a digest of it."""
        from kdst_edit.checks import small_edit

        edit = small_edit(method, options, run)
        pixels = edit.images[0].image.contiguous().cpu().numpy()
        return hashlib.sha256(pixels.tobytes()).hexdigest()

    def checks(self, method: Method) -> Iterator[Check]:
        """Yield the checks of an editing method."""
        from kdst_edit.checks import edit_checks

        return edit_checks(method)


def prompts(inputs: EditInputs, live_image: bool = False) -> tuple[str, tuple[str, ...]]:
    """The source prompt and the targets, with single spaces; KdstError when they are missing."""
    generated = inputs.image is None and not live_image
    source, target = inputs.source, inputs.target
    if source is None:
        if generated and inputs.model != "tiny":
            raise KdstError("give --source: the prompt of the image to edit")
        source = DEFAULT_SOURCE if generated else ""
        target = DEFAULT_TARGET if target is None and generated else target
    if target is None and not source.split():
        raise KdstError("give --target: what the image should show")
    _check_text(source, target or "", inputs.negative_prompt)
    targets = [source] if target is None else target.split("|")
    if any(not text.split() for text in targets):
        raise KdstError(f"--target {target!r} holds an empty prompt; separate prompts by |")
    return " ".join(source.split()), tuple(" ".join(text.split()) for text in targets)


def _check_text(*prompts: str) -> None:
    """Raise KdstError for a prompt with bytes that are no text."""
    for prompt in prompts:
        try:
            prompt.encode()
        except UnicodeEncodeError as e:
            shown = prompt.encode(errors="replace").decode()[:60]
            raise KdstError(f"the prompt {shown!r} is not valid text (UTF-8)") from e


def automatic(inputs: EditInputs, job: Job) -> str:
    """Return the device of `--device auto`: CUDA where there is one; the CPU is enough for tiny."""
    if "cuda" in job.method.description.needs:
        return "cuda"
    small = inputs.model == "tiny" and "model" not in job.objects
    return "cuda" if has_cuda() and not small else "cpu"


bench = EditBench()
"""The bench of image editing for kdst."""
