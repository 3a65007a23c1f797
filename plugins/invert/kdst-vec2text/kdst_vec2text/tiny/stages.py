"""The stages of training the embedded inverter; each goes on from its own files."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from attrs import frozen
from torch import Tensor

from kdst_core.contracts import Embedder
from kdst_core.progress import progress
from kdst_core.rundir import write_atomically
from kdst_invert.notes.generate import near_notes, notes
from kdst_vec2text.decoder import Decoder
from kdst_vec2text.examples import Examples, Ragged
from kdst_vec2text.models import Corrector, Hypothesiser, Inverter, t5_config
from kdst_vec2text.search import beam_search
from kdst_vec2text.tiny.pool import CHUNK, CLOSE, Pool, close_families, family_pairs, keep
from kdst_vec2text.tiny.recipe import Recipe
from kdst_vec2text.tokens import FILE, Tokens, load_tokens, train_tokens
from kdst_vec2text.trainer import Log, Trainer

LONGEST = 40
VALIDATION = 500
VALIDATION_SEED = 1
"""The held-out notes that are looked at during training; scores are of those of seed 0."""
DECODED = 64
CLOSE_SEED = 77
"""Added to the seed for notes that the hypothesiser is not trained on."""
Pairs = tuple[list[str], Tensor, list[str], Tensor, list[int]]


@frozen
class Workshop:
    """A training directory, its recipe, and the embedder."""

    out: Path
    recipe: Recipe
    embed: Embedder

    @property
    def pool(self) -> Pool:
        """The training notes."""
        return Pool(self.out / "embeddings", self.recipe.seed, self.recipe.copies, self.embed)

    def tokens(self) -> Tokens:
        """The vocabulary, made of the first notes once."""
        if not (self.out / FILE).exists():
            texts = [note.text for note in notes("train", 20_000, self.recipe.seed)]
            found = train_tokens(texts, self.recipe.vocabulary)
            write_atomically(self.out / FILE, found.tokenizer.to_str())
        return load_tokens(self.out, "")

    def network(self, kind: type[Inverter], tokens: Tokens) -> Inverter:
        """A network with fresh weights that depend on the recipe alone."""
        recipe = self.recipe
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            return kind(t5_config(recipe.t5(tokens.size)), self.embed.dimension, recipe.k)

    def log(self) -> Log:
        """Appends to `log.jsonl` and prints evaluations."""

        def write(name: str, value: float, step: int) -> None:
            with (self.out / "log.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps({"name": name, "step": step, "value": value}) + "\n")
            print(f"{name} after {step} updates: {value:.4f}", flush=True)

        return write

    def held_out(self) -> Pairs:
        """Held-out notes and near variants as hypotheses, for evaluation during training."""
        texts = [n.text for n in notes("held-out", VALIDATION, VALIDATION_SEED)]
        near = [n.text for n in near_notes("held-out", VALIDATION, VALIDATION_SEED)]
        file = self.out / "embeddings" / "validation.npy"
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            keep(file, self.embed(texts + near))
        import numpy as np

        both = torch.from_numpy(np.load(file, allow_pickle=False))
        e, e_hat = both.split(VALIDATION)
        return texts, e, near, e_hat, list(range(VALIDATION))


def embed_all(shop: Workshop) -> None:
    """Embed every training note and its variants."""
    shop.pool.load(shop.recipe.notes, progress)


def train_phases(
    shop: Workshop,
    network: Inverter,
    name: str,
    phases: Sequence[tuple[int, Callable[[], Examples]]],
    validation: Examples,
) -> None:
    """Train a network in phases of (epochs, examples), each from the weights of the one before."""
    for phase, (epochs, examples) in enumerate(phases):
        done = shop.out / f"{name}-{phase}.pt"
        if done.exists():
            network.load_state_dict(torch.load(done, weights_only=True))
            continue
        settings = shop.recipe.settings(epochs, phase)
        checkpoint = shop.out / f"{name}-{phase}.checkpoint"
        label = f"{name}-{phase}"
        trainer = Trainer(
            network, examples(), validation, settings, checkpoint, log=shop.log(), label=label
        )
        trainer.train(progress)
        torch.save(network.state_dict(), done.with_suffix(".part"))
        done.with_suffix(".part").replace(done)


def hypothesiser(shop: Workshop) -> Hypothesiser:
    """The hypothesiser, trained in two phases."""
    recipe, tokens = shop.recipe, shop.tokens()
    network = shop.network(Hypothesiser, tokens)
    held_out = shop.held_out()

    def examples(count: int) -> Examples:
        texts, e = shop.pool.load(count, progress)
        return Examples(Ragged.of(tokens.ids(texts, LONGEST)), e)

    validation = Examples(Ragged.of(tokens.ids(held_out[0], LONGEST)), held_out[1])
    plan = [
        (recipe.early_epochs, lambda: examples(recipe.early)),
        (recipe.epochs, lambda: examples(recipe.notes)),
    ]
    train_phases(shop, network, "hypothesiser", plan, validation)
    assert isinstance(network, Hypothesiser)
    return network


def corrector(shop: Workshop) -> Corrector:
    """The trained corrector; it begins as the finished hypothesiser."""
    recipe, tokens = shop.recipe, shop.tokens()
    network = shop.network(Corrector, tokens)
    assert isinstance(network, Corrector)
    first = hypothesiser(shop)
    warm(network, first)
    phases = [
        (recipe.corrector_epochs, lambda: pair_examples(tokens, all_pairs(shop, first))),
        (recipe.corrector_epochs, lambda: pair_examples(tokens, close_pairs(shop))),
    ]
    validation = pair_examples(tokens, shop.held_out())
    train_phases(shop, network, "corrector", phases, validation)
    return network


def warm(network: Corrector, first: Hypothesiser) -> None:
    """Begin a corrector with the T5 and the T₁ of a hypothesiser.

    W₁ of T₂ and T₃ begins √D times larger than usual: vectors of length 1, and even more their
    differences, have small coordinates.
    """
    network.encoder_decoder.load_state_dict(first.encoder_decoder.state_dict())
    state = first.embedding_transform.state_dict()
    network.get_submodule("embedding_transform_1").load_state_dict(state)
    with torch.no_grad():
        for i in (2, 3):
            network.get_parameter(f"embedding_transform_{i}.0.weight").mul_(network.dimension**0.5)


def pair_examples(tokens: Tokens, pairs: Pairs) -> Examples:
    """Examples of texts, their embeddings, hypotheses, theirs, and whose each hypothesis is."""
    texts, e, hypotheses, e_hat, source = pairs
    return Examples(
        Ragged.of(tokens.ids(texts, LONGEST)),
        e,
        Ragged.of(tokens.ids(hypotheses, LONGEST)),
        e_hat,
        torch.tensor(source),
    )


def all_pairs(shop: Workshop, first: Hypothesiser) -> Pairs:
    """Near variants as hypotheses, and what the hypothesiser makes of the first notes."""
    recipe = shop.recipe
    texts, e = shop.pool.load(recipe.notes, progress)
    size = recipe.copies + 1
    pairs = family_pairs(texts, size, range(1, size))
    order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(recipe.seed))
    chosen = [pairs[i] for i in order[: recipe.pairs].tolist()]
    made, made_e = hypotheses(shop, first, e[::size])
    wrong = [i for i, text in enumerate(made) if text != texts[i * size]]
    guesses = [j for _, j in chosen]
    return (
        texts,
        e,
        [texts[j] for j in guesses] + [made[i] for i in wrong],
        torch.cat([e[guesses], made_e[wrong]]),
        [i for i, _ in chosen] + [i * size for i in wrong],
    )


def close_pairs(shop: Workshop) -> Pairs:
    """Close families of notes that the hypothesiser has never seen, so that it cannot know them."""
    texts = close_families(shop.recipe.fresh, shop.recipe.seed + CLOSE_SEED)
    file = shop.out / "embeddings" / "close.npy"
    if not file.exists():
        keep(file, shop.embed(texts))
    import numpy as np

    e = torch.from_numpy(np.load(file, allow_pickle=False))
    pairs = family_pairs(texts, CLOSE, range(1, CLOSE))
    guesses = [j for _, j in pairs]
    return texts, e, [texts[j] for j in guesses], e[guesses], [i for i, _ in pairs]


def hypotheses(shop: Workshop, network: Hypothesiser, e: Tensor) -> tuple[list[str], Tensor]:
    """Greedy hypotheses of the first base notes and their embeddings, kept in files."""
    chunks = range(-(-shop.recipe.hypotheses // CHUNK))
    texts: list[str] = []
    vectors: list[Tensor] = []
    tokens = shop.tokens()
    network.eval()
    with progress(len(chunks), "hypotheses") as advance:
        for chunk in chunks:
            words = shop.out / "hypotheses" / f"{chunk:03d}.json"
            file = words.with_suffix(".npy")
            if not (words.exists() and file.exists()):
                words.parent.mkdir(parents=True, exist_ok=True)
                found = greedy(network, tokens, e[chunk * CHUNK : (chunk + 1) * CHUNK])
                write_atomically(words, json.dumps(found))
                keep(file, shop.embed(found))
            texts += json.loads(words.read_text(encoding="utf-8"))
            import numpy as np

            vectors.append(torch.from_numpy(np.load(file, allow_pickle=False)))
            advance(1)
    return texts, torch.cat(vectors)


def greedy(network: Hypothesiser, tokens: Tokens, e: Tensor) -> list[str]:
    """The likeliest text of each embedding, token by token."""
    decoder = Decoder(network.encoder_decoder)
    found: list[str] = []
    for part in e.split(DECODED):
        with torch.inference_mode():
            made = beam_search(network, decoder, network.inputs(part), 1, LONGEST)
        found += tokens.texts(row[0] for row in made.ids)
    return found
