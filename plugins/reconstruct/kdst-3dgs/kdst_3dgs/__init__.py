"""3D Gaussian Splatting for kdst; importing it loads neither torch nor numba."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kdst_3dgs.rasterizer import rasterize
    from kdst_3dgs.reference import rasterize_reference

__all__ = ["rasterize", "rasterize_reference"]

_HOME = {"rasterize": "rasterizer", "rasterize_reference": "reference"}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
