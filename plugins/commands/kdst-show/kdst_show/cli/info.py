"""Show a method: options with defaults, paper, citation."""

import click

from kdst_core.commands import complete_method, method_command


@click.command(short_help="Show a method.")
@click.argument("method", shell_complete=complete_method)
def command(method: str) -> None:
    """Show a method: options with defaults, paper, citation."""
    from kdst_core.runs.setup import setup_of

    chosen = setup_of(method)
    description, plugin = chosen.method.description, chosen.method.plugin
    click.echo(f"{plugin.name}: {description.summary}\n")
    facts = {
        "capability": plugin.capability,
        "package": f"{plugin.package} {plugin.version}",
        "paper": description.paper,
        "url": description.url,
        "licence": description.licence,
        "needs": ", ".join(sorted(description.needs)) or "nothing",
    }
    for name, value in facts.items():
        if value:
            click.echo(f"  {name:<11} {value}")
    click.echo()
    with click.Context(method_command(method), info_name=f"kdst run {method}") as ctx:
        formatter = ctx.make_formatter()
        ctx.command.format_options(ctx, formatter)
        click.echo(formatter.getvalue().rstrip())
    if description.citation:
        click.echo(f"\n{description.citation.strip()}")
