"""A method that was found and imported: its description and the call of its hook."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pluggy
from attrs import field, frozen

from kdst_core.bench.sealed import closed, loading
from kdst_core.contracts import Description, Listener
from kdst_core.errors import KdstError, MethodError, did_you_mean, typed_line
from kdst_core.plugins import hookspecs, registry
from kdst_core.plugins.capabilities import OWN
from kdst_core.plugins.harmless import harmless
from kdst_core.plugins.left import Threads
from kdst_core.plugins.registry import Plugin


@frozen
class Method:
    """A method ready to run; `call` is the only way into its hook."""

    plugin: Plugin
    description: Description
    manager: pluggy.PluginManager = field(repr=False)

    @property
    def name(self) -> str:
        """The name that `kdst run` takes."""
        return self.plugin.name

    def call(self, request: Any, options: Any, run: Any) -> Any:
        """Call the hook of the method's capability and return its result, never None.

        Raises MethodError when the method fails, KdstError when it returns nothing.
        """
        return self.call_hook(self.plugin.capability, request=request, options=options, run=run)

    @contextmanager
    def working(self) -> Iterator[None]:
        """Enclose every call into what the method returned: within it nothing sealed can be read.

        What the method raises becomes one line (MethodError; KdstError and OSError stay as they are).
        A call that looked at what the method is judged by is a MethodError, whatever became of it.
        """
        error: Exception | None = None
        threads = Threads()
        with closed() as tried:
            try:
                yield
            except Exception as e:
                error = e
        if tried:
            raise MethodError(
                f"{self.plugin.qualified} looks at what it is judged by and is not given:"
                f" {tried[0]}.\nIts figures would mean nothing. Report this to the author of the package"
            ) from error
        if left := threads.left():
            raise MethodError(
                f"{self.plugin.qualified} leaves {left[0]} running after its call, where it could see"
                " what it is judged by.\nEnd it before the call returns"
            ) from error
        if isinstance(error, KdstError | OSError):
            raise error
        if error is not None:
            raise failure(self.plugin, error) from error

    def attach(self, observers: Iterable[str]) -> None:
        """Let observers watch this method's runs; KdstError for one that is not installed."""
        for name, module in registry.observers(observers):
            if not self.manager.has_plugin(name):
                _register(self.manager, module, name)

    def listeners(self, run: Any) -> list[Listener]:
        """Return what the observers that are attached have for a run; KdstError when one fails."""
        try:
            return list(self.manager.hook.observe(run=run))
        except (Exception, SystemExit) as e:
            raise KdstError(f"an observer failed with {type(e).__name__}: {e}") from e

    def has_hook(self, name: str) -> bool:
        """Return whether the method implements a hook."""
        return bool(getattr(self.manager.hook, name).get_hookimpls())

    def call_hook(self, name: str, **arguments: Any) -> Any:
        """Call a hook and return its result, never None; errors as those of `call`."""
        hook = getattr(self.manager.hook, name)
        if not self.has_hook(name):
            raise KdstError(f"{self.plugin.qualified} has no hook `{name}`, so it cannot do this")
        with self.working():
            result = hook(**arguments)
        if result is None:
            raise KdstError(
                f"{self.plugin.qualified}: its hook `{name}` returned None;"
                " it must return a result. Report this to the author of the package"
            )
        return result


def failure(plugin: Plugin, error: BaseException) -> MethodError:
    """Return the one-line error for an exception that a method raised."""
    again = "Run again with --debug (kdst --debug run …) to see where"
    return MethodError(f"{plugin.qualified} failed with {typed_line(error)}\n{again}")


def load(name: str) -> Method:
    """Return the installed method of that name, imported and checked against the contract."""
    return _load(registry.find(name))


def load_baseline(name: str) -> Method:
    """Return a method that a bench measures against, also where users have switched it off."""
    return _load(registry.find(name, registry.discover(disabled_too=True)))


def _load(plugin: Plugin) -> Method:
    """Import a plugin and hold it to the hook specifications."""
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    _specify(manager, plugin.capability)
    for name, module in registry.observers():
        _register(manager, module, name)
    with suppress(KdstError):
        registry.load_bench(plugin.capability)  # so that a copy of the process has it loaded
    with loading():
        module = registry.load_object(plugin.entry, plugin.package, plugin.qualified, _described)
    _register(manager, module, plugin.qualified)
    try:
        manager.check_pending()
    except pluggy.PluginValidationError as e:
        raise KdstError(_unknown_hook(plugin, manager, e)) from e
    implemented = {caller.name for caller in manager.get_hookcallers(module) or ()}
    for needed in ("describe", plugin.capability):
        if needed not in implemented:
            raise KdstError(
                f"{plugin.qualified} does not implement the hook `{needed}`"
                f" (decorated with hookimpl).{did_you_mean(needed, dir(module))}"
            )
    if os.environ.get("KDST_TRACE", "").strip().lower() not in ("", "0", "false", "no", "off"):
        from kdst_core.plugins.trace import trace

        trace(manager)
    with loading():
        return Method(plugin, _describe(plugin, manager), manager)


def _specify(manager: pluggy.PluginManager, capability: str) -> None:
    """Add the hook of a capability that a package adds; KdstError where it cannot be called."""
    if (specified := registry.load_specification(capability)) is None:
        return
    with suppress(Exception):  # a fault of that package
        manager.add_hookspecs(specified)
        spec = getattr(manager.hook, capability).spec
        if spec.opts["firstresult"] and {*spec.argnames} <= {"request", "options", "run"}:
            return
    raise KdstError(
        f"what adds the capability {capability!r} specifies no hook of that name that can be called:"
        "\nmarked by hookspec(firstresult=True), of request, options and run, and none of the core's"
    )


def _described(module: Any) -> Any:
    """Call what describes a method, as the core does next."""
    return module.describe()


def _register(manager: pluggy.PluginManager, module: Any, name: str) -> None:
    """Register a module; an argument that the hook does not have becomes one line."""
    try:
        manager.register(module, name=name)
    except pluggy.PluginValidationError as e:
        reason = " ".join(str(e).split())
        raise KdstError(f"{name} does not fit the hook specification: {reason}") from e


def _unknown_hook(
    plugin: Plugin, manager: pluggy.PluginManager, error: pluggy.PluginValidationError
) -> str:
    """Name the hook that does not exist, and the one that was probably meant."""
    known = {"describe", "load_scene", "observe", *OWN, plugin.capability}
    unknown = [n for n in vars(manager.hook) if not n.startswith("_") and n not in known]
    name = unknown[0] if unknown else str(error)
    owner = error.plugin if isinstance(error.plugin, str) else plugin.qualified
    hint = did_you_mean(name, known)
    return f"{owner} implements an unknown hook {name!r}.{hint or ' Known: ' + ', '.join(known)}"


def _describe(plugin: Plugin, manager: pluggy.PluginManager) -> Description:
    """Call `describe` and check what it returns."""
    try:
        with harmless():
            description = manager.hook.describe()
    except (Exception, SystemExit) as e:
        raise failure(plugin, e) from e
    if not isinstance(description, Description):
        got = type(description).__name__
        raise KdstError(f"{plugin.qualified}: `describe` must return a Description, not {got}")
    return description
