"""3D Gaussian Splatting: photographs to a scene of Gaussians, without a GPU too.

Importing it loads neither torch nor numba.
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdst_3dgs.claims import CLAIMS
from kdst_3dgs.options import Options
from kdst_core import Description, hookimpl

if TYPE_CHECKING:
    from kdst_3dgs.rasterizer import rasterize
    from kdst_3dgs.reference import rasterize_reference
    from kdst_core.contracts import Reconstruction, ReconstructRequest, RunServices, Scene

__all__ = ["Options", "describe", "load_scene", "rasterize", "rasterize_reference", "reconstruct"]

_HOME = {"rasterize": "rasterizer", "rasterize_reference": "reference"}

CITATION = """
@article{kerbl2023gaussians,
  title   = {3D Gaussian Splatting for Real-Time Radiance Field Rendering},
  author  = {Kerbl, Bernhard and Kopanas, Georgios and Leimk{\\"u}hler, Thomas and Drettakis, George},
  journal = {ACM Transactions on Graphics},
  volume  = {42},
  number  = {4},
  year    = {2023}
}
"""


@hookimpl
def describe() -> Description:
    """Describe the method."""
    return Description(
        summary="3D Gaussian Splatting: photographs with cameras to a scene of Gaussians that"
        " renders in real time, trained on the CPU or on CUDA.",
        options=Options,
        paper="Kerbl et al., 3D Gaussian Splatting for Real-Time Radiance Field Rendering, SIGGRAPH 2023",
        url="https://arxiv.org/abs/2308.04079",
        citation=CITATION,
        licence="Apache-2.0",
        claims=CLAIMS,
    )


@hookimpl
def reconstruct(
    request: "ReconstructRequest", options: Options, run: "RunServices"
) -> "Reconstruction":
    """Return a fit of Gaussians to the views."""
    from kdst_3dgs.reconstruction import GaussianReconstruction

    return GaussianReconstruction(request, options, run.device, run.progress)


@hookimpl
def load_scene(path: Path) -> "Scene":
    """Open a scene of Gaussians from a .ply."""
    from kdst_3dgs.reconstruction import GaussianScene

    return GaussianScene.load(path)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
