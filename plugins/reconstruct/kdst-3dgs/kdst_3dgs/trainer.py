"""The training loop of 3D Gaussian Splatting, one view an iteration."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import attrs
import torch
from torch import Tensor

from kdst_3dgs import budget, cameras, initialise, priors
from kdst_3dgs.adam import VisibleAdam
from kdst_3dgs.density import GradientControl, McmcControl
from kdst_3dgs.loss import MIN_SIDE, photometric_loss
from kdst_3dgs.memory import Watch
from kdst_3dgs.options import Options
from kdst_3dgs.ply import Parameters
from kdst_3dgs.scene import Scene, apply_gain, exposure_gain
from kdst_3dgs.views import Frame, View, in_front_of_cameras, nearest_depth, prepare_views
from kdst_3dgs.warmup import compile_kernels
from kdst_reconstruct.options import PAPER_ITERATIONS

SATURATED = 254 / 255  # a photograph's value that may stand for anything brighter
_BACKGROUNDS = {"black": 0.0, "white": 1.0}


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Hold torch to one thread, so that its OpenMP does not fight with the kernels' threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Trainer:
    """Fits Gaussians to posed photographs; iterate over `run()` for (iteration, scene).

    images: N tensors (H, W, 3), uint8 or float in [0, 1]; intrinsics (N, 3, 3) pixels; viewmats
    (N, 4, 4) world to camera, OpenCV axes; points (P, 3) and colors (P, 3), uint8 or float;
    masks: N of (H, W) bool, True where the photograph counts, or None; tracks: for each view the
    indices (T,) of the points seen in it, which depth supervision uses (without them every point
    in front of the camera counts as seen); exposures: (N,) positive, of each photograph from its
    metadata (seconds · ISO / f-number², or any multiple), which takes out the camera's automatic
    exposure; background: (3,) what is known to lie behind the scene, which `auto` takes; progress:
    shows that of the short fits by which `priors` are chosen; seconds: the time that the fit may
    take from now on, which then chooses size, Gaussians and iterations (`budget`).
    `generator` is a CPU generator and makes every random
    choice. Raises ValueError for input that cannot be trained on.
    """

    def __init__(
        self,
        options: Options,
        images: Sequence[Tensor],
        intrinsics: Tensor,
        viewmats: Tensor,
        points: Tensor,
        colors: Tensor,
        *,
        generator: torch.Generator,
        masks: Sequence[Tensor | None] | None = None,
        tracks: Sequence[Tensor] | None = None,
        exposures: Tensor | None = None,
        background: Tensor | None = None,
        device: str = "cpu",
        progress: priors.Progress | None = None,
        seconds: float | None = None,
    ) -> None:
        made = time.monotonic()
        if torch.device(device).type not in ("cpu", "cuda"):
            raise ValueError(f"Training runs on the CPU or on CUDA, not on {device}.")
        if not options.iterations:
            options = attrs.evolve(options, iterations=PAPER_ITERATIONS)
        options = options.scheduled()
        self.options: Any = options
        self.generator, self.device = generator, device
        self.threads = options.threads or None
        frame, points_given = (
            prepare_views(images, intrinsics, viewmats, points, masks, tracks),
            points,
        )
        self.views, self.extent = frame.views, 1.0
        origin, unit = frame.origin, frame.unit
        shown: dict[str, Any] = {"images": images, "intrinsics": intrinsics, "viewmats": viewmats}
        shown |= {"points": points_given, "colors": colors, "masks": masks, "tracks": tracks}
        shown |= {"exposures": exposures, "background": background}
        hurried = seconds is not None and seconds < priors.HURRIED
        options, self.priors = self._with_priors(options, frame, shown, progress, hurried)
        self.options = options
        self.free_depth = options.free_depth * nearest_depth(self.views)
        reference = 1.0 if exposures is None else float(exposures.double().log().mean().exp())
        if exposures is not None:
            for view, exposure in zip(self.views, exposures, strict=True):
                view.gain = exposure_gain(float(exposure), reference)
        shades = colors.float() / 255 if colors.dtype == torch.uint8 else colors.float()
        filled = background is None
        parameters = initialise.start(options, frame, shades, generator, filled)
        count = len(parameters["means"])
        if count > options.cap_max:
            raise ValueError(f"{count} Gaussians to start from exceed cap_max, {options.cap_max}.")
        largest = max(height * width for height, width in (v.size for v in self.views))
        self.memory = Watch(sum(p[0].numel() for p in parameters.values()))
        self.memory.start(count, largest)
        if torch.device(device).type == "cpu":
            compile_kernels()
        self.iteration = 0
        self._queue: list[int] = []
        ground = torch.full((3,), _BACKGROUNDS.get(options.background, 0.0))
        if options.background == "auto" and background is not None:
            ground = background.float().clone()
        self.scene = Scene({}, origin, unit, ground, options.antialiased, self.threads)
        self.scene.reference_exposure = reference
        self.scene.exposed = exposures is not None
        self._install(parameters)
        self.exposures = torch.eye(3, 4).repeat(len(self.views), 1, 1).to(device).requires_grad_()
        self.exposure_optimizer = torch.optim.Adam([self.exposures], lr=options.exposure_lr)
        if options.strategy == "mcmc":
            self.control: Any = McmcControl(options, generator, device)
        else:
            self.control = GradientControl(options, self.extent)
        self.cameras, self.placing = None, False
        if options.refine_cameras:
            self.cameras, self.placing = cameras.Refinement(self.views, options.camera_lr), True
            self._anew = partial(initialise.start, options, frame, shades, generator)
            self._filled = filled
            if options.init == "sfm":
                self._install(self._anew(ground=False))
        self.plan: budget.Plan | None = None
        if seconds is not None:
            self._plan_for(seconds - (time.monotonic() - made))

    def _plan_for(self, seconds: float) -> None:
        """Choose what fits into the time that is left, by the time that an iteration takes here."""
        started, view = time.monotonic(), self.views[len(self.views) // 2]
        with one_torch_thread():
            fixed, by_pixels = budget.costs(lambda share: self._timed(view, share))
        left = max(1.0, seconds - (time.monotonic() - started))
        side = min(min(v.size) for v in self.views)
        count = len(self.scene)
        self.plan = budget.plan(left, fixed, by_pixels, count, side, self.options.cap_max)
        chosen = {"iterations": self.plan.iterations, "cap_max": self.plan.gaussians}
        left_open = dict.fromkeys(("refine_start_iter", "refine_stop_iter", "refine_every"))
        self.options = attrs.evolve(self.options, **chosen, **left_open).scheduled()
        kind: Any = McmcControl if self.options.strategy == "mcmc" else GradientControl
        arguments = (self.generator, self.device) if kind is McmcControl else (self.extent,)
        self.control = kind(self.options, *arguments)
        self.clock = budget.Clock(left)
        self.pace = budget.Pace(fixed, by_pixels, count)

    def _timed(self, view: View, share: float) -> None:
        """Do the work of an iteration at a share of the size, and change nothing."""
        target, K, mask = view.sized(share, MIN_SIDE)
        size = (target.shape[1], target.shape[0])
        degree = min(self.options.sh_degree, 1)
        drawn = self.scene.draw(view.viewmat, K, *size, self.scene.background, sh_degree=degree)
        loss = self._loss(view, *drawn, target, mask, K, self.scene.background)
        torch.autograd.backward(loss)
        for optimizer in self.optimizers.values():
            optimizer.zero_grad(set_to_none=True)
        self.exposures.grad = None

    def _with_priors(
        self,
        options: Any,
        frame: Frame,
        shown: dict[str, Any],
        progress: priors.Progress | None,
        hurried: bool,
    ) -> tuple[Any, list[priors.Prior]]:
        """Settle what is assumed of the scene by short fits, which draw nothing from the generator."""

        def trainer(settings: Options, given: dict[str, Any]) -> Trainer:
            generator = torch.Generator().manual_seed(0)
            return Trainer(settings, **given, generator=generator, device=self.device)

        fits = priors.Fits(trainer, frame.views, shown, progress)
        return priors.choose(options, frame, shown["background"] is not None, fits.scores, hurried)

    def _install(self, parameters: Parameters) -> None:
        """Make `parameters` the scene's, with a fresh optimiser each."""
        o = self.options
        rates = {"means": o.means_lr * self.extent, "quats": o.quats_lr, "scales": o.scales_lr}
        rates |= {"opacities": o.opacities_lr, "sh": o.sh0_lr}
        self.scene.parameters.clear()
        self.optimizers: dict[str, torch.optim.Optimizer] = {}
        for name, rate in rates.items():
            leaf = torch.nn.Parameter(parameters[name].to(self.device).float())
            self.scene.parameters[name] = leaf
            self.optimizers[name] = VisibleAdam(
                [leaf],
                rate,
                rest_factor=1 / 20 if name == "sh" else 1.0,
                threads=self.scene.rendering_threads,
            )

    def run(self) -> Iterator[tuple[int, Scene]]:
        """Train up to `options.iterations`; after each step yield its number, from 1, and the scene.

        The scene is the live one: render or save it before asking for the next step.
        """
        while self.iteration < self.options.iterations:
            with one_torch_thread():
                if self.placing:
                    self._end_placing()
                started = time.perf_counter()
                self._step(self.views[self._next_view()])
                seconds = time.perf_counter() - started
            self.iteration += 1
            if self.plan:
                self._follow_clock()
                self._keep_pace(self.plan, seconds)
            yield self.iteration, self.scene

    def _end_placing(self) -> None:
        """Start the scene anew once its cameras are placed, with a ground that these see."""
        assert self.cameras is not None
        self.placing = self.cameras.still_placed(self.iteration, self.progress)
        if not self.placing:
            self._install(self._anew(ground=self._filled))

    def _follow_clock(self) -> None:
        """Let the number of iterations be what the time gone so far promises."""
        gone = self.clock.gone
        if gone >= 1:
            end = self.iteration
        else:
            end = max(self.iteration + 1, round(self.iteration / max(gone, 0.01)))
        self.options = attrs.evolve(self.options, iterations=end)

    def _keep_pace(self, chosen: budget.Plan, seconds: float) -> None:
        """Choose the size anew where iterations have become slower or faster."""
        self.pace.took(seconds, self.clock.size(chosen.share), len(self.scene))
        side = min(min(v.size) for v in self.views)
        anew = self.pace.plan_anew(self.clock, len(self.scene), side, chosen.gaussians)
        if anew is not None:
            total = self.iteration + anew.iterations
            self.plan = attrs.evolve(chosen, share=anew.share, iterations=total)

    @property
    def progress(self) -> float:
        """Share of the fit that is done, from 0 to 1."""
        if self.plan:
            return min(1.0, self.clock.gone)
        return float(self.iteration / self.options.iterations)

    def _next_view(self) -> int:
        """Every view once, in a new random order each time round."""
        if not self._queue:
            self._queue = torch.randperm(len(self.views), generator=self.generator).tolist()
        return self._queue.pop()

    def _step(self, view: View) -> None:
        o = self.options
        if self.plan:
            target, K, mask = view.sized(self.clock.size(self.plan.share), MIN_SIDE)
        else:
            halvings = max(0, o.num_downscales - self.iteration // o.resolution_schedule)
            target, K, mask = view.at(halvings, MIN_SIDE)
        height, width = target.shape[:2]
        progress = self.progress
        lr = 0 if self.placing else o.means_lr * self.extent * o.means_lr_final**progress
        self.optimizers["means"].param_groups[0]["lr"] = lr
        background = self.scene.background
        if o.background == "random":
            background = torch.rand(3, generator=self.generator)
        rgb, alpha, info = self._drawn_scene(progress).draw(
            view.viewmat,
            K,
            width,
            height,
            background,
            sh_degree=min(o.sh_degree, self.iteration // o.sh_degree_interval),
            depth=o.depth_weight > 0,
            absgrad=o.strategy == "absgrad",
        )
        loss = self._loss(view, rgb, alpha, info, target, mask, K, background)
        info["means2d"].retain_grad()
        torch.autograd.backward(loss)
        if self.placing:
            self._refine_camera(view, K, info, progress)
        for optimizer in self.optimizers.values():
            optimizer.step(info["visible"])
            optimizer.zero_grad(set_to_none=True)
        if o.exposure:
            self.exposure_optimizer.step()
            self.exposure_optimizer.zero_grad(set_to_none=True)
            drift = self.exposures.data.mean(0) - torch.eye(3, 4, device=self.device)
            self.exposures.data -= drift  # new views are rendered without one: as the mean
        if not self.placing:
            self._refine(info, lr)

    def _refine_camera(self, view: View, K: Tensor, info: dict[str, Any], progress: float) -> None:
        """Move the camera of the view just drawn, by the gradients of the scene."""
        o, p = self.options, self.scene.parameters
        assert self.cameras is not None
        gradients = {n: v.grad for n, v in p.items() if v.grad is not None}
        degree = min(o.sh_degree, self.iteration // o.sh_degree_interval)
        pose = cameras.pose_gradient(p, gradients, view.viewmat, degree)
        centres = info["means2d"]
        focal = cameras.focal_gradient(gradients, centres.detach()[0], centres.grad[0], K)
        if o.scale_reg:  # the sizes' own penalty says nothing of the camera
            focal -= o.scale_reg / self.extent * float(p["scales"].detach().exp().mean())
        self.cameras.step(view, pose, focal, self.iteration, progress)

    def _drawn_scene(self, progress: float) -> Scene:
        """The scene, or with `drop_rate` a random part of it, the rest made denser for it."""
        rate = self.options.drop_rate * progress
        if rate == 0:
            return self.scene
        logits = self.scene.parameters["opacities"]
        kept = torch.rand(logits.shape, generator=self.generator).to(logits.device) >= rate
        denser = (torch.sigmoid(logits) / (1 - rate)).clamp(max=0.999)
        thinned = torch.where(kept, torch.logit(denser), logits.new_tensor(-30.0))
        parameters = self.scene.parameters | {"opacities": thinned}
        return attrs.evolve(self.scene, parameters=parameters)

    def _loss(
        self,
        view: View,
        rgb: Tensor,
        alpha: Tensor,
        info: dict[str, Any],
        target: Tensor,
        mask: Tensor | None,
        K: Tensor,
        background: Tensor,
    ) -> Tensor:
        o, p = self.options, self.scene.parameters
        target = target.to(rgb.device)
        if view.gain != 1:
            rgb = apply_gain(rgb, alpha, background, view.gain)
            rgb = torch.where((rgb > 1) & (target >= SATURATED), target, rgb)
        if o.exposure:
            exposure = self.exposures[view.index]
            rgb = rgb @ exposure[:, :3].T + exposure[:, 3]
        if view.transparent:
            behind = (1 - view.alpha_at(target))[..., None] * background
            target = target + behind.to(rgb.device)
        if mask is not None:
            rgb = torch.where(mask[..., None].to(rgb.device), rgb, target)
        weight = max(o.dssim_weight, cameras.DSSIM) if self.placing else o.dssim_weight
        loss = photometric_loss(rgb, target, weight, self.scene.rendering_threads)
        if o.opacity_reg:
            loss = loss + o.opacity_reg * torch.sigmoid(p["opacities"]).mean()
        if o.scale_reg:
            loss = loss + o.scale_reg / self.extent * p["scales"].exp().mean()
        if o.depth_weight:
            loss = loss + o.depth_weight * view.depth_error(info["depth"], alpha, K)
        return loss

    def _refine(self, info: dict[str, Any], lr: float) -> None:
        """Density control; gsplat draws from torch's global generator, which ours seeds."""
        seed = int(torch.randint(2**62, (), generator=self.generator))
        before = len(self.scene)
        device = torch.device(self.device)
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            if self.plan and self.progress > budget.CONTROL:
                return
            self.control.after_step(
                self.scene.parameters, self.optimizers, self.iteration, info, lr
            )
        if len(self.scene) > before:
            self.memory.grown(before, len(self.scene))
        if self.free_depth and self.iteration and self.iteration % self.options.refine_every == 0:
            means = self.scene.parameters["means"].detach()
            floating = in_front_of_cameras(means, self.views, self.free_depth)
            self.control.discard(self.scene.parameters, self.optimizers, floating)

    def state_dict(self) -> dict[str, Any]:
        """Everything that training goes on from: tensors, numbers, lists and dicts only."""
        return {
            "iteration": self.iteration,
            "queue": list(self._queue),
            "generator": self.generator.get_state(),
            "parameters": {k: p.detach().clone() for k, p in self.scene.parameters.items()},
            "optimizers": {k: o.state_dict() for k, o in self.optimizers.items()},
            "control": dict(self.control.state),
            "background": self.scene.background.clone(),
            "gone": self.clock.gone if self.plan else 0.0,
            "placing": self.placing,
            "cameras": self.cameras.state_dict() if self.cameras else {},
            "exposures": self.exposures.detach().clone(),
            "exposure_optimizer": self.exposure_optimizer.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state of `state_dict`; `options.iterations` may be larger than it was."""
        self._install({k: p.clone() for k, p in state["parameters"].items()})
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        self.control.state.clear()
        self.control.state.update(
            {
                k: v.to(self.device) if isinstance(v, Tensor) else v
                for k, v in state["control"].items()
            }
        )
        self.scene.background = state.get("background", self.scene.background).clone()
        self.exposures.data.copy_(state["exposures"])
        self.exposure_optimizer.load_state_dict(state["exposure_optimizer"])
        if self.cameras and state.get("cameras"):
            self.cameras.load_state_dict(state["cameras"])
            self.placing = bool(state.get("placing", False))
        if self.plan:
            self.clock.go_on(min(float(state.get("gone", 0.0)), 0.99))
        self.generator.set_state(state["generator"])
        self._queue, self.iteration = list(state["queue"]), state["iteration"]
