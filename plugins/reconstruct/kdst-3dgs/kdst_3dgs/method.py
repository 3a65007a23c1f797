"""3D Gaussian Splatting (Kerbl et al. 2023, algorithm 1): draw a view, compare, descend, refine."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import attrs
import torch
from torch import Tensor

from kdst_3dgs import cameras
from kdst_3dgs.appearance import appearance_of
from kdst_3dgs.density import GradientControl, McmcControl
from kdst_3dgs.learning import EXTENT, install, thinned
from kdst_3dgs.loss import MIN_SIDE
from kdst_3dgs.objective import Drawn, Objective, Target
from kdst_3dgs.options import Options
from kdst_3dgs.ply import Parameters
from kdst_3dgs.priors import HURRIED, Progress
from kdst_3dgs.scene import Scene
from kdst_3dgs.starting import PosedPhotographs, Start, Trials, begin
from kdst_3dgs.timetable import Timetable
from kdst_3dgs.views import View, in_front_of_cameras, nearest_depth
from kdst_reconstruct.options import PAPER_ITERATIONS


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

    progress: shows that of the short fits by which `priors` are chosen; seconds: the time that the fit
    may take from now on, which then chooses size, Gaussians and iterations (`budget`). `generator` is a
    CPU generator and makes every random choice. Raises ValueError for input that cannot be trained on.
    """

    def __init__(
        self,
        options: Options,
        photographs: PosedPhotographs,
        *,
        generator: torch.Generator,
        device: str = "cpu",
        progress: Progress | None = None,
        seconds: float | None = None,
    ) -> None:
        made = time.monotonic()
        if torch.device(device).type not in ("cpu", "cuda"):
            raise ValueError(f"Training runs on the CPU or on CUDA, not on {device}.")
        if not options.iterations:
            options = attrs.evolve(options, iterations=PAPER_ITERATIONS)
        self.generator, self.device = generator, device
        hurried = seconds is not None and seconds < HURRIED
        trials = Trials(self._short_fit, progress, hurried)
        start = begin(options.scheduled(), photographs, generator, device, trials)
        self.options, self.priors = start.options, start.priors
        self.views, self.scene, self.memory = start.frame.views, start.scene, start.memory
        self.free_depth = self.options.free_depth * nearest_depth(self.views)
        self.iteration = 0
        self._queue: list[int] = []
        self._install(start.parameters)
        shown = (len(self.views), device, self.scene.rendering_threads)
        self.appearance = appearance_of(self.options, *shown)
        self.control = self._new_control()
        self.cameras: cameras.Refinement | None = None
        self.placing = self.options.refine_cameras
        if self.placing:
            self._begin_placing(start)
        self.timetable: Timetable | None = None
        if seconds is not None:
            self._plan_for(seconds - (time.monotonic() - made))

    def _short_fit(self, options: Options, photographs: PosedPhotographs) -> "Trainer":
        """Return a fit by which something is tried; it draws nothing from the generator."""
        generator = torch.Generator().manual_seed(0)
        return Trainer(options, photographs, generator=generator, device=self.device)

    def _new_control(self) -> Any:
        """Return the density control of the strategy."""
        if self.options.strategy == "mcmc":
            return McmcControl(self.options, self.generator, self.device)
        return GradientControl(self.options, EXTENT)

    def _begin_placing(self, start: Start) -> None:
        """Let cameras be placed first, by a scene without a ground."""
        self.cameras = cameras.Refinement(self.views, self.options.camera_lr)
        self._start = start
        if self.options.init == "sfm":
            self._install(start.anew(ground=False))

    def _plan_for(self, seconds: float) -> None:
        """Choose what fits into the time that is left, by the time that an iteration takes here."""
        view = self.views[len(self.views) // 2]
        side = min(min(v.size) for v in self.views)
        found = (len(self.scene), side, self.options.cap_max)
        with one_torch_thread():
            self.timetable = Timetable.made(seconds, lambda share: self._timed(view, share), *found)
        plan = self.timetable.plan
        chosen = {"iterations": plan.iterations, "cap_max": plan.gaussians}
        left_open = dict.fromkeys(("refine_start_iter", "refine_stop_iter", "refine_every"))
        self.options = attrs.evolve(self.options, **chosen, **left_open).scheduled()
        self.control = self._new_control()

    def _timed(self, view: View, share: float) -> None:
        """Do the work of an iteration at a share of the size, and change nothing."""
        target, K, mask = view.sized(share, MIN_SIDE)
        size = (target.shape[1], target.shape[0])
        degree = min(self.options.sh_degree, 1)
        background = self.scene.background
        drawn = Drawn(*self.scene.draw(view.viewmat, K, *size, background, sh_degree=degree))
        photograph = Target(target, K, mask, background)
        torch.autograd.backward(self._objective(view, drawn, photograph, self.placing))
        for optimizer in self.optimizers.values():
            optimizer.zero_grad(set_to_none=True)
        self.appearance.forget()

    def _install(self, parameters: Parameters) -> None:
        """Make `parameters` the scene's, with a fresh optimiser each."""
        self.optimizers = install(self.scene, parameters, self.options, self.device)

    def run(self) -> Iterator[tuple[int, Scene]]:
        """Train up to `options.iterations`; after each step yield its number, from 1, and the scene.

        The scene is the live one: render or save it before asking for the next step.
        """
        while self.iteration < self.options.iterations:
            with one_torch_thread():
                if self.placing:
                    self._go_on_placing()
                started = time.perf_counter()
                self._step(self.views[self._next_view()])
                seconds = time.perf_counter() - started
            self.iteration += 1
            if self.timetable:
                end = self.timetable.end(self.iteration)
                self.options = attrs.evolve(self.options, iterations=end)
                self.timetable.took(seconds, self.iteration, len(self.scene))
            yield self.iteration, self.scene

    def _go_on_placing(self) -> None:
        """Start the scene anew, of smaller Gaussians half-way, and once its cameras are placed, with a
        ground that these see."""
        assert self.cameras is not None
        now = (self.iteration, self.progress)
        self.placing = self.cameras.still_placed(*now)
        if not self.placing:
            self._install(self._start.anew(ground=self._start.filled))
        elif self.options.init == "sfm" and self.cameras.grows_sharp(*now):
            fresh = self._start.anew(ground=False)
            self._install(fresh | {"scales": fresh["scales"] + math.log(cameras.SHARPER)})

    @property
    def progress(self) -> float:
        """Share of the fit that is done, from 0 to 1."""
        if self.timetable:
            return self.timetable.progress
        return float(self.iteration / self.options.iterations)

    def _next_view(self) -> int:
        """Every view once, in a new random order each time round."""
        if not self._queue:
            self._queue = torch.randperm(len(self.views), generator=self.generator).tolist()
        return self._queue.pop()

    def _step(self, view: View) -> None:
        """Draw one view, compare it with its photograph, and move everything against the gradient."""
        o, progress = self.options, self.progress
        lr = 0 if self.placing else o.means_lr * EXTENT * o.means_lr_final**progress
        self.optimizers["means"].param_groups[0]["lr"] = lr
        target = self._target(view)
        drawn = self._draw(view, target, progress)
        loss = self._objective(view, drawn, target, self.placing)
        drawn.info["means2d"].retain_grad()
        torch.autograd.backward(loss)
        if self.placing:
            self._refine_camera(view, target.K, drawn.info, progress)
        for optimizer in self.optimizers.values():
            optimizer.step(drawn.info["visible"])
            optimizer.zero_grad(set_to_none=True)
        self.appearance.step(progress)
        if not self.placing:
            self._refine(drawn.info, lr)

    def _target(self, view: View) -> Target:
        """Return a photograph at the size of this iteration, and the background behind it."""
        o = self.options
        if self.timetable:
            image, K, mask = view.sized(self.timetable.share, MIN_SIDE)
        else:
            halvings = max(0, o.num_downscales - self.iteration // o.resolution_schedule)
            image, K, mask = view.at(halvings, MIN_SIDE)
        background = self.scene.background
        if o.background == "random":
            background = torch.rand(3, generator=self.generator)
        return Target(image, K, mask, background)

    def _draw(self, view: View, target: Target, progress: float) -> Drawn:
        """Draw the scene as one photograph shows it, with gradients."""
        o, (height, width) = self.options, target.image.shape[:2]
        scene = thinned(self.scene, o.drop_rate * progress, self.generator)
        drawn = scene.draw(
            view.viewmat,
            target.K,
            width,
            height,
            target.background,
            sh_degree=min(o.sh_degree, self.iteration // o.sh_degree_interval),
            depth=o.depth_weight > 0,
            absgrad=o.strategy == "absgrad",
        )
        return Drawn(*drawn)

    @property
    def _objective(self) -> Objective:
        """What is made small, by the options of now."""
        return Objective(self.options, self.scene, self.appearance)

    def _refine_camera(self, view: View, K: Tensor, info: dict[str, Any], progress: float) -> None:
        """Move the camera of the view just drawn, by the gradients of the scene."""
        o = self.options
        assert self.cameras is not None
        degree = min(o.sh_degree, self.iteration // o.sh_degree_interval)
        shown = (self.scene.parameters, info["means2d"], view.viewmat, K)
        pose, focal = cameras.gradients(*shown, degree)
        if o.scale_reg:  # the sizes' own penalty says nothing of the camera
            focal -= o.scale_reg * float(self.scene.parameters["scales"].detach().exp().mean())
        self.cameras.step(view, pose, focal, self.iteration, progress)

    def _refine(self, info: dict[str, Any], lr: float) -> None:
        """Density control; gsplat draws from torch's global generator, which ours seeds."""
        seed = int(torch.randint(2**62, (), generator=self.generator))
        before = len(self.scene)
        if self.timetable and self.timetable.settled:
            return
        device = torch.device(self.device)
        on_cuda = device.type == "cuda"
        with torch.random.fork_rng(devices=[device] if on_cuda else []):
            # torch's own function writes the stack down for every device that is not there
            (torch.manual_seed if on_cuda else torch.default_generator.manual_seed)(seed)
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
            "gone": self.timetable.clock.gone if self.timetable else 0.0,
            "placing": self.placing,
            "cameras": self.cameras.state_dict() if self.cameras else {},
            **self.appearance.state_dict(),
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
        self.appearance.load_state_dict(state)
        if self.cameras and state.get("cameras"):
            self.cameras.load_state_dict(state["cameras"])
            self.placing = bool(state.get("placing", False))
        if self.timetable:
            self.timetable.clock.go_on(min(float(state.get("gone", 0.0)), 0.99))
        self.generator.set_state(state["generator"])
        self._queue, self.iteration = list(state["queue"]), state["iteration"]
