"""How far a step of DDIM goes along the noise estimate."""

from kdst_core.contracts import EditRequest
from kdst_core.errors import KdstError
from kdst_edit.families.registry import family_of
from kdst_edit.models.latents import ddim
from kdst_edit.sampling.schedule import set_steps
from kdst_edit.sampling.schedulers import takes_guidance


def step_sizes(request: EditRequest) -> list[float]:
    """Return b of z_{t-1} = a z_t + b ε for each step (Song et al., DDIM, 2021, equation 12).

    Raises KdstError where the first level has no signal: its step does not depend on the estimate; and
    where another scheduler samples, or the network is told the guidance.
    """
    told = takes_guidance(request.pipeline)
    if request.scheduler is not None or told or family_of(request.pipeline).flow:
        raise KdstError(
            "sega needs the steps of DDIM and a model that is guided by prompts; give --scheduler ddim,"
            " and no few-step model or model of flow matching"
        )
    scheduler = ddim(request.pipeline)
    set_steps(scheduler, request.num_steps)
    back = scheduler.config.num_train_timesteps // request.num_steps
    noisy = request.path is not None and request.path.noises is not None
    sizes = []
    for t in scheduler.timesteps.tolist():
        now = float(scheduler.alphas_cumprod[t])
        if now == 0:
            raise KdstError(
                "sega needs a model whose first level of noise has some signal; this one has none"
                " (zero terminal SNR)"
            )
        end = scheduler.final_alpha_cumprod
        then = float(scheduler.alphas_cumprod[t - back] if t >= back else end)
        variance = (1 - then) / (1 - now) * (1 - now / then) if noisy else 0.0
        sizes.append((1 - then - variance) ** 0.5 - (then * (1 - now) / now) ** 0.5)
    return sizes
