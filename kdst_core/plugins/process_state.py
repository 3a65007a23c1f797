"""Functions that a method must leave as they are: those of kdst, of torch and of Python."""

import builtins
import os
import sys
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from pkgutil import iter_modules
from types import ModuleType
from typing import Any

OWNED = (
    *("builtins", "random", "os"),
    *("torch", "torch.nn.functional", "torch.nn.init", "torch.autograd"),
)
CLASSES = ("torch.Tensor", "torch.nn.Module", "torch.optim.Optimizer", "torch.Generator")
"""Modules and classes whose functions a method must not replace, besides those of kdst."""
OWN = (
    *("kdst_core", "kdst_batch", "kdst_authors"),
    *("kdst_adapt", "kdst_reconstruct", "kdst_edit", "kdst_tools", "kdst_invert"),
)
"""Packages that carry methods out or measure them."""
MEASURES = ("measures", "outcome", "loop", "run", "evaluation")
"""Modules and folders of benches that carry methods out and measure."""


def import_measures(bench: Any) -> None:
    """Import what a bench, or what it prepared, measures with: a method that replaces it is seen."""
    package = type(bench).__module__.partition(".")[0]
    for name in MEASURES if is_kdst(package) else ():
        if find_spec(f"{package}.{name}") is not None:
            module = import_module(f"{package}.{name}")
            for found in iter_modules(getattr(module, "__path__", ()), f"{module.__name__}."):
                import_module(found.name)


def own_functions() -> dict[str, Any]:
    """Return functions and classes of kdst's core and benches by name."""
    own: dict[str, Any] = {}
    for name, module in list(sys.modules.items()):
        if isinstance(module, ModuleType) and is_kdst(name):
            own |= _callables(name, vars(module))
    return own


def functions() -> dict[str, Any]:
    """Return functions and classes of kdst, torch and Python by name, to see which are replaced."""
    watched = own_functions()
    for name in OWNED:
        module = sys.modules.get(name)
        watched |= {} if module is None else _callables(name, vars(module))
    for name in CLASSES:
        module_name, _, kind = name.rpartition(".")
        owner = getattr(sys.modules.get(module_name), kind, None)
        watched |= {} if owner is None else _callables(name, vars(owner))
    return watched | _callables("builtins", vars(builtins))


def is_kdst(name: str) -> bool:
    """Return whether a module is of the core or of a bench, which no method may change."""
    head = name.partition(".")[0]
    return head in OWN


def _callables(owner: str, content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the functions and classes of a module or class."""
    return {
        f"{owner}.{name}": value
        for name, value in list(content.items())
        if (callable(value) or isinstance(value, property | staticmethod | classmethod))
        and not isinstance(value, ModuleType)
    }


def replaced(before: Mapping[str, Any]) -> list[str]:
    """Return the names of `functions` that mean something else now."""
    now = functions()
    changed = [name for name, value in before.items() if now.get(name, value) is not value]
    return sorted(name for name in changed if not _by_torch(now[name]))


def _by_torch(value: Any) -> bool:
    """Return whether a function is torch's own, which puts wrappers around some when parts load."""
    code = getattr(value, "__code__", None)
    home = getattr(sys.modules.get("torch"), "__file__", None)
    return (
        code is not None and home is not None and code.co_filename.startswith(os.path.dirname(home))
    )
