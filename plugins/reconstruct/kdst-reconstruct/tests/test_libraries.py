"""kdst beside pycolmap, whose extension holds half of a zlib."""

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kdst_reconstruct import pictures

PROGRAM = """
import pycolmap
import torch
from kdst_reconstruct import pictures

image = torch.rand(48, 64, 3, generator=torch.Generator().manual_seed(0))
made = [pictures.comparison(image, 1 - image) for _ in range(3)]
with open("made.png", "wb") as file:
    file.write(made[2])
print("whole", flush=True)
"""


def test_pictures_are_written_whole_after_pycolmap_came_first(tmp_path: Path) -> None:
    from PIL import Image

    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "whole\n", done.stderr[-800:]
    with Image.open(tmp_path / "made.png") as picture:
        picture.load()
        assert picture.height == 48


def test_large_pictures_are_compressed_quickly_and_stay_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 30, 4), dtype=np.uint8)
    image = Image.fromarray(pixels)
    for largest, level in ((10**6, 9), (100, 3)):
        monkeypatch.setattr(pictures, "LARGE", largest)
        assert pictures._level(image) == level
        for broken in (True, False):
            monkeypatch.setattr(pictures, "zlib_is_broken", lambda broken=broken: broken)
            with Image.open(io.BytesIO(pictures.png(image))) as found:
                assert np.array_equal(np.array(found), pixels)


KERNELS = """
import pycolmap
import kdst_core

result = kdst_core.run("3dgs", data="solids", iterations=2, width=48, flight_frames=0, threads=1, out="run")
print("whole", flush=True)
"""


@pytest.mark.slow
def test_kernels_are_compiled_after_pycolmap_came_first(tmp_path: Path) -> None:
    place = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "kernels")}
    words = [sys.executable, "-c", KERNELS]
    done = subprocess.run(
        words, cwd=tmp_path, env=place, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.stdout == "whole\n", done.stderr[-800:]
    assert "Compiling the CPU kernels" in done.stderr
