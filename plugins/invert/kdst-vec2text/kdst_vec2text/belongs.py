"""Whether an embedder is the one that an inverter was trained on, where no stored pairs can tell."""

import torch
from torch import Tensor

from kdst_core.contracts import Embedder
from kdst_vec2text.pair import Vec2Text
from kdst_vec2text.tokens import padded

SAMPLES = (
    "Patient Anna Lopez, 61 years, has a history of stroke.",
    "Follow-up of Peter Brown on 3 May: asthma is stable.",
    "Nurse visit to Mary Cook, aged 47, for gout.",
    "Discharge note: Paul Reed was treated for eczema.",
    "On 12 June Jane Fox was seen in the clinic for migraine.",
    "John Kelly, aged 70, continues with aspirin every day.",
    "Karen Bell has had pneumonia since 9 October.",
    "Allergy to penicillin was confirmed for Thomas Hill, aged 30.",
    "The river was first mapped by traders in the seventeenth century.",
    "She plays the violin in an orchestra in Vienna.",
    "Shares of the company fell after a weak quarter.",
    "The recipe needs two eggs, flour and a little salt.",
    "A goal in the last minute decided the match.",
    "The bridge was closed because of heavy snow.",
    "Please send the signed contract by Friday.",
    "The comet can be seen with the naked eye.",
)
"""Texts whose vectors are made to see whether the hypothesiser reads them at all: notes, then others."""
KIND = 8
"""Texts of each kind; an inverter may read one kind only."""
SAME = ({"gtr_base", "gtr_t5_base", "sentence_transformers_gtr_t5_base"},)
"""Names of one embedder."""
LEAST = 3.0
"""Standard errors by which a text must be likelier from its own vector than from another text's."""
IGNORED = -100


def embedder_notes(model: Vec2Text, embed: Embedder, ask: bool = True) -> tuple[str, ...]:
    """What a user must know where no stored examples show that an embedder is the right one.

    ask: whether the embedder may be asked for the vectors of a few sample texts.
    """
    if model.examples is not None and ask:
        return ()
    trained = model.config.embedder_model_name
    other = not trained or not same_name(trained, embed.name)
    reads = not ask or told_apart(model, embed(list(SAMPLES)))
    if reads and not other:
        return ()
    whose = f"the embedder {trained!r}" if trained else "an embedder that it does not name"
    said = (
        f"the inverter was trained on vectors of {whose} and has no stored pairs to compare with, so it"
        f" is not sure that those of {embed.name!r} are its own"
    )
    if not reads:
        said += (
            f"; from the vectors of {len(SAMPLES)} sample texts it cannot tell which text is whose:"
            " either the embedder is another, or it reads other kinds of texts only"
        )
    return (said,)


def same_name(one: str, other: str) -> bool:
    """Whether two names are of one embedder, whatever its owner and the marks between its words."""
    a, b = _plain(one), _plain(other)
    return a == b or any({a, b} <= names for names in SAME)


def _plain(name: str) -> str:
    """A name in lower case with one mark between its words."""
    return "".join(c if c.isalnum() else "_" for c in name.lower()).strip("_")


@torch.inference_mode()
def told_apart(model: Vec2Text, vectors: Tensor) -> bool:
    """Whether the hypothesiser finds the sample texts of a kind likelier from their own vectors (n, D)
    than from those of its other texts, by a paired comparison."""
    ids = model.tokens.ids(list(SAMPLES), model.config.max_seq_length)
    labels = padded(ids, IGNORED)
    own = _loss(model, vectors, labels).split(KIND)
    others = torch.cat([part.roll(1, 0) for part in vectors.split(KIND)])
    gains = [a - b for a, b in zip(_loss(model, others, labels).split(KIND), own, strict=True)]
    errors = [float(g.std()) / len(g) ** 0.5 for g in gains]
    return any(float(g.mean()) > LEAST * e for g, e in zip(gains, errors, strict=True))


def _loss(model: Vec2Text, vectors: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy (n,) of each row of tokens labels (n, T) from a vector (n, D)."""
    network = model.hypothesiser
    place = next(network.parameters())
    labels = labels.to(place.device)
    logits = network.logits(network.inputs(vectors.to(place)), labels).float()
    lost = torch.nn.functional.cross_entropy(
        logits.transpose(1, 2), labels, ignore_index=IGNORED, reduction="none"
    )
    return (lost.sum(1) / (labels != IGNORED).sum(1)).cpu()
