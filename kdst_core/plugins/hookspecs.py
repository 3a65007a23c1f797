"""The contract of a plugin: `describe` and one hook for each capability.

A plugin is a module named by an entry point of the group `kdst.<capability>`. It implements `describe`
and the hook of that capability, each decorated with `hookimpl`, and may take any subset of a
hook's arguments. The request and result classes are in `kdst_core.contracts`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from kdst_core.contracts import (
        AdaptRequest,
        Description,
        Edit,
        EditRequest,
        Inversion,
        InvertRequest,
        Listener,
        OnlinePredictor,
        Reconstruction,
        ReconstructRequest,
        RunServices,
        Scene,
        ToolLearner,
        ToolsRequest,
    )

PROJECT = "kdst"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec(firstresult=True)
def describe() -> "Description":
    """Say what the method is, which options it takes and what it needs. Must be cheap.

    Since 0.1.
    """
    raise NotImplementedError


@hookspec(firstresult=True)
def adapt(request: "AdaptRequest", options: Any, run: "RunServices") -> "OnlinePredictor":
    """Return a predictor that adapts a trained classifier to a stream of unlabelled batches.

    Since 0.1.
    """
    raise NotImplementedError


@hookspec(firstresult=True)
def reconstruct(
    request: "ReconstructRequest", options: Any, run: "RunServices"
) -> "Reconstruction":
    """Return a fit that yields (iteration, scene) while a scene is fitted to posed photographs.

    Since 0.1, provisional.
    """
    raise NotImplementedError


@hookspec(firstresult=True)
def load_scene(path: Path) -> "Scene":
    """Open a scene that a method of `reconstruct` saved as .ply, in the capture's coordinates.

    Optional: `kdst view`, `kdst render` and `kdst export` need it. Raises KdstError for a file that
    is no such scene. Since 0.1, provisional.
    """
    raise NotImplementedError


@hookspec(firstresult=True)
def edit(request: "EditRequest", options: Any, run: "RunServices") -> "Edit":
    """Edit a generated or real image towards one or more target prompts.

    Since 0.1, provisional.
    """
    raise NotImplementedError


@hookspec(firstresult=True)
def augment_with_tools(request: "ToolsRequest", options: Any, run: "RunServices") -> "ToolLearner":
    """Return the stages in which a language model learns from plain texts when a tool helps.

    Since 0.1, provisional.
    """
    raise NotImplementedError


@hookspec(firstresult=True)
def invert(request: "InvertRequest", options: Any, run: "RunServices") -> "Iterator[Inversion]":
    """Yield ever better reconstructions of the texts behind embeddings, block after block.

    A request with `training` has the method train its models first. Since 0.1, provisional.
    """
    raise NotImplementedError


@hookspec
def observe(run: "RunServices") -> "Listener":
    """Return a listener for a run that begins or continues; a hook of observers, not of methods.

    `run.dir` is there, with the events that a run which continues has kept. Since 0.1.
    """
    raise NotImplementedError
