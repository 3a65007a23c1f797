"""`result.json` and artifacts to one self-contained HTML page."""

import base64
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdst_core.bench.contract import Bench
from kdst_core.files import write_atomically
from kdst_core.plugins.provenance import Installed, from_json
from kdst_core.regular import regular
from kdst_core.reports.blocks import ReportContent
from kdst_core.runs.rundir import ENVIRONMENT, REPORT

if TYPE_CHECKING:
    from jinja2 import Environment, Template

LONGEST_RECORD = 1 << 24
"""Bytes of a record of an environment; those that kdst writes have a few thousand."""


def write(result: Mapping[str, Any], directory: Path, bench: Bench) -> Path:
    """Write `report.html` into a run directory and return its path."""
    path = directory / REPORT
    write_atomically(path, render(result, directory, bench))
    return path


def render(result: Mapping[str, Any], directory: Path, bench: Bench) -> str:
    """Return the report of a run as HTML."""
    method, called = result["method"], result["command"].split()[:2]
    eyebrow = f"kdst run {method}" if called[1:] in ([], ["run"]) else " ".join(called)
    return page(result, bench.report(result, directory), eyebrow, method, _installed(directory))


def page(
    result: Mapping[str, Any],
    content: ReportContent,
    eyebrow: str,
    title: str,
    installed: Mapping[str, Installed] | None = None,
) -> str:
    """Return a page as HTML; text is escaped, pictures are inline, nothing is fetched.

    installed: what was there when the run began, package by package.
    """
    return _template().render(
        result=result, content=content, eyebrow=eyebrow, title=title, installed=installed or {}
    )


@cache
def _template() -> "Template":
    """Return the template of reports, compiled once for the process."""
    return environment().get_template("report.html")


def _installed(directory: Path) -> dict[str, Installed]:
    """Return what a run recorded as installed; nothing where it recorded none that can be read."""
    path = directory / ENVIRONMENT
    try:
        recorded = json.loads(b"{}" if path.is_symlink() else regular(path, LONGEST_RECORD))
        return from_json(recorded["installed"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}


def environment() -> "Environment":
    """Return what renders pages: everything that a template is given is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    pages = Environment(
        loader=PackageLoader("kdst_core.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters["data_uri"] = _data_uri
    pages.filters["show"] = _show
    return pages


def _data_uri(data: bytes, kind: str = "image/png") -> str:
    """Return the bytes of a picture or a video as a data URI."""
    return f"data:{kind};base64," + base64.b64encode(data).decode()


def _show(value: Any) -> str:
    """Return a value of the protocol or the options as text."""
    if value is None or value == "":
        return "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(_show, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)
