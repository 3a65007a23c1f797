"""Tell what a vector store gives away, to whom, and what was not tested."""

from functools import cache
from typing import Any

import click

from kdst_core.commands import command_of
from kdst_core.options import Section
from kdst_core.plugins.declared import check_options
from kdst_core.plugins.method import load
from kdst_core.runs.setup import RunOptions, Setup
from kdst_invert.commands.audit_bench import bench

METHOD = "bow"
"""The method that inverts what linear maps bring into its embedder's space."""


class Audit(click.Command):
    """A command whose options are those of the audit and of the method that it runs."""

    def make_context(self, info_name: Any, args: Any, parent: Any = None, **extra: Any) -> Any:
        """Import the method and build the command when it is called."""
        return _built().make_context(info_name, args, parent, **extra)


@cache
def _built() -> click.Command:
    """The command with all its options."""
    method = load(METHOD)
    sections = (
        Section("The store and the audit", "input", bench.inputs),
        Section(f"Options of {METHOD}", METHOD, method.description.options),
        Section("Run", "run", RunOptions),
    )
    check_options(sections)
    chosen = Setup(method, bench, sections, ("audit",))
    return command_of(chosen, "audit", "STORE", HELP)


HELP = """Tell what a vector store gives away.

    STORE is the folder of a Chroma or LanceDB store, or a .npy, .parquet, .jsonl, .csv (pgvector) or
    .faiss file. The embedder is recognised by embedding some texts again. Attackers who know 0, 10,
    100 and 1,000 of the store's texts read the others; the report says how much, and what chance gives.
    """
command = Audit("audit", short_help="Tell what a vector store gives away.", help=HELP)
