"""What a run says of itself where it taught a model nothing, or hardly anything."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kdst_tools.outcome.artifacts import Counts

FEW_STEPS = 10
"""Steps of finetuning below which the learning rate has hardly begun to act."""


def nothing_kept(rounds: Mapping[str, Counts], trains: bool) -> Iterator[str]:
    """Yield a sentence for each round, or tool of a round, that kept no call.

    rounds: the counts by round and tool, of runs that came to the filter. trains: whether the run
    finetunes on what was kept.
    """
    for number, counts in rounds.items():
        empty = [tool for tool, own in counts.items() if not own["kept"]]
        if not empty:
            continue
        sampled = sum(counts[tool]["sampled"] for tool in empty)
        executed = sum(counts[tool]["executed"] for tool in empty)
        none = len(empty) == len(counts)
        which = "" if none else f" of {' and '.join(empty)}"
        learns = "learnt to use no tool" if none else "learnt nothing of it"
        yield (
            f"no call{which} was kept in round {number}"
            f"{f', so the model {learns}' if trains else ''}:"
            f" {sampled} sampled, {executed} with a result. {_advice(sampled, executed)}"
        )


def _advice(sampled: int, executed: int) -> str:
    """What to try, by the stage at which no call was left."""
    if not sampled:
        return "Try a lower --tau-s, a higher --k or --m, or texts that the tools fit"
    if not executed:
        return "All failed; the field reason of calls.jsonl says why"
    return "None helped enough. Try a lower --tau-f, more texts, or texts that the tools fit"


def few_steps(
    training: Sequence[Mapping[str, Any]], texts: int, learn: str = "all"
) -> Iterator[str]:
    """Yield a sentence for each round whose finetuning was less than `FEW_STEPS` steps.

    training: the rows of training.json. texts: of a round. learn: `all` of them were seen, or those that
    are `called` in.
    """
    seen = f"{texts} texts" if learn == "all" else f"those of {texts} texts that have a call"
    for number in sorted({row["round"] for row in training}):
        steps = len({row["step"] for row in training if row["round"] == number})
        if steps < FEW_STEPS:
            count = "only 1 step" if steps == 1 else f"only {steps} steps"
            yield (
                f"finetuning in round {number} was {count} on {seen}, at a learning rate for"
                " many: the model is hardly changed. Try a smaller --batch, more --epochs or more texts"
            )
