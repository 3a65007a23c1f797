"""The pose of a held-out view, fitted to one half of its photograph while the scene stays as it is.

Levenberg-Marquardt on the pixels, from small pictures to larger ones, with differences of renders for
derivatives: so it works with whatever a method makes of a scene.
"""

import attrs
import torch
from attrs import frozen
from torch import Tensor
from torch.nn.functional import interpolate

from kdst_core.contracts import Camera, Scene
from kdst_core.plugins.method import Method
from kdst_reconstruct.holdout.views import HeldOut
from kdst_reconstruct.measures.colour import affine, half

SIDE = 320
"""Pixels of the longer side of what is rendered, at most."""
LEVELS = ((8, 10), (4, 10), (2, 20), (1, 8))
"""Pixels of a side that become one, in render and photograph alike, and steps at this size."""
FEWEST = 12
"""Pixels of the shorter side of the smallest picture that is compared."""
ENOUGH = 1e-3
"""Share of the cost that a step must save for another one to be made."""
ATTEMPTS, DAMPING = 6, 1e-2
"""Of a step, each more cautious than the one before; how cautious the first is."""
NUDGE = 0.5
"""Pixels that a render is moved by to see how it changes."""
ROBUST = 0.1
"""Error from which on a pixel counts by its error rather than by the square of it."""


def refined(
    method: Method, scene: Scene, views: HeldOut, number: int, left: bool, colour: bool
) -> Camera:
    """Return the camera of a view with the pose that fits the left or right half of its photograph.

    The smallest pictures find a pose that is many pixels off. At each size the search begins at the best
    pose so far or at the one given, whichever fits better there. colour: whether an affine change of
    colour is fitted with it.
    """
    given = views.cameras[number]
    camera = _reduced(given, SIDE)
    viewmat, depth = given.viewmat.double(), _depth(method, scene, camera)
    for pixels, steps in LEVELS:
        size = (max(1, camera.height // pixels), max(1, camera.width // pixels))
        if pixels > 1 and min(size) < FEWEST:
            continue
        level = _Level(method, scene, camera, _Half(views, number, left, colour, size))
        begun = min(given.viewmat.double(), viewmat, key=level.cost)
        viewmat = level.descend(begun, depth, steps)
    return attrs.evolve(given, viewmat=viewmat.float())


def motion(change: Tensor) -> Tensor:
    """Return the rigid motion (4, 4) of a rotation vector and a translation (6,)."""
    generator = torch.zeros(4, 4, dtype=torch.float64)
    x, y, z = change[:3].tolist()
    generator[:3, :3] = torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    turn = torch.matrix_exp(generator)
    turn[:3, 3] = change[3:]
    return turn


@frozen
class _Half:
    """One half of a view at a size (height, width); its photograph is read here only."""

    views: HeldOut
    number: int
    left: bool
    colour: bool
    size: tuple[int, int]

    def shrunk(self, picture: Tensor) -> Tensor:
        """Return a picture (H, W, 3) at this size."""
        planes = picture.float().permute(2, 0, 1)[None]
        return interpolate(planes, self.size, mode="area")[0].permute(1, 2, 0)

    def _pixels(self) -> tuple[Tensor, Tensor]:
        """Return the photograph (H, W, 3) at this size, and which pixels are used (H, W)."""
        mask, photograph = self.views.mask(self.number), self.views.photograph(self.number)
        image = self.shrunk(photograph)
        used = half(self.size, self.left)
        if mask is not None:
            kept = interpolate(mask[None, None].float(), self.size, mode="area")[0, 0]
            used = used & (kept > 0.99)
        return image, used

    def errors(self, rgb: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the errors (P, 3) of a render, the change of colour (4, 3), and the pixels used."""
        image, used = self._pixels()
        matrix = affine(rgb[used], image[used]) if self.colour else torch.eye(4, 3)
        return rgb[used] @ matrix[:3] + matrix[3] - image[used], matrix, used

    def cost(self, rgb: Tensor) -> float:
        """Return how far a render is from the photograph, robustly."""
        apart = self.errors(rgb)[0].abs().double()
        return float((apart - ROBUST * (1 + apart / ROBUST).log()).sum())

    def equations(self, rgb: Tensor, changes: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Return the weighted normal equations (6, 6), (6,) of a step in nudges, from what each changes."""
        apart, matrix, used = self.errors(rgb)
        slopes = torch.stack([(c[used] @ matrix[:3]).flatten() for c in changes]).double()
        residual = apart.flatten().double()
        weighted = slopes / (residual.abs() + ROBUST)
        return weighted @ slopes.T, weighted @ residual


@frozen
class _Level:
    """The search at one size of the pictures."""

    method: Method
    scene: Scene
    camera: Camera
    view: _Half

    def drawn(self, viewmat: Tensor) -> Tensor:
        """Return what is seen from a pose (4, 4), at this size."""
        camera = attrs.evolve(self.camera, viewmat=viewmat.float())
        with self.method.working():
            rgb = self.scene.render(camera).rgb.float().cpu()
        return self.view.shrunk(rgb)

    def _changes(self, viewmat: Tensor, nudges: Tensor) -> list[Tensor]:
        """Return how each nudge changes what is seen, as half of what lies between it and its opposite.

        Differences to one side only led astray: a nudge of half a pixel is no small one.
        """
        there = [self.drawn(motion(n) @ viewmat) for n in nudges.diag()]
        back = [self.drawn(motion(-n) @ viewmat) for n in nudges.diag()]
        return [(a - b) / 2 for a, b in zip(there, back, strict=True)]

    def cost(self, viewmat: Tensor) -> float:
        """Return how far what is seen from a pose is from the photograph."""
        return self.view.cost(self.drawn(viewmat))

    def descend(self, viewmat: Tensor, depth: float, steps: int) -> Tensor:
        """Return the pose (4, 4) after so many steps, at most, from another."""
        nudges, damping = _nudges(self.camera, self.view, depth), DAMPING
        rgb = self.drawn(viewmat)
        cost, before = self.view.cost(rgb), torch.inf
        for _ in range(steps):
            if before - cost < ENOUGH * cost:
                break
            before = cost
            matrix, pull = self.view.equations(rgb, self._changes(viewmat, nudges))
            for _attempt in range(ATTEMPTS):
                damped = matrix + (damping * matrix.diag() + 1e-9).diag()
                moved = motion(-nudges * torch.linalg.solve(damped, pull)) @ viewmat
                trial = self.drawn(moved)
                tried = self.view.cost(trial)
                if tried < cost:
                    viewmat, rgb, cost, damping = moved, trial, tried, damping / 5
                    break
                damping *= 8
        return viewmat


def _nudges(camera: Camera, view: _Half, depth: float) -> Tensor:
    """Return rotations and translations (6,) that each move what is seen by about NUDGE pixels."""
    pixel = NUDGE * camera.width / view.size[1]
    aside, round_about = pixel / float(camera.K[0, 0]), 4 * pixel / camera.width
    turn = [aside, aside, round_about]
    shift = [aside * depth, aside * depth, round_about * depth]
    return torch.tensor(turn + shift, dtype=torch.float64)


def _depth(method: Method, scene: Scene, camera: Camera) -> float:
    """Return the depth of what a camera sees, in the median; 1 where the method does not say."""
    with method.working():
        depth = scene.render(camera).depth
    seen = torch.zeros(0) if depth is None else depth[depth > 0]
    return float(seen.median()) if len(seen) else 1.0


def _reduced(camera: Camera, side: int) -> Camera:
    """Return a camera whose pictures have a longer side of at most `side` pixels."""
    share = min(1.0, side / max(camera.width, camera.height))
    width, height = (max(1, round(share * n)) for n in (camera.width, camera.height))
    K = camera.K.clone()
    K[0] *= width / camera.width
    K[1] *= height / camera.height
    return attrs.evolve(camera, K=K, width=width, height=height)
