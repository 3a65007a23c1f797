"""A scene: Gaussians in a unit frame, rendered and written in the capture's own coordinates."""

import math
from pathlib import Path
from typing import Any

import attrs
import torch
from torch import Tensor

from kdst_3dgs import sog, spz
from kdst_3dgs.constants import NEAR
from kdst_3dgs.harmonics import C0
from kdst_3dgs.parallel import available_threads
from kdst_3dgs.ply import Parameters, SplatFileError, read_ply, read_settings, write_splats
from kdst_3dgs.rasterizer import rasterize
from kdst_3dgs.reference import rotations
from kdst_core.contracts import Splats

DISPLAY_GAMMA = 2.2


def exposure_gain(exposure: float, reference: float) -> float:
    """Factor of display values when light is multiplied by exposure / reference."""
    return float((exposure / reference) ** (1 / DISPLAY_GAMMA))


def apply_gain(rgb: Tensor, alpha: Tensor, background: Tensor, gain: float) -> Tensor:
    """Multiply what the Gaussians show in rgb (H, W, 3), and not the background behind them:
    it is no light that was measured, and a white one stands for a saturated sky."""
    behind = (1 - alpha)[..., None] * background.to(rgb.device)
    return rgb * gain + behind * (1 - gain)


@attrs.define
class Scene:
    """Gaussians named as gsplat names them, before activation.

    means (N, 3), quats (N, 4) wxyz, scales (N, 3) logs, opacities (N,) logits, sh (N, K, 3).
    World position = `origin` + `unit` · mean.
    """

    parameters: Parameters
    origin: Tensor = attrs.field(factory=lambda: torch.zeros(3))
    unit: float = 1.0
    background: Tensor = attrs.field(factory=lambda: torch.zeros(3))
    antialiased: bool = False
    threads: int | None = None
    near: float = NEAR  # depth, in units of the means, up to which nothing is drawn
    reference_exposure: float = 1.0  # of the photographs that the colours are those of
    exposed: bool = False  # whether the photographs' exposures were known

    def __len__(self) -> int:
        return len(self.parameters["means"])

    @property
    def rendering_threads(self) -> int:
        """CPU threads in use."""
        return self.threads or available_threads()

    def draw(
        self,
        viewmat: Tensor,
        K: Tensor,
        width: int,
        height: int,
        background: Tensor,
        *,
        sh_degree: int | None = None,
        depth: bool = False,
        absgrad: bool = False,
    ) -> tuple[Tensor, Tensor, dict[str, Any]]:
        """Render with gradients: rgb (H, W, 3), alpha (H, W), info; `viewmat` of the unit frame."""
        p = self.parameters
        values = (p["means"], p["quats"], p["scales"], p["opacities"], p["sh"])
        if p["means"].is_cuda:
            from kdst_3dgs.cuda import rasterize_cuda

            return rasterize_cuda(
                *values,
                viewmat,
                K,
                width,
                height,
                background,
                sh_degree=sh_degree,
                antialiased=self.antialiased,
                depth=depth,
                absgrad=absgrad,
                near=self.near,
            )
        return rasterize(
            *values,
            viewmat,
            K,
            width,
            height,
            background,
            sh_degree=sh_degree,
            antialiased=self.antialiased,
            depth=depth,
            threads=self.threads,
            near=self.near,
        )

    @torch.no_grad()
    def render(
        self,
        viewmat: Tensor,
        K: Tensor,
        width: int,
        height: int,
        exposure: float | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """rgb (H, W, 3) in [0, 1], alpha (H, W) and depth (H, W) from a camera of the capture.

        viewmat (4, 4) world to camera, OpenCV axes; K (3, 3) pixels. Depth is the mean camera z
        of what is seen, in the capture's units, 0 where nothing is. `exposure` is that of a
        photograph, in the units that the trainer got; None for the training views' mean.
        """
        view = self.to_unit_frame(viewmat)
        rgb, alpha, info = self.draw(view, K, width, height, self.background, depth=True)
        depth = torch.where(alpha > 1e-4, info["depth"] / alpha.clamp_min(1e-4), 0 * alpha)
        gain = 1.0 if exposure is None else exposure_gain(exposure, self.reference_exposure)
        shown = apply_gain(rgb, alpha, self.background, gain)
        return shown.clamp(0, 1), alpha, depth * self.unit

    def to_unit_frame(self, viewmat: Tensor) -> Tensor:
        """A world-to-camera matrix (4, 4) of the capture, for the unit frame."""
        view = viewmat.detach().double().clone()
        view[:3, 3] = (view[:3, :3] @ self.origin.double() + view[:3, 3]) / self.unit
        return view.float()

    def in_capture_coordinates(self) -> Parameters:
        """The Gaussians, detached, in the capture's coordinates."""
        world = {name: p.detach().clone() for name, p in self.parameters.items()}
        world["means"] = world["means"] * self.unit + self.origin.to(world["means"].device)
        world["scales"] = world["scales"] + math.log(self.unit)
        return world

    def splats(self) -> Splats:
        """The Gaussians as viewers draw them: activated, with the colour of SH degree 0."""
        world = self.in_capture_coordinates()
        half = rotations(world["quats"]) * world["scales"].exp()[:, None, :]
        return Splats(
            world["means"],
            half @ half.mT,
            (0.5 + C0 * world["sh"][:, 0]).clamp(0, 1),
            torch.sigmoid(world["opacities"]),
        )

    def save(self, path: str | Path, box: Tensor | None = None) -> list[str]:
        """Write .ply, .compressed.ply, .splat, .spz or .sog; `box` (2, 3) crops to its corners.

        Returns sentences on what the file does not hold. Raises SplatFileError when nothing lies
        inside the box.
        """
        world = self.in_capture_coordinates()
        if box is not None:
            low, high = box.to(world["means"]).sort(0).values
            inside = ((world["means"] >= low) & (world["means"] <= high)).all(-1)
            if not inside.any():
                raise SplatFileError(
                    f"No Gaussian lies inside {_box(low, high)}; all lie inside"
                    f" {_box(world['means'].amin(0), world['means'].amax(0))}."
                )
            world = {name: p[inside] for name, p in world.items()}
        return write_splats(world, Path(path), self._settings())

    def _settings(self) -> dict[str, Any]:
        """What a render depends on besides the Gaussians."""
        return {
            "background": [round(float(c), 6) for c in self.background],
            "antialiased": self.antialiased,
            "near": self.near * self.unit,
            "reference_exposure": self.reference_exposure,
            "exposed": self.exposed,
        }

    @classmethod
    def load(cls, path: str | Path) -> "Scene":
        """A scene from a .ply, .spz or .sog; raises SplatFileError for one that is not whole.

        Where this package wrote the file, it renders as when it was saved.
        """
        if Path(path).name.lower().endswith((".spz", ".sog")):
            return cls._load_compact(Path(path))
        scene = cls(read_ply(Path(path)))
        found = read_settings(Path(path))
        try:
            scene.background = torch.tensor(found.get("background", [0, 0, 0])).float().reshape(3)
            scene.antialiased = bool(found.get("antialiased", False))
            scene.near = float(found.get("near", NEAR))
            scene.reference_exposure = float(found.get("reference_exposure", 1))
            scene.exposed = bool(found.get("exposed", False))
        except (TypeError, ValueError, RuntimeError):
            raise SplatFileError(f"{Path(path).name} has settings that cannot be read.") from None
        return scene

    @classmethod
    def _load_compact(cls, path: Path) -> "Scene":
        """A scene from a .spz or .sog."""
        decode = spz.decode if path.name.lower().endswith(".spz") else sog.decode
        try:
            parameters, antialiased = decode(path.read_bytes())
        except OSError as e:
            raise SplatFileError(f"{path} cannot be read: {e.strerror}.") from e
        except (spz.SpzError, sog.SogError) as e:
            raise SplatFileError(f"{path.name} {e}.") from e
        return cls(parameters, antialiased=antialiased)


def _box(low: Tensor, high: Tensor) -> str:
    """Two corners as the flag --crop takes them."""
    return ",".join(f"{v:.4g}" for v in [*low.tolist(), *high.tolist()])
