"""Commands that are called with methods first: their options are those of the methods."""

from collections.abc import Callable, Sequence

import click
from click.shell_completion import CompletionItem

from kdst_core.commands import MethodCommand, complete_method

WORDS = "kdst.leading"
"""Under which a context keeps the leading words and the rest."""


class LeadingWords(click.Command):
    """A command whose options are made for the words that stand before the first of them."""

    def __init__(
        self,
        name: str,
        *,
        usage: str,
        short_help: str,
        made: Callable[[Sequence[str]], MethodCommand],
    ) -> None:
        super().__init__(name, help=short_help, short_help=short_help)
        self.usage, self.made = usage, made

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Split the leading words off, and keep the rest for the command that is made for them."""
        count = next((n for n, a in enumerate(args) if a.startswith("-")), len(args))
        ctx.meta[WORDS] = args[:count], args[count:]
        return []

    def invoke(self, ctx: click.Context) -> None:
        """Make the command for the words and carry it out on the rest."""
        words, rest = ctx.meta[WORDS]
        made = self.made(words)
        with made.make_context(ctx.info_name, rest, parent=ctx.parent) as inner:
            made.invoke(inner)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the methods that complete a word, or the options where it begins with '-'."""
        if incomplete.startswith("-"):
            return super().shell_complete(ctx, incomplete)
        return complete_method(ctx, None, incomplete)

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the usage line."""
        formatter.write_usage(ctx.command_path, self.usage)
