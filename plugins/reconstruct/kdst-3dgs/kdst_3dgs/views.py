"""Training views: photographs at several sizes with their cameras in the unit frame."""

from collections.abc import Sequence
from typing import NamedTuple

import attrs
import torch
from torch import Tensor
from torch.nn.functional import interpolate


@attrs.define
class View:
    """One photograph and its camera; masks and SfM points where given.

    Pixels are read from `images` each time that they are needed: photographs that are kept as bytes
    there are never all of them floats here.
    """

    index: int
    images: Sequence[Tensor]
    K: Tensor
    viewmat: Tensor
    mask: Tensor | None
    seen: Tensor  # (T, 3) SfM points in this view, unit frame
    size: tuple[int, int]  # height and width
    transparent: bool
    gain: float = 1.0  # display values of the photograph over those of the scene
    _kept: tuple[int, tuple[Tensor, Tensor, Tensor | None]] | None = None
    _scaled: tuple[tuple[int, int], Tensor, Tensor | None] | None = None

    @property
    def image(self) -> Tensor:
        """Pixels (H, W, 3) in [0, 1], multiplied by the photograph's own alpha where it has one."""
        values = _floats(self.images[self.index])
        if self.transparent:
            values = values[..., :3] * values[..., 3:]
        return values.contiguous()

    @property
    def alpha(self) -> Tensor | None:
        """The photograph's own alpha (H, W), or None where it has none."""
        if not self.transparent:
            return None
        return _floats(self.images[self.index])[..., 3].contiguous()

    def at(self, halvings: int, min_side: int) -> tuple[Tensor, Tensor, Tensor | None]:
        """Image, intrinsics and mask at 1/2^halvings of the size, sides at least `min_side`."""
        while halvings and min(self.size) >> halvings < min_side:
            halvings -= 1
        if halvings == 0:
            self._kept = None
            return self.image, self.K, self.mask
        if self._kept is None or self._kept[0] != halvings:
            self._kept = (halvings, self._resized(halvings))
        return self._kept[1]

    def forget_sizes(self) -> None:
        """Take the intrinsics anew where a smaller size was kept with them."""
        self._kept = None

    def sized(self, share: float, min_side: int) -> tuple[Tensor, Tensor, Tensor | None]:
        """Image, intrinsics and mask at a share of the size, sides at least `min_side`.

        The smaller image is kept as bytes, that of one size at a time.
        """
        share = max(share, min_side / min(self.size))
        if share >= 1:
            self._scaled = None
            return self.image, self.K, self.mask
        height, width = (max(min_side, round(side * share)) for side in self.size)
        if self._scaled is None or self._scaled[0] != (height, width):
            image, _, mask = self._reduced(height, width)
            self._scaled = ((height, width), (image * 255).round().to(torch.uint8), mask)
        _, kept, mask = self._scaled
        return _floats(kept), self._intrinsics(height, width), mask

    def _resized(self, halvings: int) -> tuple[Tensor, Tensor, Tensor | None]:
        height, width = (side >> halvings for side in self.size)
        return self._reduced(height, width)

    def _reduced(self, height: int, width: int) -> tuple[Tensor, Tensor, Tensor | None]:
        """Image, intrinsics and mask at a smaller size."""
        planes = self.image.permute(2, 0, 1)[None]
        image = interpolate(planes, (height, width), mode="area")[0].permute(1, 2, 0).contiguous()
        K = self._intrinsics(height, width)
        if self.mask is None:
            return image, K, None
        mask = interpolate(self.mask[None, None].float(), (height, width), mode="area")[0, 0] > 0.5
        return image, K, mask

    def _intrinsics(self, height: int, width: int) -> Tensor:
        """The intrinsics at another size."""
        K = self.K.clone()
        K[0] *= width / self.size[1]
        K[1] *= height / self.size[0]
        return K

    def alpha_at(self, target: Tensor) -> Tensor:
        """The photograph's own alpha (h, w) at the size of `target`."""
        alpha = self.alpha
        assert alpha is not None
        return interpolate(alpha[None, None], target.shape[:2], mode="area")[0, 0]

    def depth_error(self, depth: Tensor, alpha: Tensor, K: Tensor) -> Tensor:
        """Mean |1/d - 1/z| over the SfM points of this view, d the rendered mean depth there."""
        height, width = depth.shape
        camera = self.seen @ self.viewmat[:3, :3].T + self.viewmat[:3, 3]
        z = camera[:, 2]
        x = (camera[:, 0] / z * K[0, 0] + K[0, 2]).floor().long()
        y = (camera[:, 1] / z * K[1, 1] + K[1, 2]).floor().long()
        inside = (z > 0.01) & (x >= 0) & (y >= 0) & (x < width) & (y < height)
        x, y, z = x[inside].to(depth.device), y[inside].to(depth.device), z[inside].to(depth.device)
        drawn = alpha.detach()[y, x] > 0.5
        if not drawn.any():
            return depth.sum() * 0
        rendered = (depth[y, x] / alpha[y, x].clamp_min(0.5))[drawn].clamp_min(0.01)
        return (1 / rendered - 1 / z[drawn]).abs().mean()


def nearest_depth(views: Sequence[View]) -> float:
    """Depth that nearly all SfM points exceed in nearly all views; 0 without points."""
    depths = []
    for view in views:
        z = view.seen @ view.viewmat[2, :3] + view.viewmat[2, 3]
        depths.append(z[z > 0.01])
    known = torch.cat(depths)
    return float(known.kthvalue(1 + len(known) // 100).values) if len(known) else 0.0


def in_front_of_cameras(means: Tensor, views: Sequence[View], depth: float) -> Tensor:
    """Which means (N, 3) some photograph would show nearer than `depth`, (N,) bool."""
    found = torch.zeros(len(means), dtype=torch.bool, device=means.device)
    for view in views:
        viewmat, K = view.viewmat.to(means.device), view.K.to(means.device)
        camera = means @ viewmat[:3, :3].T + viewmat[:3, 3]
        near = (camera[:, 2] > 0) & (camera[:, 2] < depth)
        x, y, z = (camera @ K.T).unbind(-1)
        height, width = view.size
        found |= near & (x >= 0) & (y >= 0) & (x <= width * z) & (y <= height * z)
    return found


class Frame(NamedTuple):
    """A capture moved so that its cameras surround the origin at a distance of at most 1."""

    views: list[View]
    points: Tensor  # (P, 3), unit frame
    origin: Tensor  # (3,)
    unit: float  # world units in one unit: the scene extent


def prepare_views(
    images: Sequence[Tensor],
    intrinsics: Tensor,
    viewmats: Tensor,
    points: Tensor,
    masks: Sequence[Tensor | None] | None,
    tracks: Sequence[Tensor] | None,
) -> Frame:
    """Check the capture and move it to the unit frame.

    The extent is the paper's: 1.1 times the largest distance of a camera from their mean.
    """
    shapes = _shapes(images)
    _check(shapes, intrinsics, viewmats, masks)
    poses = viewmats.double()
    centres = -(poses[:, :3, :3].mT @ poses[:, :3, 3:])[..., 0]
    origin = centres.mean(0)
    unit = 1.1 * float((centres - origin).norm(dim=-1).max()) or 1.0
    moved = ((points.double() - origin) / unit).float()
    views = []
    for i, (height, width, channels) in enumerate(shapes):
        view = poses[i].clone()
        view[:3, 3] = (view[:3, :3] @ origin + view[:3, 3]) / unit
        mask = None if masks is None else masks[i]
        seen = moved if tracks is None else moved[tracks[i]]
        camera = (intrinsics[i].float(), view.float(), mask, seen)
        views.append(View(i, images, *camera, (height, width), channels == 4))
    return Frame(views, moved, origin.float(), unit)


def _floats(image: Tensor) -> Tensor:
    """A photograph, uint8 or float, as floats in [0, 1]."""
    return image.detach().float() / (255 if image.dtype == torch.uint8 else 1)


def _shapes(images: Sequence[Tensor]) -> list[tuple[int, ...]]:
    """The shape of each photograph; those that are kept as bytes say it without becoming floats, which
    one after the other would leave holes in the process's memory."""
    known: list[tuple[int, ...]] | None = getattr(images, "shapes", None)
    return [tuple(image.shape) for image in images] if known is None else known


def _check(
    shapes: Sequence[tuple[int, ...]],
    intrinsics: Tensor,
    viewmats: Tensor,
    masks: Sequence[Tensor | None] | None,
) -> None:
    count = len(shapes)
    if count < 2:
        raise ValueError(f"{count} training view given; at least 2 are needed.")
    if len(intrinsics) != count or len(viewmats) != count:
        raise ValueError(f"{count} images, {len(intrinsics)} intrinsics, {len(viewmats)} poses.")
    if not (torch.isfinite(viewmats).all() and torch.isfinite(intrinsics).all()):
        raise ValueError("A camera has a value that is not finite; remove that view.")
    for i, shape in enumerate(shapes):
        if len(shape) != 3 or shape[2] not in (3, 4) or min(shape[:2]) < 16:
            raise ValueError(
                f"View {i} has shape {shape}; it must be (H, W, 3), 16 pixels or more."
            )
        mask = None if masks is None else masks[i]
        if mask is not None and tuple(mask.shape) != shape[:2]:
            raise ValueError(
                f"The mask of view {i} is {mask.shape[1]}×{mask.shape[0]}, "
                f"its image {shape[1]}×{shape[0]}; they must agree."
            )
