"""zlib in a process that imported pycolmap first.

pycolmap's extension holds some functions of zlib under zlib's own names. Where it is imported before
anything else that needs zlib, the system's zlib calls these, and compressing corrupts memory. So
`kdst_core` imports zlib; what follows is for programs that import pycolmap even before.
"""

import hashlib
import sys
from typing import Any

from kdst_core.errors import KdstError


def zlib_is_broken() -> bool:
    """Return whether pycolmap was imported before all that loads the system's zlib."""
    if "pycolmap" not in sys.modules:
        return False
    order = list(sys.modules)
    before = order[: order.index("pycolmap")]
    return "zlib" not in before and "PIL._imaging" not in before


def refuse_broken_zlib(bench: Any) -> None:
    """Raise KdstError where zlib is broken, unless a bench compresses in a process of its own.

    Such a bench has the attribute `spares_zlib`.
    """
    if zlib_is_broken() and not getattr(bench, "spares_zlib", False):
        raise KdstError(
            "pycolmap was imported before zlib and replaces functions of it: compressing would end the"
            " process.\nImport kdst_core or zlib before pycolmap"
        )


def name_kernels_without_zlib() -> None:
    """Let numba name what it compiles by a digest where zlib is broken; else it compresses the names."""
    if not zlib_is_broken():
        return
    from numba.core.targetconfig import TargetConfig

    def digest(self: Any) -> str:
        return hashlib.sha256(self.summary().encode()).hexdigest()

    TargetConfig.get_mangle_string = digest  # type: ignore[method-assign]
