"""A linear map from vectors to the words of their texts, as it is fitted, kept and checked."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from attrs import frozen
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from kdst_core.contracts import Embedder
from kdst_core.errors import KdstError
from kdst_core.files import whole_file
from kdst_invert.measures.recovery import words

FILE = "lexicon.safetensors"
OPEN = Path(__file__).parent / "default"
BELONGS = 0.98
"""Mean cosine from which an embedder counts as the one that a lexicon was fitted on."""
KNOWN = 16
"""Training texts that are kept with their vectors, to tell the embedder by."""
AT_A_TIME = 4096


@frozen
class Lexicon:
    """words: V of them, the most frequent first. frequency: (V,), the share of the training texts with
    each. weights: (D, V) and bias: (V,) of the scores e W + b. embedder: its name. texts, vectors: some
    texts and their embeddings (n, D), by which the embedder is told."""

    words: Sequence[str]
    frequency: Tensor
    weights: Tensor
    bias: Tensor
    embedder: str
    texts: Sequence[str]
    vectors: Tensor

    @property
    def dimension(self) -> int:
        """Length D of the vectors that it reads."""
        return self.weights.shape[0]

    def scores(self, e: Tensor) -> Tensor:
        """Scores (n, V) of the words of vectors (n, D): 1 for a word that is there, 0 for one that is
        not, as least squares has it."""
        return e @ self.weights + self.bias

    def check(self, embeddings: Tensor, embed: Embedder, asked: bool) -> None:
        """Raise KdstError for vectors of another length, or (asked) of another embedder."""
        for what, found in (
            ("the embeddings have", embeddings.shape[1]),
            (f"the embedder {embed.name} makes", embed.dimension),
        ):
            if found != self.dimension:
                raise KdstError(
                    f"{what} {found} numbers, the lexicon reads {self.dimension}; give --model a lexicon"
                    " for this embedder (--stage fit makes one)"
                )
        if not asked:
            return
        again = embed(list(self.texts)).double()
        like = float(torch.cosine_similarity(again, self.vectors.double(), dim=-1).mean())
        if not like >= BELONGS:
            raise KdstError(
                f"the embedder {embed.name} does not belong to this lexicon, which was fitted on"
                f" {self.embedder}: their vectors of the same texts have cosine {like:.2f}.\n"
                "Give --embedder the one it was fitted on, or --model another (--stage fit makes one)"
            )

    def save(self, directory: Path, dtype: torch.dtype = torch.float32) -> None:
        """Write the lexicon into a directory; it is there whole or not at all."""
        directory.mkdir(parents=True, exist_ok=True)
        tensors = {
            "frequency": self.frequency.float(),
            "weights": self.weights.to(dtype).contiguous(),
            "bias": self.bias.float(),
            "vectors": self.vectors.float().contiguous(),
        }
        said = {"embedder": self.embedder, "words": "\n".join(self.words)}
        with whole_file(directory / FILE) as part:
            save_file(tensors, part, metadata={**said, "texts": json.dumps(list(self.texts))})


def load(model: str) -> Lexicon:
    """Load `open` or the lexicon of a directory; KdstError when there is none."""
    path = (OPEN if model == "open" else Path(model).expanduser()) / FILE
    if not path.is_file():
        raise KdstError(
            f"--model {model}: there is no {path}; open is embedded, --stage fit makes one"
        )
    try:
        with safe_open(path, "pt") as file:
            found = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
            said = file.metadata() or {}
            lexicon = Lexicon(
                said["words"].split("\n"),
                found["frequency"],
                found["weights"],
                found["bias"],
                said["embedder"],
                json.loads(said["texts"]),
                found["vectors"],
            )
    except (KeyError, ValueError, OSError) as e:
        raise KdstError(f"{path} holds no lexicon: {e!r}") from e
    except Exception as e:  # safetensors has an error of its own for a damaged file
        raise KdstError(f"cannot read {path}: {e}") from e
    if lexicon.weights.shape[1:] != (len(lexicon.words),):
        raise KdstError(
            f"{path} is damaged: it has {len(lexicon.words)} words for {lexicon.weights.shape}"
        )
    return lexicon


def fit(texts: Sequence[str], e: Tensor, embedder: str, vocabulary: int, penalty: float) -> Lexicon:
    """Ridge regression of bags of words on vectors (n, D): W = (XᵀX + λI)⁻¹ XᵀY, X with a column of ones.

    A word counts once a text, in lower case. Raises KdstError where the texts have no words.
    """
    counts = Counter(w for text in texts for w in dict.fromkeys(words(text)))
    if not counts:
        raise KdstError("the training texts hold no words")
    chosen = [w for w, _ in counts.most_common(vocabulary)]
    gram, products = _sums(texts, e, {w: i for i, w in enumerate(chosen)})
    solved = torch.linalg.solve(gram + penalty * torch.eye(len(gram), dtype=gram.dtype), products)
    frequency = torch.tensor([counts[w] for w in chosen]) / len(texts)
    known = min(KNOWN, len(texts))
    return Lexicon(
        chosen,
        frequency.float(),
        solved[:-1].float(),
        solved[-1].float(),
        embedder,
        list(texts[:known]),
        e[:known].float(),
    )


def _sums(texts: Sequence[str], e: Tensor, place: dict[str, int]) -> tuple[Tensor, Tensor]:
    """XᵀX (D + 1, D + 1) and XᵀY (D + 1, V), summed over parts of the texts."""
    size = e.shape[1] + 1
    gram = torch.zeros(size, size, dtype=torch.float64)
    products = torch.zeros(len(place), size, dtype=torch.float64)
    for start in range(0, len(texts), AT_A_TIME):
        part = e[start : start + AT_A_TIME].double()
        x = torch.cat([part, torch.ones(len(part), 1, dtype=torch.float64)], 1)
        gram += x.T @ x
        pairs = list(_places(texts[start : start + AT_A_TIME], place))
        if pairs:
            rows, columns = torch.tensor(pairs).T
            products.index_add_(0, columns, x[rows])
    return gram, products.T


def _places(texts: Sequence[str], place: dict[str, int]) -> Iterator[tuple[int, int]]:
    """(row, word) of every word of the vocabulary in every text."""
    for row, text in enumerate(texts):
        for word in dict.fromkeys(words(text)):
            if word in place:
                yield row, place[word]
