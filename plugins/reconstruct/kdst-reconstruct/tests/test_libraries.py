"""kdst beside pycolmap, whose extension holds half of a zlib."""

import subprocess
import sys
from pathlib import Path

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
