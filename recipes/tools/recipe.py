"""What the tiny model is trained on, step by step, so that a training run repeats and resumes."""

from collections.abc import Iterator
from random import Random

from attrs import frozen

from kdst_tools.default import DEMONSTRATIONS
from kdst_tools.default.texts import documents
from recipes.tools.demonstrations import USELESS_SHARE, demonstrations

POOL = 1024
"""Texts that are drawn together, sorted by length into batches."""


BASE_SHARES = {"computation": 0.35, "date": 0.12, "prose": 0.13, "copy": 0.2, "list": 0.2}
"""How often a plain text of training is of each kind: many repeat themselves, so that the model
learns to copy before it is shown calls."""
EQUATION_SHARE = 0.5
"""How many computations of plain texts of training are also written out."""


@frozen
class Recipe:
    """How one stage is trained. steps: batches of `batch` texts. lr: peak of AdamW's learning rate.

    demonstrations: how many annotated texts the stage sees, again and again, and `useless` the share
    of them whose call does not help; 0 for plain text only. plain: share of plain texts beside them.
    """

    stage: str
    steps: int
    lr: float
    batch: int = 16
    warmup: int = 100
    seed: int = 0
    width: int = 128
    layers: int = 4
    heads: int = 4
    demonstrations: int = 0
    useless: float = USELESS_SHARE
    plain: float = 0.5


BASE = Recipe("base", steps=1200, lr=2e-3)
WARM = Recipe("warm", steps=250, lr=2e-3, demonstrations=DEMONSTRATIONS, warmup=10, plain=0.35)


def tokenizer_texts(seed: int) -> Iterator[str]:
    """Yield the texts that the tokenizer is made of: plain ones, and some with calls."""
    generator = Random(f"tokenizer {seed}")
    for document in documents(8000, generator, EQUATION_SHARE, BASE_SHARES):
        yield document.text
    for text, _ in demonstrations(2000, generator):
        yield text


def plain_texts(recipe: Recipe, pool: int, count: int) -> list[str]:
    """Return the plain texts of a pool, drawn afresh for every pool."""
    generator = Random(f"{recipe.stage} {recipe.seed} {pool}")
    return [drawn.text for drawn in documents(count, generator, EQUATION_SHARE, BASE_SHARES)]


def demonstration_texts(recipe: Recipe) -> list[str]:
    """Return the demonstrations of a recipe, the same for every pool."""
    generator = Random(f"demonstrations {recipe.seed}")
    drawn = demonstrations(recipe.demonstrations, generator, recipe.useless)
    return [text for text, _ in drawn]


def pool_texts(recipe: Recipe, pool: int) -> list[str]:
    """Return the texts of a pool; demonstrations follow one another in shuffled rounds."""
    if not recipe.demonstrations:
        return plain_texts(recipe, pool, POOL)
    plain = plain_texts(recipe, pool, round(POOL * recipe.plain))
    known, shown = demonstration_texts(recipe), POOL - len(plain)
    first = pool * shown
    rounds = {n // len(known) for n in (first, first + shown - 1)}
    order = {n: Random(f"round {recipe.seed} {n}").sample(known, len(known)) for n in
             range(min(rounds), max(rounds) + 1)}  # fmt: skip
    texts = [order[n // len(known)][n % len(known)] for n in range(first, first + shown)]
    return plain + texts
