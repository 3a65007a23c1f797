"""The recipe of the digits' network."""

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from kdst_adapt.default import model as digits
from recipes.digits import __main__ as recipe


def test_the_shipped_weights_have_the_accuracies_that_they_record() -> None:
    with safe_open(digits.weights_path(), "pt") as file:
        recorded = file.metadata()
    for part in ("train", "test"):
        right = recipe.accuracy(digits.load(), train=part == "train")
        assert right == pytest.approx(float(recorded[f"accuracy.{part}"]), abs=2e-3)


def test_an_epoch_gives_weights_of_the_network_with_their_accuracies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "weights.safetensors"
    monkeypatch.setattr("sys.argv", ["recipe", "--out", str(file), "--epochs", "1"])
    with torch.random.fork_rng():
        recipe.main()
    trained = digits.build()
    trained.load_state_dict(load_file(file))
    with safe_open(file, "pt") as weights:
        recorded = float(weights.metadata()["accuracy.test"])
    assert recipe.accuracy(trained.eval(), train=False) == pytest.approx(recorded, abs=1e-4)
    assert recorded > 0.3
