"""The hypotheses that a corrector is trained on: decoded and embedded once, kept on disk."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from kdst_core.contracts import Embedder
from kdst_vec2text.decoder import Decoder
from kdst_vec2text.examples import Examples, Ragged, noisy
from kdst_vec2text.models import Hypothesiser
from kdst_vec2text.search import beam_search
from kdst_vec2text.shards import joined, sharded
from kdst_vec2text.tokens import Tokens
from kdst_vec2text.trainer import Progress

SHARD = 1024
BATCH = 64
SAME = 1e-6
"""1 - cosine up to which ê ≈ e: there is nothing to correct, and the pair is dropped."""


class HypothesisMaker:
    """Writes `count` hypotheses of embeddings and asks for theirs."""

    def __init__(
        self,
        network: Hypothesiser,
        tokens: Tokens,
        embed: Embedder,
        *,
        count: int = 1,
        max_tokens: int = 32,
        noise: float = 0.0,
        seed: int = 0,
    ) -> None:
        self.network, self.tokens, self.embed = network.eval(), tokens, embed
        self.decoder = Decoder(network.encoder_decoder)
        self.count, self.max_tokens = count, max_tokens
        self.noise, self.seed = noise, seed

    def examples(
        self, texts: Ragged, e: Tensor, directory: Path, progress: Progress, label: str
    ) -> Examples:
        """Pairs for a corrector of texts and embeddings e (n, D); those with ê ≈ e are left out."""

        def compute(rows: range) -> dict[str, Tensor]:
            return self._shard(e[rows.start : rows.stop], rows)

        shards = sharded(directory, len(e), SHARD, compute, progress, label)
        e_hat, source = joined(shards, "e_hat"), joined(shards, "source")
        lengths = joined(shards, "lengths")
        like = torch.cosine_similarity(e[source].double(), e_hat.double(), dim=-1)
        wrong = (1 - like > SAME).nonzero()[:, 0].tolist()
        every = Ragged(joined(shards, "ids"), torch.cat([lengths.new_zeros(1), lengths.cumsum(0)]))
        x_hat = Ragged.of([every.row(i) for i in wrong])
        return Examples(texts, e, x_hat, e_hat[wrong], source[wrong])

    def _shard(self, e: Tensor, rows: range) -> dict[str, Tensor]:
        """Distinct hypotheses of one shard with their embeddings and the rows they are of."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + rows.start)
        shown = noisy(e.float(), self.noise, generator)
        found = [text for part in shown.split(BATCH) for text in self._write(part)]
        pairs = [(row, t) for row, texts in zip(rows, found, strict=True) for t in texts]
        distinct = list(dict.fromkeys(text for _, text in pairs))
        place = {text: i for i, text in enumerate(distinct)}
        vectors = self.embed(distinct).detach().float().cpu()
        written = Ragged.of(self.tokens.ids([text for _, text in pairs], self.max_tokens))
        return {
            "ids": written.ids,
            "lengths": written.lengths,
            "e_hat": vectors[[place[text] for _, text in pairs]],
            "source": torch.tensor([row for row, _ in pairs]),
        }

    def _write(self, e: Tensor) -> list[list[str]]:
        """The distinct hypotheses of each embedding; one that is empty becomes a full stop."""
        place = next(self.network.parameters())
        with torch.inference_mode():
            inputs = self.network.inputs(e.to(place))
            found = beam_search(self.network, self.decoder, inputs, self.count, self.max_tokens)
        return [list(dict.fromkeys(_texts(self.tokens, row))) for row in found.ids]


def _texts(tokens: Tokens, ids: Sequence[Sequence[int]]) -> list[str]:
    """Decoded texts, none of them empty."""
    return [text or "." for text in tokens.texts(ids)]
