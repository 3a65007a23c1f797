"""`kdst_core.load`: a method as a function of live objects, without a run directory.

Nothing is measured, printed or kept: what the method returns is what the caller gets.
"""

import inspect
import shutil
import tempfile
import weakref
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, get_origin, overload

from attrs import field, frozen

from kdst_core.errors import KdstError, did_you_mean
from kdst_core.options import Given, Section, build, items
from kdst_core.plugins.method import Method
from kdst_core.runs.aside import Aside

if TYPE_CHECKING:
    from kdst_core.contracts import Edit, Inversion, OnlinePredictor, Scene, ToolLearner
    from kdst_core.runs.setup import Setup

Returned = TypeVar("Returned", covariant=True)


@frozen
class Bound:
    """A method with its options, as a bench's function gets it.

    inputs: options of the bench, those that the library lets through, or their defaults. folder: an empty
    one for what the method writes; it goes when nothing refers to it any more.
    """

    method: Method
    options: Any
    inputs: Any
    seed: int
    device: str
    folder: "Folder" = field(factory=lambda: Folder(), repr=False)

    def services(self, device: str) -> Aside:
        """Return the services of a run, of which nothing is shown or kept."""
        return Aside(self.folder.path, self.seed, device)

    def call(self, request: Any, device: str) -> Any:
        """Call the method's hook and return its result; errors as those of a run."""
        return self.method.call(request, self.options, self.services(device))


class Folder:
    """A new folder that is removed with this object, or at the end of the process."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="kdst-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


@frozen
class Library:
    """What a bench offers to callers from Python: its method `library()` returns it.

    function: takes a Bound, then the caller's objects by position or name. inputs: names of options of
    the bench that may be given besides.
    """

    function: Callable[..., Any]
    inputs: Collection[str] = ()


@frozen
class Loaded(Generic[Returned]):
    """An installed method as a function; `kdst_core.load` makes it."""

    command: "Setup"
    library: Library = field(repr=False)

    def __call__(
        self, *objects: Any, seed: int = 0, device: str = "auto", **named: Any
    ) -> Returned:
        """Bind the method to live objects and carry it out, or return what carries it out.

        objects, named: what the capability takes, and options of the method by name (`sgld_steps=10`).
        Raises KdstError for what is missing, unknown or does not fit, before any work.
        """
        own, inputs = self._split(named)
        rest = {k: v for k, v in named.items() if k not in own and k not in inputs}
        of_bench, of_method, _ = self.command.sections
        options, chosen = given(of_method, own), given(of_bench, inputs)
        bound = Bound(self.command.method, options, chosen, seed, device)
        self._fits(objects, rest)
        found: Returned = self.library.function(bound, *objects, **rest)
        return found

    def _split(self, named: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the method's options and the bench's among keyword arguments."""
        taken = set(inspect.signature(self.library.function).parameters)
        own = set(names(self.command.sections[1])) - taken
        inputs = (set(names(self.command.sections[0])) & set(self.library.inputs)) - taken
        for name in named:
            if name not in own | inputs | taken:
                raise KdstError(self._unknown(name, own | inputs | taken))
        mine = {k: v for k, v in named.items() if k in own}
        return mine, {k: v for k, v in named.items() if k in inputs}

    def _unknown(self, name: str, known: Collection[str]) -> str:
        """Return what to say of a keyword that a call does not take."""
        method = self.command.method.name
        if name in names(self.command.sections[0]):
            its = f"{name!r} is an option of `kdst run {method}`"
            return f"{its}; a call from Python does not take it"
        return f"{method} has no option {name!r}.{did_you_mean(name, known)}"

    def _fits(self, objects: tuple[Any, ...], named: Mapping[str, Any]) -> None:
        """Raise KdstError where objects are missing or too many."""
        signature = inspect.signature(self.library.function)
        try:
            signature.bind(None, *objects, **named)
        except TypeError as e:
            takes = ", ".join(list(signature.parameters)[1:])
            raise KdstError(f"{self.command.method.name} takes ({takes}): {e}") from e


def names(section: Section) -> dict[str, str]:
    """Return the options of a section as keywords of Python, name to flag."""
    return {item.flag[2:].replace("-", "_"): item.flag for item in items(section)}


def given(section: Section, named: Mapping[str, Any]) -> Any:
    """Return the options of a section from keywords; KdstError for one it lacks or that does not fit."""
    flags = names(section)
    for name in named:
        if name not in flags:
            raise KdstError(f"{section.table} has no option {name!r}.{did_you_mean(name, flags)}")
    lists = {item.flag for item in items(section) if get_origin(item.type) is list}
    values = {flags[k]: (k, _listed(v) if flags[k] in lists else v) for k, v in named.items()}
    return build(section, {flag: Given(v, k, Path.cwd()) for flag, (k, v) in values.items()})


def _listed(value: Any) -> Any:
    """Return the value of an option that takes several, of which one may be given alone."""
    return value if isinstance(value, list | tuple | str) else [value]


@overload
def load(name: str, capability: Literal["adapt"]) -> "Loaded[OnlinePredictor]": ...
@overload
def load(name: str, capability: Literal["reconstruct"]) -> "Loaded[Scene]": ...
@overload
def load(name: str, capability: Literal["edit"]) -> "Loaded[Edit]": ...
@overload
def load(name: str, capability: Literal["augment_with_tools"]) -> "Loaded[ToolLearner]": ...
@overload
def load(name: str, capability: Literal["invert"]) -> "Loaded[Iterator[Inversion]]": ...
@overload
def load(name: str, capability: None = None) -> "Loaded[Any]": ...
def load(name: str, capability: str | None = None) -> "Loaded[Any]":
    """Return an installed method as a function of live objects: `load("tea")(model).predict(x)`.

    name: as `kdst run` takes it. capability: of a method of this one; the type of what calls return
    follows from it. Raises KdstError where there is no such method, or none that can be called.
    """
    from kdst_core.runs.setup import setup_of

    chosen = setup_of(name)
    its_own = chosen.method.plugin.capability
    if capability is not None and capability != its_own:
        raise KdstError(f"{name} is a method of {its_own}, not of {capability}")
    library = getattr(chosen.bench, "library", None)
    if library is None:
        raise KdstError(
            f"the methods of {its_own} cannot be called from Python yet: {chosen.bench.package} has no"
            " `library`.\nUse kdst_core.run"
        )
    return Loaded(chosen, library())
