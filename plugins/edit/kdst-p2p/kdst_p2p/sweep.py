"""A contact sheet: one edit over a grid of tau, self_tau or c, all from one source branch."""

from collections.abc import Callable, Sequence

import attrs

from kdst_core.contracts import ContactSheet, EditRequest, RunServices
from kdst_core.errors import KdstError
from kdst_edit.control.session import Rule
from kdst_edit.kit import aligned_branch, resets, sample_request
from kdst_edit.models.latents import decode
from kdst_edit.sampling.sample import Branch
from kdst_edit.words import split
from kdst_p2p.options import Options
from kdst_p2p.schedule import DEFAULT
from kdst_p2p.settings import Setting

VALUES = {
    "tau": (0.0, 0.2, 0.4, 0.6, 0.8, 1.0),
    "self_tau": (0.0, 0.2, 0.4, 0.6, 0.8),
    "c": (-2.0, -1.0, 0.0, 1.0, 2.0),
}
Rules = Callable[[EditRequest, str, Sequence[Setting], Options], list[Rule]]


def contact_sheet(
    request: EditRequest,
    source: str,
    setting: Setting,
    options: Options,
    run: RunServices,
    rules_of: Rules,
) -> ContactSheet | None:
    """The sheet that `--sweep` asks for, or None; raises KdstError for other names."""
    names = [name.replace("-", "_") for name in options.sweep]
    if not names:
        return None
    if len(names) > 2 or len(set(names)) < len(names) or not set(names) <= VALUES.keys():
        raise KdstError(
            f"--sweep {','.join(options.sweep)}: give one or two of {', '.join(VALUES)}"
        )
    down, across = names[0], names[1] if len(names) == 2 else None
    words = list(setting.weights) or _changed(source, setting)
    if "c" in names and not words:
        raise KdstError("--sweep c needs a word to re-weight: add --reweight WORD=1")
    columns = VALUES[across] if across else (0.0,)
    grid = [
        _moved(_moved(setting, down, row, words), across, column, words)
        for row in VALUES[down]
        for column in columns
    ]
    targets = [Branch(s.prompt, request.negative_prompt, request.guidance) for s in grid]
    rules = [*rules_of(request, source, grid, options), *resets(request)]
    branches = [aligned_branch(request), *targets]
    latents = sample_request(request, branches, rules, run, label="contact sheet")
    images = decode(request.pipeline, latents[1:]).cpu()
    return ContactSheet(
        f"{' / '.join(_title(name, words) for name in names)}: {setting.prompt}",
        [f"{value:g}" for value in VALUES[down]],
        [f"{value:g}" for value in columns] if across else [""],
        images.reshape(len(VALUES[down]), len(columns), *images.shape[1:]),
    )


def _changed(source: str, setting: Setting) -> list[str]:
    """The target's words that the source does not have."""
    return [word for word in split(setting.prompt) if word not in split(source)]


def _moved(setting: Setting, name: str | None, value: float, words: Sequence[str]) -> Setting:
    """A setting with one parameter changed."""
    if name == "tau":
        return attrs.evolve(setting, tau={**setting.tau, DEFAULT: value})
    if name == "self_tau":
        return attrs.evolve(setting, self_tau=value)
    if name == "c":
        return attrs.evolve(setting, weights={**setting.weights, **dict.fromkeys(words, value)})
    return setting


def _title(name: str, words: Sequence[str]) -> str:
    """A parameter as the sheet's title names it."""
    return f"c of {', '.join(words)}" if name == "c" else name
