"""Joint attention under linear edits, where the kernel gives each query's total.

What an edit takes of the source is attention to the text alone times the text's share, which is the ratio
of two totals. So the rows that no edit changes are computed as ever, and words are read from the totals.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from kdst_edit.control.maps import index_of
from kdst_edit.control.reads import Reads
from kdst_edit.control.session import Call
from kdst_edit.control.taken import Taken
from kdst_edit.control.totals import columns, totalled
from kdst_edit.families.layer import Parts

Keep = Callable[[str, Callable[[int], Tensor]], Tensor]
"""(name, what it is in a row of this call) -> what it is in the source's, kept for later calls."""


def attended(
    call: Call, parts: Parts, reads: Reads, taken: Taken | None, keep: Keep | None
) -> Tensor:
    """Outputs (rows, H, N, d) of attention, edited where something is taken; tells what was read.

    keep: of the source, where edits take from it. Overwrites the edits' values in the parts.
    """
    if taken is None:
        mixed, logs = totalled(parts.query, parts.key, parts.value)
        if keep is not None:
            _source(parts, logs, keep)
    else:
        assert keep is not None
        mixed, logs = _edited(call, parts, taken, keep)
    if reads.rows:
        at = index_of(list(reads.rows))
        query, key = parts.query[at][:, :, parts.image], parts.key[at][:, :, parts.text]
        reads.tell(call.rows, columns(query, key, logs[at][:, :, parts.image], reads))
    return mixed


def _edited(call: Call, parts: Parts, taken: Taken, keep: Keep) -> tuple[Tensor, Tensor]:
    """Outputs of all rows, and logarithms of their totals, those of the edits' text left out."""
    rows, heads, tokens, channels = parts.query.shape
    mixed = parts.query.new_empty(rows, tokens, heads, channels).transpose(1, 2)
    logs = torch.empty(0)
    others = [i for i in range(rows) if i not in taken.rows]
    if others:
        at = index_of(others)
        mixed[at], found = totalled(parts.query[at], parts.key[at], parts.value[at])
        logs = found.new_empty(rows, heads, tokens)
        logs[at] = found
    added = _added(taken, *_source(parts, logs, keep))
    at, text, image = index_of(list(taken.rows)), parts.text, parts.image
    query, key = parts.query[at], parts.key[at]
    mixed[at, :, text] = F.scaled_dot_product_attention(query[:, :, text], key, parts.value[at])
    parts.value[at, :, text] = 0 if taken.own is None else taken.own
    shown, found = totalled(query[:, :, image], key, parts.value[at])
    mixed[at, :, image] = shown.add_(added)
    if not others:
        logs = found.new_empty(rows, heads, tokens)
    logs[at, :, image] = found
    return mixed, logs


def _source(parts: Parts, logs: Tensor, keep: Keep) -> tuple[Tensor, Tensor, Tensor]:
    """Queries (H, P, d) of the source's image, keys (H, T, d) of its text, logarithms (H, P) of totals."""
    return (
        keep("query", parts.query[:, :, parts.image].__getitem__),
        keep("key", parts.key[:, :, parts.text].__getitem__),
        keep("logs", lambda row: logs[row, :, parts.image]),
    )


def _added(taken: Taken, query: Tensor, key: Tensor, logs: Tensor) -> Tensor:
    """What edits take (n, H, P, d): attention to the source's text, times the share the text has."""
    count = len(taken.rows)
    query, key = (part.expand(count, -1, -1, -1) for part in (query, key))
    found, ours = totalled(query, key, taken.source)
    return found.mul_((ours - logs).exp_()[..., None].to(found.dtype))
