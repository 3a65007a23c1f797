"""Fetch what an edit needs of a model on the hub: configurations, tokenizers, one variant of its weights."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kdst_core.bench.libraries import silence_libraries
from kdst_core.errors import KdstError
from kdst_edit.models.weights import SUFFIX, parts_of, variant_of

INDEX = "model_index.json"


def fetched(name: str, check: Any) -> Path:
    """The directory of `owner/model` or `owner/model@revision`, fetched or as an earlier run left it.

    check: called with the pipeline's description and the name before weights are fetched. Raises
    KdstError when the model is neither on the hub nor on this machine.
    """
    model, _, revision = name.partition("@")
    with silence_libraries("diffusers"):
        from huggingface_hub import HfApi, hf_hub_download, snapshot_download

        given: dict[str, Any] = {"revision": revision or None}
        try:
            described = Path(hf_hub_download(model, INDEX, **given))
            index = _read(described)
            check(index, name)
            files = HfApi().list_repo_files(model, **given)
            chosen = wanted(files, index, name)
            return Path(snapshot_download(model, allow_patterns=chosen, **given))
        except KdstError:
            raise
        except Exception:  # the client's errors have no common base: no network, no model, no right
            return _kept(model, given)


def _kept(model: str, given: Mapping[str, Any]) -> Path:
    """The snapshot that is on this machine."""
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(model, local_files_only=True, **given))
    except Exception as e:  # as above
        raise KdstError(unreachable(model)) from e
    if not (folder / INDEX).is_file():
        raise KdstError(unreachable(model))
    return folder


def _read(path: Path) -> Mapping[str, Any]:
    """A pipeline's description."""
    found = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(found, dict):
        raise KdstError(f"{path} does not describe a pipeline")
    return found


def wanted(files: Sequence[str], index: Mapping[str, Any], name: str) -> list[str]:
    """The files of a repository to fetch: no pickles, no other variants, no checkers."""
    parts = parts_of(index)
    variant = variant_of(files, parts, name)
    chosen = [INDEX]
    for path in files:
        folder, _, file = path.partition("/")
        if folder in parts and file.endswith(SUFFIX):
            has = any(f.startswith(f"{folder}/") and f".{variant}" in f for f in files)
            mine = f".{variant}" in file if variant and has else "." not in file[: -len(SUFFIX)]
            chosen += [path] if mine else []
        elif (
            folder in (*parts, "tokenizer", "tokenizer_2", "tokenizer_3", "scheduler")
            and "/" not in file
        ):
            chosen += [path] if file.endswith((".json", ".txt", ".model")) else []
    return chosen


def unreachable(model: str) -> str:
    """What to say when a hub model is neither cached nor fetched."""
    return (
        f"model {model!r} is not a directory here, and could not be fetched from the hub.\n"
        "Check the name and the network, or give the directory of a downloaded model."
    )
