"""A new plugin package: its name checked, its files rendered from templates, all of them or none."""

import json
import keyword
import os
import re
import shutil
import time
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from attrs import frozen

from kdst_core import __version__
from kdst_core.errors import KdstError, did_you_mean
from kdst_core.plugins import registry
from kdst_core.plugins.capabilities import capabilities
from kdst_core.plugins.catalogue import published

LICENCES = ("Apache-2.0", "MIT", "BSD-3-Clause")
RESERVED = frozenset(
    {"authors", "batch", "core", "input", "run", "ray", "benches", "commands", "observers"}
)
"""Names that are a table of the configuration, an entry-point group or a package of the project."""
LONGEST_SUMMARY = 80
SUMMARIES = {
    "adapt": "Entropy minimisation on the normalisation layers.",
    "reconstruct": "A disc for each point of the capture, its colour fitted to the photographs.",
    "edit": "The target prompt takes over from the source's after some of the steps.",
    "augment_with_tools": "Calculator calls after sums that a text spells out.",
    "invert": "The nearest text of a corpus, with words of the next nearest where they help.",
}
"""What the method that a new package begins with does."""


@frozen
class Plan:
    """A package to write. name: of the method. folder: does not exist yet."""

    capability: str
    name: str
    folder: Path
    licence: str
    author: str
    summary: str

    @property
    def distribution(self) -> str:
        """Name of the package, as pip takes it."""
        return f"kdst-{self.name}"

    @property
    def module(self) -> str:
        """Name of the package, as Python imports it."""
        return self.distribution.replace("-", "_")

    @property
    def files(self) -> dict[str, str]:
        """Path in the package to the template it is rendered from."""
        identifier = self.name.replace("-", "_")
        return {
            "pyproject.toml": "common/pyproject.toml.j2",
            "README.md": "common/README.md.j2",
            "LICENSE": f"licences/{self.licence}.txt",
            ".gitignore": "common/gitignore.j2",
            f"{self.module}/__init__.py": f"{self.capability}/__init__.py.j2",
            f"{self.module}/method.py": f"{self.capability}/method.py.j2",
            f"{self.module}/py.typed": "",
            f"tests/test_{identifier}.py": f"{self.capability}/test.py.j2",
        }

    @property
    def context(self) -> Mapping[str, Any]:
        """What the templates refer to."""
        bench = registry.bench_package(self.capability)
        return {
            "capability": self.capability,
            "name": self.name,
            "identifier": self.name.replace("-", "_"),
            "distribution": self.distribution,
            "module": self.module,
            "licence": self.licence,
            "author": self.author,
            "holder": self.author or f"the authors of {self.distribution}",
            "year": time.strftime("%Y"),
            "summary": self.summary,
            "bounds": _bounds(__version__),
            "authors_bounds": _bounds(_version_of("kdst-authors")),
            "bench": bench,
            "bench_bounds": _bounds(_version_of(bench)),
        }


def plan(
    capability: str, name: str, path: Path, licence: str, author: str = "", summary: str = ""
) -> Plan:
    """Check what is asked for; KdstError that says which name, licence or folder will not do."""
    known = capabilities()
    if capability not in known:
        hint = did_you_mean(capability, known)
        raise KdstError(f"no capability {capability!r}.{hint or ' Known: ' + ', '.join(known)}")
    _check_name(name)
    if not path.is_dir():
        raise KdstError(f"{path} is not a folder; --path takes the folder to create the package in")
    folder = path / f"kdst-{name}"
    if os.path.lexists(folder):
        raise KdstError(f"{folder} exists already; nothing was written")
    for what, text in (("--author", author), ("--summary", summary)):
        if not text.isprintable():
            raise KdstError(f"{what} must be one line of printable text, not {text!r}")
    if len(summary) > LONGEST_SUMMARY:
        raise KdstError(
            f"--summary has {len(summary)} characters; at most {LONGEST_SUMMARY} fit a line"
        )
    return Plan(capability, name, folder, licence, author, summary or _summary(capability))


def _summary(capability: str) -> str:
    """Return what the method does that a package begins with; KdstError where a capability brings none."""
    specified = registry.load_specification(capability)
    if specified is None:
        return SUMMARIES[capability]
    if not hasattr(specified, "TEMPLATES"):
        raise KdstError(
            f"{specified.__name__} brings no templates, so kdst new cannot begin a method"
        )
    return getattr(specified, "SUMMARY", f"A method of {capability}.")


def _check_name(name: str) -> None:
    """Raise KdstError when a method cannot be called so."""
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name) or len(name) > 40:
        proposal = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40].strip("-")
        hint = f" Try {proposal!r}" if proposal else ""
        raise KdstError(
            f"{name!r} cannot be a method: use small letters, digits and single hyphens,"
            f" at most 40.{hint}"
        )
    if keyword.iskeyword(name) or keyword.issoftkeyword(name):
        raise KdstError(f"{name!r} is a word of Python; choose another name")
    known = capabilities()
    benches = {registry.bench_package(c).removeprefix("kdst-") for c in known}
    if name in RESERVED | benches | set(known):
        raise KdstError(f"{name!r} is reserved by kdst; choose another name")
    _check_free(name)


def _check_free(name: str) -> None:
    """Raise KdstError when a method, package or module of that name exists."""
    for plugin in registry.discover(disabled_too=True):
        if plugin.name == name:
            raise KdstError(f"{name!r} is installed already, by {plugin.package}; choose another")
    if package := published("methods").get(name):
        raise KdstError(f"{name!r} is a published method ({package})")
    distribution = f"kdst-{name}"
    if _version_of(distribution) or registry.find_source(distribution.replace("-", "_")):
        raise KdstError(f"a package {distribution} is installed already; choose another name")


def create(chosen: Plan) -> list[str]:
    """Write the package and return its files; when anything fails, nothing is left behind."""
    texts = {path: _render(template, chosen) for path, template in chosen.files.items()}
    partial = chosen.folder.with_name(f".{chosen.folder.name}.{os.getpid()}")
    try:
        for path, text in texts.items():
            target = partial / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
        partial.rename(chosen.folder)
    except OSError as e:
        raise KdstError(f"cannot write {chosen.folder}: {e.strerror or e}") from e
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return list(texts)


def _render(template: str, chosen: Plan) -> str:
    """Return the text of a file; without a template it is empty."""
    if not template:
        return ""
    from jinja2 import ChoiceLoader, Environment, PackageLoader, PrefixLoader, StrictUndefined

    loaders: list[Any] = [PackageLoader("kdst_authors")]
    if (specified := registry.load_specification(chosen.capability)) is not None:
        package = specified.__name__.partition(".")[0]
        brought = PackageLoader(package, specified.TEMPLATES)
        loaders.append(PrefixLoader({chosen.capability: brought}))
    environment = Environment(
        loader=ChoiceLoader(loaders),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.filters["quoted"] = lambda text: json.dumps(text, ensure_ascii=False)
    environment.filters["docstring"] = lambda text: json.dumps(text, ensure_ascii=False)[1:-1]
    environment.filters["sorted_lines"] = lambda text: "".join(sorted(text.splitlines(True)))
    return environment.get_template(template).render(chosen.context)


def _version_of(distribution: str) -> str:
    """Return the installed version of a package, empty when it is not installed."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""


def _bounds(installed: str) -> str:
    """Return the range of versions with one contract: `>=0.1,<0.2` for 0.1.3, `>=2.4,<3` for 2.4.1."""
    from packaging.version import Version

    found = Version(installed or __version__)
    end = f"0.{found.minor + 1}" if found.major == 0 else str(found.major + 1)
    return f">={found.major}.{found.minor},<{end}"
