"""What linear edits take: the values of the text that the source's maps and an edit's own are to weigh."""

from collections.abc import Sequence

import torch
from attrs import frozen
from torch import Tensor

from kdst_edit.control.maps import EditsMaps, index_of
from kdst_edit.control.session import Call
from kdst_edit.families.layer import Parts


@frozen
class Taken:
    """What linear edits make of the text's values (n, H, T, d), for the source's maps and for own ones.

    own: None where no edit keeps anything of its own.
    """

    rows: tuple[int, ...]
    source: Tensor
    own: Tensor | None


def taken_by(call: Call, parts: Parts, rules: Sequence[EditsMaps]) -> Taken | None:
    """The values that the source's and an edit's own columns are to be multiplied by; None without edits."""
    rows: list[int] = []
    found: list[tuple[Tensor, Tensor | None]] = []
    for rule in rules:
        mine = [i for i, r in enumerate(call.rows) if r.conditional and rule.changes(r.branch)]
        if not mine:
            continue
        words = parts.value[index_of(mine)][:, :, parts.text]
        weights, kept = rule.linear(call.step, [call.rows[i].branch for i in mine], words)
        left = None if kept is None else words * kept[:, None, :, None].to(words)
        found.append((weights.of_values(words), left))
        rows += mine
        rule.fired += 1
    if not rows:
        return None
    if len(found) == 1:
        return Taken(tuple(rows), *found[0])
    source = torch.cat([taken for taken, _ in found])
    own = [torch.zeros_like(taken) if left is None else left for taken, left in found]
    return Taken(tuple(rows), source, torch.cat(own))
