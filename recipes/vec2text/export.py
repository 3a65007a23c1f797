"""From a finished training to the files that are shipped, and their scores."""

import json

import torch

from kdst_core.files import write_atomically
from kdst_core.runs.execute import run
from kdst_invert.default.notes import notes
from kdst_vec2text.config import CheckpointConfig
from kdst_vec2text.pair import Examples, Vec2Text
from recipes.vec2text import stages
from recipes.vec2text.stages import LONGEST, Workshop

KNOWN = 16
"""Training texts that are stored with their embeddings, to tell another embedder by."""
SCORED = 500


def export(shop: Workshop) -> None:
    """Write `weights/` in half precision, and `weights/scores.json` of held-out notes."""
    texts = [note.text for note in notes("train", KNOWN, shop.recipe.seed)]
    config = CheckpointConfig(
        num_repeat_tokens=shop.recipe.k,
        embedder_model_name=shop.embed.name,
        max_seq_length=LONGEST,
        embedder_dimension=shop.embed.dimension,
        normalised=shop.embed.normalised,
    )
    first, second = stages.hypothesiser(shop), stages.corrector(shop)
    known = Examples(texts, shop.embed(texts))
    found = Vec2Text(first, second, shop.tokens(), config, known)
    found.save(shop.out / "weights", torch.float16)
    score(shop)


def score(shop: Workshop) -> None:
    """Invert held-out notes with the exported weights and keep what was measured."""
    weights = shop.out / "weights"
    done = run(
        "vec2text",
        out=shop.out / "score",
        resume=(shop.out / "score").exists(),
        show="auto",
        model=str(weights),
        beam=8,
        count=SCORED,
    )
    kept = {"metrics": dict(done.metrics), "input": dict(done.data["input"])}
    write_atomically(weights / "scores.json", json.dumps(kept, indent=1) + "\n")
