"""Joint attention whose values carry more than values: marks of words, and what edits take.

Attention to marks of the text's tokens is the text's columns of the maps, summed as the marks say. So one
call of scaled-dot-product attention gives a row's outputs and the columns that rules read, and, of the
source's row, what linear edits take from it: no map is computed.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from kdst_edit.control.maps import SOURCE, index_of
from kdst_edit.control.reads import Reads
from kdst_edit.control.session import Call
from kdst_edit.control.taken import Taken
from kdst_edit.families.layer import Parts

WIDEST = 256
"""Most channels of a head that fused kernels of attention take."""


def attended(
    call: Call,
    parts: Parts,
    reads: Reads,
    taken: Taken | None,
    kept: tuple[Tensor, Tensor] | None,
) -> Tensor:
    """Outputs (rows, H, N, d) of attention, edited where something is taken; tells what was read.

    kept: queries (H, P, d) of the source's image and its keys (H, N, d), where edits take from it.
    """
    mixed, read = _outputs_like(parts.query), dict[int, Tensor]()
    source = call.index.get(SOURCE)
    fused = taken is not None and source is not None and _fits(parts, reads, taken)
    rest = sorted(
        {*(() if taken is None else taken.rows), *reads.rows} - ({source} if fused else set())
    )
    special = sorted({*rest, source}) if fused and source is not None else rest
    if others := [i for i in range(len(call.rows)) if i not in special]:
        at = index_of(others)
        mixed[at] = F.scaled_dot_product_attention(parts.query[at], parts.key[at], parts.value[at])
    if special:
        at, text = index_of(special), parts.text
        mixed[at, :, text] = F.scaled_dot_product_attention(
            parts.query[at][:, :, text], parts.key[at], parts.value[at]
        )
    added = None
    if taken is not None:
        if fused and source is not None:
            added = _source(parts, source, reads, taken, mixed, read)
        else:
            assert kept is not None
            added = _apart(parts, taken, kept)
    if rest:
        _rest(parts, rest, reads, taken, added, mixed, read)
    reads.tell(call.rows, {i: read[i].mean(0, dtype=torch.float32) for i in reads.rows})
    return mixed


def _outputs_like(query: Tensor) -> Tensor:
    """Room for outputs (rows, H, N, d), a token's heads side by side, as the projection reads them."""
    rows, heads, tokens, channels = query.shape
    return query.new_empty(rows, tokens, heads, channels).transpose(1, 2)


def _fits(parts: Parts, reads: Reads, taken: Taken) -> bool:
    """Whether the source's values can carry what all edits take."""
    return (1 + len(taken.rows)) * parts.query.shape[-1] + reads.width <= WIDEST


def _image(parts: Parts, at: list[int], values: Tensor) -> Tensor:
    """Outputs (n, H, P, w) of the image's queries of some rows, for values (n, H, N, w)."""
    query, key = parts.query[index_of(at)][:, :, parts.image], parts.key[index_of(at)]
    return _wide(query, key, values)


def _wide(query: Tensor, key: Tensor, values: Tensor) -> Tensor:
    """Attention for values of more channels than queries have, which are filled up with zeros."""
    channels = query.shape[-1]
    more = values.shape[-1] - channels
    if more:
        query, key = F.pad(query, (0, more)), F.pad(key, (0, more))
    return F.scaled_dot_product_attention(query, key, values, scale=channels**-0.5)


def _carrying(parts: Parts, at: list[int], reads: Reads, extra: int = 0) -> Tensor:
    """Values (n, H, N, d + extra + K) of some rows: their own, zeros, and marks of what is read."""
    own = parts.value[index_of(at)]
    channels = own.shape[-1]
    values = own.new_zeros(*own.shape[:-1], channels + extra + reads.width)
    values[..., :channels] = own
    if reads.marks is not None:
        values[:, :, parts.text, channels + extra :] = reads.marks[index_of(at)][:, None]
    return values


def _rest(
    parts: Parts,
    at: list[int],
    reads: Reads,
    taken: Taken | None,
    added: Tensor | None,
    mixed: Tensor,
    read: dict[int, Tensor],
) -> None:
    """Write the image's outputs of some rows; of those edited, their own share and what they take."""
    values, channels = _carrying(parts, at, reads), mixed.shape[-1]
    rows = () if taken is None else taken.rows
    if taken is not None:
        for number, row in enumerate(rows):
            own = 0 if taken.own is None else taken.own[number]
            values[at.index(row), :, parts.text, :channels] = own
    found = _image(parts, at, values)
    if added is not None:
        for number, row in enumerate(rows):
            found[at.index(row), :, :, :channels] += added[number]
    mixed[index_of(at), :, parts.image] = found[..., :channels]
    read |= {i: found[k, :, :, channels:] for k, i in enumerate(at)}


def _source(
    parts: Parts, row: int, reads: Reads, taken: Taken, mixed: Tensor, read: dict[int, Tensor]
) -> Tensor:
    """Write the image's outputs of the source's row; return what edits take from it (n, H, P, d)."""
    channels, edits = mixed.shape[-1], len(taken.rows)
    extra = edits * channels
    values = _carrying(parts, [row], reads, extra)
    carried = taken.source.permute(1, 2, 0, 3).flatten(2)
    values[0, :, parts.text, channels : channels + extra] = carried
    found = _image(parts, [row], values)[0]
    mixed[row, :, parts.image] = found[..., :channels]
    read[row] = found[..., channels + extra :]
    return found[..., channels : channels + extra].unflatten(-1, (edits, -1)).permute(2, 0, 1, 3)


def _apart(parts: Parts, taken: Taken, kept: tuple[Tensor, Tensor]) -> Tensor:
    """What edits take (n, H, P, d) from a source whose own outputs are computed elsewhere."""
    count = len(taken.rows)
    query, key = (part.expand(count, -1, -1, -1) for part in kept)
    values = taken.source.new_zeros(count, *key.shape[1:])
    values[:, :, parts.text] = taken.source
    return F.scaled_dot_product_attention(query, key, values)
