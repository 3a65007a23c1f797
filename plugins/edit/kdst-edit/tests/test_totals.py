"""What is read from the totals of attention, and what makes linear edits cheap, against plain renderings."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from kdst_edit.control.rules import EditCrossMap, StoreMaps
from kdst_edit.control.session import Control, Row
from kdst_edit.control.totals import gives_totals, totalled
from kdst_edit.control.weights import Weights
from kdst_edit.families.flux import turned
from kdst_edit.families.layer import Layer
from kdst_edit.models.transformers import build

TOKENS, PIXELS, KEPT = 9, 16, torch.tensor([0, 0.5, 1, 0, 0, 2, 0, 1, 0]).double()
ROWS = [Row(0, False), Row(0, True), Row(1, False), Row(1, True)]
GROUPS = {0: [[1, 4], [0]], 1: [[2], [3, 5], [7]]}


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).double()


@pytest.fixture(scope="module")
def network() -> Any:
    return build("pixart").transformer.double()


@pytest.fixture(scope="module")
def given() -> dict[str, Tensor]:
    """Image and text of two guided branches; the last tokens are padding."""
    mask = torch.zeros(4, 1, TOKENS).double()
    mask[:, :, 7:], mask[1, :, 5:] = -10000.0, -10000.0
    return {
        "hidden_states": drawn(1, 4, PIXELS, 32),
        "encoder_hidden_states": drawn(2, 4, TOKENS, 32),
        "attention_mask": mask,
    }


def written(attn: Any, given: dict[str, Tensor], mapper: Tensor | None) -> tuple[Tensor, Tensor]:
    """Maps (4, H, P, T) of attention and its outputs, the edit's with the source's maps, in plain steps."""
    query, key, value = (
        linear(given[name]).unflatten(-1, (attn.heads, -1)).transpose(1, 2)
        for linear, name in (
            (attn.to_q, "hidden_states"),
            (attn.to_k, "encoder_hidden_states"),
            (attn.to_v, "encoder_hidden_states"),
        )
    )
    scores = query @ key.mT / query.shape[-1] ** 0.5 + given["attention_mask"][:, None]
    maps = scores.softmax(-1)
    edited = maps.clone()
    if mapper is not None:
        edited[3] = maps[1] @ mapper + maps[3] * KEPT
    return maps, attn.to_out[0]((edited @ value).transpose(1, 2).flatten(2))


def rules_of(layer: Layer, mapper: Tensor | None, store: StoreMaps) -> list[Any]:
    def weights(step: int, at: Sequence[int]) -> tuple[Tensor, Tensor]:
        assert mapper is not None
        return mapper[None], KEPT[None]

    edit = EditCrossMap(layers=layer.__eq__, edit=lambda maps, step, at: maps, weights=weights)
    return [store] if mapper is None else [edit, store]


@pytest.mark.parametrize("edited", [False, True])
@pytest.mark.parametrize("from_totals", [True, False])
@pytest.mark.parametrize("at_once", [4, 2, 1])
def test_words_of_apart_attention_are_those_of_its_maps(
    network: Any,
    given: dict[str, Tensor],
    monkeypatch: pytest.MonkeyPatch,
    edited: bool,
    from_totals: bool,
    at_once: int,
) -> None:
    """Outputs to 1e-10, words to float32, whatever the rows of a call, with totals and with maps."""
    if not from_totals:
        monkeypatch.setattr("kdst_edit.control.cross.gives_totals", lambda *parts: False)
    mapper = drawn(3, TOKENS, TOKENS).abs() if edited else None
    store, found = (
        StoreMaps(layers=lambda x: x.kind == "cross" and x.number == 1, groups=GROUPS),
        [],
    )
    with torch.no_grad(), Control(network, [], (8, 8)) as control:
        layer = next(x for x in control.layers if x.kind == "cross" and x.number == 1)
    with torch.no_grad(), Control(network, rules_of(layer, mapper, store), (8, 8)) as control:
        for start in range(0, 4, at_once):
            part = slice(start, start + at_once)
            control.expect(0, ROWS[part], more=start + at_once < 4)
            found.append(layer.module(**{name: x[part] for name, x in given.items()}))
        maps, outputs = written(layer.module, given, mapper)
    torch.testing.assert_close(torch.cat(found), outputs, rtol=0, atol=1e-10)
    for branch, sets in GROUPS.items():
        for k, at in enumerate(sets):
            shown = store.mean([branch])[0, ..., k].flatten().double()
            mean = maps[2 * branch + 1].mean(0)[:, at].sum(-1)
            torch.testing.assert_close(shown, mean, rtol=0, atol=1e-6)


@pytest.mark.parametrize("dense", [False, True])
def test_weights_taken_apart_multiply_as_the_matrix_does(dense: bool) -> None:
    """Shifted and scaled tokens, rows that are means of several, rows of zeros, and any matrix at all."""
    weights = drawn(4, 2, 7, 7) if dense else torch.eye(7).roll(1, 1).repeat(2, 1, 1).double()
    if not dense:
        weights[0, 2], weights[1, 5, :3], weights[:, 6], weights[0, 1] = (
            0,
            1 / 3,
            0,
            -2 * weights[0, 1],
        )
    values = drawn(5, 2, 3, 7, 4)
    found = Weights.of(weights, values)
    torch.testing.assert_close(
        found.of_values(values), weights[:, None] @ values, rtol=0, atol=1e-12
    )
    assert found.fits(values)
    assert not found.fits(values.float())
    assert dense or found.block.shape[1] == 1


def test_totals_are_those_of_the_scores() -> None:
    query, key, value = drawn(6, 2, 3, 5, 4), drawn(7, 2, 3, 9, 4), drawn(8, 2, 3, 9, 4)
    mask = drawn(9, 2, 3, 1, 9)
    scores = query @ key.mT / 2 + mask
    assert gives_totals(query, key, value)
    outputs, logs = totalled(query, key, value, mask)
    torch.testing.assert_close(logs, scores.logsumexp(-1), rtol=0, atol=1e-12)
    torch.testing.assert_close(outputs, scores.softmax(-1) @ value, rtol=0, atol=1e-12)


def test_totals_are_not_asked_for_where_the_kernel_has_none() -> None:
    query, wide = drawn(6, 1, 2, 5, 4), drawn(7, 1, 2, 5, 8)
    assert not gives_totals(query, query, wide)
    assert not gives_totals(query, query.mT.contiguous().mT, query)
    assert not gives_totals(query, query, query.clone().requires_grad_())
    assert not gives_totals(query.to("meta"), query.to("meta"), query.to("meta"))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_positions_turn_channels_as_diffusers_does(dtype: torch.dtype) -> None:
    from diffusers.models.embeddings import apply_rotary_emb

    angles = drawn(10, 23, 6).float()
    rotary = tuple(part.repeat_interleave(2, 1) for part in (angles.cos(), angles.sin()))
    x = drawn(11, 2, 23, 3, 12).to(dtype)
    theirs: Any = apply_rotary_emb
    expected = theirs(x, rotary, sequence_dim=1)
    found = turned(x, rotary)  # type: ignore[arg-type]
    assert found.dtype == dtype
    close = 1e-2 if dtype == torch.bfloat16 else 1e-6
    torch.testing.assert_close(found, expected, rtol=close, atol=close)
