"""Write tool calls as chat conversations, and drop those of a chat corpus that do not help."""

from pathlib import Path

import click


@click.group("tools", short_help="Conversations with tool calls: export and filter.")
def command() -> None:
    """Write tool calls as chat conversations, and drop those of a chat corpus that do not help."""


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
