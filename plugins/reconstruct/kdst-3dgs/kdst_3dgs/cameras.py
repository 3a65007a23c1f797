"""Cameras refined while the scene is fitted: their poses, and one focal length for each that is given.

The kernels have no gradient by the camera, and need none. To move a camera is to move the scene the
other way, so the gradient by its pose follows from those by the means and rotations of the Gaussians;
to lengthen its focal length is to move what it sees away from the principal point and to widen it, so
that gradient follows from those by the projected means and the sizes. Only colours that depend on the
direction of view stay behind when a camera turns; their part is taken out.

A scene that is fitted to wrong cameras learns their errors and holds the cameras there. So these are
placed first, by a scene whose Gaussians stay on the points of structure from motion, which are means
over many views and therefore nearer to the truth. Large ones draw cameras in from afar, and leave them a
part of a pixel off; so Gaussians of half the size take over half-way. Then the scene is started anew, and
the cameras stay: on the castle they would only follow the scene's errors.
"""

import math
from typing import Any

import attrs
import torch
from torch import Tensor

from kdst_3dgs.harmonics import C0
from kdst_3dgs.reference import spherical_harmonics
from kdst_3dgs.views import View

ROUNDS, PART = 20, 1 / 3
"""How often each view is drawn while cameras are placed, and the share of the fit that this takes at
most."""
SHARPER, HALFWAY = 0.5, 0.5
"""Size of the Gaussians, of that at first, from this share of placing on."""
DSSIM = 0.8
"""Weight of SSIM in the loss meanwhile: it sees structure where colours are not right yet."""
FINAL = 0.01
"""Share of the learning rate that is left at the end of placing."""
BETAS, EPS = (0.9, 0.999), 1e-15


def pose_gradient(
    parameters: dict[str, Tensor], gradients: dict[str, Tensor], viewmat: Tensor, degree: int
) -> Tensor:
    """Return the gradient (6,), rotation before translation, by a small motion of a camera.

    The motion multiplies `viewmat` from the left: camera points x go to x + ω × x + v. gradients:
    of a loss by the Gaussians' parameters, by name; degree: of the harmonics in use.
    """
    view = viewmat.double()
    R, t = view[:3, :3], view[:3, 3]
    means = parameters["means"].detach().double().cpu()
    pull = gradients["means"].detach().double().cpu()
    seen = means @ R.T + t
    turned = pull
    if degree > 0:
        turned = pull - _by_direction(parameters, gradients, means + R.T @ t, degree)
    quats = parameters["quats"].detach().double().cpu()
    twist = gradients["quats"].detach().double().cpu()
    w, v, g = quats[:, :1], quats[:, 1:], twist[:, 1:]
    torque = 0.5 * (w * g - twist[:, :1] * v + torch.linalg.cross(v, g)).sum(0)
    rotation = R @ torque + torch.linalg.cross(seen, turned @ R.T).sum(0)
    return torch.cat([rotation, R @ pull.sum(0)])


def _by_direction(
    parameters: dict[str, Tensor], gradients: dict[str, Tensor], directions: Tensor, degree: int
) -> Tensor:
    """Return the part of the gradient by the means (N, 3) that comes from the direction of view."""
    used = parameters["sh"][:, : (degree + 1) ** 2].detach().double().cpu()
    by_colour = gradients["sh"][:, 0].detach().double().cpu() / C0
    towards = directions.clone().requires_grad_()
    with torch.enable_grad():
        shown = (spherical_harmonics(towards, used) * by_colour).sum()
    return torch.autograd.grad(shown, towards)[0]


def focal_gradient(
    gradients: dict[str, Tensor], means2d: Tensor, pulled: Tensor, K: Tensor
) -> float:
    """Return the gradient by the logarithm of both focal lengths.

    means2d (N, 2) are the projected means and `pulled` (N, 2) the gradient by them. What is seen
    grows with the focal length, before the screen filter: the sizes' gradients say what that does.
    """
    apart = means2d.double().cpu() - K[:2, 2].double()
    return float((pulled.double().cpu() * apart).sum() + gradients["scales"].double().sum())


def gradients(
    parameters: dict[str, Tensor], centres: Tensor, viewmat: Tensor, K: Tensor, degree: int
) -> tuple[Tensor, float]:
    """Return the gradients by pose (6,) and focal length of a view that was drawn and gone back through.

    centres (1, N, 2): the projected means, with their gradient; degree: of the harmonics in use.
    """
    by_name = {n: v.grad for n, v in parameters.items() if v.grad is not None}
    assert centres.grad is not None
    pose = pose_gradient(parameters, by_name, viewmat, degree)
    return pose, focal_gradient(by_name, centres.detach()[0], centres.grad[0], K)


def motion(change: Tensor) -> Tensor:
    """Return the rigid motion (4, 4) of a rotation vector and a translation (6,)."""
    x, y, z = change[:3].double()
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero]).reshape(3, 3)
    top = torch.cat([torch.matrix_exp(cross), change[3:, None].double()], 1)
    return torch.cat([top, torch.tensor([[0.0, 0, 0, 1]], dtype=torch.float64)])


@attrs.define
class Refinement:
    """Moves the cameras of views by Adam, each when its view is drawn.

    rate: learning rate of rotations (radians) and translations (scene extents); a tenth of it for
    the logarithm of the focal length, which all views of one given share.
    """

    views: list[View]
    rate: float
    moments: Tensor = attrs.field(init=False)  # (V, 2, 7)
    steps: Tensor = attrs.field(init=False)  # (V,)
    given: list[tuple[Tensor, Tensor]] = attrs.field(init=False)
    sharp: bool = False  # whether the smaller Gaussians have taken over

    def __attrs_post_init__(self) -> None:
        self.moments = torch.zeros(len(self.views), 2, 7, dtype=torch.float64)
        self.steps = torch.zeros(len(self.views))
        self.given = [(view.viewmat.clone(), view.K.clone()) for view in self.views]

    def still_placed(self, iteration: int, progress: float) -> bool:
        """Return whether cameras are still placed at an iteration and a share of the fit."""
        return self._placed(iteration, progress) < 1

    def grows_sharp(self, iteration: int, progress: float) -> bool:
        """Return, once, whether it is time for the smaller Gaussians."""
        now = not self.sharp and self._placed(iteration, progress) >= HALFWAY
        self.sharp = self.sharp or now
        return now

    def _placed(self, iteration: int, progress: float) -> float:
        """Share of placing that is done, 1 and above when it is over."""
        return max(iteration / (ROUNDS * len(self.views)), progress / PART)

    def step(self, view: View, pose: Tensor, focal: float, iteration: int, progress: float) -> None:
        """Move one camera against its gradient."""
        row, (beta1, beta2) = view.index, BETAS
        gradient = torch.cat([pose, torch.tensor([focal], dtype=torch.float64)])
        self.steps[row] += 1
        mean, square = self.moments[row]
        mean.mul_(beta1).add_((1 - beta1) * gradient)
        square.mul_(beta2).add_((1 - beta2) * gradient**2)
        count = int(self.steps[row])
        unbiased = (square / (1 - beta2**count)).sqrt() + EPS
        rate = self.rate * FINAL ** min(1.0, self._placed(iteration, progress))
        change = -rate * mean / (1 - beta1**count) / unbiased
        view.viewmat = (motion(change[:6]) @ view.viewmat.double()).float()
        self._lengthen(view, math.exp(float(change[6]) / 10))

    def _lengthen(self, view: View, factor: float) -> None:
        """Multiply the focal length of all views that share that of this one."""
        shared = self.given[view.index][1]
        for other, (_, K) in zip(self.views, self.given, strict=True):
            if torch.equal(K[:2, :2], shared[:2, :2]):
                other.K = other.K.clone()
                other.K[0, 0] *= factor
                other.K[1, 1] *= factor
                other.forget_sizes()

    def said(self) -> str:
        """Return a sentence on how far the cameras were moved."""
        turns, shifts, longer = [], [], []
        for view, (viewmat, K) in zip(self.views, self.given, strict=True):
            apart = view.viewmat.double() @ torch.linalg.inv(viewmat.double())
            cosine = ((apart[:3, :3].trace() - 1) / 2).clamp(-1, 1)
            turns.append(math.degrees(float(cosine.acos())))
            shifts.append(float((_centre(view.viewmat) - _centre(viewmat)).norm()))
            longer.append(float(view.K[0, 0] / K[0, 0]))
        middle = len(turns) // 2
        return (
            f"Cameras were refined: in the median turned by {sorted(turns)[middle]:.2f}° and moved by"
            f" {100 * sorted(shifts)[middle]:.2f} % of the scene's extent, focal lengths multiplied by"
            f" {sorted(longer)[middle]:.4f}."
        )

    def state_dict(self) -> dict[str, Any]:
        """Everything that refinement goes on from."""
        return {
            "moments": self.moments.clone(),
            "steps": self.steps.clone(),
            "sharp": self.sharp,
            "viewmats": torch.stack([view.viewmat for view in self.views]),
            "intrinsics": torch.stack([view.K for view in self.views]),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state of `state_dict`."""
        self.moments, self.steps = state["moments"].clone(), state["steps"].clone()
        self.sharp = bool(state.get("sharp", True))
        for view, viewmat, K in zip(
            self.views, state["viewmats"], state["intrinsics"], strict=True
        ):
            view.viewmat, view.K = viewmat.clone(), K.clone()
            view.forget_sizes()


def _centre(viewmat: Tensor) -> Tensor:
    """Return the place (3,) of a camera."""
    return -viewmat[:3, :3].double().T @ viewmat[:3, 3].double()
