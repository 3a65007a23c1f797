"""Kernels compute the same bits whether they were compiled here or loaded from disk."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TRAINING = """
import torch
from kdst_3dgs.options import Options
from kdst_3dgs.method import Trainer
from kdst_3dgs.starting import PosedPhotographs
from kdst_reconstruct.default import solids
capture = solids.capture(views=6, width=64, height=48, points=2000)
poses = [torch.stack([getattr(c, name) for c in capture.cameras]) for name in ("K", "viewmat")]
options = Options(iterations=30, refine_start_iter=5, refine_every=10, threads=1)
generator = torch.Generator().manual_seed(0)
shown = (capture.images, *poses, capture.points, capture.colors)
trainer = Trainer(options, PosedPhotographs(*shown), generator=generator)
for iteration, scene in trainer.run():
    pass
print(*(p.detach().numpy().tobytes().hex() for p in scene.parameters.values()))
"""


def outputs(code: str, cache: Path, times: int = 2) -> tuple[list[str], list[str]]:
    """What `code` prints on stdout and stderr in each of `times` processes with one cache."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache)}
    runs = [
        subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            check=True,
            capture_output=True,
            text=True,
        )
        for _ in range(times)
    ]
    return [run.stdout for run in runs], [run.stderr for run in runs]


@pytest.mark.slow
def test_training_with_fresh_kernels_gives_the_bits_of_loaded_ones(tmp_path: Path) -> None:
    (fresh, loaded), (said, silent) = outputs(TRAINING, tmp_path)
    assert fresh == loaded
    assert said.count("Compiling the CPU kernels, about 15 s; this happens once") == 1
    assert "Compiling" not in silent


@pytest.mark.slow
def test_without_a_writable_cache_the_kernels_still_run_and_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (expected,), _ = outputs(TRAINING, tmp_path / "cache", times=1)
    monkeypatch.setenv("NUMBA_CACHE_LOCATOR_CLASSES", "UserProvidedCacheLocator")
    (found,), (said,) = outputs(TRAINING, Path(os.devnull) / "cache", times=1)
    assert found == expected
    assert "every run does this" in said
