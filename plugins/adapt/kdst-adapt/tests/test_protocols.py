"""Protocols by name: what they fix and refuse, streams that change smoothly, folders of ImageNet's kin."""

import inspect
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import kdst_core
from kdst_adapt.corruptions.between import between
from kdst_adapt.corruptions.corrupt import corrupt
from kdst_adapt.inputs import AdaptInputs
from kdst_adapt.models.resnet import ResNet
from kdst_adapt.streams import changing, classes, data, protocols
from kdst_adapt.streams.shift import Shift
from kdst_adapt.streams.stream import Stream
from kdst_core.errors import KdstError
from kdst_core.options import Given, Section, build
from kdst_core.plugins import registry


def inputs(**given: object) -> AdaptInputs:
    values = {f"--{k.replace('_', '-')}": Given(v, k, Path()) for k, v in given.items()}
    built: AdaptInputs = build(Section("", "input", AdaptInputs), values)
    return built


@pytest.mark.parametrize("name", protocols.PROTOCOLS)
@pytest.mark.parametrize("source", ["cifar10-c:d", "imagenet-c:d", "folder:d", "digits"])
def test_a_protocol_fixes_all_that_decides_a_stream(name: str, source: str) -> None:
    found = inputs(protocol=name, data=source)
    assert found.protocol == name
    assert (found.order, found.batch_size) != (None, None)
    assert (found.reset == "shift") == (name in ("robustbench-5k", "eata-50k"))
    assert bool(found.types) != bool(found.corrupt), "the fifteen types are read or made"
    assert found.order == ("shuffled" if source[:4] in ("imag", "fold") else found.order)


def test_published_sizes_and_batches() -> None:
    found = inputs(protocol="eata-50k", data="imagenet-c:d")
    assert (found.images, found.batch_size, found.severity) == (50_000, 64, "5")
    found = inputs(protocol="cotta-continual", data="cifar10-c:d")
    assert (found.images, found.batch_size, found.order) == (10_000, 200, "stored")
    assert inputs(protocol="cotta-continual", data="imagenet-c:d").images == 5_000
    found = inputs(protocol="rotta-dirichlet", data="cifar100-c:d")
    assert (found.dirichlet, found.batch_size, found.types[0]) == (0.1, 64, "motion_blur")
    assert inputs(protocol="gradual").setting == "gradual"
    assert inputs(protocol="ccc").setting == "changing"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"protocol": "cotta-continual", "reset": "shift"}, "--reset shift contradicts --protocol"),
        ({"protocol": "gradual", "severity": "5"}, "which has 1-5"),
        ({"protocol": "eata-50k", "batch_size": 200}, "--batch-size 200 contradicts"),
        ({"protocol": "rotta-dirichlet", "dirichlet": "0.5"}, r"which has 0.1 \(Yuan et al"),
        ({"protocol": "ccc", "corrupt": "fog"}, "--corrupt fog contradicts"),
        ({"protocol": "robustbench-5k", "types": "fog"}, "--types fog contradicts"),
        ({"protocol": "robustbench"}, "one of none, robustbench-5k"),
    ],
)
def test_an_option_that_contradicts_a_protocol_is_refused(
    given: dict[str, object], message: str
) -> None:
    with pytest.raises(KdstError, match=message) as refused:
        inputs(**given)
    assert len(str(refused.value).splitlines()) <= 2


def test_options_with_the_protocols_own_values_are_fine() -> None:
    given = {"reset": "never", "severity": "1,2,3,4,5", "setting": "gradual"}
    assert inputs(protocol="gradual", **given) == inputs(protocol="gradual")
    assert inputs(severity="1-5").protocol == "none"


def test_a_run_says_its_protocol_and_where_it_departs(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("fog", "gaussian_noise", "spatter"):
        np.save(tmp_path / f"{name}.npy", rng.integers(0, 256, (20, 8, 8, 3), dtype=np.uint8))
    np.save(tmp_path / "labels.npy", np.arange(4))
    torch.manual_seed(0)
    found = kdst_core.run(
        "norm",
        model=ResNet(1, 10),
        data=f"cifar10-c:{tmp_path}",
        protocol="cotta-continual",
        out=tmp_path / "r",
    )
    protocol = found.data["input"]
    assert protocol["shifts"] == ["gaussian_noise.5", "fog.5"], "the paper's order, not the names'"
    assert protocol["reset"] == "never"
    assert "CoTTA" in protocol["protocol_source"]
    told = " ".join(protocol["protocol_departures"])
    assert "have 2 of its 15 types" in told
    assert "have 10,000 images, these 4" in told
    assert any("departs from its paper" in w for w in found.data["warnings"])
    assert any(line.startswith("protocol cotta-continual: Wang et al.") for line in found.summary)
    assert "Protocol cotta-continual: Wang et al." in found.report.read_text()


def test_data_without_any_type_of_the_protocol_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "spatter.npy", np.zeros((20, 8, 8, 3), np.uint8))
    np.save(tmp_path / "labels.npy", np.arange(4))
    with pytest.raises(KdstError, match="the data has no type 'gaussian_noise'"):
        data.load(inputs(protocol="cotta-continual", data=f"cifar10-c:{tmp_path}"), 0)


def correlated_rows() -> list[list[int]]:
    import numpy as np

    from kdst_adapt.streams.shift import Shift
    from kdst_adapt.streams.stream import Stream

    labels = np.random.default_rng(1).integers(0, 10, 500)
    shifts = [Shift(n, 5, np.zeros((500, 2, 2, 1), np.uint8), labels) for n in ("fog", "snow")]
    stream = Stream(shifts, 64, "stored", "never", 3, 0.1, None, 100)
    return [np.concatenate(stream.rows(s)).tolist() for s in shifts]


def test_the_order_of_a_correlated_stream_depends_on_the_seed_alone() -> None:
    fog, snow = correlated_rows()
    assert sorted(fog) == list(range(500))
    assert fog != snow, "each type has a draw of its own"
    code = inspect.getsource(correlated_rows)
    code = f"import torch\ntorch.set_num_threads(2)\n{code}\nprint(correlated_rows())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str([fog, snow])


def plain_order(labels: np.ndarray, slots: int, rng: np.random.Generator) -> list[int]:
    """The stream of RoTTA's samplers: each class cut by Dirichlet shares, its pieces in mixed slots."""
    rows: list[list[list[int]]] = [[] for _ in range(slots)]
    for label in sorted(set(labels.tolist())):
        mine = rng.permutation(np.flatnonzero(labels == label))
        shares = rng.dirichlet([0.1] * slots)
        start = 0.0
        for slot, share in enumerate(shares):
            last = slot == slots - 1
            end = len(mine) if last else round((start + share) * len(mine))
            rows[slot].append(mine[round(start * len(mine)) : end].tolist())
            start += share
    return [i for slot in rows for k in rng.permutation(len(slot)) for i in slot[k]]


def test_the_correlated_order_is_the_plain_rendering() -> None:
    import zlib

    labels = np.random.default_rng(1).integers(0, 7, 300)
    shift = Shift("fog", 5, np.zeros((300, 2, 2, 1), np.uint8), labels)
    for most, slots in ((100, 7), (4, 4)):
        stream = Stream([shift], 64, "stored", "never", 3, 0.1, None, most)
        rng = np.random.default_rng([3, 1, zlib.crc32(b"fog.5")])
        assert np.concatenate(stream.rows(shift)).tolist() == plain_order(labels, slots, rng)


@pytest.mark.parametrize("name", ["gaussian_noise", "motion_blur", "jpeg_compression", "snow"])
def test_between_severities_a_corruption_grows(name: str) -> None:
    x = np.random.default_rng(0).random((32, 32, 3)).astype(np.float32)
    x = np.floor(x * 255) / np.float32(255)
    how = {"seed": 1, "index": 2}
    assert np.array_equal(between(x, name, 0, **how), x)
    for whole in range(1, 6):
        assert np.array_equal(between(x, name, 4 * whole, **how), corrupt(x, name, whole, **how))
    weak, strong = between(x, name, 2, **how), between(x, name, 4, **how)
    assert 0 < np.abs(weak - x).mean() < np.abs(strong - x).mean()
    if name == "gaussian_noise":
        noise = [np.abs(between(x, name, q, **how) - x).mean() for q in range(4, 9)]
        assert noise == sorted(noise)


def test_the_way_keeps_to_the_accuracy_that_is_asked_for() -> None:
    i, j = np.mgrid[:6, :6]
    accuracy = 1 - (i + j) / 10
    steps = changing.way(accuracy, 0.6)
    assert steps[0][1] == 0
    assert steps[-1][0] == 0
    moves = {(b[0] - a[0], b[1] - a[1]) for a, b in pairwise(steps)}
    assert moves == {(-1, 0), (0, 1)}
    assert np.mean([accuracy[s] for s in steps]) == pytest.approx(0.6, abs=0.02)
    assert changing.way(accuracy, 0.6) == plain_way(accuracy, 0.6)
    odd = np.random.default_rng(0).random((5, 5))
    assert changing.way(odd, 0.4) == plain_way(odd, 0.4)


def plain_way(table: np.ndarray, goal: float) -> tuple[tuple[int, int], ...]:
    """The search of CCC's construction, from the goal back: the nearer of two continuations by mean."""

    def from_cell(i: int, j: int) -> list[tuple[int, int]]:
        if i == 0:
            return [(0, j)]
        ways = [from_cell(i - 1, j)] + ([from_cell(i, j + 1)] if j + 1 < len(table) else [])
        return [(i, j), *min(ways, key=lambda w: off([(i, j), *w]))]

    def off(way: list[tuple[int, int]]) -> float:
        return abs(float(np.mean([table[c] for c in way])) - goal)

    return tuple(min((from_cell(i, 0) for i in range(1, len(table))), key=off))


def brightest(x: Tensor) -> Tensor:
    """Logits of two classes by the mean of an image."""
    mean = x.mean((1, 2, 3))
    return torch.stack([0.5 - mean, mean - 0.5], 1)


def test_a_changing_stream_shows_each_image_once_and_changes_a_quarter_at_a_time() -> None:
    images = np.random.default_rng(0).random((60, 16, 16, 3)).astype(np.float32)
    labels = (images.mean((1, 2, 3)) > 0.5).astype(np.int64)
    names = ("fog", "contrast", "gaussian_noise")
    shifts = [Shift(n, 5, images, labels, corruption=(n, 5), seed=4) for n in names]
    found = changing.changing(shifts, 4, 2, brightest)
    assert found.rows is not None
    assert sorted(found.rows) == list(range(60))
    assert found.labels.tolist() == labels[found.rows].tolist()
    for leg in found.legs:
        for (a, b), (c, d) in pairwise(leg.steps):
            assert (a - c, d - b) in {(1, 0), (0, 1)}
    for before, after in pairwise(found.legs):
        assert before.second.name == after.first.name
    again = changing.changing(shifts, 4, 2, brightest)
    assert again.walk == found.walk
    rows = np.array([0, 59, 30])
    assert torch.equal(again.pictures(rows), found.pictures(rows))
    other = changing.changing(shifts, 5, 2, brightest)
    assert not torch.equal(other.pictures(rows)[0], again.pictures(rows)[0])
    stream = Stream([found], 16, "shuffled", "never", 4)
    assert np.concatenate(stream.rows(found)).tolist() == list(range(60))
    first = found.legs[0]
    place = int(found.rows[0])
    by_hand = images[place]
    for shift, level in zip((first.first, first.second), first.steps[0], strict=True):
        by_hand = between(by_hand, shift.name, level, seed=4, index=place)
    assert np.array_equal(found.pictures(rows)[0].permute(1, 2, 0).numpy(), by_hand)


def test_a_changing_stream_needs_clean_images() -> None:
    images = np.zeros((4, 8, 8, 3), np.uint8)
    stored = [Shift(n, 5, images, np.zeros(4, int)) for n in ("fog", "snow")]
    with pytest.raises(KdstError, match="needs two types or more on clean images"):
        changing.changing(stored, 0, 2, brightest)


def tree(place: Path, names: list[str]) -> None:
    for number, name in enumerate(names):
        (place / name).mkdir(parents=True)
        Image.new("RGB", (8, 8), (number, 0, 0)).save(place / name / "0.png")
    (place / "README.txt").write_text("about these images")


@pytest.mark.parametrize("kind", ["imagenet-a", "imagenet-r", "imagenet-sketch"])
def test_folders_of_wordnet_ids_have_imagenets_logits(tmp_path: Path, kind: str) -> None:
    known = [*classes.imagenet()]
    chosen = {"imagenet-a": known[6:900:60], "imagenet-r": known[1::83]}.get(kind, known[::77])
    tree(tmp_path, chosen)
    shifts = data.load(inputs(data=f"folder:{tmp_path}"), 0)
    (shift,), how, doubt = classes.assign(shifts, 1000, nn.Identity(), None)
    assert shift.labels.tolist() == [known.index(name) for name in chosen]
    assert "WordNet ids" in how
    assert not doubt


def test_folders_of_imagenet_v2_are_numbers_and_not_in_the_order_of_their_names(
    tmp_path: Path,
) -> None:
    names = ["0", "1", "2", "10", "100", "21", "999"]
    tree(tmp_path, names)
    shifts = data.load(inputs(data=f"folder:{tmp_path}"), 0)
    (shift,), how, doubt = classes.assign(shifts, 1000, nn.Identity(), None)
    red = [int(shift.pictures(np.array([k]))[0, 0, 0, 0] * 255 + 0.5) for k in range(len(names))]
    assert [int(names[k]) for k in red] == shift.labels.tolist()
    assert shift.labels.tolist() == [0, 1, 10, 100, 2, 21, 999]
    assert "their numbers" in how
    assert not doubt


def test_the_seed_of_a_changing_stream_is_part_of_what_is_fed() -> None:
    bench = registry.load_bench("adapt")
    assert bench.seeded(inputs(protocol="ccc", data="npz:d.npz"))
    assert not bench.seeded(inputs(protocol="cotta-continual", data="cifar10-c:d"))
