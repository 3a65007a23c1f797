"""A directory that sentence-transformers saved: modules, pooling, length, normalisation, prompts."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import field, frozen

from kdst_core.errors import KdstError
from kdst_invert.embedders.encoder import POOLINGS, Pooling

MODULES, PROMPTS = "modules.json", "config_sentence_transformers.json"
LENGTHS = tuple(
    f"sentence_{kind}_config.json"
    for kind in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
"""Where the library keeps the length of a text: the first of these files that is there."""
STANDARD = ("Transformer", "Pooling", "Normalize")
LIBRARY = "sentence_transformers."
"""How the types of the library's own modules begin; others would be code of the directory's."""
FLAGS: Mapping[str, Pooling] = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
"""Older configurations say the poolings by flags; vectors of several are joined in this order."""


@frozen
class Saved:
    """What a directory says of its model.

    encoder: the directory of the transformers model. modules: names of the modules in order.
    others: whether it takes more than what `Encoder` computes, such as a dense layer. prompts: by
    name; default: that of the one which is put before every text, or None.
    """

    encoder: Path
    modules: Sequence[str]
    poolings: tuple[Pooling, ...] = ("mean",)
    normalised: bool = False
    longest: int | None = None
    lower: bool = False
    prompts: Mapping[str, str] = field(factory=dict)
    default: str | None = None
    others: bool = False

    def prompt(self, name: str | None) -> str:
        """The prompt of a name, or the default one; KdstError for a name that it does not have."""
        chosen = name if name is not None else self.default
        if chosen is None:
            return ""
        if chosen not in self.prompts:
            known = ", ".join(self.prompts) or "none"
            raise KdstError(f"the embedder has no prompt {chosen!r}; its prompts: {known}")
        return self.prompts[chosen]

    def said(self, name: str | None) -> tuple[str, ...]:
        """What a user must know of prompts that were not used."""
        kept = {n: p for n, p in self.prompts.items() if p}
        if name is not None or self.default is not None or not kept:
            return ()
        listed = ", ".join(f"{n} ({p!r})" for n, p in kept.items())
        return (
            f"the embedder has the prompts {listed} and uses none of them by default; where the store was"
            " made with one, give --prompt NAME",
        )


def read_saved(directory: Path) -> Saved | None:
    """What sentence-transformers says of a directory; None where it did not save it.

    Raises KdstError for a file that cannot be read, or modules that are not the library's.
    """
    if not (directory / MODULES).is_file():
        return None
    listed = _read(directory / MODULES)
    if not isinstance(listed, list) or not all(isinstance(m, dict) for m in listed):
        raise KdstError(f"{directory / MODULES} must hold a list of modules")
    types = [str(m.get("type", "")) for m in listed]
    foreign = [t for t in types if not t.startswith(LIBRARY)]
    if foreign:
        raise KdstError(
            f"{directory / MODULES} names {foreign[0]!r}, code that comes with the model and is not"
            " run; give --embedder module:function instead"
        )
    paths = {
        _last(t): _inside(directory, str(m.get("path", "")))
        for t, m in zip(types, listed, strict=True)
    }
    names = [_last(t) for t in types]
    pooling = _object(paths["Pooling"] / "config.json") if "Pooling" in paths else {}
    prompts = _object(directory / PROMPTS)
    encoder = paths.get("Transformer", directory)
    length = _object(
        next((f for n in LENGTHS if (f := encoder / n).is_file()), encoder / LENGTHS[0])
    )
    named = prompts.get("prompts") or {}
    if not isinstance(named, dict):
        raise KdstError(f"{directory / PROMPTS}: prompts must be an object, name to text")
    default = prompts.get("default_prompt_name")
    longest = length.get("max_seq_length")
    return Saved(
        encoder,
        names,
        _poolings(directory, pooling),
        "Normalize" in names,
        longest if isinstance(longest, int) else None,
        bool(length.get("do_lower_case", False)),
        {str(n): str(p or "") for n, p in named.items()},
        None if default is None else str(default),
        names not in (list(STANDARD[:2]), list(STANDARD))
        or not pooling.get("include_prompt", True),
    )


def _poolings(directory: Path, config: Mapping[str, Any]) -> tuple[Pooling, ...]:
    """The poolings that a module's configuration names, in either form of the library."""
    given = config.get("pooling_mode")
    if given is None:
        return tuple(mode for flag, mode in FLAGS.items() if config.get(flag)) or ("mean",)
    names = [given] if isinstance(given, str) else list(given)
    found = tuple(mode for name in names for mode in POOLINGS if mode == name)
    if len(found) < len(names):
        raise KdstError(f"{directory} pools by {given!r}; known are {', '.join(POOLINGS)}")
    return found


def _last(kind: str) -> str:
    """The name of a module's class."""
    return kind.rpartition(".")[2]


def _inside(directory: Path, path: str) -> Path:
    """The folder of a module; KdstError where it leaves the directory."""
    found = (directory / path).resolve()
    if not found.is_relative_to(directory.resolve()):
        raise KdstError(f"{directory / MODULES} names the folder {path!r} outside the directory")
    return directory / path


def _object(path: Path) -> dict[str, Any]:
    """A file of JSON that may be missing."""
    found = _read(path) if path.is_file() else {}
    if not isinstance(found, dict):
        raise KdstError(f"{path} must hold a JSON object")
    return found


def _read(path: Path) -> Any:
    """A file of JSON; KdstError where it is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        raise KdstError(f"cannot read {path}: {e}") from e
