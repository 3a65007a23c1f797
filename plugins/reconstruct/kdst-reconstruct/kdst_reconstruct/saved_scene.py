"""A scene that was saved, opened again, and the photographs it was made from."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
from attrs import frozen

from kdst_core.contracts import Capture, Scene
from kdst_core.errors import KdstError
from kdst_core.plugins.method import Method, load
from kdst_core.runs.result import load_result
from kdst_core.runs.rundir import CONFIG, RESULT
from kdst_reconstruct.inputs import ReconstructInputs

SCENE = Path("artifacts", "scene.ply")
"""Where the newest state of a scene lies in a run directory."""


@frozen
class SavedScene:
    """A scene, the file it was read from, and the method and the result it belongs to."""

    scene: Scene
    path: Path
    method: Method
    result: Mapping[str, Any] | None


@frozen
class Views:
    """A capture and the indices of its held-out views."""

    capture: Capture
    holdout: list[int]


@frozen
class Unfinished:
    """A run without a result: its method and its options by table, as its configuration says."""

    directory: Path
    method: str
    options: Mapping[str, Any]

    @classmethod
    def of(cls, directory: Path) -> "Unfinished | None":
        """Return the run in a directory if it has a configuration and no result, else None.

        Raises KdstError for a configuration that cannot be read or is that of no reconstruction.
        """
        path = directory / CONFIG
        if (directory / RESULT).exists() or not path.is_file():
            return None
        try:
            tables = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as e:
            raise KdstError(f"{path} cannot be read: {str(e)[:120]}") from e
        methods = [name for name in tables if name not in ("input", "run")]
        return cls(directory, (methods or ["3dgs"])[0], tables)

    @property
    def scene(self) -> Path:
        """The file of the newest state, whether it is there yet or not."""
        return self.directory / SCENE


def open_scene(where: Path, method: str) -> SavedScene:
    """Open the scene of a run, or a .ply as `method` reads it; KdstError says what is missing."""
    result: Mapping[str, Any] | None = None
    path = where
    unfinished = Unfinished.of(where)
    if unfinished is not None:
        return _open_unfinished(unfinished)
    if where.is_dir():
        result = load_result(where).data
        if result["capability"] != "reconstruct":
            raise KdstError(f"{where} is a run of {result['method']}, which makes no scene")
        method, path = result["method"], where / SCENE
    if not path.is_file():
        what = "no such run or .ply" if result is None else f"{path.name} is missing"
        raise KdstError(f"{where}: {what}")
    chosen = load(method)
    scene: Scene = chosen.call_hook("load_scene", path=path)
    if not len(scene):
        raise KdstError(f"{path} holds no Gaussians")
    return SavedScene(scene, path, chosen, result)


def _open_unfinished(run: Unfinished) -> SavedScene:
    """Open the newest state of a run that has no result; KdstError when it has saved none."""
    if not run.scene.is_file():
        raise KdstError(f"{run.directory} holds an unfinished run that has saved no state yet")
    chosen = load(run.method)
    if chosen.plugin.capability != "reconstruct":
        raise KdstError(f"{run.directory} is a run of {run.method}, which makes no scene")
    scene: Scene = chosen.call_hook("load_scene", path=run.scene)
    return SavedScene(scene, run.scene, chosen, {"input": run.options.get("input", {})})


def load_views(
    opened: SavedScene, data: str | None, holdout: str | None, width: int | None = None
) -> Views | None:
    """Return the photographs of a scene: of its run, or of what `data` names; None when unknown.

    `holdout` and `width` override those of the run. Raises KdstError when they cannot be read.
    """
    from kdst_reconstruct.captures.source import load_source
    from kdst_reconstruct.holdout.choice import choose

    known = dict(opened.result["input"]) if opened.result else {}
    if data is None and str(known.get("data", "<")).startswith("<"):
        return None
    inputs = _inputs(known, data, holdout, width)
    source = load_source(inputs)
    if data is None and holdout is None and "held_out" in known:
        return Views(source.capture, list(known["held_out"]))
    count = len(source.capture.images)
    return Views(source.capture, choose(inputs.holdout, count, source.test))


def _inputs(
    known: Mapping[str, Any], data: str | None, holdout: str | None, width: int | None
) -> ReconstructInputs:
    """Return the bench's options of the run, with what is given instead."""
    names = {field.name for field in attrs.fields(ReconstructInputs)}
    values = {name: value for name, value in known.items() if name in names}
    if width is not None:
        values |= {"width": width, "downscale": 1}
    values |= {k: v for k, v in {"data": data, "holdout": holdout}.items() if v is not None}
    try:
        return ReconstructInputs(**values)
    except ValueError as e:
        raise KdstError(str(e)) from e
