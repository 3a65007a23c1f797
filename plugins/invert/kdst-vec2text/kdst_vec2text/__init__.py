"""Vec2Text: text embeddings are inverted by a hypothesiser and a corrector that asks the embedder."""

from typing import TYPE_CHECKING, Literal

from attrs import frozen

from kdst_core import Description, hookimpl, option
from kdst_invert.options import InvertOptions
from kdst_vec2text.claims import CLAIMS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kdst_core.contracts import Inversion, InvertRequest, RunServices


@frozen
class Vec2TextOptions(InvertOptions):
    """Options of Vec2Text; the paper's names and figures are in the help texts."""

    model: str = option(
        "tiny",
        "tiny (embedded, for short clinical notes in MiniLM's vectors), a directory that a fit wrote,"
        " or the directory or hub id (owner/name) of a hypothesiser in the official layout.",
    )
    corrector: str = option(
        "auto",
        "Directory or hub id of a corrector; none: the hypothesiser alone; auto: the one beside the"
        " hypothesiser.",
    )
    steps: int = option(
        20,
        "Corrections of each text at most, after the first hypothesis; the paper reports 1, 20 and"
        " 50. Most rows stop sooner, see --patience.",
        min=0,
    )
    beam: int = option(
        8,
        "Width b of the sequence beam: first hypotheses, and what the hypotheses and candidates of a step"
        " follow from, see --patience; 8 is the paper's best.",
        min=1,
    )
    batch: int = option(32, "Texts decoded at a time.", min=1)
    patience: int = option(
        4,
        "Stop a text after this many steps without a higher cosine. A step then corrects a quarter as"
        " many hypotheses with twice the beam, and after one without progress a single one with the"
        " beam squared. 0: as published.",
        min=0,
    )
    budget: int | None = option(
        None,
        "Embedder calls that each text may cost at most; 0: the embedder is never asked, and the text is"
        " the likeliest first hypothesis. Default: as many as needed.",
        min=0,
    )
    max_tokens: int | None = option(
        None, "Longest text to write, in tokens. Default: what the model was trained for.", min=2
    )
    precision: Literal["float32", "bfloat16"] = option(
        "float32", "Arithmetic of the inverter; bfloat16 is for devices that are faster in it."
    )
    base: str = option(
        "small",
        "fit: small (a T5 of two layers with its own vocabulary), tiny or the directory of an inverter"
        " to go on from, or directory or hub id of the T5 to start from; the paper's is t5-base.",
    )
    num_repeat_tokens: int = option(16, "fit: pseudo-tokens k of an embedding.", min=1)
    epochs: int = option(
        100, "fit: passes over the texts at most, for each stage (paper: 100).", min=1
    )
    corrector_epochs: int | None = option(
        None, "fit: the same for the corrector alone. Default: as --epochs.", min=1
    )
    learning_rate: float = option(
        1e-3, "fit: highest learning rate (paper: 1e-3 to 2e-4).", above=0
    )
    warmup: float = option(0.05, "fit: share of the updates that warm up.", min=0, max=1)
    train_batch: int = option(128, "fit: texts an update (paper: 128).", min=1)
    max_seq_length: int = option(
        32, "fit: tokens of a text; longer ones are cut (paper: 32 or 128).", min=2
    )
    hypotheses: int = option(
        1, "fit: hypotheses of each text that the corrector is trained on (paper: 1).", min=1
    )
    stop_after: int = option(
        3, "fit: end a stage after this many evaluations without a lower loss.", min=1
    )


@hookimpl
def describe() -> Description:
    """Describe the method."""
    return Description(
        summary="Recover texts from their embeddings by correcting hypotheses step by step.",
        options=Vec2TextOptions,
        paper="Morris et al., Text Embeddings Reveal (Almost) As Much As Text, EMNLP 2023",
        url="https://arxiv.org/abs/2310.06816",
        licence="Apache-2.0",
        expected_failures={
            "seed matters only to random methods": "only training draws random numbers; inverting with"
            " networks that are trained draws none"
        },
        claims=CLAIMS,
    )


@hookimpl
def invert(
    request: "InvertRequest", options: Vec2TextOptions, run: "RunServices"
) -> "Iterator[Inversion]":
    """Train on the request's pairs where there are any, then invert its blocks."""
    from kdst_vec2text.method import invert_request

    return invert_request(request, options, run)
