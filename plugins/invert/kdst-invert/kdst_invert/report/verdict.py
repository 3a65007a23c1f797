"""What the figures of a run say: what was read, by whom, above chance, and what was not seen."""

from collections.abc import Mapping
from typing import Any

from kdst_invert.attackers import open_text
from kdst_invert.measures import confidence
from kdst_invert.measures.chance import smallest_share

WORDS = ("above_chance.token_f1.low", "open.token_f1.above_chance.low")
"""What of the words was read at least, by either reader."""
LEAK = 0.05
"""Share of texts or names from which vectors are to be treated like texts, whatever the interval."""


def sentences(
    metrics: Mapping[str, float], knew: str = "The attacker held the vectors"
) -> list[str]:
    """The verdict of a run from its figures. knew: what the attacker had, as a sentence without its end."""
    if "exact.final" not in metrics:
        said = [*_unmeasured(metrics), f"{knew}.", *_guesses(metrics)]
        return [*said, *open_text.sentence(metrics)]
    return [
        _read(metrics),
        f"{knew}.",
        *_memory(metrics),
        *_known_kind(metrics),
        *_chance(metrics),
        *_guesses(metrics),
        *open_text.sentence(metrics),
        *_advice(metrics),
    ]


def knew(result: Mapping[str, Any]) -> str:
    """What the attacker of a run had, as a sentence without its end."""
    given, options = result["input"], result.get("options", {})
    asked = "never asked" if options.get("budget") == 0 else "might ask"
    name = given.get("embedder_name", "")
    model = options.get("model", "an inverter")
    if given.get("stage") == "fit":
        trained = (
            f"an inverter trained on {given.get('training_texts', 0)} other texts of this kind"
        )
    elif model == "tiny":
        trained = (
            "the embedded inverter, which was trained on short clinical notes and writes only such"
        )
    else:
        trained = f"the inverter {model}"
    return f"The attacker held the vectors, {asked} the embedder {name}, and had {trained}"


def _unmeasured(metrics: Mapping[str, float]) -> list[str]:
    """Where the originals were not given."""
    if "cosine.final" not in metrics:
        return [
            "Neither were the original texts given nor was the embedder asked, so nothing can be said of"
            " what was recovered."
        ]
    return [
        "The original texts were not given, so what was recovered can only be judged by its"
        f" cosine to the vectors, {metrics['cosine.final']:.3f} on average. Give --texts to"
        " measure how much of the originals it is."
    ]


def _read(metrics: Mapping[str, float]) -> str:
    """What was read word for word."""
    exact, low, high = (metrics[f"exact.final{k}"] for k in ("", ".low", ".high"))
    found = (
        f"{exact:.1%} of the texts were read word for word (95 % interval {low:.1%} to {high:.1%})"
    )
    if "names.final" in metrics:
        found += f" and {metrics['names.final']:.1%} of the full names"
    return f"{found}, at {metrics['embedder_calls_per_text']:.0f} embedder calls a text."


def _memory(metrics: Mapping[str, float]) -> list[str]:
    """Whether memory explains what was read; nothing where that was not tested."""
    if "nearest.exact" not in metrics:
        return []
    names = f" and {metrics['nearest.names']:.1%} of names" if "nearest.names" in metrics else ""
    gives = f"the nearest of the texts that the attacker trained on gives {metrics['nearest.exact']:.1%}"
    gives += f" word for word{names}"
    measure = "exact" if metrics["exact.final"] else "unit_f1"
    if metrics.get(f"nearest.{measure}.high", 1.0) < metrics.get(f"{measure}.final.low", 0.0):
        return [f"It is no memory: {gives}."]
    return [f"Memory is not ruled out: {gives}, about what was read."]


def _known_kind(metrics: Mapping[str, float]) -> list[str]:
    """What the figures of the embedded notes are worth, seen by attackers without a network."""
    if "slots.exact" not in metrics:
        return []
    return [
        "These are texts of one narrow kind: without any network one who knows the sentences that the"
        f" notes are made of reads {metrics['slots.exact']:.0%} of"
        f" {metrics['slots.texts']:.0f} word for word by trying what fills them, and ridge regression to"
        f" words reaches token F1 {metrics['ridge.token_f1']:.2f}. So the figures say that texts of a known"
        " form are read, not that any text is."
    ]


def _chance(metrics: Mapping[str, float]) -> list[str]:
    """What texts of other rows share with an original, and the smallest leak that would have shown."""
    count = int(metrics["texts"])
    unseen = (
        f"With {count} texts a leak below {smallest_share(count):.1%} of the texts word for word could"
        " not have been told from none"
    )
    if "chance.token_f1" not in metrics:
        return [f"{unseen}; what texts share by chance was not measured, for want of other texts."]
    gain, low, high = (metrics[f"above_chance.token_f1{k}"] for k in ("", ".low", ".high"))
    said = (
        f"By chance, texts written for other rows share token F1 {metrics['chance.token_f1']:.2f} with an"
        f" original; what was read is {gain:.2f} above that ({low:.2f} to {high:.2f})"
    )
    if low <= 0:
        said += ", which is not told from chance"
    return [f"{said}.", f"{unseen}, nor one of less than {(high - low) / 2:.2f} in token F1."]


def _guesses(metrics: Mapping[str, float]) -> list[str]:
    """How many texts are no findings."""
    share = metrics.get("guesses", 0.0)
    if not share:
        return []
    what = "All texts" if share == 1 else f"{share:.1%} of the texts"
    return [
        f"{what} are guesses, not findings: names and facts in them may be made up by the inverter."
        f" {confidence.explained()}"
    ]


def _advice(metrics: Mapping[str, float]) -> list[str]:
    """What to do about it."""
    words = any(metrics.get(name, 0.0) > LEAK for name in WORDS)
    if metrics["exact.final"] >= LEAK or metrics.get("names.final", 0.0) >= LEAK or words:
        return [
            "Treat the vectors like the texts: the same access rights, the same deletion dates, no"
            " copies at third parties. Run --study defence to see what noise would cost and protect."
        ]
    return [
        "That this attacker read no more says nothing of others: one trained on texts like yours, or"
        " longer, may read more; train one with --stage fit before you rely on it."
    ]
