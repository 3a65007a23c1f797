"""A toy embedder that reads words and their places, and an inverter trained on it for seconds."""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import Tensor

from kdst_vec2text.fit import FitSettings, Services, Texts, fit, split
from kdst_vec2text.pair import Vec2Text
from kdst_vec2text.trainer import TrainSettings

WORDS = ("anna", "has", "cough", "and", "fever", "max", "took", "iron")
SHAPE = {
    "d_model": 32,
    "d_kv": 8,
    "num_heads": 4,
    "d_ff": 64,
    "num_layers": 1,
    "num_decoder_layers": 1,
    "dropout_rate": 0.0,
}


class Toy:
    """Sums a vector for each word, turned by its place; letters count a little too."""

    name = "toy"
    dimension = 24
    normalised = True

    def __init__(self, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.words = torch.randn(len(WORDS), 24, generator=generator)
        self.places = 1 + 0.5 * torch.randn(16, 24, generator=generator)
        self.letters = torch.randn(256, 24, generator=generator)
        self.asked: list[str] = []

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """(n, 24) of length 1."""
        self.asked += texts
        return torch.nn.functional.normalize(torch.stack([self.one(t) for t in texts]), dim=-1)

    def one(self, text: str) -> Tensor:
        """The vector of one text before it is divided by its length."""
        total = 0.05 * self.letters[list(text.encode()[:64])].sum(0)
        for place, word in enumerate(text.split()[:16]):
            if word in WORDS:
                total = total + self.words[WORDS.index(word)] * self.places[place]
        return total


@contextmanager
def quiet(total: int, label: str) -> Iterator[Callable[[int], None]]:
    """Progress that shows nothing."""
    yield lambda count: None


def sentences(count: int, seed: int = 0) -> list[str]:
    """Sentences of two to four of the words, some of them alike."""
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=draw.randint(2, 4))) for _ in range(count)]


def toy_settings(epochs: int = 1, **changes: object) -> FitSettings:
    """A very small network."""
    stage = TrainSettings(epochs=epochs, batch=32, learning_rate=5e-3, **changes)  # type: ignore
    return FitSettings(
        t5=SHAPE, vocabulary=300, k=2, max_tokens=12, hypothesiser=stage, corrector=stage
    )


def toy_texts(count: int = 400) -> Texts:
    """Training and validation texts."""
    return split(sentences(count), None, torch.Generator().manual_seed(0))


@pytest.fixture
def toy() -> Toy:
    """The embedder."""
    return Toy()


@pytest.fixture(scope="session")
def inverter(tmp_path_factory: pytest.TempPathFactory) -> Vec2Text:
    """An inverter that finds some of the sentences at once, others later, others never."""
    services = Services(tmp_path_factory.mktemp("fit") / "work", lambda *_: None, quiet)
    return fit(toy_texts(), Toy(), toy_settings(12, stop_after=None), services)


@pytest.fixture
def tools() -> object:
    """What the tests of this folder share."""
    return type("Tools", (), {n: staticmethod(f) for n, f in SHARED.items()})


SHARED: dict[str, Callable[..., object]] = {
    "quiet": quiet,
    "sentences": sentences,
    "toy_settings": toy_settings,
    "toy_texts": toy_texts,
    "toy": Toy,
}


@pytest.fixture
def services(tmp_path: Path) -> Services:
    """Works in a temporary folder and keeps quiet."""
    return Services(tmp_path / "work", lambda *_: None, quiet)
