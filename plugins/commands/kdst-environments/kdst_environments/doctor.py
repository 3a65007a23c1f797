"""Look at the environment and at every plugin, imported; say what is wrong."""

import platform
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, distributions, version

import click

from kdst_core import __version__
from kdst_core.plugins import entries, registry
from kdst_core.plugins.installed import package_of
from kdst_show import inspection

LIBRARIES = ("torch", "numpy", "transformers", "diffusers", "gsplat", "matplotlib")


@click.command(short_help="Look for problems.")
def command() -> None:
    """Look at the environment and at every plugin; exit code 1 when something is wrong."""
    click.echo(
        f"kdst-core {__version__}, Python {platform.python_version()}, {platform.platform()}"
    )
    for name in LIBRARIES:
        click.echo(f"  {name:<13} {_installed(name)}")
    click.echo(f"  {'device':<13} {_devices()}")
    problems = 0
    for line in _stale():
        problems += 1
        click.echo(f"STALE   {line}")
    plugins, unread = registry.survey()
    for line in unread:
        problems += 1
        click.echo(f"BROKEN  {line}")
    for plugin, broken in zip(plugins, _broken(plugins), strict=True):
        reasons = [*plugin.problems, *broken]
        click.echo(f"{'ok    ' if not reasons else 'BROKEN'}  {plugin.qualified} {plugin.version}")
        problems += _tell(reasons)
    names = list(entries.commands())
    for name, reasons in zip(names, inspection.inspect_all("command", names), strict=True):
        click.echo(f"{'ok    ' if not reasons else 'BROKEN'}  command {name}")
        problems += _tell(reasons)
    if problems:
        sys.exit(1)


def _tell(reasons: list[str]) -> int:
    """Print each reason once and return how many there are."""
    different = dict.fromkeys(reasons)
    for reason in different:
        for line in reason.splitlines():
            click.echo(f"        {line}")
    return len(different)


def _stale() -> list[str]:
    """Return the packages of kdst whose metadata is installed more than once."""
    found: dict[str, set[str]] = {}
    for dist in distributions():
        package = package_of(dist)
        name = package.name.lower()
        if name.startswith("kdst"):
            place = f"{package.version} in {dist.locate_file('')}"
            found.setdefault(name, set()).add(place)
    return [
        f"{name} is installed {len(places)} times: {'; '.join(sorted(places))}.\n"
        f"        Repeat pip uninstall {name} until none is left, then install it again"
        for name, places in found.items()
        if len(places) > 1
    ]


def _installed(name: str) -> str:
    """Return the version of a library, or how to get it."""
    try:
        return version(name)
    except PackageNotFoundError:
        return f"not installed (only for methods that need it: pip install {name})"


def _devices() -> str:
    """Return what torch can compute on."""
    if registry.find_source("torch") is None:
        return "unknown without torch"
    from importlib import import_module

    torch = import_module("torch")
    if torch.cuda.is_available():
        return ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
    return f"cpu, {torch.get_num_threads()} threads"


def _broken(plugins: Sequence[registry.Plugin]) -> list[list[str]]:
    """Return what goes wrong when each plugin and its bench are imported, each in a process of its own.

    One that its metadata rule out already is not imported.
    """
    names = [p.qualified for p in plugins if not p.problems]
    found = dict(zip(names, inspection.inspect_all("method", names), strict=True))
    return [found.get(p.qualified, []) for p in plugins]
