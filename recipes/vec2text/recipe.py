"""Everything that decides the embedded inverter's weights."""

from typing import Any

from attrs import frozen

from kdst_core.errors import KdstError
from kdst_vec2text.trainer import TrainSettings


@frozen
class Recipe:
    """Data, networks and training; one recipe gives the same weights on the same machine.

    notes: base notes, each with `copies` near variants. early: the base notes of the hypothesiser's
    first phase, so that it can begin while the rest is embedded. The corrector's T5 and T₁ begin as the
    finished hypothesiser's. near: near variants that its first phase shows it as hypotheses. Its second
    phase has families of notes that the hypothesiser never saw, each paired with three that differ in a
    field or two; what the hypothesiser makes of `guessed` of them, `beam` guesses each; and `mixed`
    further near variants. The learning rate falls to 0 in every phase. noise: highest λ in training.
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
    near: int = 24_000
    near_epochs: int = 1
    families: int = 2_500
    guessed: int = 1_500
    beam: int = 4
    mixed: int = 8_000
    close_epochs: int = 1
    noise: float = 0.0

    def __attrs_post_init__(self) -> None:
        free = ("seed", "learning_rate", "early_epochs", "noise", "guessed", "mixed")
        for name in (a.name for a in Recipe.__attrs_attrs__ if a.name not in free):
            if getattr(self, name) < 1:
                raise KdstError(f"--{name.replace('_', '-')} must be at least 1")
        if self.early > self.notes or self.guessed > self.families:
            raise KdstError("--early must not be above --notes, --guessed not above --families")
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
