"""3D Gaussian Splatting: photographs to a scene of Gaussians, without a GPU too."""

from pathlib import Path
from typing import TYPE_CHECKING

from kdst_3dgs.options import Options
from kdst_core import Description, hookimpl

if TYPE_CHECKING:
    from kdst_core.contracts import Reconstruction, ReconstructRequest, RunServices, Scene

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
