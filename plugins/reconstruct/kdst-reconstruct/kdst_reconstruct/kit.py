"""For authors of methods: a small capture, and a method at work on it."""

import hashlib
from functools import cache
from typing import Any

import torch

from kdst_core.contracts import Capture, Reconstruction, ReconstructRequest, RunServices, Scene
from kdst_core.plugins.method import Method
from kdst_core.runs.rundir import Run
from kdst_reconstruct.default import solids

LENGTH = 60
"""Iterations that the small capture asks for."""


@cache
def small_capture() -> Capture:
    """Return ten small photographs of the embedded solids."""
    return solids.capture(views=10, width=64, height=48, points=400)


def start(method: Method, options: Any, run: RunServices) -> Reconstruction:
    """Call the hook on the small capture."""
    generator = torch.Generator().manual_seed(run.seed)
    request = ReconstructRequest(small_capture(), generator, LENGTH)
    reconstruction: Reconstruction = method.call(request, options, run)
    return reconstruction


def steps(
    method: Method, options: Any, run: RunServices, count: int
) -> tuple[Reconstruction, Scene]:
    """Call the hook and carry out `count` iterations."""
    reconstruction = start(method, options, run)
    with method.working():
        return reconstruction, advance(reconstruction, count)


def advance(reconstruction: Reconstruction, count: int) -> Scene:
    """Carry out `count` iterations and return the scene."""
    for _ in range(count):
        _, scene = next(reconstruction)
    return scene


def smoke(method: Method, options: Any, run: Run) -> str:
    """Fit the small capture for 20 iterations; return a digest of a rendered view."""
    reconstruction, scene = steps(method, options, run, 20)
    rgb = scene.render(small_capture().cameras[0]).rgb.detach().cpu().contiguous()
    scene.save(run.artifacts / "scene.ply")
    return hashlib.sha256(rgb.numpy().tobytes()).hexdigest() + str(reconstruction.iterations)
