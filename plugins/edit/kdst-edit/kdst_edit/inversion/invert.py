"""Invert a real image by any of the ways, or read the inversion from the cache."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import attrs
import torch
from attrs import frozen
from torch import Tensor

from kdst_core.bench.pacing import Pace
from kdst_edit.families.registry import family_of
from kdst_edit.inversion import ddim, friendly, nulltext, rectified
from kdst_edit.inversion.cache import Cache, key
from kdst_edit.inversion.ddim import Advance
from kdst_edit.inversion.denoise import Denoiser
from kdst_edit.inversion.result import Inversion
from kdst_edit.inversion.settings import InversionSettings
from kdst_edit.models.latents import condition, decode, digest, encode
from kdst_edit.models.latents import ddim as ddim_scheduler
from kdst_edit.sampling.flow import FlowSchedule, flow_scheduler
from kdst_edit.sampling.schedule import Schedule
from kdst_edit.sampling.schedulers import check_kind

ShowProgress = Callable[[int, str], AbstractContextManager[Advance]]
KEEP_EVERY = 10.0
"""Seconds between two writes of an unfinished null-text inversion."""


def invert(
    pipeline: Any,
    image: Tensor,
    prompt: str,
    settings: InversionSettings,
    *,
    generator: torch.Generator | None = None,
    cache: Cache | None = None,
    progress: ShowProgress | None = None,
) -> Inversion:
    """Invert `image` (3, H, W) in [0, 1] under `prompt` with the pipeline's own network.

    generator: of the noise that `ddpm` and `rf-inversion` draw; a CPU generator, seeded with 0 when
    None. It moves on by the same amount whether or not the cache is hit. progress: a run's `progress`.
    A cached inversion is read; an unfinished null-text inversion in the cache is continued.
    """
    work = _Work.begin(pipeline, image, prompt, settings, generator)
    name = work.key() if cache else ""
    found = cache.load(name) if cache else None
    if found is None:
        with (progress or _silent)(work.total(), f"inversion ({settings.kind})") as advance:
            found = work.carry_out(advance, cache, name)
        if cache:
            cache.save(name, found)
    return found


def _silent(_total: int, _label: str) -> AbstractContextManager[Advance]:
    """A progress that shows nothing."""
    return nullcontext(lambda _: None)


@frozen
class _Work:
    """One inversion to carry out."""

    pipeline: Any
    image: Tensor
    prompt: str
    settings: InversionSettings
    schedule: Schedule | FlowSchedule
    latents: Tensor
    inverting: Denoiser
    sampling: Denoiser
    noise: Tensor

    @classmethod
    def begin(
        cls,
        pipeline: Any,
        image: Tensor,
        prompt: str,
        settings: InversionSettings,
        generator: torch.Generator | None,
    ) -> "_Work":
        """Encode image and prompt, and draw noise where it will be needed."""
        check_kind(pipeline, settings.kind)
        words = condition(pipeline, ["", prompt], (image.shape[1], image.shape[2]), negative=[0])
        latents = encode(pipeline, image)
        count = {"ddpm": settings.steps, "rf-inversion": 1}.get(settings.kind, 0)
        drawn = torch.randn(
            (count, *latents.shape[1:]), generator=generator or torch.Generator().manual_seed(0)
        )
        negative, positive = words.rows([0]), words.rows([1])
        return cls(
            pipeline,
            image,
            prompt,
            settings,
            schedule_of(pipeline, latents, settings.steps, settings.substeps),
            latents,
            Denoiser.of(pipeline, positive, negative, settings.inverting_guidance),
            Denoiser.of(pipeline, positive, negative, settings.guidance),
            drawn.to(latents),
        )

    def key(self) -> str:
        """Digest of everything that decides the result."""
        parts = {
            "image": self.image,
            "model": digest(self.pipeline),
            "prompt": self.prompt,
            "embeddings": self.inverting.positive.embeddings,
            "settings": self._settings(),
            "schedule": [attrs.astuple(s) for part in self.schedule.finer for s in part],
            "noise": self.noise,
        }
        return key(parts)

    def _settings(self) -> dict[str, Any]:
        """The settings that count; those of RF-Inversion for no other kind."""
        found = attrs.asdict(self.settings)
        own = ("gamma", "eta", "led")
        return {
            k: v for k, v in found.items() if self.settings.kind == "rf-inversion" or k not in own
        }

    def _guidance(self) -> float:
        """The guidance that gets the source back; one that is reset needs none, nor a second row."""
        if self.settings.kind == "null-text":
            return self.settings.guidance
        back = self.settings.kind in ("ddim", "rf-inversion")
        return self.settings.inverting_guidance if back else 1.0

    def total(self) -> int:
        """Steps that progress counts."""
        n = len(self.schedule)
        forward = n if self.settings.kind == "ddpm" else self._back_evaluations()
        return forward + (n if self.settings.kind in ("ddim", "null-text", "rf-inversion") else 0)

    def _back_evaluations(self) -> int:
        if self.settings.kind in ("rf-inversion", "rf-solver"):
            finer = sum(map(len, self.schedule.finer))
            return finer * (2 if self.settings.kind == "rf-solver" else 1)
        return ddim.evaluations(self.schedule, self.settings.fixed_point)

    def carry_out(self, advance: Advance, cache: Cache | None, name: str) -> Inversion:
        """Compute path, embeddings or noise maps, and the reconstruction."""
        if isinstance(self.schedule, FlowSchedule) and self.settings.kind.startswith("rf-"):
            return self._rectified(self.schedule, advance)
        if self.settings.kind == "ddpm" and isinstance(self.schedule, Schedule):
            path, maps = friendly.invert(
                self.inverting, self.schedule, self.latents, self.noise, advance
            )
            start = round(self.settings.skip * len(self.schedule))
            return self._result(path, path[-1:], start=start, resets=True, noises=maps)
        if self.settings.kind == "null-text" and isinstance(self.schedule, Schedule):
            return self._null_text(self.schedule, advance, cache, name)
        path = self._path(advance)
        if self.settings.kind == "direct":
            return self._result(path, path[-1:], resets=True)
        drawn = ddim.resample(self.inverting, self.schedule, path[:1], advance)
        return self._result(path, drawn)

    def _rectified(self, schedule: FlowSchedule, advance: Advance) -> Inversion:
        """RF-Solver's path, or RF-Inversion's with the way back that it leads."""
        how, image = self.settings, self.latents
        if how.kind == "rf-solver":
            path = rectified.invert_second_order(self.inverting, schedule, image, advance)
            return self._result(path, path[-1:], resets=True)
        path = rectified.invert_controlled(
            self.inverting, schedule, image, self.noise, how.gamma, advance
        )
        led = torch.zeros(len(schedule))
        led[: round(how.led * len(schedule))] = how.eta
        drawn = rectified.resample_towards(
            self.inverting, schedule, path[:1], image, led.tolist(), advance
        )
        return self._result(path, drawn, towards=led)

    def _path(self, advance: Advance) -> Tensor:
        """The path (N+1, C, h, w) of DDIM inversion, or Euler's of a flow."""
        fixed_point = self.settings.fixed_point
        return ddim.invert(self.inverting, self.schedule, self.latents, fixed_point, advance)

    def _null_text(
        self, schedule: Schedule, advance: Advance, cache: Cache | None, name: str
    ) -> Inversion:
        """The path and the embeddings, from where an earlier attempt stopped."""
        part = cache.load_part(name) if cache else None
        begun = None
        if part is None:
            path = self._path(advance)
        else:
            advance(self._back_evaluations())
            part = {k: v.to(self.latents) for k, v in part.items()}
            path = part["path"]
            begun = nulltext.OptimiserState(part["embeddings"], part["latents"])
        pace = Pace(KEEP_EVERY)

        def keep(state: nulltext.OptimiserState) -> None:
            if cache and pace.due():
                part = {"path": path, **attrs.asdict(state)}
                pace.write(lambda: cache.save_part(name, part))

        how = nulltext.NullText(inner_steps=self.settings.inner_steps)
        end = nulltext.optimise(
            self.sampling, schedule, path, how, begun=begun, keep=keep, advance=advance
        )
        return self._result(path, end.latents, negative=end.embeddings)

    def _result(
        self,
        path: Tensor,
        drawn: Tensor,
        *,
        start: int = 0,
        resets: bool = False,
        negative: Tensor | None = None,
        noises: Tensor | None = None,
        towards: Tensor | None = None,
    ) -> Inversion:
        """Decode what the source row ends on, and compare it with the image."""
        picture = decode(self.pipeline, drawn)[0].cpu()
        error = float((picture.double() - self.image.cpu().double()).square().mean())
        return Inversion(
            kind=self.settings.kind,
            prompt=self.prompt,
            guidance=self._guidance(),
            timesteps=torch.tensor([s.timestep for s in self.schedule.steps]),
            latents=path.float().cpu(),
            start=start,
            resets=resets,
            reconstruction=picture,
            psnr=float(-10 * torch.log10(torch.tensor(max(error, 1e-12)))),
            negative=None if negative is None else negative.float().cpu(),
            noises=None if noises is None else noises.float().cpu(),
            towards=towards,
        )


def schedule_of(
    pipeline: Any, latents: Tensor, steps: int, parts: int = 1
) -> Schedule | FlowSchedule:
    """Return the steps in which a model is sampled for latents (…, h, w): DDIM's, or Euler's of a flow."""
    if not family_of(pipeline).flow:
        return Schedule.of(ddim_scheduler(pipeline), steps, parts)
    height, width = latents.shape[-2:]
    return FlowSchedule.of(flow_scheduler(pipeline, steps, (height, width)), parts)
