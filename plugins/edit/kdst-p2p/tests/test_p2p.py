"""Prompt-to-Prompt does what it says, on the tiny model and on random prompts."""

from pathlib import Path

import attrs
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kdst_authors.testing import check_plugin, make_run
from kdst_core.contracts import EditRequest
from kdst_core.errors import KdstError
from kdst_edit.checks import DEFAULT_SOURCE, DEFAULT_TARGET, small_pipeline, small_request
from kdst_edit.control.rules import CopyQK, EditCrossMap
from kdst_edit.kit import sample_request, source_branch, target_branches
from kdst_edit.sampling.sample import sample
from kdst_edit.words import token_ids
from kdst_p2p import Options
from kdst_p2p.alignment import refine_mapper, replace_mapper
from kdst_p2p.control import CrossEdit
from kdst_p2p.explain import no_effect
from kdst_p2p.local_blend import LocalBlend, blend_rules, masks
from kdst_p2p.method import edit_prompt_to_prompt, rules_of
from kdst_p2p.settings import parse_tau, parse_weights, settings_of
from kdst_p2p.sweep import VALUES

WORDS = ("a", "red", "blue", "disc", "ring", "on", "white", "background", "striped")
prompts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=8).map(" ".join)


def drawn(request: EditRequest, options: Options) -> torch.Tensor:
    """Latents of the source and the edits."""
    chosen = settings_of(DEFAULT_SOURCE, request.targets, options)
    rules = rules_of(request, DEFAULT_SOURCE, chosen, options)
    branches = [source_branch(request), *target_branches(request)]
    return sample(request.pipeline, request.latents, branches, rules, num_steps=request.num_steps)


@settings(max_examples=60, deadline=None)
@given(prompts, prompts)
def test_refine_mapper_is_a_longest_common_subsequence(source: str, target: str) -> None:
    tokenizer = small_pipeline().tokenizer
    old, new = token_ids(tokenizer, source), token_ids(tokenizer, target)
    mapper, alphas = refine_mapper(source, target, tokenizer, 16)
    kept = [j for j in range(len(new)) if alphas[j]]
    at = mapper[kept].tolist()
    assert at == sorted(set(at))
    assert [old[i] for i in at] == [new[j] for j in kept]
    best = [[0] * (len(new) + 1) for _ in range(len(old) + 1)]
    for i in range(len(old)):
        for j in range(len(new)):
            same = best[i][j] + 1 if old[i] == new[j] else 0
            best[i + 1][j + 1] = max(best[i][j + 1], best[i + 1][j], same)
    assert len(kept) == best[-1][-1]


@settings(max_examples=30, deadline=None)
@given(prompts)
def test_replace_mapper_of_equal_prompts_is_the_identity(prompt: str) -> None:
    mapper = replace_mapper(prompt, prompt, small_pipeline().tokenizer, 16)
    assert torch.equal(mapper, torch.eye(16))


def test_corrected_tail_keeps_words_after_a_longer_swap() -> None:
    from kdst_edit.models.layouts import build

    tokenizer = build("sd15").tokenizer
    source, target = "a cat sits", "a crocodile sits"
    published, corrected = (
        replace_mapper(source, target, tokenizer, 77, profile=profile)
        for profile in ("published", "corrected")
    )
    old, new = len(token_ids(tokenizer, source)), len(token_ids(tokenizer, target))
    assert new > old
    assert corrected[old - 1, new - 1] == 1
    assert published[old - 1, new - 1] == 0
    assert published[new - 1, new - 1] == 1


def test_weight_one_is_the_identity() -> None:
    request = small_request((DEFAULT_SOURCE,))
    edit = drawn(request, Options(reweight=["red=1"]))
    torch.testing.assert_close(edit[1], edit[0], rtol=0, atol=1e-4)


def test_weights_change_the_image_and_keep_the_source() -> None:
    request = small_request((DEFAULT_SOURCE,))
    edit = drawn(request, Options(reweight=["red=-2"]))
    plain = sample(request.pipeline, request.latents, [source_branch(request)], num_steps=4)
    assert (edit[1] - edit[0]).abs().max() > 0.1
    torch.testing.assert_close(edit[0], plain[0], rtol=0, atol=1e-4)


def test_copied_queries_and_keys_equal_edited_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    request, options = small_request(), Options()
    fast = drawn(request, options)
    monkeypatch.setattr(CrossEdit, "copies", lambda self, steps: False)
    torch.testing.assert_close(fast, drawn(request, options), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("target", "given"),
    [
        (
            "a blue disc on a white background",
            {"tau": [".5", "blue=.2:.8"], "reweight": ["disc=2"]},
        ),
        ("a striped red disc on a white background", {"reweight": ["red=-1"]}),
        (DEFAULT_SOURCE, {"reweight": ["red=2"]}),
    ],
)
def test_weighted_values_equal_edited_maps(target: str, given: dict[str, list[str]]) -> None:
    request = attrs.evolve(small_request((target,)), num_steps=6)
    options = Options(**given)  # type: ignore[arg-type]
    chosen = settings_of(DEFAULT_SOURCE, [target], options)
    branches = [source_branch(request), *target_branches(request)]

    def latents(*, maps: bool) -> torch.Tensor:
        rules = rules_of(request, DEFAULT_SOURCE, chosen, options)
        edits = [rule for rule in rules if isinstance(rule, EditCrossMap)]
        assert edits
        for rule in edits:
            rule.weights = None if maps else rule.weights
        return sample(request.pipeline, request.latents, branches, rules, num_steps=6)

    torch.testing.assert_close(latents(maps=False), latents(maps=True), rtol=0, atol=1e-4)


def test_no_tau_leaves_plain_sampling(tmp_path: Path) -> None:
    request = small_request()
    options = Options(tau=["0"], self_tau=0, blend=["none"])
    assert not rules_of(
        request, DEFAULT_SOURCE, settings_of(DEFAULT_SOURCE, request.targets, options), options
    )
    plain = sample_request(request, target_branches(request), [], make_run(tmp_path))
    torch.testing.assert_close(drawn(request, options)[1], plain[0], rtol=0, atol=1e-4)


def test_tau_acts_on_single_words_and_windows() -> None:
    assert parse_tau([".8", "blue=.4"]) == {"default_": 0.8, "blue": 0.4}
    assert parse_tau(["blue=.1:.4"]) == {"default_": 0.8, "blue": (0.1, 0.4)}
    request = small_request()
    one, other = (drawn(request, Options(tau=t)) for t in (["1"], ["1", "blue=0"]))
    assert (one[1] - other[1]).abs().max() > 1e-3


def test_swaps_and_refinements_share_a_source() -> None:
    targets = (DEFAULT_TARGET, "a striped red disc on a white background")
    request = small_request(targets)
    together = drawn(request, Options())
    for number, target in enumerate(targets):
        alone = drawn(attrs.evolve(request, targets=(target,)), Options())
        torch.testing.assert_close(together[number + 1], alone[1], rtol=0, atol=1e-3)


def test_local_blend_of_one_swap_ignores_the_words_of_another() -> None:
    targets = (DEFAULT_TARGET, "a red disc on a black background")
    request = small_request(targets)
    together = drawn(request, Options())
    for number, target in enumerate(targets):
        alone = drawn(attrs.evolve(request, targets=(target,)), Options())
        torch.testing.assert_close(together[number + 1], alone[1], rtol=0, atol=1e-3)


def test_masks_join_the_source_and_subtract() -> None:
    maps = torch.zeros(2, 4, 4, 2)
    maps[0, 0, 0, 0] = maps[1, 3, 3, 0] = 1
    maps[:, 0, 0, 1] = 1
    words, minus = torch.tensor([[1.0, 0], [1, 0]]), torch.tensor([[0.0, 1], [0, 1]])
    found = masks(maps, words, (4, 4))
    assert found.shape == (2, 1, 4, 4)
    assert found[0, 0, :2, :2].all()
    assert found[0].sum() == 4
    assert found[1].sum() == 8
    less = masks(maps, words, (4, 4), subtract=minus)
    assert less[1, 0, 0, 0] == 0
    assert less[1].sum() == 7


@pytest.mark.parametrize("profile", ["published", "corrected"])
def test_local_blend_keeps_the_source_outside_its_mask(profile: str) -> None:
    request = attrs.evolve(small_request(), num_steps=10)
    options = Options(profile=profile)  # type: ignore[arg-type]
    chosen = settings_of(DEFAULT_SOURCE, request.targets, options)
    rules = rules_of(request, DEFAULT_SOURCE, chosen, options)
    (blend,) = (rule for rule in rules if isinstance(rule, LocalBlend))
    assert blend.store.edited == (profile == "published")
    branches = [source_branch(request), *target_branches(request)]
    latents = sample(request.pipeline, request.latents, branches, rules, num_steps=10)
    assert blend.mask is not None
    outside = (blend.mask[1, 0] == 0).expand_as(latents[0])
    assert outside.any()
    assert not outside.all()
    assert torch.equal(latents[1][outside], latents[0][outside])


def test_refinement_has_no_local_blend_unless_words_are_given() -> None:
    request = small_request(("a striped red disc on a white background",))
    for options, count in ((Options(), 0), (Options(blend=["disc"]), 1)):
        chosen = settings_of(DEFAULT_SOURCE, request.targets, options)
        assert len(blend_rules(request, DEFAULT_SOURCE, chosen, options)) == count


def test_rules_fit_stable_diffusion_layouts_and_sizes_that_are_not_square() -> None:
    from kdst_edit.models.layouts import build

    for layout, prompt in (("sd15", "a cat"), ("sd21", "a cat"), ("sdxl", "a cat")):
        pipeline = build(layout)  # type: ignore[arg-type]
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn(1, 4, 16, 24, generator=generator)
        request = EditRequest(
            pipeline, prompt, None, ("a dog",), generator, noise, num_steps=2, guidance=7.5
        )
        options = Options(tau=["1"], self_tau=1, blend_start=0)
        rules = rules_of(request, prompt, settings_of(prompt, ["a dog"], options), options)
        assert {EditCrossMap, CopyQK, LocalBlend} <= {type(rule) for rule in rules}
        branches = [source_branch(request), *target_branches(request)]
        latents = sample(pipeline, noise, branches, rules, num_steps=2)
        assert latents.shape == (2, 4, 16, 24)
        assert latents.isfinite().all()


def test_sweep_makes_a_contact_sheet_of_its_grid(tmp_path: Path) -> None:
    request = attrs.evolve(small_request(), num_steps=3)
    options = Options(sweep=["tau", "c"])
    edit = edit_prompt_to_prompt(request, options, make_run(tmp_path))
    (sheet,) = edit.sheets
    assert sheet.images.shape == (len(VALUES["tau"]), len(VALUES["c"]), 3, 32, 32)
    neutral = sheet.images[:, sheet.columns.index("1")]
    assert (sheet.images[0] - neutral[:1]).abs().max() < 1e-3
    assert (sheet.images[-1] - neutral[-1:]).abs().max() > 0.1


def test_explanation_names_what_cannot_act() -> None:
    tokenizer = small_pipeline().tokenizer

    def told(target: str, **given: list[str]) -> str:
        options = Options(**given)  # type: ignore[arg-type]
        chosen = settings_of(DEFAULT_SOURCE, [target], options)
        return " ".join(no_effect(DEFAULT_SOURCE, chosen, tokenizer, 20, Options()))

    assert told(DEFAULT_TARGET) == ""
    assert "no weight differs from 1" in told(DEFAULT_SOURCE)
    assert "same tokens" in told(DEFAULT_SOURCE.replace("red", "RED"))
    assert "c = 1 is the identity" in told(DEFAULT_TARGET, reweight=["blue=1"])
    assert "leaves no step" in told(DEFAULT_TARGET, reweight=["blue=2"], tau=["0"])


@pytest.mark.parametrize(
    ("given", "target", "message"),
    [
        ({"kind": "swap"}, "a red disc", "--kind refine"),
        ({"reweight": ["huge=2"]}, DEFAULT_TARGET, "'huge' is not a word of"),
        ({"reweight": ["blue=3"]}, DEFAULT_TARGET, r"\[-2, 2\]"),
        ({"reweight": ["blue"]}, DEFAULT_TARGET, "give a word and its weight"),
        ({"reweight": ["blue=x"]}, DEFAULT_TARGET, "not a number"),
        ({"tau": ["1.5"]}, DEFAULT_TARGET, r"in \[0, 1\]"),
        ({"tau": ["-.1"]}, DEFAULT_TARGET, r"in \[0, 1\]"),
        ({"tau": ["nan"]}, DEFAULT_TARGET, "not a number"),
        ({"tau": ["blue=.9:.1"]}, DEFAULT_TARGET, r"in \[0, 1\]"),
        ({"tau": ["purple=.4"]}, DEFAULT_TARGET, "'purple' is not a word of"),
        ({"blend": ["cube"]}, DEFAULT_TARGET, "'cube' is not a word of"),
        ({"subtract": ["cube"]}, DEFAULT_TARGET, "'cube' is not a word of"),
        ({"sweep": ["taw"]}, DEFAULT_TARGET, "one or two of tau, self_tau, c"),
    ],
)
def test_bad_options_are_one_or_two_lines(
    tmp_path: Path, given: dict[str, object], target: str, message: str
) -> None:
    options = Options(**given)  # type: ignore[arg-type]
    with pytest.raises(KdstError, match=message) as caught:
        edit_prompt_to_prompt(small_request((target,)), options, make_run(tmp_path))
    assert len(str(caught.value).splitlines()) <= 2


def test_wide_allows_larger_weights() -> None:
    assert parse_weights(["blue=-5"], wide=True) == {"blue": -5}


@pytest.mark.slow
def test_conforms() -> None:
    check_plugin("p2p")
