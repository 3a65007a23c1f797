"""Mutual self-attention: the edit looks with its own queries into the source's content."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from kdst_authors.testing import check_plugin, make_run
from kdst_core.contracts import EditRequest
from kdst_core.errors import KdstError
from kdst_edit.models.layouts import build
from kdst_edit.models.pipelines import load
from kdst_masactrl import Options, edit


def request(pipeline: Any, steps: int, target: str) -> EditRequest:
    generator = torch.Generator().manual_seed(0)
    channels, side = pipeline.unet.config.in_channels, pipeline.unet.config.sample_size
    noise = torch.randn(1, channels, side, side, generator=generator)
    source = "a red disc on a white background"
    return EditRequest(
        pipeline, source, None, (target,), generator, noise, num_steps=steps, guidance=3.0
    )


def test_the_published_layers_and_steps_of_stable_diffusion_are_controlled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(
        "kdst_masactrl.method.edit_with", lambda _request, rules, _run: seen.extend(rules)
    )
    pipeline = build("sd15", latent_size=8)
    edit(request(pipeline, 50, "a b"), Options(), make_run(tmp_path))
    from kdst_edit.control.layers import find_layers

    every = [x for x in find_layers(pipeline.unet) if x.kind == "self"]
    assert len(every) == 16
    assert [every.index(x) for x in every if seen[0].layers(x)] == list(range(10, 16))
    assert seen[0].steps == range(4, 50)


class Mutual:
    """Self-attention whose second half of rows reads keys and values of the first half."""

    def __call__(self, attn: Any, hidden: Tensor, *_: Any, **__: Any) -> Tensor:
        half = len(hidden) // 2
        read = torch.cat([hidden[:half], hidden[:half]])
        q, k, v = (
            attn.head_to_batch_dim(f(x))
            for f, x in ((attn.to_q, hidden), (attn.to_k, read), (attn.to_v, read))
        )
        mixed = attn.batch_to_head_dim(attn.get_attention_scores(q, k) @ v)
        out: Tensor = attn.to_out[1](attn.to_out[0](mixed))
        return out


def test_the_rule_equals_attention_to_the_source_written_out(tmp_path: Path) -> None:
    from kdst_edit.control.layers import find_layers
    from kdst_edit.models.latents import condition, ddim, decode

    pipeline = load("tiny")
    asked = request(pipeline, 3, "a blue ring on a white background")
    options = Options(start=0, first_layer=3 / 7)
    ours = edit(asked, options, make_run(tmp_path)).images[0].image
    every = [x.module for x in find_layers(pipeline.unet) if x.kind == "self"]
    assert len(every) == 7
    for module in every[3:]:
        module.set_processor(Mutual())
    words = condition(pipeline, ["", asked.source_prompt, "", asked.targets[0]], (32, 32)).kwargs()
    scheduler, x = ddim(pipeline), asked.latents.expand(2, -1, -1, -1)
    scheduler.set_timesteps(3)
    with torch.no_grad():
        for t in scheduler.timesteps:
            without, told = (
                pipeline.unet(x[[0, 0, 1, 1]], t, **words).sample.view(2, 2, *x.shape[1:]).unbind(1)
            )
            x = scheduler.step(without + 3.0 * (told - without), t, x).prev_sample
    assert torch.allclose(ours, decode(pipeline, x)[1], atol=1e-4)


def test_windows_that_leave_nothing_are_refused(tmp_path: Path) -> None:
    asked = request(load("tiny"), 4, "a blue ring on a white background")
    for options in (Options(start=1.0), Options(first_layer=1.0)):
        with pytest.raises(KdstError, match="leave no step or no layer"):
            edit(asked, options, make_run(tmp_path))


@pytest.mark.slow
def test_conforms() -> None:
    check_plugin("masactrl")
