"""One run of the bench: invert, edit, sample the baseline, measure, write pictures."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from attrs import frozen

from kdst_core.bench.contract import Job, Outcome
from kdst_core.bench.sealed import SealedArray, hidden
from kdst_core.contracts import RunServices
from kdst_core.errors import KdstError
from kdst_core.files import write_atomically
from kdst_core.runs.rundir import Run
from kdst_edit.inputs import EditInputs

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from kdst_core.contracts import Edit, EditRequest
    from kdst_edit.inversion.result import Inversion
    from kdst_edit.schedulers import Plan
    from kdst_edit.scores import Shown


@frozen
class PreparedEdit:
    """A run with its model and image loaded and checked."""

    job: Job
    device: str
    pipeline: Any
    source: str
    targets: tuple[str, ...]
    image: "Tensor | None"
    sealed_mask: "SealedArray | None"
    notes: tuple[str, ...]
    plan: "Plan"
    confine: "Tensor | None"

    @property
    def inputs(self) -> EditInputs:
        """The bench's options."""
        inputs: EditInputs = self.job.inputs
        return inputs

    @property
    def mask(self) -> "Tensor | None":
        """Where (H, W) edits are scored as wanted; RuntimeError while a method works."""
        import torch

        return None if self.sealed_mask is None else torch.from_numpy(self.sealed_mask.read())

    @property
    def guidance(self) -> float:
        """The guidance scale: the one given, or the model's usual one."""
        return self.plan.guidance

    def execute(self, run: Run) -> Outcome:
        """Carry out the run."""
        with self.working():
            path, request, edit = self.edit(run)
            plain = self._plain(request, run)
            return self._outcome(run, path, edit, plain)

    @contextmanager
    def working(self) -> Iterator[None]:
        """Enclose the work on the pipeline: in its precision, quietly, without the mask's file."""
        from kdst_edit.precision import computing_in
        from kdst_edit.quiet import quiet

        files = [self.inputs.mask] if self.inputs.mask is not None else []
        with quiet(), computing_in(self.pipeline, self.dtype), hidden(files):
            yield

    def edit(self, run: RunServices) -> "tuple[Inversion | None, EditRequest, Edit]":
        """Invert the photograph, if there is one, and call the method."""
        path = self._invert(run)
        request = self._request(path)
        edit = self.job.method.call(request, self.job.options, run)
        check_result(edit, request)
        return path, request, edit

    @property
    def dtype(self) -> "torch.dtype":
        """The precision of UNet and text encoders."""
        from kdst_edit.precision import chosen

        return chosen(self.inputs.dtype, self.pipeline, self.device)

    def _invert(self, run: RunServices) -> "Inversion | None":
        """The inversion of the photograph, if there is one."""
        if self.image is None:
            return None
        import torch

        from kdst_edit.inversion.cache import Cache
        from kdst_edit.inversion.invert import invert
        from kdst_edit.inversion.settings import InversionSettings
        from kdst_edit.precision import computing_in

        inputs = self.inputs
        settings = InversionSettings(
            kind=inputs.inversion,
            steps=self.plan.steps,
            substeps=inputs.substeps,
            fixed_point=inputs.fixed_point,
            guidance=self.guidance,
            skip=inputs.skip,
        )
        prompt = inputs.inversion_prompt
        with computing_in(self.pipeline, torch.float32):
            return invert(
                self.pipeline,
                self.image,
                self.source if prompt is None else prompt,
                settings,
                generator=torch.Generator().manual_seed(self.job.seed),
                cache=Cache(inputs.inversions or run.dir / "inversions"),
                progress=run.progress,
            )

    def _request(self, path: "Inversion | None") -> "EditRequest":
        """What the method is asked."""
        import torch

        from kdst_core.contracts import EditRequest
        from kdst_edit import loading
        from kdst_edit.latents import latent_factor

        generator = torch.Generator().manual_seed(self.job.seed)
        if path is None:
            sides = loading.size(self.pipeline, self.inputs, self.image)
            shape = [side // latent_factor(self.pipeline) for side in sides]
            channels = self.pipeline.unet.config.in_channels
            latents = torch.randn(1, channels, *shape, generator=generator)
        else:
            latents = path.latents[path.start][None]
        return EditRequest(
            self.pipeline,
            self.source,
            self.image,
            self.targets,
            generator,
            latents.to(self.device, torch.float32),
            negative_prompt=self.inputs.negative_prompt,
            num_steps=self.plan.steps,
            guidance=self.guidance,
            path=path,
            max_rows=self.inputs.max_rows,
            confine=self.confine,
            scheduler=self.plan.scheduler,
            sampler_steps=self.plan.asked,
            guidance_rescale=self.inputs.guidance_rescale,
        )

    def _plain(self, request: "EditRequest", run: Run) -> "list[Shown]":
        """The targets sampled from the same noise without control."""
        if not self.inputs.baseline:
            return []
        from kdst_edit.kit import attention_of, sample_request, target_branches, word_maps
        from kdst_edit.latents import decode
        from kdst_edit.scores import Shown

        branches, words = target_branches(request), word_maps(request)
        latents = sample_request(request, branches, [words], run, "without control")
        images = decode(request.pipeline, latents).cpu()
        return [
            Shown(image, branch.prompt, attention_of(request, words, i, branch.prompt))
            for i, (image, branch) in enumerate(zip(images, branches, strict=True))
        ]

    def _outcome(
        self, run: Run, path: "Inversion | None", edit: "Edit", plain: "list[Shown]"
    ) -> Outcome:
        """Measure, and write pictures and tables."""
        import torch

        from kdst_edit import artifacts, measures, scores
        from kdst_edit.scores import Shown

        first = edit.reconstruction.cpu() if self.image is None else self.image
        source = Shown(first, self.source, edit.attention)
        edits = [Shown(e.image.cpu(), e.prompt, e.attention) for e in edit.images]
        found = [scores.source_region(source, target, self.mask) for target in self.targets]
        regions = [region[0] if region else None for region in found]
        rows = [scores.score(e, source, r) for e, r in zip(edits, regions, strict=True)]
        pairs = zip(plain, regions, strict=bool(plain))
        plain_rows = [scores.score(e, source, r) for e, r in pairs]
        metrics = scores.mean(rows)
        if plain:
            metrics |= {f"plain.{name}": v for name, v in scores.mean(plain_rows).items()}
        if self.image is not None:
            everywhere = torch.ones(self.image.shape[-2:], dtype=torch.bool)
            reconstruction = edit.reconstruction.cpu()
            metrics["reconstruction_psnr"] = measures.psnr(reconstruction, self.image, everywhere)
        table = {"edit": rows, "plain": plain_rows, "targets": list(self.targets)}
        write_atomically(run.artifacts / "scores.json", json.dumps(table))
        names = artifacts.write(run.artifacts, source, edit, edits, plain, regions[0])
        protocol = self._protocol(path, found[0][1] if found[0] else "not known")
        return Outcome(
            metrics,
            {name: f"artifacts/{name}" for name in ["scores.json", *names]},
            protocol,
            warnings=self._warnings(edit, plain, metrics),
            summary=[*edit.notes, *summary(metrics), *self._confinement()],
        )

    def _warnings(
        self, edit: "Edit", plain: "list[Shown]", metrics: Mapping[str, float]
    ) -> list[str]:
        """What was changed to fit the model, and what had no effect."""
        from kdst_edit import audit
        from kdst_edit.schedulers import takes_guidance

        prompts = [self.source, *self.targets, self.inputs.negative_prompt]
        found = [
            *self.notes,
            *audit.options(self.inputs, self.guidance, self.image is not None, self.source),
            *audit.guidance(self.inputs, self.guidance, takes_guidance(self.pipeline)),
            *edit.warnings,
            *audit.syntax(prompts),
            *audit.words(self.pipeline.tokenizer, prompts, edit.learned),
            *audit.outcome(edit, [shown.image for shown in plain], metrics),
        ]
        return list(dict.fromkeys(found))

    def _confinement(self) -> list[str]:
        """What --confine did."""
        if self.mask is None or not self.inputs.confine:
            return []
        outside = 1 - float(self.mask.float().mean())
        return [
            f"confined to the mask: {outside:.0%} of the picture was put back after every step, so the"
            " edit cannot continue there"
        ]

    def _protocol(self, path: "Inversion | None", region: str) -> dict[str, Any]:
        """Everything that decides what was measured."""
        from kdst_edit.latents import digest
        from kdst_edit.precision import stated

        found: dict[str, Any] = {
            "source": self.source,
            "target": " | ".join(self.targets),
            "steps": self.plan.asked,
            "guidance": self.guidance,
            "scheduler": self.plan.name,
            "dtype": stated(self.dtype),
            "region": region,
            "model_digest": digest(self.pipeline)[:16],
        }
        if path is not None:
            found |= {"inversion_kind": path.kind, "inversion_psnr": path.psnr}
        return found


def check_result(edit: Any, request: "EditRequest") -> None:
    """Raise KdstError when a method returned something else than an edit of the request."""
    from kdst_core.contracts import Edit

    if not isinstance(edit, Edit):
        raise KdstError(f"the method returned a {type(edit).__name__}, not an Edit")
    if [e.prompt for e in edit.images] != list(request.targets):
        raise KdstError("the method did not return one image for each target, in their order")
    import torch

    if any(
        type(i) is not torch.Tensor for i in (edit.reconstruction, *(e.image for e in edit.images))
    ):
        raise KdstError("the method returned images that are no plain torch.Tensor")
    shape = edit.reconstruction.shape
    if len(shape) != 3 or any(e.image.shape != shape for e in edit.images):
        raise KdstError("the method returned images of different sizes")


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
