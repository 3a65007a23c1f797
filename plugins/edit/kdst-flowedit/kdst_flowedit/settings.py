"""What a run edits with: the published values of its model, or those that were given."""

from typing import TYPE_CHECKING

from attrs import frozen

from kdst_core.contracts import EditRequest
from kdst_core.errors import KdstError
from kdst_edit.families.registry import network_of
from kdst_edit.sampling.schedulers import takes_guidance

if TYPE_CHECKING:
    from kdst_flowedit import Options


@frozen
class Published:
    """Kulikov et al. (2024), their experiments: n_max as a share of the steps, and both guidances."""

    share: float
    source: float | None = None
    target: float | None = None


SD3, FLUX = Published(33 / 50, 3.5, 13.5), Published(24 / 28, 1.5, 5.5)
OTHERS = Published(33 / 50)


@frozen
class Settings:
    """The numbers of algorithm 1 for one run."""

    n_max: int
    n_min: int
    n_avg: int
    source: float
    target: float


def published(request: EditRequest) -> Published:
    """Return the published values of the request's model; FLUX.1's are those of dev."""
    name = type(network_of(request.pipeline)).__name__
    if name == "FluxTransformer2DModel" and takes_guidance(request.pipeline):
        return FLUX
    return SD3 if name == "SD3Transformer2DModel" else OTHERS


def settings_of(request: EditRequest, options: "Options") -> Settings:
    """Return the settings of a run; KdstError for steps that it does not have."""
    usual, steps = published(request), request.num_steps
    n_max = options.n_max
    if n_max is None:
        n_max = max(round(usual.share * steps), 1)
    if n_max > steps:
        raise KdstError(f"--n-max {n_max}: there are {steps} steps; give at most so many")
    if options.n_min >= n_max:
        raise KdstError(
            f"--n-min {options.n_min} leaves no step to edit in: n_max is {n_max}; give fewer"
        )
    given = (options.source_guidance, usual.source), (options.target_guidance, usual.target)
    source, target = (next((x for x in pair if x is not None), request.guidance) for pair in given)
    return Settings(n_max, options.n_min, options.n_avg, source, target)
