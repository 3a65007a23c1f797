"""Which logit the classes of a folder have: by a file, by the model's names, by ImageNet's ids, by number."""

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from attrs import evolve
from torch import nn

from kdst_adapt.streams.shift import Shift
from kdst_core.errors import KdstError, first_line

WORDNET = re.compile(r"(n\d{8})(?![0-9A-Za-z])", re.IGNORECASE)
IMAGENET = 1000
BACKGROUND = IMAGENET + 1
"""Logits of networks that count a background class before ImageNet's, as those from TensorFlow do."""
ALPHABETICAL, NUMBERS = "alphabetical order", "their numbers"
WORDNET_IDS, FILE = "ImageNet's WordNet ids", "the file of --classes"
OWN_NAMES = ("id2label", "class_names", "label_names", "categories", "classes", "idx_to_class")
"""Attributes in which networks and their configurations carry the names of their logits."""
OWN_LOGITS = ("class_to_idx", "label2id")
"""Attributes that hold the logit of each name."""
UNNAMED = re.compile(r"(label|class)?[\s_\-]*\d+")
"""Names that only count, as transformers' LABEL_0."""
Logits = Mapping[str, int]
Names = Sequence[tuple[str, int]]


@cache
def imagenet() -> dict[str, int]:
    """Return the logit of each of ImageNet's 1,000 WordNet ids, which stand in their sorted order."""
    ids = (
        files("kdst_adapt.streams").joinpath("imagenet_ids.txt").read_text(encoding="ascii").split()
    )
    return {name: number for number, name in enumerate(ids)}


def assign(
    shifts: Sequence[Shift], count: int, model: nn.Module, file: Path | None
) -> tuple[list[Shift], str, str]:
    """Return the shifts with labels that are logits, a sentence that says how, and one of doubt or ''.

    count: number of the model's logits. file: a mapping of names to logits. Shifts without names of
    classes keep their labels. KdstError where a name has no logit.
    """
    names = sorted({n for s in shifts for n in s.names})
    if not names:
        if file is not None:
            raise KdstError("--classes is for folders of images; these data hold their labels")
        return list(shifts), "", ""
    given = read(file) if file is not None else {}
    own = _names_of(model)
    logits, how = _logits(names, given, count, own)
    moved = [_relabel(s, logits) for s in shifts]
    told = f"{len(names)} class folders have their logits by {how}."
    return moved, told, _doubt(how, logits, count, own)


def _doubt(how: str, logits: Logits, count: int, own: Names) -> str:
    """Return why the logits of class folders may be wrong, '' where there is no reason."""
    advice = "Name the folders by the model's labels, or give --classes FILE."
    reason = _by_order(logits, count, own) if how == ALPHABETICAL else _by_value(how, logits)
    return f"{reason} {advice}" if reason else ""


def _by_order(logits: Logits, count: int, own: Names) -> str:
    """Return why the alphabetical order may be another one than that of the logits, '' without reason."""
    numbered = f"The {len(logits)} class folders were numbered 0 to {len(logits) - 1} by name,"
    if len(logits) < count:
        return (
            f"{numbered} the model has {count} classes; unless these are its first classes, the labels"
            " are wrong."
        )
    if own:
        labels = ", ".join(n for n, _ in own[:3])
        return f"{numbered} as most are no labels of the model ({labels})."
    if count in (IMAGENET, BACKGROUND):
        return f"{numbered} and not by WordNet ids; ImageNet's classes stand in another order."
    by_number = sorted(logits, key=_counted)
    if by_number != [*logits]:
        pairs = zip(logits, by_number, strict=True)
        here, there = next((a, b) for a, b in pairs if a != b)
        return f"{numbered} letter by letter: {here} before {there}."
    return ""


def _counted(name: str) -> list[tuple[int, str]]:
    """Return a key that sorts names with numbers in them by these, `class_2` before `class_10`."""
    parts = re.split(r"(\d+)", name)
    return [(int(p), "") if p.isdecimal() else (0, p) for p in parts]


def _by_value(how: str, logits: Logits) -> str:
    """Return what is odd in the logits that names were given, '' where nothing is."""
    from_one = [*range(1, len(logits) + 1)]
    if how in (NUMBERS, FILE) and len(logits) > 1 and sorted(logits.values()) == from_one:
        return (
            f"The class folders are numbered from 1 to {len(logits)} by {how}, the model's logits from"
            " 0; unless logit 0 is a class without images, the labels are wrong."
        )
    known: dict[int, str] = {}
    for name, number in logits.items():
        other = known.setdefault(number, name)
        if other != name and how != FILE:
            return f"The class folders {other} and {name} have one logit, {number}, by {how}."
    return ""


def _relabel(shift: Shift, logits: Logits) -> Shift:
    """Return a shift whose labels are logits."""
    table = np.array([logits[n] for n in shift.names], np.int64)
    return evolve(shift, labels=table[shift.labels], names=())


def _logits(
    names: Sequence[str], given: Logits, count: int, own: Names
) -> tuple[dict[str, int], str]:
    """Return the logit of each name, and by what rule those that the file leaves open have theirs."""
    found = {n: given[_composed(n)] for n in names if _composed(n) in given}
    rest = [n for n in names if n not in found]
    _check(found, count)
    if not rest:
        return found, FILE
    rules = {
        "the model's own names": _by_names(rest, own),
        WORDNET_IDS: _by_wordnet(rest, count),
        NUMBERS: {n: int(n) for n in rest if n.isdecimal()},
    }
    for how, mine in rules.items():
        if len(mine) == len(rest):
            _check(mine, count)
            return found | mine, how
    best = max(rules, key=lambda r: len(rules[r]))
    if given or 2 * len(rules[best]) >= len(rest):
        lost = [n for n in rest if n not in rules[best]]
        raise KdstError(
            f"{len(lost)} class folders have no logit by name ({', '.join(lost[:5])}).\n"
            "Rename them, or name them in --classes FILE: a line each, NAME and number"
        )
    return {n: k for k, n in enumerate(names)}, ALPHABETICAL


def _check(logits: Logits, count: int) -> None:
    """Raise KdstError for a logit that the model does not have."""
    for name, number in logits.items():
        if not 0 <= number < count:
            raise KdstError(
                f"class folder {name!r} has label {number}, the model has {count} classes (labels 0 to"
                f" {count - 1}).\nGive --classes FILE: a line a folder, NAME and number"
            )


def _by_wordnet(names: Sequence[str], count: int) -> dict[str, int]:
    """Return the logits of names that begin with a WordNet id of ImageNet, {} for another network."""
    if count not in (IMAGENET, BACKGROUND):
        return {}
    ids = {n: m[1].lower() for n in names if (m := WORDNET.match(n))}
    return {n: imagenet()[i] + count - IMAGENET for n, i in ids.items() if i in imagenet()}


def _by_names(names: Sequence[str], own: Names) -> dict[str, int]:
    """Return the logits of names that are labels of the model, whole or up to a comma, and of one only."""
    known: dict[str, int | None] = {}
    for whole in (False, True):
        numbers: dict[str, set[int]] = {}
        for label, number in own:
            form = _plain(label if whole else label.split(",")[0])
            numbers.setdefault(form, set()).add(number)
        known |= {form: min(k) if len(k) == 1 else None for form, k in numbers.items()}
    found = {n: known.get(_plain(n)) for n in names}
    return {n: k for n, k in found.items() if k is not None}


def _plain(name: str) -> str:
    """Return a name without case and with one kind of gap."""
    return " ".join(re.split(r"[\s_\-]+", _composed(name).strip().casefold()))


def _composed(name: str) -> str:
    """Return a name with its accents as part of their letters, in which systems differ."""
    return unicodedata.normalize("NFC", name)


def _names_of(model: nn.Module) -> list[tuple[str, int]]:
    """Return the labels that a model carries and their logits; none where they only count."""
    for module in model.modules():
        for holder in (getattr(module, "config", None), module):
            found = _carried(holder)
            if found and not all(UNNAMED.fullmatch(n.lower()) for n, _ in found):
                return found
    return []


def _carried(holder: Any) -> list[tuple[str, int]]:
    """Return the labels in the attributes of an object and their logits, none where it has none."""
    for attribute in (*OWN_NAMES, *OWN_LOGITS):
        own: Any = getattr(holder, attribute, None)
        if isinstance(own, list | tuple):
            own = dict(enumerate(own))
        if not isinstance(own, Mapping) or not own:
            continue
        pairs = [(n, k) if attribute in OWN_LOGITS else (k, n) for n, k in own.items()]
        if all(isinstance(n, str) and str(k).isdecimal() for n, k in pairs):
            return [(n, int(k)) for n, k in pairs]
    return []


def read(path: Path) -> dict[str, int]:
    """Return the logit of each name in a file, of names with one logit only.

    JSON, {"NAME": number}, {"number": "NAME"} or {"number": ["ID", "NAME"]}, or ["NAME", …]; or text,
    a line `NAME number` or `number NAME` each, below a line of headings or not, or the names alone in
    the order of the logits. KdstError for others.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        content = json.loads(text) if path.suffix.lower() == ".json" else None
        pairs = [*(_from_lines(text) if content is None else _from_json(content))]
    except (OSError, ValueError, OverflowError, RecursionError) as e:
        raise KdstError(f"--classes {path} cannot be read: {first_line(e)[:160]}") from e
    if not pairs:
        raise KdstError(f"--classes {path} names no class; a line each is NAME and number")
    numbers: dict[str, set[int]] = {}
    for name, number in pairs:
        numbers.setdefault(_composed(name), set()).add(number)
    found = {name: min(logits) for name, logits in numbers.items() if len(logits) == 1}
    if not found:
        raise KdstError(f"--classes {path} gives each of its names several numbers")
    return found


def _from_json(content: Any) -> Iterable[tuple[str, int]]:
    """Yield names and logits of a JSON value, nothing where it is of another form."""
    pairs: Iterable[tuple[Any, Any]] = enumerate(content) if isinstance(content, list) else ()
    pairs = content.items() if isinstance(content, dict) else pairs
    for key, value in pairs:
        if isinstance(value, int | float) and value == int(value):
            yield str(key), int(value)
        elif str(key).isdecimal():
            for name in value if isinstance(value, list) else [value]:
                yield str(name), int(key)
        elif isinstance(value, str) and value.isdecimal():
            yield str(key), int(value)


def _from_lines(text: str) -> Iterable[tuple[str, int]]:
    """Return names and logits of the lines of a text."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and line[0] != "#"]
    for form in (r"(?P<name>.+?)[\s,;:=]+(?P<number>\d+)", r"(?P<number>\d+)[\s,;:=]+(?P<name>.+)"):
        for rows in (lines, lines[1:]):  # the first may be headings
            pairs = [m for line in rows if (m := re.fullmatch(form, line))]
            if pairs and len(pairs) == len(rows):
                return [(m["name"].strip("\"'"), int(m["number"])) for m in pairs]
    ids = [WORDNET.match(line) for line in lines]
    found = [(id_[1], number) for number, id_ in enumerate(ids) if id_]
    return [*found, *((line, number) for number, line in enumerate(lines))]
