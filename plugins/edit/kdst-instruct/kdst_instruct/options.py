"""What the instructed models share: weights, instruction, precision; imports nothing heavy."""

import json
from pathlib import Path
from typing import ClassVar, Literal

from attrs import frozen

from kdst_core.errors import KdstError, first_line
from kdst_core.options import option

TEMPLATE = "Turn {source} into {target}."
WITHOUT_SOURCE = "Turn the picture into {target}."
"""What is asked where no instruction is given; for a photograph without words there is no source."""


@frozen(kw_only=True)
class Instructed:
    """Options of every instructed model."""

    inverts: ClassVar[bool] = False
    """No inversion by the bench."""
    method: ClassVar[str]
    pipeline: ClassVar[str]
    """The class of diffusers that a directory of weights must name."""

    weights: Path | None = option(
        None,
        "Directory that the model's diffusers pipeline was saved in. Needed: no weights ship, none"
        " are downloaded.",
    )
    instruction: str | None = option(
        None,
        "What to do, in words, one for each target, separated by |, or one for all; {source} and"
        f" {{target}} stand for the prompts. Default: {TEMPLATE!r}",
    )
    weights_dtype: Literal["auto", "float32", "bfloat16", "float16"] = option(
        "auto", "Precision of the model. auto: float32 on the CPU, bfloat16 elsewhere."
    )

    def __attrs_post_init__(self) -> None:
        """Raise KdstError unless `weights` is a directory of the model's pipeline."""
        if self.weights is None:
            raise KdstError(
                "the method edits by a model of its own, which does not ship: give --weights a"
                f" directory that its {self.pipeline} was saved in"
            )
        check_directory(self.weights, self.pipeline)


def check_directory(folder: Path, pipeline: str) -> None:
    """Raise KdstError unless a directory holds a saved pipeline of this class, and no code of its own."""
    path = folder / "model_index.json"
    if not path.is_file():
        raise KdstError(f"{folder} holds no diffusers pipeline (no model_index.json)")
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
        found = index["_class_name"]
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise KdstError(f"{path} cannot be read: {first_line(e)}") from e
    if found != pipeline:
        raise KdstError(f"{folder} holds a {found}; a {pipeline} is needed")
    parts = {k: v for k, v in index.items() if isinstance(v, list) and len(v) == 2 and v[0]}
    foreign = {str(library) for library, _ in parts.values()}
    foreign -= {"diffusers", "transformers", "stable_diffusion"}
    if foreign:
        raise KdstError(
            f"{folder} has parts of its own code ({', '.join(sorted(foreign))}), which is not run"
        )


def instructions(
    given: str | None, source: str, targets: tuple[str, ...], method: str
) -> tuple[str, ...]:
    """Return what is asked for each target; KdstError where their numbers do not fit."""
    asked = [part.strip() for part in given.split("|")] if given else []
    if not asked:
        asked = [TEMPLATE if source else WITHOUT_SOURCE]
    if len(asked) == 1:
        asked *= len(targets)
    if len(asked) != len(targets):
        raise KdstError(
            f"{method}: {len(asked)} instructions for {len(targets)} targets; give one for each,"
            " separated by |, or one for all"
        )
    return tuple(
        text.replace("{source}", source).replace("{target}", target)
        for text, target in zip(asked, targets, strict=True)
    )
