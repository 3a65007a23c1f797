"""Which photographs are compared."""

from pathlib import Path

import numpy as np

from kdst_reconstruct import matching


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
