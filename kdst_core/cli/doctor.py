"""`kdst doctor`: the environment, and every plugin imported and held to the contract."""

import platform
import sys
from importlib.metadata import PackageNotFoundError, distributions, version

import click

from kdst_core import __version__, entries, registry
from kdst_core.errors import KdstError

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
    for plugin in registry.discover():
        reasons = [*plugin.problems, *_broken(plugin)]
        click.echo(f"{'ok    ' if not reasons else 'BROKEN'}  {plugin.qualified} {plugin.version}")
        problems += _tell(reasons)
    for name in entries.commands():
        reasons = _broken_command(name)
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


def _broken_command(name: str) -> list[str]:
    """Import a command that a package adds, and return what goes wrong."""
    try:
        registry.load_command(name)
    except KdstError as e:
        return [str(e)]
    return []


def _stale() -> list[str]:
    """Return the packages of kdst whose metadata is installed more than once."""
    found: dict[str, set[str]] = {}
    for dist in distributions():
        if dist.name and dist.name.lower().startswith("kdst"):
            found.setdefault(dist.name.lower(), set()).add(
                f"{dist.version} in {dist.locate_file('')}"
            )
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


def _broken(plugin: registry.Plugin) -> list[str]:
    """Import a plugin and its bench, and return what goes wrong."""
    from kdst_core import api

    try:
        api.command(plugin.qualified)
    except KdstError as e:
        return [] if plugin.problems else [str(e)]
    return []
