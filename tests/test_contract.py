"""What plugins rely on is recorded; nothing of it is removed or reordered."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.contract_record import breaks, record

RECORDED = Path(__file__).parent / "contract.json"
COMMAND = f"python -m tests.contract_record > tests/{RECORDED.name}"


def recorded() -> dict[str, dict[str, list[str]]]:
    found: dict[str, dict[str, list[str]]] = json.loads(RECORDED.read_text(encoding="utf-8"))
    return found


def test_nothing_that_plugins_rely_on_was_removed_or_reordered() -> None:
    broken = breaks(recorded(), record())
    assert not broken, f"plugins would break: {'; '.join(broken)}"


def test_what_was_appended_is_recorded() -> None:
    assert record() == recorded(), f"record the change: {COMMAND}"


def drop_argument(new: Any) -> None:
    new["hooks"]["adapt"].remove("options")


def swap_arguments(new: Any) -> None:
    new["hooks"]["edit"].reverse()


def drop_hook(new: Any) -> None:
    del new["hooks"]["invert"]


def drop_field(new: Any) -> None:
    new["classes"]["AdaptRequest"].remove("generator")


def swap_fields(new: Any) -> None:
    fields = new["classes"]["Diagnostics"]
    fields[0], fields[1] = fields[1], fields[0]


def need_a_field(new: Any) -> None:
    new["classes"]["Render"].append("normals")


def drop_default(new: Any) -> None:
    fields = new["classes"]["AdaptRequest"]
    fields[fields.index("source = …")] = "source"


def drop_member(new: Any) -> None:
    new["protocols"]["OnlinePredictor"].remove("reset()")


def change_member(new: Any) -> None:
    members = new["protocols"]["RunServices"]
    members[members.index("log(name, value, step)")] = "log(name, step, value)"


@pytest.mark.parametrize(
    "change",
    [
        drop_argument,
        swap_arguments,
        drop_hook,
        drop_field,
        swap_fields,
        need_a_field,
        drop_default,
        drop_member,
        change_member,
    ],
)
def test_a_change_that_breaks_plugins_is_told_in_a_sentence(change: Callable[[Any], None]) -> None:
    new = copy.deepcopy(recorded())
    change(new)
    assert len(breaks(recorded(), new)) == 1


def test_appending_breaks_nothing() -> None:
    new = copy.deepcopy(recorded())
    new["hooks"]["adapt"].append("more")
    new["hooks"]["segment"] = ["request"]
    new["classes"]["AdaptRequest"].append("labels = …")
    new["protocols"]["RunServices"].append("note(text)")
    assert not breaks(recorded(), new)
