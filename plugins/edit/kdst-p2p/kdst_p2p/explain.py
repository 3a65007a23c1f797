"""What an edit does, in words: which tokens take their attention from which, and what cannot act."""

from collections.abc import Sequence
from typing import Any

from kdst_core.contracts import TokenAlignment
from kdst_edit.words import find, split, token_ids, token_texts
from kdst_p2p.alignment import refine_mapper, replace_mapper, word_indices
from kdst_p2p.options import Options
from kdst_p2p.schedule import DEFAULT, cross_alphas, window_steps
from kdst_p2p.settings import Setting

Link = tuple[int, int, float]


def alignments(
    source: str, settings: Sequence[Setting], tokenizer: Any, options: Options
) -> list[TokenAlignment]:
    """The alignment of each target with the source, without padding."""
    return [
        TokenAlignment(
            setting.prompt,
            token_texts(tokenizer, source),
            token_texts(tokenizer, setting.prompt),
            _links(source, setting, tokenizer, options),
        )
        for setting in settings
    ]


def _links(source: str, setting: Setting, tokenizer: Any, options: Options) -> list[Link]:
    """(source token, target token, weight) of all tokens of a target."""
    old, new = (len(token_ids(tokenizer, prompt)) for prompt in (source, setting.prompt))
    most = max(old, new)
    if setting.kind == "swap":
        mapper = replace_mapper(source, setting.prompt, tokenizer, most, profile=options.profile)
        pairs = mapper[:old, :new].nonzero().tolist()
        return sorted(
            ((i, j, float(mapper[i, j])) for i, j in pairs), key=lambda link: (link[1], link[0])
        )
    mapper, kept = refine_mapper(source, setting.prompt, tokenizer, most)
    return [(int(mapper[j]), j, 1.0) for j in range(new) if kept[j]]


def explanation(aligned: Sequence[TokenAlignment], settings: Sequence[Setting]) -> list[str]:
    """Lines that say what each token of each target does."""
    lines = []
    for alignment, setting in zip(aligned, settings, strict=True):
        lines.append(f"{setting.kind} towards: {setting.prompt}")
        for j, token in enumerate(alignment.target):
            links = [(i, w) for i, k, w in alignment.links if k == j]
            origin = " + ".join(_origin(alignment.source[i], i, w) for i, w in links)
            lines.append(f"  {j:3d} {token:14s} <- {origin or 'new: keeps its own attention'}")
        lines += [f"  {word}: attention times {c:g}" for word, c in setting.weights.items()]
    return lines


def _origin(token: str, position: int, weight: float) -> str:
    """A source token with its share."""
    share = "" if weight == 1 else f"{weight:.2g} x "
    return f"{share}{token} ({position})"


def no_effect(
    source: str,
    settings: Sequence[Setting],
    tokenizer: Any,
    num_steps: int,
    options: Options,
) -> list[str]:
    """Sentences about edits, weights and options that cannot change anything, with the reason."""
    found = [*_idle_shares(settings[0], num_steps), *_idle_options(settings, options)]
    if not source:
        found.append(
            "There is no source prompt, so no word of a target is aligned with it; give --source."
        )
    found += [
        sentence
        for setting in settings
        for sentence in _unheard(source, setting, tokenizer, num_steps)
    ]
    return list(dict.fromkeys(found))


def _idle_shares(setting: Setting, num_steps: int) -> list[str]:
    """Shares of the steps in which there is no step."""
    found = []
    for word, window in setting.tau.items():
        begin, end = (0.0, window) if isinstance(window, int | float) else window
        steps = range(num_steps)[window_steps(window, num_steps)]
        if end > begin and not steps:
            name = "" if word == DEFAULT else f"{word}="
            told = f"{begin:g}:{end:g}" if begin else f"{end:g}"
            found.append(f"--tau {name}{told} has no effect: no step of {num_steps} is in it.")
    if setting.self_tau and not int(setting.self_tau * num_steps):
        found.append(
            f"--self-tau {setting.self_tau:g} has no effect: no step of {num_steps} is in it."
        )
    return found


def _idle_options(settings: Sequence[Setting], options: Options) -> list[str]:
    """Options of LocalBlend where it does not act."""
    blended = "none" not in options.blend and (
        options.blend != ["auto"] or any(setting.kind == "swap" for setting in settings)
    )
    if blended or not options.subtract:
        return []
    return ["--subtract has no effect: LocalBlend is off; choose its words with --blend."]


def _unheard(source: str, setting: Setting, tokenizer: Any, num_steps: int) -> list[str]:
    """What cannot act in one edit."""
    acting = {w: c for w, c in setting.weights.items() if find(setting.prompt, w) and c != 1}
    same_text = split(setting.prompt) == split(source)
    same_ids = token_ids(tokenizer, source) == token_ids(tokenizer, setting.prompt)
    found = []
    if same_ids and not acting:
        reason = (
            "the target is the source prompt and no weight differs from 1"
            if same_text
            else "the tokenizer reads both prompts as the same tokens (capitals, or words it does not"
            " know)"
        )
        found.append(f"The edit {setting.prompt!r} cannot have an effect: {reason}.")
    found += [
        f"The weight of {word!r} cannot have an effect: c = 1 is the identity."
        for word, c in setting.weights.items()
        if c == 1
    ]
    return found + _never_injected(setting, acting, tokenizer, num_steps)


def _never_injected(
    setting: Setting, acting: dict[str, float], tokenizer: Any, num_steps: int
) -> list[str]:
    """Weights whose tau leaves no step, since c acts only while the source's maps are injected."""
    prompts, most = [setting.prompt, setting.prompt], len(token_ids(tokenizer, setting.prompt))
    alphas = cross_alphas(prompts, num_steps, setting.tau, tokenizer, most)[:num_steps]
    return [
        f"The weight of {word!r} cannot have an effect: its tau leaves no step in which it acts."
        for word in acting
        if not alphas[..., word_indices(setting.prompt, word, tokenizer)].any()
    ]
