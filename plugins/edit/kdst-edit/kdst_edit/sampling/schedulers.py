"""With which scheduler, how many steps and what guidance a pipeline is sampled."""

import copy
import inspect
from typing import TYPE_CHECKING, Any, Literal

from attrs import frozen

from kdst_core.errors import KdstError, first_line
from kdst_edit.default import FOLDERS
from kdst_edit.families.registry import family_of, network_of
from kdst_edit.inputs import EditInputs
from kdst_edit.inversion.settings import FLOW_KINDS, KINDS
from kdst_edit.models.latents import DISTILLED, ddim, latent_factor
from kdst_edit.sampling.flow import EULER, flow_scheduler
from kdst_edit.sampling.schedule import set_steps

if TYPE_CHECKING:
    import torch

Few = Literal["latent consistency", "turbo"]
LCM_STEPS, LCM_GUIDANCE = 4, 8.5
"""Defaults of diffusers' own pipeline for latent consistency models."""
TURBO_STEPS = 4
TINY_GUIDANCE = 3.0
UNSEEDED = frozenset({"DPMSolverSDEScheduler", "CosineDPMSolverMultistepScheduler"})
"""Schedulers that draw noise which no generator decides."""


@frozen
class Plan:
    """How a run samples.

    scheduler: the pipeline's own with its timesteps set, or None for DDIM, and for a flow its one way.
    steps: calls of the network.
    asked: steps as the user counts them, which some schedulers carry out in more calls.
    """

    scheduler: Any
    steps: int
    asked: int
    guidance: float
    notes: tuple[str, ...] = ()
    flow: bool = False

    @property
    def name(self) -> str:
        """The scheduler, as the result names it."""
        if self.scheduler is None:
            return EULER if self.flow else "DDIMScheduler"
        return type(self.scheduler).__name__


def few_steps(pipeline: Any) -> Few | None:
    """What kind of few-step model a pipeline is, as far as its configuration tells.

    Latent consistency models have a scheduler or UNet of their own; Turbo models Euler's scheduler with
    trailing steps, predicting noise from levels that have some signal.
    """
    config, name = pipeline.scheduler.config, type(pipeline.scheduler).__name__
    if name in DISTILLED or takes_guidance(pipeline):
        return "latent consistency"
    trailing = config.get("timestep_spacing") == "trailing"
    euler = name in ("EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler")
    usual = config.get("prediction_type") == "epsilon" and not config.get("rescale_betas_zero_snr")
    return "turbo" if trailing and euler and usual else None


def takes_guidance(pipeline: Any) -> bool:
    """Whether the network is told the guidance, as that of latent consistency models and FLUX.1 dev is."""
    return bool(family_of(pipeline).told(pipeline, [1.0]))


def plan(pipeline: Any, inputs: EditInputs, photograph: bool, *, inverting: bool = True) -> Plan:
    """Scheduler, steps and guidance of a run; KdstError for what cannot be carried out.

    inverting: whether the method has a photograph inverted; where it has not, no option of inversion
    is refused.
    """
    inverted = photograph and inverting
    if family_of(pipeline).flow:
        return _flow_plan(pipeline, inputs, inverted)
    few = few_steps(pipeline)
    if photograph:
        _check_photograph(pipeline, inputs)
    if inverted:
        _check_inversion(pipeline, inputs)
    steps, guidance = _defaults(pipeline, inputs, few)
    notes = _notes(inputs, few, steps, guidance)
    if not photograph and _is_own(pipeline, inputs, few):
        scheduler = own(pipeline, steps)
        return Plan(scheduler, len(scheduler.timesteps), steps, guidance, notes)
    set_steps(ddim(pipeline), steps)
    if inverted and inputs.inversion == "ddpm" and round(inputs.skip * steps) >= steps:
        raise KdstError(
            f"--skip {inputs.skip:g} leaves none of the {steps} steps; lower it or take more steps"
        )
    return Plan(None, steps, steps, guidance, notes)


def _flow_plan(pipeline: Any, inputs: EditInputs, photograph: bool) -> Plan:
    """The steps and guidance of a flow model, which is sampled by Euler's steps."""
    if inputs.scheduler == "ddim":
        raise KdstError(
            "--scheduler ddim is for models of diffusion; this one is of flow matching and is sampled by"
            f" {EULER}: leave --scheduler out"
        )
    if photograph:
        check_kind(pipeline, inputs.inversion)
    steps, guidance = family_of(pipeline).defaults(pipeline)
    steps = steps if inputs.steps is None else inputs.steps
    side = inputs.size // latent_factor(pipeline) if inputs.size else None
    side = side or family_of(pipeline).native(network_of(pipeline))
    flow_scheduler(pipeline, steps, (side, side))
    return Plan(
        None, steps, steps, guidance if inputs.guidance is None else inputs.guidance, flow=True
    )


def check_kind(pipeline: Any, kind: str) -> None:
    """Raise KdstError for an inversion that the model's kind of noise does not have."""
    flow = family_of(pipeline).flow
    if kind not in (FLOW_KINDS if flow else KINDS):
        raise KdstError(
            f"--inversion {kind} is for models of {'diffusion' if flow else 'flow matching'}; this one"
            f" is of {'flow matching' if flow else 'diffusion'} and is inverted by"
            f" {', '.join(FLOW_KINDS if flow else KINDS)}"
        )


def _defaults(pipeline: Any, inputs: EditInputs, few: Few | None) -> tuple[int, float]:
    """Steps and guidance, those that were given or the model's usual ones.

    A latent consistency model that is not told the guidance has it in its weights (an added LoRA).
    """
    steps, guidance = family_of(pipeline).defaults(pipeline)
    usual = {
        "latent consistency": (LCM_STEPS, LCM_GUIDANCE if takes_guidance(pipeline) else 1.0),
        "turbo": (TURBO_STEPS, 0.0),
        None: (steps, TINY_GUIDANCE if inputs.model in FOLDERS else guidance),
    }[few]
    steps = usual[0] if inputs.steps is None else inputs.steps
    return steps, usual[1] if inputs.guidance is None else inputs.guidance


def _notes(inputs: EditInputs, few: Few | None, steps: int, guidance: float) -> tuple[str, ...]:
    """What is said of defaults that are not the usual ones."""
    if few is None or (inputs.steps is not None and inputs.guidance is not None):
        return ()
    return (
        f"The model's scheduler is that of {few} models, which draw in a few steps: sampled in"
        f" {steps} at guidance {guidance:g}. --steps and --guidance change that.",
    )


def _check_photograph(pipeline: Any, inputs: EditInputs) -> None:
    """Raise KdstError for models and schedulers that a photograph is not edited with."""
    if takes_guidance(pipeline):
        raise KdstError(
            "a latent consistency model cannot invert a photograph: its UNet was distilled from a"
            " guided sampler. Leave out --image, or take the model that it was distilled from"
        )
    if inputs.scheduler == "own":
        raise KdstError(
            "--scheduler own is for generated sources; a photograph is inverted by DDIM"
        )


def _check_inversion(pipeline: Any, inputs: EditInputs) -> None:
    """Raise KdstError for an inversion that does not go with the model or the other options."""
    check_kind(pipeline, inputs.inversion)
    if inputs.guidance_rescale and inputs.inversion == "null-text":
        raise KdstError(
            "--guidance-rescale does not go with null-text inversion, whose embeddings are optimised"
            " for plain guidance; choose another --inversion"
        )


def _is_own(pipeline: Any, inputs: EditInputs, few: Few | None) -> bool:
    """Whether the pipeline's own scheduler samples.

    auto: DDIM, whose steps the published methods count, unless the model was distilled for a scheduler
    that adds noise, or has levels or predictions that DDIM does not know.
    """
    if inputs.scheduler != "auto":
        return inputs.scheduler == "own"
    if few and "Ancestral" in type(pipeline.scheduler).__name__:
        return True
    return not _runs_as_ddim(pipeline)


def _runs_as_ddim(pipeline: Any) -> bool:
    """Whether DDIM knows the levels of noise and the predictions of the pipeline's scheduler."""
    try:
        ddim(pipeline)
    except KdstError:
        return False
    return True


def own(pipeline: Any, steps: int) -> Any:
    """A fresh copy of the pipeline's own scheduler, with the timesteps of `steps` steps."""
    kind = type(pipeline.scheduler)
    name = kind.__name__
    if name in UNSEEDED or not all(hasattr(kind, x) for x in ("scale_model_input", "step")):
        advice = "; give --scheduler ddim" if _runs_as_ddim(pipeline) else ""
        raise KdstError(f"the model's scheduler {name} cannot be used here{advice}")
    try:
        made = kind.from_config(pipeline.scheduler.config)
        made.set_timesteps(steps)
        found = len(made.timesteps)
        float(made.init_noise_sigma)
        _try_steps(kind.from_config(pipeline.scheduler.config), steps)
    except Exception as e:  # schedulers refuse steps and options in many ways
        reason = first_line(e)
        raise KdstError(
            f"the model's scheduler {name} cannot take {steps} steps: {reason[:160]}"
        ) from e
    if found < 1:
        raise KdstError(f"the model's scheduler {name} cannot take {steps} steps")
    return made


def _try_steps(scheduler: Any, steps: int) -> None:
    """Take the steps of a scheduler on zeros, so that one that cannot fails before work starts.

    Raises ValueError where its coefficients are not finite.
    """
    import torch

    scheduler.set_timesteps(steps)
    given = noise_arguments(scheduler, torch.Generator(), 1)
    x = torch.zeros(1, 1, 2, 2)
    for t in scheduler.timesteps:
        output = torch.zeros_like(scheduler.scale_model_input(x, t))
        x = scheduler.step(output, t, x, **given).prev_sample
    if not bool(x.isfinite().all()):
        raise ValueError("its options lead to values that are not finite")


def ready(scheduler: Any, device: "torch.device", asked: int) -> Any:
    """A scheduler without history, its timesteps on a device: `scheduler` is left as it is."""
    fresh = copy.deepcopy(scheduler)
    fresh.set_timesteps(asked, device=device)
    return fresh


def noise_arguments(
    scheduler: Any, generator: "torch.Generator | None", rows: int
) -> dict[str, Any]:
    """What the scheduler's step is given, as the stock pipeline gives it, with one noise for all rows.

    Pipelines give η = 0, whatever a scheduler's own default is. The generator stays where it is: its
    state, after the first noise was drawn, is copied for each row.
    """
    import torch

    taken = inspect.signature(scheduler.step).parameters
    given: dict[str, Any] = {"eta": 0.0} if "eta" in taken else {}
    if generator is None or "generator" not in taken:
        return given
    found = []
    for _ in range(rows):
        found.append(torch.Generator(generator.device))
        found[-1].set_state(generator.get_state())
    return {**given, "generator": found}
