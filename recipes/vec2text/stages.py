"""The stages of training the embedded inverter; each goes on from its own files."""

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from attrs import frozen
from torch import Tensor

from kdst_core.contracts import Embedder
from kdst_core.files import whole_file, write_atomically
from kdst_core.progress import progress
from kdst_invert.default.names import says_held_out
from kdst_invert.default.notes import near_notes, notes
from kdst_invert.default.training import CLOSE_SEED
from kdst_vec2text.decoder import Decoder
from kdst_vec2text.examples import Examples, Ragged
from kdst_vec2text.models import Corrector, Hypothesiser, Inverter, t5_config
from kdst_vec2text.search import beam_search
from kdst_vec2text.tokens import FILE, Tokens, load_tokens, train_tokens
from kdst_vec2text.trainer import Log, Trainer
from recipes.vec2text.pool import CHUNK, CLOSE, Families, Pool, family_pairs, kept
from recipes.vec2text.recipe import Recipe

LONGEST = 40
VALIDATION = 500
VALIDATION_SEED = 1
"""The held-out notes that are looked at during training; scores are of those of seed 0."""
DECODED = 64
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

    @property
    def families(self) -> Families:
        """The notes that the hypothesiser is not trained on."""
        return Families(self.out / "embeddings", self.recipe.seed + CLOSE_SEED, self.embed)

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
        both = kept(file, self.embed, lambda: texts + near)
        e, e_hat = both.split(VALIDATION)
        return texts, e, near, e_hat, list(range(VALIDATION))


def embed_all(shop: Workshop) -> None:
    """Embed every training note and its variants."""
    shop.pool.load(shop.recipe.notes, progress)
    shop.families.load(shop.recipe.families, progress)


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
        with whole_file(done) as temporary:
            torch.save(network.state_dict(), temporary)


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
        (recipe.near_epochs, lambda: pair_examples(tokens, near_pairs(shop, 0, recipe.near))),
        (recipe.close_epochs, lambda: pair_examples(tokens, close_pairs(shop, first))),
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


def near_pairs(shop: Workshop, start: int, stop: int) -> Pairs:
    """Near variants as hypotheses: some of all such pairs, in an order drawn once."""
    recipe = shop.recipe
    texts, e = shop.pool.load(recipe.notes, progress)
    size = recipe.copies + 1
    pairs = family_pairs(texts, size, range(1, size))
    order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(recipe.seed))
    return _within(texts, e, [pairs[i] for i in order[start:stop].tolist()])


def close_pairs(shop: Workshop, first: Hypothesiser) -> Pairs:
    """Close families, what the hypothesiser makes of their first notes, and further near variants."""
    recipe = shop.recipe
    texts, e = shop.families.load(recipe.families, progress)
    close = _within(texts, e, family_pairs(texts, CLOSE, range(1, CLOSE)))
    made, made_e = guesses(shop, first, e[::CLOSE])
    source = [i // recipe.beam * CLOSE for i in range(len(made))]
    wrong = [i for i, s in enumerate(source) if made[i] != texts[s] and not says_held_out(made[i])]
    guessed = (texts, e, [made[i] for i in wrong], made_e[wrong], [source[i] for i in wrong])
    return _joined(close, guessed, near_pairs(shop, recipe.near, recipe.near + recipe.mixed))


def _within(texts: list[str], e: Tensor, pairs: Sequence[tuple[int, int]]) -> Pairs:
    """Pairs (text, hypothesis) of the same texts."""
    others = [j for _, j in pairs]
    return texts, e, [texts[j] for j in others], e[others], [i for i, _ in pairs]


def _joined(*parts: Pairs) -> Pairs:
    """Pairs of several kinds one after the other."""
    texts: list[str] = []
    hypotheses: list[str] = []
    source: list[int] = []
    for part in parts:
        source += [len(texts) + i for i in part[4]]
        texts += part[0]
        hypotheses += part[2]
    return (
        texts,
        torch.cat([p[1] for p in parts]),
        hypotheses,
        torch.cat([p[3] for p in parts]),
        source,
    )


def guess(shop: Workshop) -> None:
    """Make the hypothesiser's guesses and embed them."""
    _, e = shop.families.load(shop.recipe.families, progress)
    guesses(shop, hypothesiser(shop), e[::CLOSE])


def guesses(shop: Workshop, network: Hypothesiser, e: Tensor) -> tuple[list[str], Tensor]:
    """The `beam` likeliest texts of the first `guessed` vectors and their embeddings, in files."""
    size = CHUNK // shop.recipe.beam
    starts = range(0, shop.recipe.guessed, size)
    texts: list[str] = []
    vectors: list[Tensor] = [torch.empty(0, shop.embed.dimension)]
    network.eval()
    with progress(len(starts), "guesses") as advance:
        for start in starts:
            words = shop.out / "guesses" / f"{start:06d}.json"
            if not words.exists():
                words.parent.mkdir(parents=True, exist_ok=True)
                part = e[start : min(start + size, shop.recipe.guessed)]
                write_atomically(words, json.dumps(likeliest(network, shop, part)))
            made = json.loads(words.read_text(encoding="utf-8"))
            vectors.append(kept(words.with_suffix(".npy"), shop.embed, partial(list, made)))
            texts += made
            advance(1)
    return texts, torch.cat(vectors)


def likeliest(network: Hypothesiser, shop: Workshop, e: Tensor) -> list[str]:
    """The `beam` likeliest texts of each embedding, one after the other."""
    decoder, tokens = Decoder(network.encoder_decoder), shop.tokens()
    found: list[str] = []
    for part in e.split(DECODED):
        with torch.inference_mode():
            inputs = network.inputs(part)
            made = beam_search(network, decoder, inputs, shop.recipe.beam, LONGEST)
        found += tokens.texts(ids for row in made.ids for ids in row)
    return found
