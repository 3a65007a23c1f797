"""What a run is made of: a method, its bench, and the options that they take together."""

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from attrs import frozen

from kdst_core.bench.contract import Bench
from kdst_core.options import Given, Item, Section, from_environment, from_toml, items, option
from kdst_core.plugins import registry
from kdst_core.plugins.declared import check_options
from kdst_core.plugins.method import Method, load


@frozen
class RunOptions:
    """Options that every run has."""

    seed: int = option(0, "Seed of all randomness; the same seed gives the same result.", min=0)
    device: str = option("auto", "Device: auto, cpu, cuda, cuda:1, mps.")


@frozen
class Setup:
    """A method with its bench and the options they take together.

    called: the words after `kdst` that start it, `run METHOD` where it is empty.
    """

    method: Method
    bench: Bench
    sections: tuple[Section, Section, Section]
    called: tuple[str, ...] = ()

    @property
    def items(self) -> list[Item]:
        """All options, those of the input first."""
        return [item for section in self.sections for item in items(section)]


def setup_of(name: str) -> Setup:
    """Load a method and its bench; KdstError when one is missing, broken or does not fit."""
    method = load(name)
    bench: Bench = registry.load_bench(method.plugin.capability)
    sections = (
        Section("Input and protocol", "input", bench.inputs),
        Section(f"Options of {method.name}", method.name, method.description.options),
        Section("Run", "run", RunOptions),
    )
    check_options(sections)
    return Setup(method, bench, sections)


def merge(setup: Setup, given: Mapping[str, Given], config: str | Path | None) -> dict[str, Given]:
    """Merge the sources: TOML, then environment, then what was given directly."""
    name = setup.method.name
    toml = from_toml(Path(config), setup.items, _others(name)) if config is not None else {}
    return {**toml, **from_environment(setup.items, name, _others(name)), **given}


def _others(name: str) -> Iterator[str]:
    """Yield the names of the other methods, which are looked up where they are asked for only."""
    yield from (p.name for p in registry.discover() if p.name != name)


def reproduce(setup: Setup, resolved: Mapping[str, Any]) -> str:
    """Return the shell command that repeats a run: every option that is not the default."""
    words = ["kdst", *(setup.called or ("run", setup.method.name))]
    for item in (i for i in setup.items if not i.where):
        value: Any = resolved[item.section.table]
        for part in item.path.split("."):
            value = value[part]
        default = str(item.default) if isinstance(item.default, Path) else item.default
        if value == default or (item.flag == "--device" and value == "cpu"):
            continue
        if isinstance(value, bool):
            words.append(item.flag if value else "--no-" + item.flag[2:])
        else:
            text = ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
            words += [item.flag, text]
    return shlex.join(words)
