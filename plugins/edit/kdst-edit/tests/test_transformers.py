"""Transformers: sampled as their own pipelines, controlled in the blocks of joint attention."""

from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from kdst_core.errors import KdstError
from kdst_edit.control.joint import JointProcessor
from kdst_edit.control.layers import Layers, find_layers
from kdst_edit.control.rules import CopyKV, CopyQK, EditCrossMap, SourceReset, StoreMaps
from kdst_edit.control.session import Control, Row, Rule, RuleError
from kdst_edit.families.layer import Layer
from kdst_edit.families.registry import family_of, network_of
from kdst_edit.inputs import EditInputs
from kdst_edit.inversion.invert import schedule_of
from kdst_edit.load.prompts import check_prompts
from kdst_edit.models.suited import check_live
from kdst_edit.models.transformers import LAYOUTS, Layout, build
from kdst_edit.sampling.sample import Branch, branch_rows, sample
from kdst_edit.sampling.schedulers import plan
from kdst_edit.words import all_positions

JOINT: tuple[Layout, ...] = ("sd3", "sd35", "flux-dev", "flux-schnell")
STEPS, CLOSE = 3, 1e-5
SOURCE, TARGET = "a red cat", "a blue dog"


@cache
def built(layout: Layout) -> Any:
    return build(layout)


@cache
def doubled(layout: Layout) -> Any:
    """The pipeline with its network in float64."""
    pipeline = build(layout)
    network_of(pipeline).double()
    return pipeline


@pytest.fixture(params=LAYOUTS)
def pipeline(request: pytest.FixtureRequest) -> Any:
    return built(request.param)


def noise(seed: int = 0, *shape: int) -> Tensor:
    return torch.randn(shape or (1, 4, 8, 8), generator=torch.Generator().manual_seed(seed))


def branches(pipeline: Any, *prompts: str) -> list[Branch]:
    told = bool(family_of(pipeline).told(pipeline, [1.0]))
    return [Branch(p, "", 1.0 if told else 3.0) for p in prompts or (SOURCE, TARGET)]


def draw(pipeline: Any, rules: Sequence[Rule], **given: Any) -> Tensor:
    return sample(pipeline, noise(), branches(pipeline), rules, num_steps=STEPS, **given)


def stock(pipeline: Any, guidance: float, negative: str) -> Tensor:
    """What the pipeline itself draws, as latents (1, C, h, w)."""
    given: dict[str, Any] = {
        "prompt": SOURCE,
        "num_inference_steps": STEPS,
        "output_type": "latent",
        "guidance_scale": guidance,
        "negative_prompt": negative,
        "height": 64,
        "width": 64,
    }
    name = type(pipeline).__name__
    start = noise()
    if name == "FluxPipeline":
        start = pipeline._pack_latents(start, 1, 4, 8, 8)
        if not pipeline.transformer.config.guidance_embeds:
            given["true_cfg_scale"] = guidance
        else:
            del given["negative_prompt"]
    if name == "PixArtSigmaPipeline":
        given["use_resolution_binning"] = False
    found: Tensor = pipeline(**given, latents=start).images
    if name == "FluxPipeline":
        found = pipeline._unpack_latents(found, 64, 64, 8)
    return found


@pytest.mark.parametrize(("guidance", "negative"), [(1.0, ""), (4.0, "a ring")])
def test_sampling_without_control_is_what_the_stock_pipeline_draws(
    pipeline: Any, guidance: float, negative: str
) -> None:
    how = plan(pipeline, EditInputs(model="m", steps=STEPS, scheduler="auto"), False)
    kept = pipeline.scheduler
    if not family_of(pipeline).flow:
        from kdst_edit.models.latents import ddim

        pipeline.scheduler = ddim(pipeline)
    theirs = stock(pipeline, guidance, negative)
    pipeline.scheduler = kept
    ours = sample(
        pipeline,
        noise(),
        [Branch(SOURCE, negative, guidance)],
        num_steps=how.steps,
        scheduler=how.scheduler,
    )
    assert float((ours - theirs).abs().max() / theirs.abs().max()) < CLOSE


def test_levels_are_those_of_the_pipelines_scheduler() -> None:
    for layout, size in (("sd3", 8), ("flux-dev", 16), ("flux-schnell", 8)):
        pipeline = built(layout)
        steps = schedule_of(pipeline, noise(0, 1, 4, size, size), 5).steps
        assert [s.sigma_next for s in steps][-1] == 0  # type: ignore[union-attr]
        assert steps[0].timestep == pytest.approx(1000)
        assert all(a.sigma_next == b.sigma for a, b in pairwise(steps))  # type: ignore[union-attr]


def test_control_without_rules_is_bit_identical(pipeline: Any) -> None:
    family, network = family_of(pipeline), network_of(pipeline)
    words = family.condition(pipeline, [SOURCE, TARGET], (64, 64))
    told = family.told(pipeline, [1.0, 1.0])
    x, rows = noise(1, 2, 4, 8, 8), [Row(0, True), Row(1, True)]
    with torch.no_grad():
        alone = family.predict(network, x, torch.tensor(500.0), words, told)
        with Control(network, [], (8, 8)) as control:
            control.expect(0, rows)
            controlled = family.predict(network, x, torch.tensor(500.0), words, told)
    assert torch.equal(alone, controlled)
    assert torch.equal(draw(pipeline, []), draw(pipeline, []))


def one(pipeline: Any, kind: str, which: int = 0) -> Layer:
    """A layer of a kind, by its number among them."""
    return [x for x in find_layers(network_of(pipeline)) if x.kind == kind and x.joint][which]


def only(layer: Layer) -> Any:
    return lambda found: found.name == layer.name


@pytest.fixture(params=[(layout, which) for layout in JOINT for which in (0, -1)])
def attention(request: pytest.FixtureRequest) -> tuple[Any, Layer, dict[str, Any]]:
    """A joint attention in float64 with two rows of image and text, the source and an edit."""
    layout, which = request.param
    pipeline = doubled(layout)
    network = network_of(pipeline)
    layer = one(pipeline, "cross", which)
    image, text = noise(1, 2, 16, 32).double(), noise(2, 2, 7, 32).double()
    single = layer.joint is not None and layer.joint.mixed
    given: dict[str, Any] = {"hidden_states": torch.cat([text, image], 1) if single else image}
    if not single:
        given["encoder_hidden_states"] = text
    if layout.startswith("flux"):
        ids = torch.cat([torch.zeros(7, 3), noise(3, 16, 3).abs().round()])
        given["image_rotary_emb"] = network.pos_embed(ids)
    return network, layer, given


def plain(
    layer: Layer, given: dict[str, Any], change: Any = None, values: Any = None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Maps, image outputs and text outputs (before projection) of joint attention, written out.

    change: what becomes of the queries, keys (rows, H, N, d) with the image first, or of the maps.
    """
    attn = layer.module
    hidden, text = given["hidden_states"], given.get("encoder_hidden_states")
    count = 7
    if text is None:
        text, hidden = hidden[:, :count], hidden[:, count:]

    def heads(linear: Any, x: Tensor, norm: Any) -> Tensor:
        split = linear(x).unflatten(-1, (attn.heads, -1))
        return (split if norm is None else norm(split)).transpose(1, 2)

    doubled = hasattr(attn, "add_q_proj") and attn.add_q_proj is not None
    names = ("q", "k", "v")
    parts = []
    for name in names:
        own = getattr(attn, f"norm_{name}", None) if name != "v" else None
        other = getattr(attn, f"norm_added_{name}", None) if name != "v" and doubled else own
        added = getattr(attn, f"add_{name}_proj") if doubled else getattr(attn, f"to_{name}")
        parts.append(
            torch.cat(
                [heads(getattr(attn, f"to_{name}"), hidden, own), heads(added, text, other)], 2
            )
        )
    query, key, value = parts
    if (rotary := given.get("image_rotary_emb")) is not None:
        cos, sin = (torch.cat([x[count:], x[:count]]) for x in rotary)
        query, key = (_turn(x, cos, sin) for x in (query, key))
    if change is not None:
        query, key = change(query, key)
    maps = (query @ key.mT * query.shape[-1] ** -0.5).softmax(-1)
    if values is not None:
        maps = values(maps)
    out = (maps @ value).transpose(1, 2).flatten(2)
    return maps, out[:, :16], out[:, 16:], value


def _turn(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate pairs of channels, in float32 as diffusers does."""
    even, odd = x[..., ::2], x[..., 1::2]
    turned = torch.stack([-odd, even], -1).flatten(-2)
    return (x.float() * cos + turned.float() * sin).to(x.dtype)


def under(network: Any, layer: Layer, given: dict[str, Any], rules: list[Rule]) -> Any:
    """The layer's outputs under rules, for a source and an edit."""
    with torch.no_grad(), Control(network, rules, (8, 8)) as control:
        control.expect(0, [Row(0, True), Row(1, True)])
        return layer.module(**given)


def outputs(layer: Layer, image: Tensor, text: Tensor) -> Any:
    """The layer's outputs of attended image and text."""
    attn = layer.module
    if layer.joint is not None and layer.joint.mixed:
        return torch.cat([text, image], 1)
    shown = attn.to_out[0](image)
    return shown, text if attn.context_pre_only else attn.to_add_out(text)


def close(found: Any, expected: Any) -> None:
    pairs = zip(found, expected, strict=True) if isinstance(found, tuple) else [(found, expected)]
    for a, b in pairs:
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10)


Attention = tuple[Any, Layer, dict[str, Any]]


def test_stored_maps_are_the_texts_columns_of_a_softmax_over_both(attention: Attention) -> None:
    network, layer, given = attention
    maps = plain(layer, given)[0][:, :, :16, 16:].mean(1)
    whole = StoreMaps(layers=only(layer))
    some = StoreMaps(layers=only(layer), tokens=[5, 2])
    close(under(network, layer, given, [whole]), outputs(layer, *plain(layer, given)[1:3]))
    found = whole.mean([0, 1]).flatten(1, 2)
    torch.testing.assert_close(found.double(), maps, rtol=0, atol=1e-7)
    under(network, layer, given, [some])
    torch.testing.assert_close(
        some.mean([1]).flatten(1, 2).double(), maps[1:, :, [5, 2]], rtol=0, atol=1e-7
    )


@pytest.mark.parametrize("linear", [False, True])
def test_words_are_edited_in_the_images_rows_and_the_texts_columns(
    attention: Attention, linear: bool
) -> None:
    """Replaced, kept and weighted columns equal the maps written out, in float64."""
    network, layer, given = attention
    mapper = torch.rand(7, 7, generator=torch.Generator().manual_seed(0)).double()
    kept = torch.tensor([0, 0.3, 1, 0, 0, 2, 0]).double()

    def edit(maps: Tensor, step: int, at: Sequence[int]) -> Tensor:
        return torch.cat([maps[:1], maps[:1] @ mapper + maps[1:] * kept])

    def weights(step: int, at: Sequence[int]) -> tuple[Tensor, Tensor]:
        return mapper.expand(len(at), -1, -1), kept.expand(len(at), -1)

    def written(maps: Tensor) -> Tensor:
        changed = maps.clone()
        changed[1, :, :16, 16:] = maps[0, :, :16, 16:] @ mapper + maps[1, :, :16, 16:] * kept
        return changed

    rule = EditCrossMap(layers=only(layer), edit=edit, weights=weights if linear else None)
    expected = outputs(layer, *plain(layer, given, values=written)[1:3])
    close(under(network, layer, given, [rule]), expected)


def test_copied_queries_and_keys_are_the_images_alone(attention: Attention) -> None:
    network, layer, given = attention

    def change(query: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
        for part in (query, key):
            part[1, :, :16] = part[0, :, :16]
        return query, key

    expected = outputs(layer, *plain(layer, given, change)[1:3])
    rule = CopyQK(layers=lambda x: x.name == layer.name.removesuffix(".text"))
    close(under(network, layer, given, [rule]), expected)


def test_copying_queries_and_keys_of_the_image_equals_copying_maps(attention: Attention) -> None:
    """Where the texts are alike, so that all that differs is the image's."""
    network, layer, given = attention
    same = {k: v.clone() if isinstance(v, Tensor) else v for k, v in given.items()}
    if "encoder_hidden_states" in same:
        same["encoder_hidden_states"][1] = same["encoder_hidden_states"][0]
    else:
        same["hidden_states"][1, :7] = same["hidden_states"][0, :7]

    def written(maps: Tensor) -> Tensor:
        return maps[:1].expand_as(maps)

    expected = outputs(layer, *plain(layer, same, values=written)[1:3])
    rule = CopyQK(layers=lambda x: x.name == layer.name.removesuffix(".text"))
    close(under(network, layer, same, [rule]), expected)


def from_source(maps: Tensor, step: int, at: object) -> Tensor:
    return maps[:1].expand_as(maps)


def identity(step: int, at: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Weights of an edit that keeps what is the edit's own."""
    return IDENTITY["zeros"].expand(len(at), -1, -1), IDENTITY["ones"].expand(len(at), -1)


IDENTITY: dict[str, Tensor] = {}


def test_an_edit_that_keeps_its_own_maps_is_the_identity(pipeline: Any) -> None:
    total = sum(r.length for r in family_of(pipeline).texts(pipeline))
    IDENTITY["zeros"], IDENTITY["ones"] = torch.zeros(total, total), torch.ones(total)
    plainly = draw(pipeline, [])
    for weights in (None, identity):
        rule = EditCrossMap(
            layers=Layers("cross"), edit=lambda maps, step, at: maps, weights=weights
        )
        torch.testing.assert_close(draw(pipeline, [rule]), plainly, rtol=0, atol=1e-4)


RULES: dict[str, Any] = {
    "qk": lambda: [CopyQK(layers=Layers("self"), steps=range(2))],
    "kv": lambda: [CopyKV(layers=Layers("self"), rows="all")],
    "maps": lambda: [EditCrossMap(layers=Layers("cross"), steps=range(2), edit=from_source)],
}


@pytest.mark.parametrize("name", RULES)
def test_rules_change_the_edits_alone_whatever_the_rows_of_a_call(pipeline: Any, name: str) -> None:
    plainly, ruled = draw(pipeline, []), draw(pipeline, RULES[name]())
    torch.testing.assert_close(ruled[0], plainly[0], rtol=0, atol=1e-5)
    assert (ruled[1] - plainly[1]).abs().max() > 1e-4
    for most in (1, 3):
        parts = draw(pipeline, RULES[name](), max_rows=most)
        torch.testing.assert_close(parts, ruled, rtol=0, atol=1e-4)


def test_everything_is_restored(pipeline: Any) -> None:
    network = network_of(pipeline)
    before = dict(network.attn_processors)
    store = StoreMaps(layers=Layers("cross"))
    draw(pipeline, [*RULES["qk"](), *RULES["maps"](), store])
    assert network.attn_processors == before
    assert not any(m._forward_hooks for m in network.modules())
    assert store.mean([0, 1]).shape[:3] == (2, 4, 4)
    check_live(pipeline)


def test_a_reset_source_ends_on_its_path(pipeline: Any) -> None:
    path = noise(5, STEPS + 1, 4, 8, 8)
    assert torch.equal(draw(pipeline, [SourceReset(path=path)])[0], path[-1])


@pytest.mark.parametrize("layout", JOINT)
def test_text_of_a_joint_attention_is_not_copied_by_projections(layout: Layout) -> None:
    with pytest.raises(RuleError, match="share one attention"):
        draw(built(layout), [CopyQK(layers=Layers("cross"))])


def test_layers_have_the_factor_of_the_patches() -> None:
    layers = find_layers(built("sd35").transformer)
    assert {x.factor for x in layers} == {2}
    assert [x.name for x in layers if x.kind == "self"] == [
        "transformer_blocks.0.attn",
        "transformer_blocks.0.attn2",
        "transformer_blocks.1.attn",
    ]
    flux = [x for x in find_layers(built("flux-dev").transformer) if x.kind == "cross"]
    assert [x.joint is not None and x.joint.mixed for x in flux] == [False, False, True, True]
    assert flux[-1].image((8, 8)) == slice(-16, None)


def test_words_are_found_in_every_range_of_the_text() -> None:
    ranges = family_of(built("sd3")).texts(built("sd3"))
    (_, red, _) = all_positions(ranges, SOURCE)
    assert red == [2, 3, 4, 78, 79, 80]
    (_, red, _) = all_positions(family_of(built("pixart")).texts(built("pixart")), "A RED cat")
    assert red == [1, 2, 3]
    with pytest.raises(KdstError, match="takes at most"):
        check_prompts(built("pixart"), ["a" * 310])


def test_padding_of_pixart_has_no_attention() -> None:
    pipeline, store = built("pixart"), StoreMaps(layers=Layers("cross"))
    draw(pipeline, [store])
    maps = store.mean([0])
    assert maps[..., 8:].abs().max() < 1e-6
    torch.testing.assert_close(maps.sum(-1), torch.ones(1, 4, 4))


def test_foreign_processors_and_adapters_are_refused() -> None:
    pipeline = build("sd3")
    layer = one(pipeline, "cross")
    with Control(pipeline.transformer, [], (8, 8)) as control:
        processor = JointProcessor(control, layer)
    layer.module.set_processor(processor)
    with pytest.raises(KdstError, match=r"set_attn_processor\(JointAttnProcessor2_0"):
        check_live(pipeline)


@pytest.mark.parametrize(
    ("options", "photograph", "message"),
    [
        ({"scheduler": "ddim"}, False, "leave --scheduler out"),
        ({"inversion": "null-text"}, True, "--inversion null-text is for models of diffusion"),
        ({"inversion": "ddpm"}, True, "rf-inversion, rf-solver"),
    ],
)
def test_what_a_flow_does_not_have_is_refused(
    options: dict[str, Any], photograph: bool, message: str
) -> None:
    with pytest.raises(KdstError, match=message):
        plan(built("sd3"), EditInputs(model="m", **options), photograph)


def test_other_schedulers_of_flow_are_refused() -> None:
    from diffusers import FlowMatchEulerDiscreteScheduler, FlowMatchHeunDiscreteScheduler

    pipeline = build("sd3")
    for other in (
        FlowMatchHeunDiscreteScheduler(),
        FlowMatchEulerDiscreteScheduler(stochastic_sampling=True),
    ):
        pipeline.scheduler = other
        with pytest.raises(KdstError, match="is sampled and inverted by FlowMatchEuler"):
            plan(pipeline, EditInputs(model="m"), False)


def test_defaults_are_the_pipelines_own() -> None:
    found = {
        layout: (how.asked, how.guidance)
        for layout in LAYOUTS
        for how in (plan(built(layout), EditInputs(model="m"), False),)
    }
    assert found["sd3"] == (28, 7.0)
    assert found["flux-dev"] == (28, 3.5)
    assert found["flux-schnell"] == (4, 0.0)
    assert found["pixart"] == (20, 4.5)


def test_rows_of_a_model_that_is_told_the_guidance_have_no_negative_prompt() -> None:
    pipeline = built("flux-dev")
    low, high = (
        sample(pipeline, noise(), [Branch(SOURCE, "", g)], num_steps=1) for g in (1.0, 9.0)
    )
    assert (low - high).abs().max() > 1e-6
    assert len(branch_rows(branches(pipeline))) == 2


@pytest.mark.parametrize(
    "widest", [None, 256, 16], ids=["from totals", "in the source's values", "apart"]
)
@pytest.mark.parametrize("at_once", [3, 1])
def test_columns_are_read_beside_edits_of_several_targets(
    attention: Attention, monkeypatch: pytest.MonkeyPatch, widest: int | None, at_once: int
) -> None:
    """Outputs and sums of columns, of all rows or call by call, equal those written out, in float64."""
    if widest is not None:
        monkeypatch.setattr("kdst_edit.control.joint.gives_totals", lambda *parts: False)
        monkeypatch.setattr("kdst_edit.control.carried.WIDEST", widest)
    network, layer, given = attention
    given = {
        k: torch.cat([v, v[:1].flip(1)]) if k != "image_rotary_emb" else v for k, v in given.items()
    }
    mapper = torch.rand(2, 7, 7, generator=torch.Generator().manual_seed(4)).double()
    kept = torch.rand(2, 7, generator=torch.Generator().manual_seed(5)).double()

    def weights(step: int, at: Sequence[int]) -> tuple[Tensor, Tensor]:
        chosen = [branch - 1 for branch in at]
        return mapper[chosen], kept[chosen]

    def written(maps: Tensor) -> Tensor:
        changed = maps.clone()
        text = maps[:, :, :16, 16:]
        changed[1:, :, :16, 16:] = text[0] @ mapper[:, None] + text[1:] * kept[:, None, None]
        return changed

    rule = EditCrossMap(layers=only(layer), edit=from_source, weights=weights)
    groups = {0: [[1, 4], [0]], 1: [[2]], 2: [[6, 5, 3], [1], [2]]}
    store = StoreMaps(layers=only(layer), groups=groups)
    some = StoreMaps(layers=only(layer), tokens=[5, 2], branches=[2], source=False)
    found = in_calls(network, layer, given, [rule, store, some], at_once)
    close(found, outputs(layer, *plain(layer, given, values=written)[1:3]))
    maps = plain(layer, given)[0][:, :, :16, 16:].mean(1)
    for branch, sets in groups.items():
        for k, at in enumerate(sets):
            shown = store.mean([branch])[0, ..., k].flatten()
            torch.testing.assert_close(
                shown.double(), maps[branch][:, at].sum(-1), rtol=0, atol=1e-6
            )
    torch.testing.assert_close(
        some.mean([2]).flatten(1, 2).double(), maps[2:, :, [5, 2]], rtol=0, atol=1e-6
    )


def in_calls(
    network: Any, layer: Layer, given: dict[str, Any], rules: list[Rule], at_once: int
) -> Any:
    """The layer's outputs under rules for a source and two edits, so many rows a call."""
    rows, parts = [Row(branch, True) for branch in range(3)], []
    with torch.no_grad(), Control(network, rules, (8, 8)) as control:
        for start in range(0, 3, at_once):
            control.expect(0, rows[start : start + at_once], more=start + at_once < 3)
            shown = {
                k: v if k == "image_rotary_emb" else v[start : start + at_once]
                for k, v in given.items()
            }
            parts.append(layer.module(**shown))
    if isinstance(parts[0], tuple):
        return tuple(torch.cat(found) for found in zip(*parts, strict=True))
    return torch.cat(parts)


@pytest.mark.parametrize("many", [False, True])
def test_words_kept_as_sums_are_those_of_all_maps(attention: Attention, many: bool) -> None:
    """Where sums are too many to be read beside the values, they are taken of maps."""
    network, layer, given = attention
    sets = [[1, 4], [0, 2, 3]] * (40 if many else 1)
    whole = StoreMaps(layers=only(layer))
    summed = StoreMaps(layers=only(layer), groups={0: sets, 1: sets[:1]})
    under(network, layer, given, [whole])
    under(network, layer, given, [summed])
    maps, found = whole.mean([0, 1]), summed.mean([0, 1])
    assert found.shape[-1] == len(sets)
    for k, at in enumerate(sets):
        torch.testing.assert_close(found[0, ..., k], maps[0][..., at].sum(-1))
    torch.testing.assert_close(found[1, ..., 0], maps[1][..., sets[0]].sum(-1))
    assert not found[1, ..., 1:].any()
