"""Hypothesiser, corrector, tokeniser and the examples that tell whether an embedder belongs to them."""

from collections.abc import Sequence
from pathlib import Path

import torch
from attrs import evolve, frozen
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from kdst_core.contracts import Embedder
from kdst_core.errors import KdstError
from kdst_core.files import whole_folder
from kdst_vec2text.config import CheckpointConfig
from kdst_vec2text.models import Corrector, Hypothesiser
from kdst_vec2text.tokens import FILE, Tokens, load_tokens
from kdst_vec2text.weights import load_network, locate, save_network

HYPOTHESISER, CORRECTOR, EXAMPLES = "hypothesiser", "corrector", "examples.safetensors"
BELONGS = 0.98
"""Mean cosine from which an embedder counts as the one that the inverter was trained on."""
UNIT = 1e-3
"""How far from 1 the length of a normalised vector may be."""
EMBEDDED = Path(__file__).parent / "default"


@frozen
class Examples:
    """A few training texts and their embeddings (n, D)."""

    texts: Sequence[str]
    embeddings: Tensor


@frozen
class Vec2Text:
    """An inverter: what `load_corrector` returns. Without a corrector it stops at step 0."""

    hypothesiser: Hypothesiser
    corrector: Corrector | None
    tokens: Tokens
    config: CheckpointConfig
    examples: Examples | None = None

    @property
    def dimension(self) -> int:
        """Length D of the vectors that it inverts."""
        return self.hypothesiser.dimension

    def to(self, device: str, dtype: torch.dtype = torch.float32) -> "Vec2Text":
        """Move the networks, in place."""
        for network in (self.hypothesiser, self.corrector):
            if network is not None:
                network.to(device, dtype).eval()
        return self

    def check_embedder(self, embed: Embedder) -> None:
        """Raise KdstError when an embedder is not the one that this inverter was trained on.

        Its vectors of stored training texts are compared with those of the training.
        """
        if embed.dimension != self.dimension:
            raise KdstError(
                f"the embedder {embed.name} makes vectors of {embed.dimension} numbers, the inverter"
                f" reads {self.dimension}; give --model an inverter for this embedder"
            )
        if self.examples is None:
            return
        again = embed(list(self.examples.texts)).double()
        like = torch.cosine_similarity(again, self.examples.embeddings.double(), dim=-1)
        if not float(like.mean()) >= BELONGS:
            trained = self.config.embedder_model_name or "another embedder"
            raise KdstError(
                f"the embedder {embed.name} does not belong to this inverter, which was trained on"
                f" {trained}: their vectors of the same texts have cosine {float(like.mean()):.2f}.\n"
                "Give --embedder the one it was trained on, or --model another inverter"
            )

    def check_shape(self, embeddings: Tensor) -> None:
        """Raise KdstError for vectors of another dimension."""
        if embeddings.ndim != 2 or embeddings.shape[1] != self.dimension:
            raise KdstError(
                f"the embeddings have shape {tuple(embeddings.shape)}, the inverter reads"
                f" (N, {self.dimension}); give --model an inverter for this embedder"
            )

    def check_vectors(self, embeddings: Tensor, first: int = 0) -> None:
        """Raise KdstError for vectors (n, D) that cannot be inverted; `first` is the first's row.

        They must be finite, not 0, and of length 1 where the inverter was trained on such.
        """
        self.check_shape(embeddings)
        lengths = embeddings.double().norm(dim=-1)
        bad = (~lengths.isfinite() | (lengths == 0)).nonzero()[:, 0].tolist()
        if bad:
            what = "all zero" if float(lengths[bad[0]]) == 0 else "not finite"
            raise KdstError(f"row {first + bad[0]} of the embeddings is {what}; leave it out")
        if self.config.normalised and bool(((lengths - 1).abs() > UNIT).any()):
            raise KdstError(
                f"the inverter reads vectors of length 1, these have {float(lengths.min()):.3g} to"
                f" {float(lengths.max()):.3g}; divide each by its length"
            )

    def save(self, directory: Path, dtype: torch.dtype = torch.float32) -> None:
        """Write the inverter as a directory, complete or not at all; one that is there is replaced."""
        with whole_folder(directory) as temporary:
            for name, network in ((HYPOTHESISER, self.hypothesiser), (CORRECTOR, self.corrector)):
                if network is not None:
                    save_network(network, self.config, temporary / name, dtype)
                    self.tokens.tokenizer.save(str(temporary / name / FILE))
            if self.examples is not None:
                texts = {str(i): text for i, text in enumerate(self.examples.texts)}
                vectors = {"embeddings": self.examples.embeddings.float().contiguous()}
                save_file(vectors, temporary / EXAMPLES, metadata=texts)


def load_corrector(model: str = "tiny", corrector: str = "auto") -> Vec2Text:
    """Load an inverter: `tiny`, a directory that a fit wrote, or official checkpoints.

    corrector: directory or hub id, `none`, or `auto` for the one beside the hypothesiser. Raises
    KdstError that says what is missing or does not fit.
    """
    root = EMBEDDED if model == "tiny" else locate(model)
    if not root.is_dir():
        raise KdstError("this installation of kdst-vec2text has no embedded model; give --model")
    whole = (root / HYPOTHESISER).is_dir()
    first = root / HYPOTHESISER if whole else root
    hypothesiser, config = load_network("hypothesiser", first)
    assert isinstance(hypothesiser, Hypothesiser)
    tokens = load_tokens(first, config.model_name_or_path)
    second = None
    if corrector not in ("none", "auto"):
        second = locate(corrector)
        second = second / CORRECTOR if (second / CORRECTOR).is_dir() else second
    elif corrector == "auto" and (root / CORRECTOR).is_dir():
        second = root / CORRECTOR
    found = Vec2Text(hypothesiser, None, tokens, config, _examples(root / EXAMPLES))
    return found if second is None else _with_corrector(found, second)


def _with_corrector(found: Vec2Text, directory: Path) -> Vec2Text:
    """Add a corrector that reads the same vectors and tokens."""
    corrector, config = load_network("corrector", directory)
    assert isinstance(corrector, Corrector)
    if corrector.dimension != found.dimension:
        raise KdstError(
            f"the corrector {directory} reads vectors of {corrector.dimension} numbers, the"
            f" hypothesiser of {found.dimension}; they do not belong together"
        )
    names = found.config.embedder_model_name, config.embedder_model_name
    if all(names) and names[0] != names[1]:
        raise KdstError(
            f"the hypothesiser was trained on {names[0]}, the corrector {directory} on {names[1]};"
            " they do not belong together"
        )
    return evolve(found, corrector=corrector)


def _examples(path: Path) -> Examples | None:
    """The stored examples, if there are any."""
    if not path.exists():
        return None
    try:
        with safe_open(path, "pt") as file:
            embeddings, texts = file.get_tensor("embeddings"), file.metadata() or {}
    except Exception as e:
        raise KdstError(f"cannot read {path}: {e}") from e
    return Examples([texts[str(i)] for i in range(len(texts))], embeddings)
