"""FOA as an algorithm: against a plain rendering of it, one image at a time, quantised, and resumed."""

import copy
import math
from pathlib import Path
from typing import Any

import cma
import pytest
import torch
from torch import Generator, Tensor, nn

from kdst_adapt.testing import batches, entropies, network, request
from kdst_authors.testing import check_plugin, make_run
from kdst_core.errors import KdstError
from kdst_foa import Options, adapt
from kdst_foa.evolution import Evolution

SOURCE = [(x, torch.zeros(len(x))) for x in batches(3)]
"""Source images, those of the stream without its last batch."""


class Block(nn.Module):
    """A block of a transformer that normalises first."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(8), nn.LayerNorm(8)
        self.query, self.up, self.down = nn.Linear(8, 24), nn.Linear(8, 16), nn.Linear(16, 8)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.query(self.norm1(x)).chunk(3, -1)
        x = x + (q @ k.transpose(1, 2) / math.sqrt(8)).softmax(-1) @ v
        return x + self.down(self.up(self.norm2(x)).relu())


class Transformer(nn.Module):
    """A vision transformer of three blocks on images of 8×8 pixels, with random weights."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.norm, self.head = nn.Conv2d(3, 8, 4, 4), nn.LayerNorm(8), nn.Linear(8, 5)
        self.first, self.places = nn.Parameter(torch.randn(8)), nn.Parameter(torch.randn(5, 8))
        self.blocks = nn.Sequential(Block(), Block(), Block())

    def embed(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        return torch.cat([self.first.expand(len(x), 1, 8), x], 1) + self.places

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.blocks(self.embed(x)))[:, 0])  # type: ignore[no-any-return]


@pytest.fixture
def vit() -> Transformer:
    """A transformer in float64, weights from a fixed seed."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Transformer().double().eval().requires_grad_(False)


def plain_features(vit: Transformer, images: Tensor, prompts: Tensor) -> list[Tensor]:
    """The class token after each block, as what follows normalises it; prompts (n, D), n may be 0."""
    x = vit.embed(images)
    x = torch.cat([x[:, :1], prompts.expand(len(x), *prompts.shape), x[:, 1:]], 1)
    found = []
    for k, block in enumerate(vit.blocks):
        x = block(x)
        after = vit.blocks[k + 1].norm1 if k < 2 else vit.norm
        found.append(after(x[:, 0]))
    return found


def plain_foa(vit: Transformer, data: list[Tensor], profile: str) -> list[tuple[Tensor, float]]:
    """Returned logits and lowest fitness of each batch."""
    source = [
        torch.std_mean(layer, 0)
        for layer in plain_features(vit, torch.cat([x for x, _ in SOURCE]), torch.zeros(0, 8))
    ]
    generator = Generator().manual_seed(3)
    reach = math.sqrt(6 / (3 * 4 * 4 + 8))
    best = (2 * torch.rand(3, 8, generator=generator, dtype=torch.float64) - 1) * reach

    def randn(count: int, size: int) -> Any:
        return torch.randn(count, size, generator=generator, dtype=torch.float64).numpy()

    options = {"randn": randn, "seed": math.nan, "verbose": -9, "popsize": 6}
    es = cma.CMAEvolutionStrategy(24 * [0], 1, options)
    running, outputs = None, []
    for x in data:
        candidates = [torch.from_numpy(p).view(3, 8) for p in es.ask()] + [best]
        losses, finals = [], []
        for prompts in candidates:
            layers = plain_features(vit, x, prompts)
            loss = entropies(vit.head(layers[-1])).sum().item()
            for layer, (deviation, mean) in zip(layers, source, strict=True):
                apart = (layer.std(0) - deviation) ** 2 + (layer.mean(0) - mean) ** 2
                loss += 0.4 * len(x) / 64 * apart.sum().item()
            losses.append(loss)
            finals.append(layers[-1])
        chosen = min(range(len(losses)), key=losses.__getitem__)
        best = candidates[chosen]
        es.tell([p.flatten().numpy() for p in candidates], losses)
        means = [f.mean(0) for f in finals]
        newest = sum(means) / len(means) if profile == "published" else means[chosen]
        before = running
        running = newest if running is None else 0.9 * running + 0.1 * newest
        used = before if profile == "published" else running
        shift = 0 if used is None else source[-1][1] - used
        outputs.append((vit.head(finals[chosen] + shift), losses[chosen]))
    return outputs


@pytest.mark.parametrize("profile", ["published", "corrected"])
def test_foa_equals_a_plain_rendering_in_float64(
    tmp_path: Path, profile: str, vit: Transformer
) -> None:
    options = Options(profile=profile, interval=2, popsize=6)  # type: ignore[arg-type]
    foa = adapt(request(vit, SOURCE), options, make_run(tmp_path))
    for x, (logits, fitness) in zip(batches(4), plain_foa(vit, batches(4), profile), strict=True):
        assert (foa.predict(x) - logits).abs().max() < 1e-10
        assert foa.diagnostics.scalars["fitness"] == pytest.approx(fitness, abs=1e-10)
        assert foa.diagnostics.scalars["prompts"] == 3


@pytest.mark.parametrize("profile", ["published", "corrected"])
def test_a_network_without_tokens_has_its_features_shifted(tmp_path: Path, profile: str) -> None:
    net = network(batch=False)
    foa = adapt(request(net, SOURCE), Options(profile=profile, interval=2), make_run(tmp_path))  # type: ignore[arg-type]
    body, head = net[:-1], net[-1]
    mean = torch.cat([body(x) for x, _ in SOURCE]).mean(0)
    running: Any = None
    for x in batches(4):
        before, features = running, body(x).detach()
        newest = features.mean(0)
        running = newest if running is None else 0.9 * running + 0.1 * newest
        used = before if profile == "published" else running
        shift = 0 if used is None else mean - used
        assert (foa.predict(x) - head(features + shift)).abs().max() < 1e-10
        assert foa.diagnostics.scalars["prompts"] == 0


def test_one_image_at_a_time_updates_when_the_interval_is_full(
    tmp_path: Path, vit: Transformer
) -> None:
    options, x = Options(interval=4, popsize=4), batches(1)[0]
    alone, together = (
        adapt(request(vit, SOURCE), options, make_run(tmp_path / name)) for name in "ab"
    )
    updates = []
    for image in x:
        logits = alone.predict(image[None])
        updates.append(alone.diagnostics.updates)
    assert updates == [0, 0, 0, 1] * 3
    rows = [together.predict(part) for part in x.split(4)]
    assert torch.allclose(logits, rows[-1][-1:], rtol=0, atol=1e-10)
    assert torch.allclose(alone.best, together.best, rtol=0, atol=1e-10)


def test_the_best_prompts_so_far_are_kept_until_better_ones_are_found(
    tmp_path: Path, vit: Transformer
) -> None:
    foa = adapt(request(vit, SOURCE), Options(interval=2), make_run(tmp_path))
    fitness = []
    for _ in range(8):
        foa.predict(batches(1)[0])
        fitness.append(foa.diagnostics.scalars["fitness"])
    assert fitness == sorted(fitness, reverse=True)
    assert fitness[-1] < fitness[0]


def plain_values(state: object) -> bool:
    """Whether a state holds tensors, numbers, texts, None, and lists and dicts of these."""
    if isinstance(state, dict):
        return all(isinstance(k, str) and plain_values(v) for k, v in state.items())
    if isinstance(state, list):
        return all(map(plain_values, state))
    return state is None or type(state) in (bool, int, float, str, Tensor)


def test_reset_and_state_continue_exactly_within_an_interval(
    tmp_path: Path, vit: Transformer
) -> None:
    options, data = Options(interval=16), batches(8, 12)
    foa = adapt(request(vit, SOURCE), options, make_run(tmp_path))
    first = [foa.predict(x) for x in data[:5]]
    state = copy.deepcopy(foa.state_dict())
    assert state["kept"] is not None
    assert plain_values(state)
    rest = [foa.predict(x) for x in data[5:]]
    other = adapt(request(vit, SOURCE), options, make_run(tmp_path))
    other.predict(data[0])
    other.load_state_dict(state)
    assert all(map(torch.equal, rest, [other.predict(x) for x in data[5:]]))
    foa.reset()
    assert all(map(torch.equal, first + rest, [foa.predict(x) for x in data]))


def test_a_search_that_is_continued_proposes_the_same_bits() -> None:
    def fitness(x: Tensor) -> float:
        return float((x**2).sum() + x[0] * x[1])

    def go_on(search: Evolution, generations: int) -> Tensor:
        proposed = []
        for _ in range(generations):
            vectors = search.ask()
            proposed += vectors
            vectors.append(torch.full((12,), 0.3))
            search.tell(vectors, list(map(fitness, vectors)))
        return torch.stack(proposed)

    search = Evolution(12, None, Generator().manual_seed(1))
    go_on(search, 7)
    state, drawn = copy.deepcopy(search.state()), search.generator.get_state()
    expected = go_on(search, 9)
    other = Evolution(12, None, Generator())
    other.load(state)
    other.generator.set_state(drawn)
    assert torch.equal(go_on(other, 9), expected)
    assert expected[-1].norm() < expected[0].norm()


class Quantised(nn.Module):
    """A linear layer of 8-bit weights without parameters, as no gradient could go through it."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.out_features = layer.out_features
        self.scale = float(layer.weight.abs().max()) / 127
        self.register_buffer("weight", (layer.weight / self.scale).round().to(torch.int8))
        self.register_buffer("bias", layer.bias.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        return x.detach() @ (self.weight.to(x.dtype) * self.scale).T + self.bias


def test_a_quantised_network_is_adapted(tmp_path: Path, vit: Transformer) -> None:
    for module in list(vit.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Linear):
                setattr(module, name, Quantised(child))
    foa = adapt(request(vit, SOURCE), Options(interval=2), make_run(tmp_path))
    x = batches(1)[0]
    with torch.inference_mode():
        first = foa.predict(x)
        assert foa.predict(x).isfinite().all()
    assert foa.diagnostics.scalars["prompts"] == 3
    assert not torch.equal(first, vit(x))


def test_prompts_are_refused_where_there_are_no_tokens_and_source_where_there_is_none(
    tmp_path: Path, vit: Transformer
) -> None:
    with pytest.raises(KdstError, match="no blocks of tokens"):
        adapt(request(network(), SOURCE), Options(prompts=3), make_run(tmp_path))
    with pytest.raises(KdstError, match="needs source data"):
        adapt(request(vit), Options(), make_run(tmp_path))
    shift = adapt(request(vit, SOURCE), Options(prompts=0), make_run(tmp_path))
    assert shift.search is None


def test_blocks_that_take_no_further_tokens_are_refused(tmp_path: Path, vit: Transformer) -> None:
    class Mixer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mix = nn.Linear(5, 5).double()

        def forward(self, x: Tensor) -> Tensor:
            return x + self.mix(x.transpose(1, 2)).transpose(1, 2)

    vit.blocks = nn.Sequential(Mixer(), Mixer())
    with pytest.raises(KdstError, match="no further tokens"):
        adapt(request(vit, SOURCE), Options(), make_run(tmp_path))


def test_foa_conforms() -> None:
    check_plugin("foa")
