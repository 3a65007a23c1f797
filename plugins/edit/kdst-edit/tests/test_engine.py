"""The engine: rules act where they say, equal what they stand for, and leave nothing behind."""

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from kdst_edit.checks import DEFAULT_SOURCE, DEFAULT_TARGET, small_pipeline
from kdst_edit.control.layers import Layers, find_layers, map_factor
from kdst_edit.control.rules import (
    CopyFeature,
    CopyKV,
    CopyQK,
    EditCrossMap,
    MapWeights,
    SourceReset,
    StoreMaps,
)
from kdst_edit.control.session import Control, Row, Rule, RuleError
from kdst_edit.models.layouts import build
from kdst_edit.sampling.sample import Branch, branch_rows, sample

BRANCHES = [
    Branch(DEFAULT_SOURCE, "", 3.0),
    Branch(DEFAULT_TARGET, "", 3.0),
    Branch("a green ring on a black background", "", 3.0),
]
STEPS = 3


def noise(seed: int = 0, *shape: int) -> Tensor:
    return torch.randn(shape or (1, 3, 32, 32), generator=torch.Generator().manual_seed(seed))


def draw(rules: list[Rule], **given: object) -> Tensor:
    return sample(small_pipeline(), noise(), BRANCHES, rules, num_steps=STEPS, **given)  # type: ignore[arg-type]


def from_source(maps: Tensor, step: int, branches: object) -> Tensor:
    return maps[:1].expand_as(maps)


RULES: dict[str, Callable[[], list[Rule]]] = {
    "qk": lambda: [CopyQK(layers=Layers("self"), steps=range(2))],
    "kv": lambda: [CopyKV(layers=Layers("self", ("up",)), rows="all")],
    "feature": lambda: [CopyFeature(layers=Layers("feature", ("up",), (4,), (1,)), rows="all")],
    "maps": lambda: [EditCrossMap(layers=Layers("cross"), steps=range(2), edit=from_source)],
}


def test_control_without_rules_is_bit_identical_to_plain_sampling() -> None:
    pipeline, x = small_pipeline(), noise()
    plain = draw([])
    rows = branch_rows(BRANCHES)
    unet = pipeline.unet
    with torch.no_grad():
        words = pipeline.text_encoder(
            pipeline.tokenizer(
                [BRANCHES[r.branch].prompt if r.conditional else "" for r in rows],
                padding="max_length",
                return_tensors="pt",
            ).input_ids
        )[0]
        alone = unet(x.expand(len(rows), -1, -1, -1), 501, words).sample
        with Control(unet, [], (32, 32)) as control:
            control.expect(0, rows)
            controlled = unet(x.expand(len(rows), -1, -1, -1), 501, words).sample
    assert torch.equal(alone, controlled)
    assert torch.equal(plain, draw([]))


@pytest.mark.parametrize("name", RULES)
def test_rules_change_the_edits_and_not_the_source(name: str) -> None:
    plain, ruled = draw([]), draw(RULES[name]())
    torch.testing.assert_close(ruled[0], plain[0], rtol=0, atol=1e-5)
    assert (ruled[1:] - plain[1:]).abs().amax((1, 2, 3)).min() > 1e-3


@pytest.mark.parametrize("name", RULES)
def test_rules_leave_other_branches_alone(name: str) -> None:
    rules = RULES[name]()
    rules[0].branches = [2]
    plain, ruled = draw([]), draw(rules)
    torch.testing.assert_close(ruled[:2], plain[:2], rtol=0, atol=1e-5)
    assert (ruled[2] - plain[2]).abs().max() > 1e-3


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("most", [1, 2, 3, 5])
def test_a_bound_on_rows_changes_nothing(name: str, most: int) -> None:
    whole, parts = draw(RULES[name]()), draw(RULES[name](), max_rows=most)
    torch.testing.assert_close(parts, whole, rtol=0, atol=1e-4)


def test_a_bound_on_rows_changes_nothing_where_heads_are_taken_in_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = draw(RULES["maps"]())
    monkeypatch.setattr("kdst_edit.control.maps.AT_ONCE", 2 * 16 * 16 * 16)
    for most in (1, 3, None):
        torch.testing.assert_close(draw(RULES["maps"](), max_rows=most), whole, rtol=0, atol=1e-4)


@pytest.mark.parametrize("most", [None, 1, 3])
def test_a_linear_edit_given_as_weights_equals_the_edit_of_maps(most: int | None) -> None:
    kept = torch.linspace(0, 1, 16)
    mapper = torch.rand(16, 16, generator=torch.Generator().manual_seed(0))

    def edit(maps: Tensor, step: int, branches: Sequence[int]) -> Tensor:
        return torch.cat([maps[:1], maps[:1] @ mapper + maps[1:] * kept])

    def weights(step: int, branches: Sequence[int]) -> tuple[Tensor, Tensor | None]:
        return mapper.expand(len(branches), -1, -1), kept.expand(len(branches), -1)

    def rules(given: MapWeights | None) -> list[Rule]:
        cross = Layers("cross")
        return [EditCrossMap(layers=cross, edit=edit, weights=given, branches=[b]) for b in (1, 2)]

    by_maps, by_weights = draw(rules(None)), draw(rules(weights), max_rows=most)
    torch.testing.assert_close(by_weights, by_maps, rtol=0, atol=1e-4)
    assert (by_maps[1:] - draw([])[1:]).abs().max() > 1e-3


def test_a_branch_in_two_linear_edits_is_edited_by_both_in_order() -> None:
    halved, shifted = 0.5 * torch.eye(16), torch.eye(16).roll(1, 0)

    def rules(second: Sequence[int] | None, *, weighted: bool) -> list[Rule]:
        return [
            EditCrossMap(
                layers=Layers("cross"),
                edit=lambda maps, step, at, m=m: torch.cat(
                    [maps[:1], maps[:1] @ m + 0.5 * maps[1:]]
                ),
                weights=(
                    lambda step, at, m=m: (m.expand(len(at), -1, -1), torch.full((1, 16), 0.5))
                )
                if weighted
                else None,
                branches=branches,
            )
            for m, branches in ((halved, [1]), (shifted, second))
        ]

    for second in ([1], None):
        torch.testing.assert_close(
            draw(rules(second, weighted=True)),
            draw(rules(second, weighted=False)),
            rtol=0,
            atol=1e-4,
        )


def test_copying_queries_and_keys_equals_copying_maps() -> None:
    by_maps = draw([EditCrossMap(layers=Layers("cross"), edit=from_source)])
    by_parts = draw([CopyQK(layers=Layers("cross"))])
    torch.testing.assert_close(by_parts, by_maps, rtol=0, atol=1e-4)


def test_self_attention_with_copied_queries_and_keys_has_the_source_maps() -> None:
    layer = next(x for x in find_layers(small_pipeline().unet) if x.kind == "self")
    attn, rows = layer.module, [Row(0, True), Row(1, True)]
    hidden = noise(1, 2, 64, attn.to_q.in_features)
    query, key, value = (
        f(hidden).unflatten(-1, (attn.heads, -1)).transpose(1, 2)
        for f in (attn.to_q, attn.to_k, attn.to_v)
    )
    maps = (query[:1] @ key[:1].mT * attn.scale).softmax(-1)
    expected = attn.to_out[0]((maps @ value).transpose(1, 2).flatten(2))
    with torch.no_grad(), Control(small_pipeline().unet, RULES["qk"](), (32, 32)) as control:
        control.expect(0, rows)
        found = attn(hidden)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@torch.no_grad()
def test_copied_feature_equals_a_patched_residual_block() -> None:
    layer = next(x for x in find_layers(small_pipeline().unet) if x.kind == "feature")
    block = layer.module
    x = noise(2, 2, block.in_channels, 16, 16)
    temb = noise(3, 2, block.time_emb_proj.in_features)

    hidden = block.conv1(block.nonlinearity(block.norm1(x)))
    hidden = block.norm2(hidden + block.time_emb_proj(block.nonlinearity(temb))[:, :, None, None])
    hidden = block.conv2(block.nonlinearity(hidden))
    hidden[1] = hidden[0]
    skip = x if block.conv_shortcut is None else block.conv_shortcut(x)
    expected = (skip + hidden) / block.output_scale_factor

    rule = CopyFeature(layers=lambda found: found.name == layer.name)
    with Control(small_pipeline().unet, [rule], (32, 32)) as control:
        control.expect(0, [Row(0, True), Row(1, True)])
        found = block(x, temb)
    assert torch.equal(found, expected)


def test_everything_is_restored_even_after_an_error() -> None:
    unet = small_pipeline().unet
    before = dict(unet.attn_processors)

    def broken(maps: Tensor, step: int, branches: object) -> Tensor:
        raise ZeroDivisionError

    rules = [*RULES["qk"](), EditCrossMap(layers=Layers("cross"), edit=broken)]
    with pytest.raises(ZeroDivisionError):
        draw(rules)
    assert unet.attn_processors == before
    assert not any(m._forward_hooks for m in unet.modules())


def test_a_rule_that_never_acts_is_an_error() -> None:
    with pytest.raises(RuleError, match="never acted"):
        draw([CopyQK(layers=Layers("self"), steps=range(50, 60))])
    with pytest.raises(RuleError, match="chooses no layer"):
        draw([CopyQK(layers=Layers("self", factors=(64,)))])


def test_a_call_with_other_rows_than_announced_is_an_error() -> None:
    unet = small_pipeline().unet
    with Control(unet, RULES["qk"](), (32, 32)) as control:
        control.expect(0, [Row(0, True), Row(1, True)])
        with pytest.raises(RuleError, match="rows"):
            unet(noise(), 1, noise(1, 1, 16, 64))
        control.rules.clear()


def test_stored_maps_are_distributions_over_tokens() -> None:
    store = StoreMaps(layers=Layers("cross", ("down", "up"), (2,)))
    some = StoreMaps(layers=Layers("cross", ("down", "up"), (2,)), tokens=[2], branches=[1])
    draw([store, some])
    maps = store.mean([0, 1, 2])
    assert maps.shape == (3, 16, 16, 16)
    torch.testing.assert_close(maps.sum(-1), torch.ones(3, 16, 16))
    torch.testing.assert_close(some.mean([1])[..., 0], maps[1:2, ..., 2])


def test_stored_maps_are_the_networks_own_unless_edited_ones_are_asked_for() -> None:
    layers = Layers("cross", ("down", "up"), (2,))
    edit = EditCrossMap(layers=Layers("cross"), edit=from_source)
    own, edited = StoreMaps(layers=layers), StoreMaps(layers=layers, edited=True)
    draw([edit, own, edited])
    assert torch.equal(*edited.mean([0, 1]))
    assert not torch.equal(*own.mean([0, 1]))


def test_source_reset_keeps_the_source_on_its_path() -> None:
    path = noise(5, STEPS + 1, 3, 32, 32)
    assert torch.equal(draw([SourceReset(path=path)])[0], path[-1])


def test_layers_are_found_by_resolution_in_every_layout() -> None:
    sd15, sdxl = build("sd15").unet, build("sdxl").unet
    published = Layers("feature", ("up",), (4,), (1,))
    assert [x.name for x in find_layers(sd15) if published(x)] == ["up_blocks.1.resnets.1"]
    assert map_factor(sd15, (64, 64)) == 4
    assert map_factor(sd15, (32, 48)) == 2
    assert map_factor(small_pipeline().unet, (32, 32)) == 2
    assert map_factor(sdxl, (128, 128)) == 4
    blended = Layers("cross", ("down", "up"), (4,))
    assert len([x for x in find_layers(sd15) if blended(x)]) == 5
