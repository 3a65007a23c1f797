"""Samples drawn in groups against samples drawn one by one."""

import pytest
import torch

from kdst_core.errors import KdstError
from kdst_toolformer.reading import forward
from kdst_toolformer.reading.complete import GROUP, Completion, Start, evenly, packed
from kdst_toolformer.reading.draws import generator, pick
from kdst_toolformer.reading.forward import CausalModel
from kdst_toolformer.reading.memory import together
from kdst_tools.models import layouts

FIRST, MOST = 7, 12


def model_of(layout):
    return CausalModel(layouts.model(layout, 60).double())


def ended(written):
    """End some samples at once and others late, so that groups and rows fall empty on the way."""
    return written[-1] % 3 == 0 or written[-1] > 50


def one_by_one(model, texts, starts):
    found = []
    for start in starts:
        ids, written = [*texts[start.row][: start.length], FIRST], []
        for u in start.u:
            with torch.no_grad():
                logits = model.model(torch.tensor([ids])).logits[:, -1]
            written.append(int(pick(logits, u[None], 1.0)))
            ids.append(written[-1])
            if ended(written):
                break
        found.append(written)
    return found


@pytest.mark.parametrize("layout", ["gpt2", "llama", "gptj"])
@pytest.mark.parametrize("budget", [64, 8192])
def test_samples_of_a_group_are_those_drawn_one_by_one(layout, budget):
    model, source = model_of(layout), generator(3, layout)
    texts = [torch.randint(0, 60, (n,), generator=source).tolist() for n in (9, 4, 14)]
    lengths = [(0, 9), (0, 1), (0, 5), (2, 14), *[(1, n % 4 + 1) for n in range(GROUP + 3)]]
    starts = [Start(row, n, torch.rand(MOST, generator=source)) for row, n in lengths]
    ids, real = model.pad(texts)
    _, memory = model.read(model.empty(len(texts)), ids, real)
    found = Completion(model, FIRST, ended, 1.0, budget)(memory, starts)
    assert len({len(written) for written in found}) > 3
    assert found == one_by_one(model, texts, starts)


@pytest.mark.parametrize("layout", ["gpt2", "llama"])
def test_samples_of_heavy_models_are_those_drawn_one_by_one(layout, monkeypatch):
    monkeypatch.setattr(forward, "HEAVY", 0)
    test_samples_of_a_group_are_those_drawn_one_by_one(layout, 8192)


def test_keys_of_heavy_models_are_not_repeated_for_every_query_head(monkeypatch):
    model, calls = model_of("llama"), []
    ids, positions = torch.arange(6)[None], torch.arange(6)[None]
    sees, wanted = torch.ones(1, 6, 6, dtype=torch.bool).tril(), ([0] * 6, list(range(6)))
    plain = model.read_graph(ids, positions, sees, wanted, model.empty(1).cache)
    attend = torch.nn.functional.scaled_dot_product_attention

    def watched(query, key, *rest, **named):
        calls.append((query.shape[1], key.shape[1]))
        return attend(query, key, *rest, **named)

    monkeypatch.setattr(forward, "HEAVY", 0)
    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", watched)
    found = model.read_graph(ids, positions, sees, wanted, model.empty(1).cache)
    assert torch.allclose(found, plain, atol=1e-12)
    assert calls
    assert all(heads == 2 * keys for heads, keys in calls)
    assert model.model.config._attn_implementation == "sdpa"


def test_memories_are_put_together_row_by_row():
    model, source = model_of("llama"), generator(4, "rows")
    texts = [torch.randint(0, 60, (n,), generator=source).tolist() for n in (5, 2, 9)]
    parts = []
    for batch in (texts[:2], texts[2:]):
        ids, real = model.pad(batch)
        parts.append(model.read(model.empty(len(batch)), ids, real)[1])
    ids, real = model.pad([[7], [8], [9]])
    logits, memory = model.read(together(parts), ids, real)
    assert memory.lengths.tolist() == [6, 3, 10]
    for row, text in enumerate(texts):
        with torch.no_grad():
            alone = model.model(torch.tensor([[*text, 7 + row]])).logits[0, -1]
        assert torch.allclose(logits[row, 0], alone, atol=1e-9)


def test_samples_that_write_the_same_are_read_once_until_they_part(monkeypatch):
    model, source = model_of("llama"), generator(5, "crowd")
    text = torch.randint(0, 60, (9,), generator=source).tolist()
    u = torch.rand(MOST, generator=source)
    other = u.clone()
    other[3:] = 1 - other[3:]
    starts = [Start(0, 9, u), Start(0, 9, other), Start(0, 9, u), Start(0, 4, u)]
    ids, real = model.pad([text])
    _, memory = model.read(model.empty(1), ids, real)
    read, counts = model.read_graph, []

    def counted(*given):
        counts.append(len(given[3][0]))
        return read(*given)

    monkeypatch.setattr(model, "read_graph", counted)
    found = Completion(model, FIRST, lambda _: False, 1.0, 8192)(memory, starts)
    assert found[0] == found[2] != found[1]
    assert found == [w for s in starts for w in one_by_one_without_end(model, [text], [s])]
    apart = next(i for i in range(MOST) if found[0][i] != found[1][i])
    assert counts == [2] * (apart + 1) + [3] * (MOST - apart - 1)


def one_by_one_without_end(model, texts, starts):
    found = []
    for start in starts:
        ids = [*texts[start.row][: start.length], FIRST]
        for u in start.u:
            with torch.no_grad():
                logits = model.model(torch.tensor([ids])).logits[:, -1]
            ids.append(int(pick(logits, u[None], 1.0)))
        found.append(ids[start.length + 1 :])
    return found


def test_samples_of_a_place_stay_together_in_groups():
    places = [[0, 1, 2], [3, 4], [5, 6], [7, 8, 9, 10, 11, 12, 13]]
    assert list(packed(places, 5)) == [[0, 1, 2, 3, 4], [5, 6], [7, 8, 9], [10, 11, 12, 13]]


def test_groups_are_of_about_equal_size():
    assert list(evenly(range(7), 3)) == [[0, 1], [2, 3], [4, 5, 6]]


def test_an_attention_without_masks_is_named():
    model = model_of("gpt2")
    model.model.config._attn_implementation = "flash_attention_2"
    sees, ids = torch.ones(1, 1, 1, dtype=torch.bool), torch.zeros(1, 1, dtype=torch.long)
    with pytest.raises(KdstError, match="attn_implementation='sdpa' or 'eager'"):
        model.read_graph(ids, ids, sees, ([0], [0]))


def test_reading_leaves_the_model_as_it_was():
    model = model_of("gpt2")
    before = [type(module) for module in model.model.modules()]
    ids = torch.zeros(1, 3, dtype=torch.long)
    model.read_graph(ids, torch.arange(3)[None], None, ([0], [2]))
    assert [type(module) for module in model.model.modules()] == before
    assert not any(module._forward_pre_hooks for module in model.model.modules())
