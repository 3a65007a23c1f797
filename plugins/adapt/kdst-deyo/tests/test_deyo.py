"""DeYO as an algorithm: against a plain rendering of it, and what its transformations destroy."""

import copy
import math
from pathlib import Path

import pytest
import torch
from torch import Generator, Tensor, nn

from kdst_adapt.testing import batches, entropies, network, prepare, request
from kdst_authors.testing import check_plugin, make_run
from kdst_deyo import Options, adapt
from kdst_deyo.destroy import occlude, shuffle_patches, shuffle_pixels


def narrow() -> nn.Module:
    """A network whose last BatchNorm sees one value a channel of an image."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [nn.Conv2d(3, 8, 8), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8, 5)]
        return nn.Sequential(*layers).double().eval()


def plain_destroy(images: Tensor, how: str, generator: Generator) -> Tensor:
    """Each image of 8×8 pixels without its shape: 4×4 patches, pixels, or the middle."""
    out = torch.empty_like(images)
    if how == "pixel":
        order = torch.randperm(64, generator=generator).tolist()
        for at, taken in enumerate(order):
            out[:, :, at // 8, at % 8] = images[:, :, taken // 8, taken % 8]
    elif how == "occlusion":
        out.copy_(images)
        out[:, :, 2:6, 2:6] = images.mean((2, 3))[:, :, None, None]
    else:
        drawn = torch.rand(len(images), 16, generator=generator, dtype=torch.float64)
        for k, image in enumerate(images):
            for at, taken in enumerate(drawn[k].argsort().tolist()):
                (r, c), (i, j) = divmod(at, 4), divmod(taken, 4)
                patch = image[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
                out[k, :, 2 * r : 2 * r + 2, 2 * c : 2 * c + 2] = patch
    return out


def plain_deyo(model: nn.Module, data: list[Tensor], options: Options) -> list[tuple[Tensor, int]]:
    """Logits before each update, and how many images it learnt from."""
    model, affine = prepare(model)
    adam = torch.optim.Adam(affine, 1e-3)
    generator, log_c, outputs = Generator().manual_seed(3), math.log(5), []
    for x in data:
        logits = model(x)
        h, p = entropies(logits), logits.softmax(1).detach()
        passed = [k for k in range(len(x)) if h[k] < options.tau_ent * log_c]
        shown = passed if options.profile == "published" else list(range(len(x)))
        with torch.no_grad():
            q = model(plain_destroy(x[shown], options.destroy, generator)).softmax(1)
        terms = []
        for row, k in enumerate(shown):
            fall = p[k].max() - q[row, p[k].argmax()]
            if k in passed and fall > options.tau_plpd:
                weight = 1 / torch.exp(h[k].detach() - options.ent_0 * log_c) + 1 / torch.exp(-fall)
                terms.append(weight * h[k])
        outputs.append((logits.detach(), len(terms)))
        if terms:
            adam.zero_grad()
            (sum(terms) / len(terms)).backward()
            adam.step()
    return outputs


@pytest.mark.parametrize(("destroy", "tau"), [("patch", 0.15), ("pixel", 0.15), ("occlusion", 0.0)])
@pytest.mark.parametrize("profile", ["published", "corrected"])
def test_deyo_equals_a_plain_rendering_in_float64(
    tmp_path: Path, profile: str, destroy: str, tau: float
) -> None:
    options = Options(profile=profile, destroy=destroy, tau_ent=0.6, tau_plpd=tau)  # type: ignore[arg-type]
    model, data = network(), batches(4)
    deyo = adapt(request(model), options, make_run(tmp_path))
    kept, confident = 0, 0.0
    for x, (logits, count) in zip(data, plain_deyo(model, data, options), strict=True):
        assert (deyo.predict(x) - logits).abs().max() < 1e-10
        assert deyo.diagnostics.samples == count
        kept += count
        confident += 12 * deyo.diagnostics.scalars["share confident"]
    assert 0 < kept < round(confident) < 48


def test_no_update_is_made_where_no_image_is_confident(tmp_path: Path) -> None:
    deyo = adapt(request(network()), Options(tau_ent=1e-6), make_run(tmp_path))
    before = [p.clone() for p in deyo.parameters]
    state = deyo.generator.get_state()
    deyo.predict(batches(1)[0])
    assert deyo.diagnostics.updates == deyo.diagnostics.samples == 0
    assert all(map(torch.equal, before, deyo.parameters))
    assert torch.equal(state, deyo.generator.get_state())


def test_one_confident_image_of_several_is_normalised_with_the_others(tmp_path: Path) -> None:
    x = batches(1)[0]
    lowest = entropies(prepare(narrow())[0](x)).sort().values[:2].mean().item() / math.log(5)
    options = Options(profile="published", tau_ent=lowest, tau_plpd=-1.0)
    deyo = adapt(request(narrow()), options, make_run(tmp_path))
    assert deyo.predict(x).isfinite().all()
    assert deyo.diagnostics.samples == 1


@pytest.mark.parametrize("sides", [(8, 8), (9, 14), (3, 5)])
def test_shuffled_images_keep_their_sides_and_their_kind(sides: tuple[int, int]) -> None:
    x = torch.rand(3, 2, *sides, generator=Generator().manual_seed(0))
    for shuffled in (
        shuffle_patches(x, 4, Generator().manual_seed(1)),
        shuffle_pixels(x, Generator().manual_seed(1)),
        occlude(x),
    ):
        assert shuffled.shape == x.shape
        assert not torch.equal(shuffled, x)
        assert x.min() - 1e-6 <= shuffled.min() <= shuffled.max() <= x.max() + 1e-6


def test_shuffling_only_moves_pixels() -> None:
    x = torch.arange(2 * 64, dtype=torch.float64).view(2, 1, 8, 8)
    for shuffled in (
        shuffle_patches(x, 2, Generator().manual_seed(4)),
        shuffle_pixels(x, Generator().manual_seed(4)),
    ):
        assert torch.equal(shuffled.flatten(1).sort(1).values, x.flatten(1))


def test_reset_and_state_continue_exactly_where_images_are_learnt_from(tmp_path: Path) -> None:
    """The conformance kit's network is confident of no image."""
    options, data = Options(tau_ent=0.9, tau_plpd=-0.5), batches(4)
    deyo = adapt(request(network()), options, make_run(tmp_path))
    first = [deyo.predict(x) for x in data[:2]]
    state = copy.deepcopy(deyo.state_dict())
    rest = [deyo.predict(x) for x in data[2:]]
    other = adapt(request(network()), options, make_run(tmp_path))
    other.load_state_dict(state)
    assert all(map(torch.equal, rest, [other.predict(x) for x in data[2:]]))
    deyo.reset()
    assert all(map(torch.equal, first + rest, [deyo.predict(x) for x in data]))
    assert deyo.diagnostics.updates == 1


def test_deyo_conforms() -> None:
    check_plugin("deyo")
