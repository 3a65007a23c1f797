"""Look at a scene in the browser, or write it as one offline page."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from kdst_core.errors import KdstError
from kdst_core.files import write_atomically
from kdst_reconstruct.commands import (
    FILE,
    capture_options,
    method_option,
    scene_argument,
    up_option,
)
from kdst_reconstruct.saved_scene import Unfinished
from kdst_reconstruct.viewer.watching import Watch, follow, wait_for_scene


@click.command("view", short_help="Look at a scene in the browser.")
@scene_argument()
@click.option("--port", default=8080, show_default=True, help="Port to listen on; 0 for any.")
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on; 0.0.0.0 lets other machines look.",
)
@click.option("--open/--no-open", "browse", default=True, help="Open the browser.  [default: open]")
@click.option(
    "--export-html", "page", type=FILE, help="Write one page that needs no network, and end."
)
@click.option("--dark", is_flag=True, help="Dark surroundings.")
@up_option()
@capture_options
@method_option()
def command(
    scene: Path,
    port: int,
    host: str,
    browse: bool,
    page: Path | None,
    dark: bool,
    up: str | None,
    data: str | None,
    holdout: str | None,
    method: str,
) -> None:
    """Look at the scene of a run or of a .ply in the browser.

    Of a run that is not finished the newest saved state is shown, and newer ones as they come.

    Drag to orbit, W A S D and Q E to fly; a click on a photograph goes to its camera. Those of
    held-out views are orange. The address that is printed holds a token, without which nobody is
    answered; pass it on to whom you let look. Colours are the same from every side here: for looking, not for
    measuring.
    """
    from kdst_core.plugins.method import load
    from kdst_reconstruct.rendering.orbit import axis
    from kdst_reconstruct.saved_scene import load_views, open_scene
    from kdst_reconstruct.viewer import stage
    from kdst_reconstruct.viewer.guard import Guard

    if page is not None and not page.parent.is_dir():
        raise click.UsageError(f"--export-html {page}: there is no folder {page.parent}")
    unfinished = Unfinished.of(scene)
    watch: Watch | None = None
    if unfinished is not None:
        if page is not None and not unfinished.scene.is_file():
            raise KdstError(
                f"{scene} has saved no state that a page could show.\nWait for its first one, or carry"
                f" it on with kdst run {unfinished.method} --out {scene} --resume"
            )
        wait_for_scene(unfinished, _say)
        # Made before the scene is opened, so that a state which is saved meanwhile is a newer one.
        watch = Watch(unfinished, load(unfinished.method))
    opened = open_scene(scene, method)
    views = None
    try:
        views = load_views(opened, data, holdout)
    except KdstError as e:
        if data is not None:
            raise
        click.echo(f"Shown without photographs: {e}", err=True)
    guard = Guard(host)
    server = stage.start(guard, 0 if page else port)
    try:
        server.gui.configure_theme(dark_mode=dark, show_share_button=False)
        splats = _splats(opened.scene, views, _say)
        stage.show(server, splats, views, None if up is None else axis(up))
        if page is not None:
            write_atomically(page, stage.page(server, scene.resolve().name, dark))
            click.echo(f"{page}: {page.stat().st_size / 1e6:.1f} MB")
            return
        _serve(server, guard.address(server.get_port()), browse, watch, views)
    finally:
        stage.stop(server)


def _say(sentence: str) -> None:
    """Tell the user on stderr."""
    click.echo(sentence, err=True)


def _splats(scene: Any, views: Any, say: Callable[[str], None]) -> Any:
    """Return what the viewer draws of a scene; of an antialiased one as from its photographs."""
    from kdst_reconstruct.viewer import stage

    splats = scene.splats()
    if not getattr(scene, "antialiased", False):
        return splats
    if views is None:
        say("Antialiased scene without photographs: it is drawn too dense.")
        return splats
    say("Antialiased scene: small Gaussians are as faint as from the photographs.")
    return stage.filtered(splats, views.capture.cameras)


def _serve(server: Any, address: str, browse: bool, watch: Watch | None, views: Any) -> None:
    """Say where the page is and wait for Ctrl-C; draw what a run under way saves meanwhile."""
    import webbrowser

    from kdst_reconstruct.viewer import stage

    click.echo(f"{address}  (Ctrl-C ends)")
    if browse:
        webbrowser.open(address)
    try:
        if watch is not None:
            _say(
                "The run is not finished: its newest saved state is shown, and newer ones as they come."
            )

            def draw(scene: Any) -> None:
                stage.draw(server, _splats(scene, views, lambda _: None))
                _say(f"{len(scene):,} Gaussians")

            follow(watch, draw, _say)
        server.sleep_forever()
    except KeyboardInterrupt:
        click.echo("")
