"""Runs in a folder: what each is and how far, as `kdst runs` lists them and `runs/index.html` shows them."""

import base64
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from attrs import field, frozen

from kdst_core.errors import KdstError
from kdst_core.files import LOCK, write_atomically
from kdst_core.plugins import registry
from kdst_core.regular import regular
from kdst_core.runs.received import parse_result, visible
from kdst_core.runs.result import SCHEMA
from kdst_core.runs.rundir import CONFIG, REPORT, RESULT

INDEX = "index.html"
TITLE = "kdst runs"
LARGEST_PICTURE = 24_000
"""Bytes of a picture that the index shows; larger ones would make it slow to open."""
MARK = f'name="generator" content="{TITLE}"'
LARGEST_INDEX = 1 << 28
LONGEST_CONFIG = 1 << 20
STATES = ("finished", "unfinished", "running", "damaged")
State = Literal["finished", "unfinished", "running", "damaged"]


@frozen
class Entry:
    """One run.

    given: the options of input that tell it from others, as text. figures: (label, value) as shown.
    at: seconds since the epoch when it was last written. said: why it is damaged. picture: PNG bytes.
    """

    directory: Path
    state: State
    method: str = ""
    capability: str = ""
    given: str = ""
    figures: Sequence[tuple[str, str]] = ()
    metrics: Mapping[str, Any] = field(factory=dict)
    seconds: float | None = None
    at: float = 0.0
    said: str = ""
    picture: bytes = field(default=b"", repr=False)

    @property
    def report(self) -> Path | None:
        """The report, where there is one."""
        path = self.directory / REPORT
        return path if path.is_file() else None

    def age(self, now: float) -> str:
        """Return how long ago it was last written."""
        return ago(now - self.at)


def entries(folder: Path, pictures: bool = False) -> list[Entry]:
    """Return the runs that lie in a folder, the latest first; KdstError where there is no such folder."""
    if not folder.is_dir():
        raise KdstError(f"there is no folder {folder}; kdst run makes runs/ where it is called")
    found = [_entry(path, pictures) for path in sorted(folder.iterdir()) if _is_run(path)]
    return sorted(found, key=lambda entry: (-entry.at, entry.directory.name))


def _is_run(path: Path) -> bool:
    """Return whether a path is a run of its own, begun or finished."""
    return not path.is_symlink() and ((path / RESULT).exists() or (path / CONFIG).is_file())


def _entry(path: Path, pictures: bool) -> Entry:
    """Return what a run directory holds."""
    if not (path / RESULT).exists():
        return _unfinished(path)
    at = (path / RESULT).lstat().st_mtime
    try:
        data = parse_result(path / RESULT, SCHEMA)
    except KdstError as e:
        return Entry(path, "damaged", at=at, said=str(e).partition("\n")[0])
    return Entry(
        path,
        "finished",
        data["method"],
        data["capability"],
        _given(data["input"]),
        figures(data["capability"], data["metrics"]),
        data["metrics"],
        float(data["seconds"]),
        at,
        picture=_picture(path, data["artifacts"]) if pictures else b"",
    )


def _unfinished(path: Path) -> Entry:
    """Return a run that has a configuration and no result."""
    import tomllib

    at = max((p.lstat().st_mtime for p in path.iterdir()), default=path.lstat().st_mtime)
    try:
        config = tomllib.loads(regular(path / CONFIG, LONGEST_CONFIG).decode("utf-8"))
    except RecursionError:
        return Entry(path, "damaged", at=at, said=f"{path / CONFIG} is nested too deeply")
    except (OSError, ValueError) as e:
        return Entry(path, "damaged", at=at, said=f"cannot read {path / CONFIG}: {e}")
    names = [name for name in config if name not in ("input", "run")]
    state: State = "running" if _held(path) else "unfinished"
    given = config.get("input")
    shown = _given(given) if isinstance(given, dict) else ""
    return Entry(path, state, visible(names[0]) if names else "", given=shown, at=at)


def _held(path: Path) -> bool:
    """Return whether a live process works in a run directory."""
    from filelock import FileLock, Timeout

    if not (path / LOCK).is_file() or (path / LOCK).is_symlink():
        return False
    lock = FileLock(path / LOCK, timeout=0)
    try:
        lock.acquire()
    except (Timeout, OSError):
        return True
    lock.release()
    return False


def _given(options: Mapping[str, Any]) -> str:
    """Return what a run was fed, in a few words: its data, model, prompts or texts."""
    words = []
    for name in ("data", "texts", "embeddings", "source", "target", "model", "severity"):
        value = options.get(name)
        if isinstance(value, str | int) and value not in ("", False) and str(value) != "tiny":
            words.append(visible(str(value)))
    return " · ".join(word if len(word) <= 48 else f"…{word[-47:]}" for word in words)


def figures(capability: str, metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the headline figures that the capability's bench names; none where it is not installed."""
    try:
        bench = registry.load_bench(capability)
    except KdstError:
        return []
    wanted: Sequence[Any] = getattr(bench, "headline", ())
    return [
        (column.label, f"{column.scale * metrics[column.metric]:.{column.digits}f}")
        for column in wanted
        if isinstance(metrics.get(column.metric), int | float)
    ]


def _picture(path: Path, artifacts: Mapping[str, str]) -> bytes:
    """Return the first small picture of a run; nothing where it has none of its own."""
    inside = path.resolve()
    for relative in artifacts.values():
        place = path / relative
        if place.suffix != ".png" or not place.resolve().is_relative_to(inside):
            continue
        if place.is_file() and not place.is_symlink() and place.stat().st_size <= LARGEST_PICTURE:
            data = place.read_bytes()
            if data.startswith(b"\x89PNG\r\n\x1a\n"):
                return data
    return b""


def ago(seconds: float) -> str:
    """Return a time that has passed, in one unit."""
    for size, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {name}"
    return f"{max(seconds, 0):.0f} s"


def write_index(folder: Path) -> Path:
    """Write `index.html` of the runs in a folder; it opens from disk and loads nothing else.

    KdstError where a page of something else is there.
    """
    from jinja2 import ChoiceLoader, PackageLoader

    from kdst_core.reports.report import environment

    path = folder / INDEX
    if path.exists() and MARK not in regular(path, LARGEST_INDEX)[:2000].decode("utf-8", "replace"):
        raise KdstError(f"{path} is no page of kdst; move it away to have one of the runs")
    listed = entries(folder, pictures=True)
    pages = environment()
    pages.loader = ChoiceLoader([PackageLoader("kdst_show"), *filter(None, [pages.loader])])
    template = pages.get_template("runs.html")
    rows = [
        {
            "entry": entry,
            "when": time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.at)),
            "href": f"{entry.directory.name}/{REPORT}" if entry.report else "",
            "picture": base64.b64encode(entry.picture).decode(),
        }
        for entry in listed
    ]
    write_atomically(path, template.render(title=TITLE, runs=rows, folder=folder.resolve().name))
    return path
