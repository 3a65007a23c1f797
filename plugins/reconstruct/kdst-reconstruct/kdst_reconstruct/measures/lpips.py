"""LPIPS (Zhang et al., CVPR 2018, version 0.1) from weights that lie on this machine.

The backbone is torchvision's VGG-16 or AlexNet, the heads are those that the packages lpips and
torchmetrics bring. Nothing is downloaded, and torchvision is not needed.
"""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from attrs import frozen
from torch import Tensor
from torch.nn import functional

from kdst_core.errors import KdstError
from kdst_core.plugins.registry import find_source

SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
SMALLEST = 32
"""Pixels that the shorter side of an image must have for the deepest layer to see something."""
TIMED_SIDE = 64
"""Pixels of a side of the image by which the time of a distance is taken."""
ENDINGS = (".pth", ".pt", ".safetensors")


@frozen
class Step:
    """One layer of a backbone: a convolution with ReLU, or, without an index, max pooling."""

    index: int | None = None
    channels: tuple[int, int] = (0, 0)
    kernel: int = 3
    stride: int = 1
    padding: int = 1
    tapped: bool = False


def _vgg() -> Iterator[Step]:
    """Yield the layers of VGG-16; the last convolution of each block is tapped."""
    index, channels = 0, 3
    for number, (width, depth) in enumerate([(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)]):
        if number:
            yield Step(kernel=2, stride=2, padding=0)
            index += 1
        for place in range(depth):
            yield Step(index, (channels, width), tapped=place == depth - 1)
            index, channels = index + 2, width


ALEX = (
    Step(0, (3, 64), 11, 4, 2, tapped=True),
    Step(kernel=3, stride=2, padding=0),
    Step(3, (64, 192), 5, 1, 2, tapped=True),
    Step(kernel=3, stride=2, padding=0),
    Step(6, (192, 384), tapped=True),
    Step(8, (384, 256), tapped=True),
    Step(10, (256, 256), tapped=True),
)
NETS = {"vgg": ("vgg16", tuple(_vgg())), "alex": ("alexnet", ALEX)}
"""Name of a net to how torchvision's file begins, and its layers. VGG is what papers report."""


@frozen
class Lpips:
    """LPIPS with one net: the weights of its backbone and of its five heads, by their names."""

    net: str
    backbone: Mapping[str, Tensor]
    heads: Mapping[str, Tensor]

    def __attrs_post_init__(self) -> None:
        steps = [s for s in NETS[self.net][1] if s.index is not None]
        for s in steps:
            shape = (s.channels[1], s.channels[0], s.kernel, s.kernel)
            _require(self.backbone, f"features.{s.index}.weight", shape)
            _require(self.backbone, f"features.{s.index}.bias", shape[:1])
        for number, s in enumerate(s for s in steps if s.tapped):
            _require(self.heads, f"lin{number}.model.1.weight", (1, s.channels[1], 1, 1))

    @torch.no_grad()
    def distance(self, one: Tensor, other: Tensor) -> float:
        """Return the distance of two images (H, W, 3) in [0, 1], 32 pixels a side or more."""
        total = 0.0
        for number, (a, b) in enumerate(zip(self._taps(one), self._taps(other), strict=True)):
            weight = self.heads[f"lin{number}.model.1.weight"].float()
            total += float(functional.conv2d((a - b).square(), weight).mean())
        return total

    def seconds_a_pixel(self) -> float:
        """Return how long a distance takes on this machine, divided by the pixels of an image."""
        image = torch.zeros(TIMED_SIDE, TIMED_SIDE, 3)
        self.distance(image, image)
        started = time.perf_counter()
        self.distance(image, image)
        return (time.perf_counter() - started) / TIMED_SIDE**2

    def _taps(self, image: Tensor) -> Iterator[Tensor]:
        """Yield the tapped features (1, C, H, W), each pixel's of length 1."""
        x = 2 * image.float().permute(2, 0, 1)[None] - 1
        x = (x - torch.tensor(SHIFT)[:, None, None]) / torch.tensor(SCALE)[:, None, None]
        for s in NETS[self.net][1]:
            if s.index is None:
                x = functional.max_pool2d(x, s.kernel, s.stride)
                continue
            names = (f"features.{s.index}.weight", f"features.{s.index}.bias")
            weight, bias = (self.backbone[name].float() for name in names)
            x = functional.conv2d(x, weight, bias, s.stride, s.padding).relu()
            if s.tapped:
                yield x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10)


def find(setting: str, side: int) -> tuple[Lpips | None, str]:
    """Return LPIPS with the weights that `setting` names, and its net, or None and why not.

    setting: none; auto, which looks where torch keeps downloaded models and where the packages
    lpips and torchmetrics keep heads; or a folder. side: the shortest of the images, in pixels.
    Raises KdstError for a folder without weights.
    """
    if setting == "none":
        return None, "not asked for"
    if side < SMALLEST:
        return None, f"it needs {SMALLEST} pixels a side, and a view has {side}"
    if setting != "auto" and not Path(setting).expanduser().is_dir():
        raise KdstError(f"--lpips {setting}: no such folder; give auto, none or a folder")
    folders = _known_folders() if setting == "auto" else [Path(setting).expanduser()]
    for net, (prefix, _) in NETS.items():
        backbone, heads = _file(folders, prefix, exact=False), _file(folders, net, exact=True)
        if backbone and heads:
            return Lpips(net, _read(backbone), _read(heads)), net
    auto = "where torch, lpips and torchmetrics keep them"
    where = auto if setting == "auto" else f"in {setting}"
    reason = (
        f"no weights {where}: vgg16*.pth with vgg.pth, or alexnet*.pth with alex.pth"
        " (or .safetensors)"
    )
    if setting != "auto":
        raise KdstError(f"--lpips: {reason}")
    return None, reason


def _known_folders() -> list[Path]:
    """Return the folders in which other packages keep weights; none of them is imported."""
    folders = [Path(torch.hub.get_dir()) / "checkpoints"]
    for package, inside in (
        ("lpips", "weights/v0.1"),
        ("torchmetrics", "functional/image/lpips_models"),
    ):
        spec = find_source(package)
        if spec is not None and spec.submodule_search_locations:
            folders.append(Path(next(iter(spec.submodule_search_locations))) / inside)
    return folders


def _file(folders: list[Path], stem: str, *, exact: bool) -> Path | None:
    """Return the first file of weights whose name is, or begins with, `stem`."""
    files = (p for f in folders if f.is_dir() for p in sorted(f.iterdir()) if p.suffix in ENDINGS)
    return next((p for p in files if (p.stem == stem if exact else p.stem.startswith(stem))), None)


def _read(path: Path) -> dict[str, Tensor]:
    """Return named tensors of a file, without running anything that it holds."""
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        return dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as e:
        raise KdstError(f"cannot read the weights {path}: {type(e).__name__}") from e


def _require(weights: Mapping[str, Tensor], name: str, shape: tuple[int, ...]) -> None:
    """Raise KdstError unless there is a tensor of that name and shape."""
    found = weights.get(name)
    if found is None or tuple(found.shape) != shape:
        got = "missing" if found is None else f"of shape {tuple(found.shape)}"
        raise KdstError(f"--lpips: the weight {name} is {got}; it must be of shape {shape}")
