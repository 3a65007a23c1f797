"""Finds methods and benches from installed metadata, and imports only the one that is asked for."""

import importlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import EntryPoint
from typing import Any, Literal

from attrs import evolve, field, frozen

from kdst_core import __version__
from kdst_core.errors import KdstError, did_you_mean, typed_line
from kdst_core.plugins import survival
from kdst_core.plugins.capabilities import ADDED, GROUPS, OWN, added, unusable
from kdst_core.plugins.catalogue import published
from kdst_core.plugins.entries import COMMANDS, docstring_line
from kdst_core.plugins.entries import find_source as find_source
from kdst_core.plugins.harmless import harmless
from kdst_core.plugins.installed import (
    Package,
    entry_points,
    misfits,
    module_problem,
    normal,
    owner,
    packages,
    why,
)
from kdst_core.plugins.shield import shield_libraries

GROUP = "kdst."
BENCHES = "kdst.benches"


@frozen
class Plugin:
    """A method as its installed metadata describes it; nothing of it is imported."""

    name: str
    capability: str
    package: str
    version: str
    entry: EntryPoint = field(repr=False)
    problems: tuple[str, ...] = ()

    @property
    def qualified(self) -> str:
        """The name that is unique even when two packages register the same method."""
        return f"{self.package}/{self.name}"


def discover(*, disabled_too: bool = False) -> list[Plugin]:
    """Return every installed method, with the reasons that metadata gives why one cannot run.

    disabled_too: whether those that KDST_DISABLE or KDST_ONLY switch off are in it.
    """
    return survey(disabled_too=disabled_too)[0]


def survey(*, disabled_too: bool = False) -> tuple[list[Plugin], list[str]]:
    """Return what `discover` does, and a line for each package whose entry points are not read."""
    known, unread, found = packages(), [], []
    entries: list[tuple[Package, EntryPoint, str]] = []
    for package in known.values():
        try:
            entries += [(package, entry, fault) for entry, fault in package.entries()]
        except OSError as e:
            unread.append(why(package, e))
    capabilities = (*OWN, *added(entry for _, entry, fault in entries if not fault))
    for package, entry, fault in entries:
        if entry.group == ADDED and (reason := fault or unusable(entry)):
            unread.append(f"{package.name}: it adds no capability {entry.name!r}: {reason}")
        if (group := entry.group.removeprefix(GROUP)) in capabilities:
            found.append(_plugin(entry, fault, package, known))
        elif hint := _misspelt(group, capabilities):
            unread.append(f"{package.name}: kdst reads no group [{entry.group}].{hint}")
    chosen = _once(p for p in found if disabled_too or _enabled(p))
    found = sorted(chosen, key=lambda p: (capabilities.index(p.capability), p.name, p.package))
    owners = Counter(p.name for p in found)
    plugins = [_with_duplicates(p, found) if owners[p.name] > 1 else p for p in found]
    return plugins, list(dict.fromkeys(unread))


def _misspelt(group: str, capabilities: Iterable[str]) -> str:
    """Return which group was probably meant by one that kdst does not know, '' where none is near."""
    return "" if group in GROUPS else did_you_mean(group, (*capabilities, *GROUPS))


def _once(found: Iterable[Plugin]) -> list[Plugin]:
    """Return every method once; one that its package registers for several modules cannot run."""
    chosen: dict[str, Plugin] = {}
    for plugin in found:
        first = chosen.setdefault(plugin.qualified, plugin)
        values = (first.entry.value, plugin.entry.value)
        if first.entry.group == plugin.entry.group and values[0] == values[1]:
            continue
        reason = f"its entry_points.txt has {plugin.name!r} twice: {' and '.join(values)}"
        chosen[plugin.qualified] = evolve(first, problems=(*first.problems, reason))
    return list(chosen.values())


def available(plugins: list[Plugin] | None = None) -> dict[str, str]:
    """Return the published methods that are not installed, and the package of each."""
    installed = {p.name for p in plugins or discover(disabled_too=True)}
    return {n: package for n, package in published("methods").items() if n not in installed}


def _plugin(entry: EntryPoint, fault: str, package: Package, known: dict[str, Package]) -> Plugin:
    """Describe one entry point from metadata alone. fault: what is wrong with its line."""
    module = "" if fault else module_problem(entry)
    problems = (fault, *misfits(package, known, __version__), module)
    name, capability = entry.name, entry.group.removeprefix(GROUP)
    reasons = tuple(p for p in problems if p)
    return Plugin(name, capability, package.name, package.version, entry, reasons)


def _enabled(plugin: Plugin) -> bool:
    """Apply KDST_DISABLE and KDST_ONLY, each a comma-separated list of names."""
    names = {plugin.name, plugin.qualified}
    only, disabled = _names("KDST_ONLY"), _names("KDST_DISABLE")
    return not (names & disabled) and (not only or bool(names & only))


def _names(variable: str) -> set[str]:
    """Read a comma-separated environment variable."""
    return {n.strip() for n in os.environ.get(variable, "").split(",") if n.strip()}


def summary(plugin: Plugin) -> str:
    """Return one line about a method, without importing it."""
    module = plugin.entry.value.partition(":")[0].strip()
    known: Any = plugin.entry.dist
    line = docstring_line(module)
    return line or Package(plugin.package, known).summary()


def _with_duplicates(plugin: Plugin, found: list[Plugin]) -> Plugin:
    """Add the names of the other packages that register the same method."""
    others = [p.package for p in found if p.name == plugin.name and p.package != plugin.package]
    reason = f"{plugin.name!r} is also registered by {', '.join(others)}"
    return evolve(plugin, problems=(*plugin.problems, reason))


def find(name: str, plugins: list[Plugin] | None = None) -> Plugin:
    """Return the installed method of that name, plain (`tea`) or qualified (`kdst-tea/tea`).

    Raises KdstError when it is not installed, registered twice, or does not fit this core.
    """
    plugins = discover() if plugins is None else plugins
    matches = [p for p in plugins if name in (p.name, p.qualified)]
    if not matches:
        raise KdstError(_not_installed(name, plugins))
    if len(matches) > 1:
        packages = " and ".join(p.package for p in matches)
        choices = " or ".join(f"kdst run {p.qualified}" for p in matches)
        raise KdstError(f"{name!r} is registered by {packages}.\nChoose one: {choices}")
    plugin = matches[0]
    duplicate = f"{plugin.name!r} is also registered by"
    blocking = [p for p in plugin.problems if not p.startswith(duplicate)]
    if blocking:
        raise KdstError(
            f"{plugin.qualified} cannot run: {'; '.join(blocking)}.\n"
            f"Install a version that fits: pip install --upgrade {plugin.package} kdst-core"
        )
    return plugin


def _not_installed(name: str, plugins: list[Plugin]) -> str:
    """Say how to get a method that is not there."""
    methods = published("methods")
    if name in _names("KDST_DISABLE") or (_names("KDST_ONLY") and name in methods):
        return f"method {name!r} is switched off by KDST_DISABLE or KDST_ONLY"
    if name in methods:
        return f"method {name!r} is not installed.\nInstall it: pip install {methods[name]}"
    known = {p.name for p in plugins} | methods.keys()
    return f"no method {name!r} is installed.{did_you_mean(name, known)}\nSee: kdst plugins"


def load_object(
    entry: EntryPoint, package: str, name: str = "", then: Callable[[Any], Any] = type
) -> Any:
    """Import what an entry point names, after a copy of this process has, which it might end.

    name: how the plugin is called in an error. then: what is done with it next, which the copy tries too.
    Raises KdstError as `load_published` does, and where the copy ended.
    """
    shield_libraries()
    called = name or f"{entry.value} of {package}"
    survival.refuse_dying(called, package, entry.module, lambda: then(_imported(entry)))
    return load_published(entry, package)


def load_published(entry: EntryPoint, package: str) -> Any:
    """Import what an entry point names; KdstError with module and exception when that fails."""
    shield_libraries()
    try:
        return _imported(entry)
    except KeyboardInterrupt:
        raise
    except BaseException as e:
        raise KdstError(
            f"{package} is broken: importing {entry.value} failed with {typed_line(e)}\n"
            f"The other plugins still work. Repair it: pip install --force-reinstall {package}"
        ) from e


def _imported(entry: EntryPoint) -> Any:
    """Return the object that an entry point names."""
    with harmless():
        loaded: Any = importlib.import_module(entry.module)
    for part in filter(None, (entry.attr or "").split(".")):
        loaded = getattr(loaded, part)
    return loaded


def bench_package(capability: str) -> str:
    """Return the package that holds the bench of a capability; of an added one that which brings it."""
    if capability not in OWN:
        owners = list(dict.fromkeys(map(owner, entry_points(BENCHES, capability))))
        adding = [name for name in map(owner, entry_points(ADDED, capability)) if name in owners]
        chosen = adding or owners
        return chosen[0] if len(chosen) == 1 else ""
    return f"kdst-{capability.removeprefix('augment_with_')}"


def load_specification(capability: str) -> Any | None:
    """Return the module that specifies the hook of an added capability, None for one of the core's."""
    if capability in OWN:
        return None
    what = f"the capability {capability!r}"
    return _load_only(ADDED, capability, what, f"no package adds {what}.")


def load_bench(capability: str) -> Any:
    """Return the bench of a capability: the object its entry point names."""
    package = bench_package(capability)
    missing = f"no bench for {capability!r} is installed."
    missing += f"\nInstall it: pip install {package}" if package else ""
    return _load_only(BENCHES, capability, f"the bench for {capability!r}", missing, package)


def load_command(name: str) -> Any:
    """Return the click command that a package adds under a name; KdstError when none does."""
    home = published("commands").get(name, "")
    install = f"\nInstall it: pip install {home}" if home else ""
    missing = f"no command {name!r} is installed.{install}"
    return _load_only(COMMANDS, name, f"the command {name!r}", missing, home)


def load_named(kind: Literal["executor", "observer"], name: str, *built_in: str) -> Any:
    """Return the executor or observer that a package adds under a name; KdstError when none does.

    built_in: names that are there besides.
    """
    group = f"kdst.{kind}s"
    catalogue = published("executors" if kind == "executor" else "observers")
    if name in catalogue:
        install = f"Install it: pip install {catalogue[name]}"
        missing = f"the {kind} {name!r} is not installed.\n{install}"
    else:
        known = {*built_in, *catalogue, *(e.name for e in entry_points(group))}
        missing = f"no {kind} {name!r} is installed.{did_you_mean(name, known)}"
    return _load_only(group, name, f"the {kind} {name!r}", missing)


def _load_only(group: str, name: str, what: str, missing: str, home: str = "") -> Any:
    """Import the one entry point of a group with that name; KdstError when none or several are.

    home: the package that is published under the name; no other one can take its place or spoil it.
    """
    listed = entry_points(group=group, name=name)
    there = [entry for entry in listed if not module_problem(entry)] or listed
    found = [entry for entry in there if home and normal(owner(entry)) == normal(home)] or there
    if not found:
        raise KdstError(missing)
    packages = sorted(set(map(owner, found)))
    if len(packages) > 1:
        raise KdstError(
            f"{what} is registered by {' and '.join(packages)}.\n"
            f"Uninstall the one that you do not need: pip uninstall {' or '.join(packages)}"
        )
    load = load_published if normal(packages[0]) == home else load_object
    return load(found[0], packages[0])


def observers(names: Iterable[str] = ()) -> Iterator[tuple[str, Any]]:
    """Yield (name, module) of the observers asked for, by `names` or by KDST_OBSERVE.

    An observer is a plugin that wraps or watches what every method does. KdstError for one that is
    not installed.
    """
    for name in sorted(_names("KDST_OBSERVE").union(names)):
        yield name, load_named("observer", name)
