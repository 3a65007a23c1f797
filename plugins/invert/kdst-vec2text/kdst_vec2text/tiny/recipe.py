"""Everything that decides the embedded inverter's weights."""

from typing import Any

from attrs import frozen

from kdst_core.errors import KdstError
from kdst_vec2text.trainer import TrainSettings


@frozen
class Recipe:
    """Data, networks and training; one recipe gives the same weights on the same machine.

    notes: base notes; each comes with `copies` near variants, whose pairs teach the corrector.
    early: the base notes of the hypothesiser's first phase, so that it can begin while the rest is
    embedded; the learning rate falls to 0 in either phase. The corrector's T5 and T₁ begin as the
    finished hypothesiser's. pairs: near variants that the corrector is shown as hypotheses, beside what
    the hypothesiser makes of the first `hypotheses` base notes. fresh: notes that the hypothesiser never
    saw; the corrector's second phase pairs each with three that differ in a field or two. noise: highest
    λ in training.
    """

    seed: int = 0
    notes: int = 16_000
    copies: int = 2
    early: int = 4_000
    vocabulary: int = 2_048
    width: int = 192
    inner: int = 512
    layers: int = 2
    k: int = 8
    batch: int = 32
    learning_rate: float = 1e-3
    early_epochs: int = 3
    epochs: int = 4
    corrector_epochs: int = 1
    pairs: int = 48_000
    hypotheses: int = 8_000
    fresh: int = 2_600
    noise: float = 0.0

    def __attrs_post_init__(self) -> None:
        positive = (
            "notes",
            "copies",
            "early",
            "vocabulary",
            "width",
            "inner",
            "layers",
            "k",
            "fresh",
        )
        for name in (*positive, "batch", "epochs", "corrector_epochs"):
            if getattr(self, name) < 1:
                raise KdstError(f"--{name.replace('_', '-')} must be at least 1")
        if self.early > self.notes or self.hypotheses > self.notes:
            raise KdstError("--early and --hypotheses must not be above --notes")
        if self.width % 32:
            raise KdstError(f"--width must be a multiple of 32, not {self.width}")

    def t5(self, vocabulary: int) -> dict[str, Any]:
        """Fields of the T5 of both networks."""
        return {
            "vocab_size": vocabulary,
            "d_model": self.width,
            "num_heads": self.width // 32,
            "d_kv": 32,
            "d_ff": self.inner,
            "num_layers": self.layers,
            "num_decoder_layers": self.layers,
            "feed_forward_proj": "relu",
            "dropout_rate": 0.0,
            "tie_word_embeddings": True,
        }

    def settings(self, epochs: int, phase: int) -> TrainSettings:
        """How one phase is trained."""
        return TrainSettings(
            epochs=epochs,
            learning_rate=self.learning_rate,
            batch=self.batch,
            stop_after=None,
            noise=self.noise,
            seed=self.seed + phase,
            precision="float32",
        )
