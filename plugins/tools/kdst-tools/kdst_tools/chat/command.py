"""Make texts to annotate, write tool calls as chat conversations, drop those that do not help."""

import math
from pathlib import Path

import click


@click.group("tools", short_help="Texts of word problems; chat with tool calls: export, filter.")
def command() -> None:
    """Make texts to annotate, write tool calls as chat conversations, drop those that do not help."""


@command.command("export", short_help="Write a run's annotated texts as chat conversations.")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
def export(run: Path, out: Path) -> None:
    """Write the annotated texts of RUN as `messages` with `tool_calls` to OUT, .jsonl or .parquet.

    The user gives a text up to its first call, and the assistant goes on. Texts without a call are
    left out.
    """
    from kdst_tools.chat.export import conversations, write

    count = write(conversations(run), out)
    click.echo(f"{out}: {count} conversations")


@command.command("filter", short_help="Drop the calls of a chat corpus that do not help.")
@click.argument("chat", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--model", required=True, help="tiny, smollm2, a directory or a hub id, as kdst run.")
@click.option(
    "--tau-f", type=float, default=1.0, show_default=True, help="Nats that a result must save."
)
@click.option(
    "--horizon",
    type=click.IntRange(min=1),
    default=64,
    show_default=True,
    help="Tokens of the assistant behind a call that count.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, mps.")
def filter_calls(
    chat: Path, out: Path, model: str, tau_f: float, horizon: int, device: str
) -> None:
    """Write the conversations of CHAT without the calls whose results do not help to OUT, a .jsonl.

    CHAT is .jsonl, .jsonl.gz or .parquet with `messages` that hold `tool_calls`. The loss of what the
    assistant says behind a call is taken without it, with it, and with it and its result, under the
    model's chat template. A call that has no result or does not fit is left as it is. Every call with
    its losses goes to a file beside OUT.
    """
    from kdst_core.bench.device import has_cuda, usable
    from kdst_core.bench.libraries import silence_libraries
    from kdst_tools.chat.filtering import check, filter_file, records_of
    from kdst_tools.chat.usefulness import Usefulness
    from kdst_tools.models.pretrained import load

    if not math.isfinite(tau_f):
        raise click.BadParameter(f"{tau_f} is no number of nats", param_hint="--tau-f")
    check(chat, out)
    where = usable(("cuda" if has_cuda() else "cpu") if device == "auto" else device)
    with silence_libraries():
        pair = load(model, where, "shipped")
        counts = filter_file(chat, out, Usefulness(*pair, tau_f, horizon))
    click.echo(f"{out}: {counts.conversations} conversations")
    click.echo(f"calls: {counts.kept} kept, {counts.dropped} dropped: {records_of(out)}")
    for reason, count in sorted(counts.reasons.items()):
        click.secho(f"Warning: {count} calls were {reason}", fg="yellow", err=True)
    if counts.skipped:
        named = ", ".join(counts.skipped[:3]) + (", …" if len(counts.skipped) > 3 else "")
        number = len(counts.skipped)
        click.secho(
            f"Warning: {number} lines of {chat} were skipped: {named}", fg="yellow", err=True
        )


@command.command("texts", short_help="Make plain texts of word problems and prose, to annotate.")
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--problems",
    required=True,
    help="asdiv:FILE, mawps:FILE, svamp:FILE or gsm8k:FILE, several apart by commas.",
)
@click.option(
    "--leave-out",
    default="none",
    show_default=True,
    help="Problems to measure on, as --problems: what has a sentence in common with one is not used.",
)
@click.option("--count", type=click.IntRange(min=1), default=1000, show_default=True, help="Texts.")
@click.option(
    "--prose",
    type=click.FloatRange(0, 1),
    default=0.2,
    show_default=True,
    help="Share of texts in which no tool is of use.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of choice, prose and order.")
def texts(out: Path, problems: str, leave_out: str, count: int, prose: float, seed: int) -> None:
    """Write plain texts for `kdst run toolformer --texts` to OUT, a .jsonl file.

    A text is a problem with `The answer is` and its answer, without its solution, or a few generated
    sentences. No wording occurs twice with other numbers.
    """
    import json
    from random import Random

    from kdst_core.errors import KdstError
    from kdst_core.files import write_atomically
    from kdst_tools.corpora.word_problems import word_problem_texts
    from kdst_tools.evaluation.sets import load

    if out.suffix != ".jsonl":
        raise KdstError(f"{out}: give a .jsonl file")
    if out.exists():
        raise KdstError(f"{out} is there already; give another file")
    named = [p for name in problems.split(",") for p in load(name, None)]
    measured = [p for name in leave_out.split(",") for p in load(name, None, "--leave-out")]
    written = word_problem_texts(named, count, prose, Random(seed), measured)
    lines = [json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in written]
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, "".join(lines))
    click.echo(f"{out}: {len(written)} texts, {round(prose * count)} of them prose")
