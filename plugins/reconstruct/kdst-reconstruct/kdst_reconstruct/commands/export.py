"""Write a scene as .ply, .splat, .spz, .sog or compressed .ply, whole or cropped."""

from pathlib import Path

import click

from kdst_reconstruct.commands import FILE, method_option, scene_argument
from kdst_reconstruct.formats import SUFFIXES


@click.command("export", short_help="Write a scene in another format.")
@scene_argument()
@click.option("--out", type=FILE, help="File to write.  [default: the scene's name, here]")
@click.option(
    "--format",
    "kind",
    type=click.Choice(list(SUFFIXES)),
    help="Format.  [default: what the name of --out says]",
)
@click.option(
    "--crop",
    metavar="X0,Y0,Z0,X1,Y1,Z1",
    help="Two corners of a box in the capture's coordinates; what lies outside is left out.",
)
@method_option()
def command(scene: Path, out: Path | None, kind: str | None, crop: str | None, method: str) -> None:
    """Write the scene of a run, a .ply, .spz or .sog in another format, whole or cropped.

    Coordinates stay those of the capture. .splat and .compressed.ply are for viewers: kdst does not
    read them again.
    """
    from kdst_reconstruct.formats import corners, target
    from kdst_reconstruct.saved_scene import open_scene

    box = None if crop is None else corners(crop)
    file = target(scene, out, kind)
    opened = open_scene(scene, method)
    if file.resolve() == opened.path.resolve():
        raise click.UsageError(f"--out {file} is the scene itself; give another file")
    for sentence in opened.scene.save(file, box) or ():
        click.echo(sentence, err=True)
    size = file.stat().st_size
    click.echo(f"{file}: {size / 1e6:.1f} MB")
