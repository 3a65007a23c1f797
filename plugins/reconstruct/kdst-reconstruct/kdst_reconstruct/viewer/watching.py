"""A fit that somebody watches: the newest state of a run's scene, shown while the run goes on.

The loop saves the scene in one step wherever it writes a checkpoint, so a reader finds a whole file at
any moment. One that is not whole all the same, as in a copy under way, is passed over until the next
look.
"""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from attrs import define, field

from kdst_core.errors import KdstError
from kdst_core.runs.rundir import RESULT
from kdst_reconstruct.saved_scene import Unfinished

if TYPE_CHECKING:
    from kdst_core.contracts import Scene
    from kdst_core.plugins.method import Method

SECONDS_BETWEEN_LOOKS = 1.0


def wait_for_scene(run: Unfinished, say: Callable[[str], None]) -> None:
    """Return once a run has saved a state or ended; `say` is told when there is none yet."""
    if run.scene.is_file():
        return
    say(f"{run.directory} has saved no state yet; it is shown as soon as it does (Ctrl-C ends)")
    while not run.scene.is_file() and not (run.directory / RESULT).exists():
        time.sleep(SECONDS_BETWEEN_LOOKS)


@define
class Watch:
    """Looks for newer states of an unfinished run, which its method opens."""

    run: Unfinished
    method: "Method"
    _seen: tuple[int, int, int] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._seen = self._stamp()

    @property
    def over(self) -> bool:
        """Whether the run is finished."""
        return (self.run.directory / RESULT).exists()

    def newer(self) -> "Scene | None":
        """Return the scene as last saved, None where it was seen before or cannot be read now."""
        stamp = self._stamp()
        if stamp in (self._seen, (0, 0, 0)):
            return None
        try:
            scene: Scene = self.method.call_hook("load_scene", path=self.run.scene)
        except (KdstError, OSError):
            return None
        self._seen = stamp
        return scene if len(scene) else None

    def _stamp(self) -> tuple[int, int, int]:
        """Return what tells one state of the file from another, zeros where it is gone."""
        try:
            found = self.run.scene.stat()
        except OSError:
            return (0, 0, 0)
        return (found.st_ino, found.st_mtime_ns, found.st_size)


def follow(watch: Watch, draw: Callable[["Scene"], None], say: Callable[[str], None]) -> None:
    """Draw every newer state until the run is finished, and its last one."""
    while not watch.over:
        time.sleep(SECONDS_BETWEEN_LOOKS)
        _draw(watch, draw)
    _draw(watch, draw)
    say("The run is finished; its scene is shown.")


def _draw(watch: Watch, draw: Callable[["Scene"], None]) -> None:
    """Draw a newer state, if there is one."""
    scene = watch.newer()
    if scene is not None:
        draw(scene)
