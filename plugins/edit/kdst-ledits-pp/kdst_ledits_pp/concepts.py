"""The edits of a run: texts that are added or removed, each with its options."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from attrs import frozen

from kdst_core.contracts import EditRequest
from kdst_core.errors import KdstError, did_you_mean
from kdst_edit.audit import words
from kdst_edit.load.prompts import check_prompts

if TYPE_CHECKING:
    from kdst_ledits_pp import Options

NUMBERS = ("scale", "threshold", "warmup", "cooldown")


@frozen
class Concept:
    """One edit. sign: 1 to add, -1 to remove. warmup, cooldown: shares of the steps."""

    text: str
    sign: float
    scale: float
    threshold: float
    warmup: float
    cooldown: float

    def acts(self, number: int, count: int) -> bool:
        """Return whether the edit acts in step `number` of `count`."""
        return round(self.warmup * count) <= number < round(self.cooldown * count)


def concepts_of(request: EditRequest, options: "Options") -> list[list[Concept]]:
    """Return the edits of each target; KdstError for edits that cannot be read."""
    if options.edit:
        if len(request.targets) > 1:
            raise KdstError(
                "--edit makes one image; give one --target, which says what it should show"
            )
        found = [parsed(text, options) for text in joined(options.edit)]
        check_prompts(request.pipeline, [concept.text for concept in found])
        return [found]
    return [
        [
            _concept(text, sign, options)
            for text, sign in told(request.source_prompt, target, options)
        ]
        for target in request.targets
    ]


def told(source: str, target: str, options: "Options") -> list[tuple[str, float]]:
    """Return what two prompts say of an edit: texts with their signs; none where both are one."""
    if options.concept == "prompt":
        pair = [] if source == target else [(target, 1.0), (source, -1.0)]
    else:
        old, new = source.split(), target.split()
        pair = [(" ".join(w for w in new if w not in old), 1.0)]
        pair.append((" ".join(w for w in old if w not in new), -1.0))
    return [(text, sign) for text, sign in pair if text]


def joined(edits: Sequence[str]) -> list[str]:
    """Return the edits of a list that was split at every comma, those between options included."""
    found: list[str] = []
    for part in edits:
        if found and "@" in found[-1] and "=" in part and "@" not in part:
            found[-1] += f",{part}"
        else:
            found.append(part)
    return found


def parsed(text: str, options: "Options") -> Concept:
    """Return an edit as the command line says it, such as `-a beard@scale=7,warmup=.1`."""
    said, at, own = text.rpartition("@")
    said = said if at else text
    sign = -1.0 if said.startswith("-") else 1.0
    said = " ".join(said.removeprefix("-").removeprefix("+").split())
    if not said:
        raise KdstError(f"--edit {text!r} has no words; give TEXT to add or -TEXT to remove")
    if said[0] in "+-":
        raise KdstError(f"--edit {text!r} has two signs; give TEXT to add or -TEXT to remove")
    if said.partition("=")[0].strip() in NUMBERS:
        raise KdstError(
            f"--edit {text!r} is an option of an edit; write it behind one: TEXT@{said}"
        )
    numbers = [_number(text, part) for part in own.split(",") if at]
    if len(dict(numbers)) < len(numbers):
        raise KdstError(f"--edit {text!r} gives an option twice; give each once")
    return _concept(said, sign, options, dict(numbers))


def _number(edit: str, part: str) -> tuple[str, float]:
    """Return name and value of one option of an edit; KdstError unless it fits."""
    name, _, value = part.partition("=")
    name = name.strip()
    if name not in NUMBERS:
        hint = did_you_mean(name, NUMBERS)
        raise KdstError(f"--edit {edit!r}: {name!r} is not one of {', '.join(NUMBERS)}.{hint}")
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not 0 <= number <= (float("inf") if name == "scale" else 1) or number == float("inf"):
        allowed = "at least 0" if name == "scale" else "in [0, 1]"
        raise KdstError(f"--edit {edit!r}: {name} is {value!r}; it must be a number {allowed}")
    return name, number


def _concept(
    text: str, sign: float, options: "Options", own: dict[str, float] | None = None
) -> Concept:
    """Return an edit with its own options, and those of the run for the others."""
    usual = {name: getattr(options, name) for name in NUMBERS}
    found = Concept(text, sign, **{**usual, **(own or {})})
    if found.cooldown <= found.warmup:
        raise KdstError(
            f"the edit {text!r} acts in no step: warmup {found.warmup:g} is not before cooldown"
            f" {found.cooldown:g}"
        )
    return found


def without_effect(
    request: EditRequest, options: "Options", concepts: Sequence[Sequence[Concept]]
) -> list[str]:
    """Return what cannot have an effect, as sentences."""
    found = []
    for target, each in zip(request.targets, concepts, strict=True):
        if not each:
            found.append(
                f"The target {target!r} says what the source's prompt says, so it cannot have an effect;"
                " give another --target, or --edit."
            )
        found += [
            f"The edit {concept.text!r} has scale 0, so it cannot have an effect."
            for concept in each
            if concept.scale == 0
        ]
        found += [
            f"The edit {concept.text!r} acts in none of the {request.num_steps} steps, so it cannot have"
            " an effect; widen --warmup and --cooldown, or raise --steps."
            for concept in each
            if not any(concept.acts(n, request.num_steps) for n in range(request.num_steps))
        ]
    if options.edit:
        texts = [concept.text for each in concepts for concept in each]
        found += words(request.pipeline.tokenizer, texts, [])
    if options.edit and request.targets[0] == request.source_prompt:
        found.append(
            "--edit says what to do, but --target is the source's prompt: measures look for what the"
            " target says. Give --target."
        )
    return found
