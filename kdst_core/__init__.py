"""kdst: machine-learning research methods as plugins, run by one command and measured honestly.

Everything public is imported on first use, so that `import kdst_core` costs almost nothing.
"""

import zlib as _zlib  # noqa: F401  before pycolmap, which would replace functions of it
from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from kdst_core.bench.library import load
    from kdst_core.contracts import Description
    from kdst_core.errors import KdstError
    from kdst_core.options import option
    from kdst_core.plugins.hookspecs import hookimpl, hookspec
    from kdst_core.runs.execute import run
    from kdst_core.runs.result import Result

_HOMES = {
    "Description": "kdst_core.contracts",
    "KdstError": "kdst_core.errors",
    "Result": "kdst_core.runs.result",
    "hookimpl": "kdst_core.plugins.hookspecs",
    "hookspec": "kdst_core.plugins.hookspecs",
    "load": "kdst_core.bench.library",
    "option": "kdst_core.options",
    "run": "kdst_core.runs.execute",
}

__all__ = [
    "Description",
    "KdstError",
    "Result",
    "__version__",
    "hookimpl",
    "hookspec",
    "load",
    "option",
    "run",
]


def __getattr__(name: str) -> Any:
    """Import a public name from the module that defines it."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
