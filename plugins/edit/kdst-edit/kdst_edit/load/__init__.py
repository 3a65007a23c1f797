"""From the inputs of a run to a validated target: models, photograph, mask and prompts that fit."""

from kdst_core.bench.contract import Job
from kdst_core.bench.device import usable
from kdst_core.bench.libraries import silence_libraries
from kdst_core.bench.sealed import seal_array
from kdst_edit.inputs import EditInputs
from kdst_edit.load.photograph import confined, image, mask, size
from kdst_edit.load.pipeline import automatic, pipeline
from kdst_edit.load.prompts import check_prompts, prompts
from kdst_edit.load.target import Target
from kdst_edit.options import inverts
from kdst_edit.sampling import schedulers


def load_target(job: Job) -> Target:
    """Load model and image, and check that every prompt fits the model; KdstError for bad input."""
    inputs: EditInputs = job.inputs
    device = usable(job.device if job.device != "auto" else automatic(inputs, job))
    source, targets = prompts(inputs, "image" in job.objects)
    with silence_libraries("diffusers"):
        model = pipeline(inputs, job.objects.get("model"), device)
        others = [inputs.negative_prompt, inputs.inversion_prompt or ""]
        check_prompts(model, [source, *targets, *others])
        photograph, notes = image(model, inputs, job.objects.get("image"))
        sides = size(model, inputs, photograph)
        region, more = mask(inputs, sides, job.objects.get("image"))
        plan = schedulers.plan(
            model, inputs, photograph is not None, inverting=inverts(job.options)
        )
        return Target(
            job=job,
            device=device,
            pipeline=model,
            source=source,
            targets=targets,
            image=photograph,
            sealed_mask=None if region is None else seal_array(region.numpy()),
            notes=(*notes, *more, *plan.notes),
            plan=plan,
            confine=confined(model, inputs, region),
            size=sides,
        )
