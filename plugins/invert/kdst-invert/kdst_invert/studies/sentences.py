"""What the figures of the defence study say, in sentences that follow from them alone."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kdst_invert.defences.defence import mean_length
from kdst_invert.defences.privacy import DELTA, epsilon_of
from kdst_invert.measures.chance import smallest_share

if TYPE_CHECKING:
    from torch import Tensor

ACCOUNTED = (0.01, 0.03, 0.1)
"""Strengths of Gaussian noise whose worth as differential privacy is said."""
LOST = 0.05
"""Names that a protected store may still give away, by the upper end of the interval."""
STOPPED, WEAKENED = 0.1, 0.7
"""Shares of what leaks without noise, up to which noise counts as stopping or weakening."""


def leak(row: Mapping[str, Any]) -> tuple[str, list[float]]:
    """The measure of what leaks most plainly, names where they are known, else token F1, and what of it
    is above chance with its interval."""
    name = "names" if "names" in row["leakage"] else "token_f1"
    return name, row.get("above", {}).get(name, row["leakage"][name])


def find(
    rows: Sequence[Mapping[str, Any]], scale: float, attacker: str
) -> Mapping[str, Any] | None:
    """Gaussian noise of one λ against one attacker."""
    for row in rows:
        if row["defence"] == "gaussian" and row["scale"] == scale and row["attacker"] == attacker:
            return row
    return None


def on_noise(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What noise protects; nothing where the attackers cannot read even unprotected vectors."""
    if is_blind(rows):
        return [
            "Without any defence these attackers read nothing above chance, so they say nothing of what a"
            " defence protects: do not take any row for safe. Attack with a reader of such texts (kdst run"
            " bow --study defence, or --model with an inverter that --stage fit trained on texts like these)."
        ]
    return [*at_one_hundredth(rows), *protects(rows)]


def is_blind(rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether no attacker reads anything of unprotected vectors that is told from chance."""
    tried = [row for a in ("clean", "adaptive") if (row := find(rows, 0.0, a)) is not None]
    gains = [gain for row in tried for gain in (*row.get("above", {}).values(), leak(row)[1])]
    return bool(tried) and not any(low > 0 for _, low, _ in gains)


def at_one_hundredth(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What λ = .01, which the paper recommends, does here to either attacker."""
    clean, without = find(rows, 0.01, "clean"), find(rows, 0.0, "clean")
    if clean is None or without is None:
        return []
    label = {"names": "of the full names", "token_f1": "in token F1"}[leak(clean)[0]]
    before, after = leak(without)[1][0], leak(clean)[1]
    share = after[0] / max(before, 1e-9)
    if share <= STOPPED:
        verdict = "stops this attacker"
    elif share <= WEAKENED:
        verdict = "weakens this attacker but does not stop him"
    else:
        verdict = "does not stop this attacker"
    found = [
        f"λ = .01, at which the paper's inversion all but ended, {verdict}: one trained without noise"
        f" reads {after[0]:.0%} ({after[1]:.0%} to {after[2]:.0%}) {label}, {before:.0%} without noise,"
        f" while the search finds {clean['retrieval']['recall@1'][0]:.1%} of its targets first."
    ]
    adaptive = find(rows, 0.01, "adaptive")
    if adaptive is not None:
        value, low, high = leak(adaptive)[1]
        found.append(
            f"One who knows the noise reads {value:.0%} ({low:.0%} to {high:.0%}) at the same λ."
        )
    return found


def pairs(known: int, own: int = 0, trained: bool = True) -> list[str]:
    """What the adaptive attacker knew: pairs of a text and its vector, and other texts of his own."""
    more = f", and had {own:,} other texts of the kind, which he protected himself" if own else ""
    if known:
        read = " Where much was left, networks trained with noise read it." if trained else ""
        return [
            f"The adaptive attacker knew which defence it was and {known} pairs of a text and its stored"
            f" vector{more}; the rotation, a secret, he learned from the pairs, and from reading the store"
            f" where they are fewer than dimensions.{read}"
        ]
    return [
        "The attacker had 0 known pairs, since every text was attacked: nothing is said of one who"
        " knows pairs and undoes rotation, dropping or rounding. Attack fewer texts (--count)."
    ]


def power(rows: Sequence[Mapping[str, Any]], attacked: int) -> list[str]:
    """What is chance, which is subtracted below, and the smallest leak that could have been seen."""
    without = find(rows, 0.0, "clean")
    if without is None or "token_f1" not in without.get("above", {}):
        return [
            f"With {attacked} text attacked nothing tells a leak from what texts share by chance."
        ]
    gains = [row["above"]["token_f1"] for row in rows if row["attacker"] in ("clean", "adaptive")]
    half = max((high - low) / 2 for _, low, high in gains)
    names = (
        f"{smallest_share(attacked):.1%} of the names or "
        if "names" in without["above"]
        else f"{smallest_share(attacked):.1%} of the texts word for word or "
    )
    return [
        f"By chance, texts written for other rows share token F1 {without['chance']['token_f1']:.2f} with"
        " an original; that is no leak, and is subtracted in the verdicts. With"
        f" {attacked} texts attacked no leak below {names}{half:.2f} of token F1 could have been told"
        " from none."
    ]


def protects(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The smallest λ that protects from every attacker tried, and its price in retrieval.

    Where the intervals are too wide to say so, the smallest that may, and what it would take to know.
    """
    scales = sorted({row["scale"] for row in rows if row["defence"] == "gaussian"})
    tried = [
        (scale, [r for a in ("clean", "adaptive") if (r := find(rows, scale, a)) is not None])
        for scale in scales
    ]
    held = [(s, a) for s, a in tried if a and all(leak(row)[1][2] <= LOST for row in a)]
    if held:
        scale, against = held[0]
        return [
            f"The smallest λ tried that holds both attackers to {LOST:.0%} or less (upper ends of"
            f" the intervals) is {scale:g}: {_price(against[0])}."
        ]
    maybe = [(s, a) for s, a in tried if a and all(leak(row)[1][0] <= LOST for row in a)]
    if maybe:
        scale, against = maybe[0]
        value, low, high = max((leak(row)[1] for row in against), key=lambda found: found[2])
        return [
            f"λ = {scale:g} may hold both attackers to {LOST:.0%} or less, but these texts are too few"
            f" to say so: the better one reads {value:.0%} ({low:.0%} to {high:.0%}); attack more"
            f" (--count). At this λ {_price(against[0])}."
        ]
    return [
        f"No λ tried, up to {max(scales):g}, holds the attackers to {LOST:.0%} or less: do not count on"
        " noise of this size."
    ]


def by_grammar(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What an attacker reads who knows the sentences of the notes, where other attackers read least."""
    mine = [row for row in rows if row["attacker"] == "grammar"]
    if not mine:
        return []
    read = [f"{row['defence']} {row['strength']} {row['leakage']['names'][0]:.0%}" for row in mine]
    return [
        "One who knows the sentences that the notes are made of, and tries what fills them, reads of the"
        f" names of the first {mine[0]['attacked']} notes: {', '.join(read)}. With so few notes a leak"
        f" below {smallest_share(mine[0]['attacked']):.0%} could not have been told from none."
    ]


def by_rewriting(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What an attacker reads who knows pairs alone and rewrites what he read by the words of known texts."""
    return [
        f"One who knows {row['pairs']} pairs alone, and rewrites what he reads by words of texts that he"
        f" knows and of the store as he reads it, reads of {row['defence']} {row['strength']} token F1"
        f" {row['leakage']['token_f1'][0]:.2f} ({row['leakage']['token_f1'][1]:.2f} to"
        f" {row['leakage']['token_f1'][2]:.2f}) over the first {row['attacked']} texts."
        for row in rows
        if row["attacker"] == "rewriting"
    ]


def accounted(vectors: "Tensor") -> list[str]:
    """What Gaussian noise is worth as differential privacy towards the text of a vector."""
    most = float((vectors.norm(dim=1) / mean_length(vectors)).max())
    worth = [f"λ = {scale:g}: ε = {epsilon_of(scale, 2 * most):,.0f}" for scale in ACCOUNTED]
    return [
        "As differential privacy of one release of a vector towards its text (analytic Gaussian"
        f" mechanism, δ = {DELTA:g}) noise is worth {'; '.join(worth)}. An ε of 10 or more promises next to"
        " nothing by itself; what was read is measured here, not promised."
    ]


def _price(row: Mapping[str, Any]) -> str:
    """What a defence leaves of the search, as a clause."""
    recall, overlap = row["retrieval"]["recall@1"], row["retrieval"]["overlap@10"]
    return (
        f"the search finds {recall[0]:.1%} ({recall[1]:.1%} to {recall[2]:.1%}) of its targets"
        f" first and keeps {overlap[0]:.0%} of its ten first results"
    )
