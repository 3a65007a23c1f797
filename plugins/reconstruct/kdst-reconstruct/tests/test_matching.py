"""Which photographs are compared."""

from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from kdst_reconstruct.captures import matching
from kdst_reconstruct.captures.orientation import taken_at


def test_few_photographs_are_all_compared() -> None:
    names = [f"{k}.jpg" for k in range(10)]
    assert len(matching.chosen_pairs("auto", names, names, Path("none"))) == 45


def test_frames_of_a_video_are_compared_near_and_at_powers_of_two() -> None:
    names = [f"{k:05d}.jpg" for k in range(40)]
    pairs = matching.chosen_pairs("video", names, names, Path("none"))
    assert {j - i for i, j in pairs} == {*range(1, 11), 16, 32}


def test_names_are_ordered_as_people_count() -> None:
    names = ["a10.jpg", "a9.jpg", "a100.jpg", "b1.jpg"]
    assert sorted(names, key=matching.natural) == ["a9.jpg", "a10.jpg", "a100.jpg", "b1.jpg"]


def test_photographs_of_one_place_are_alike() -> None:
    rng = np.random.default_rng(0)
    places = [np.abs(rng.normal(size=(80, 128))) for _ in range(10)]
    features = []
    for number in range(30):
        seen = places[number % 10] + 0.1 * rng.normal(size=(80, 128))
        features.append((seen / np.linalg.norm(seen, axis=1, keepdims=True)).astype(np.float32))
    pairs = matching.alike(features, 2)
    assert pairs == {(i, j) for j in range(30) for i in range(j) if (j - i) % 10 == 0}


def test_time_stamps_give_the_order_where_every_photograph_has_one() -> None:
    names = ["c.jpg", "a.jpg", "b.jpg"]
    assert matching.orders(names, [3.0, 1.0, 2.0]) == [[1, 2, 0]]
    assert matching.orders(names, [1.0, 3.0, 2.0]) == [[0, 2, 1]]
    assert matching.orders(names, [2.0, None, 1.0]) == [[1, 2, 0], [2, 0]]
    assert matching.orders(names, [None, None, None]) == [[1, 2, 0]]
    assert matching.orders(names, [5.0, 5.0, 5.0]) == [[1, 2, 0]]


def test_neighbours_in_time_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching, "alike", lambda *_: set())
    monkeypatch.setattr(matching, "_descriptors", lambda *_: [])
    monkeypatch.setattr(matching, "NEIGHBOURS", 1)
    names = [f"{k}.jpg" for k in range(5)]
    pairs = matching.chosen_pairs("sequential", names, names, Path("none"), [0, 20, 10, 40, 30])
    assert pairs == [(0, 2), (1, 2), (1, 4), (3, 4)]


@pytest.mark.parametrize(
    ("tags", "seconds"),
    [
        ({0x9003: "2000:01:02 00:00:05"}, 86405.0),
        ({0x9003: "2000:01:01 00:00:05", 0x9291: "25"}, 5.25),
        ({0x9003: "0000:00:00 00:00:00"}, None),
        ({0x9003: "yesterday"}, None),
        ({}, None),
    ],
)
def test_the_time_of_a_photograph_is_that_of_its_metadata(
    tmp_path: Path, tags: dict[int, str], seconds: float | None
) -> None:
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif).update(tags)
    Image.new("RGB", (4, 4)).save(tmp_path / "a.jpg", exif=exif)
    with Image.open(tmp_path / "a.jpg") as picture:
        assert taken_at(picture) == seconds
