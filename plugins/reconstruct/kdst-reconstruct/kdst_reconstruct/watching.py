"""A fit that somebody watches: the newest state of a run's scene, shown while the run goes on.

The loop saves the scene in one step wherever it writes a checkpoint, so a reader finds a whole file at
any moment. One that is not whole all the same, as in a copy under way, is passed over until the next
look.
"""

import time
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen

from kdst_core.errors import KdstError
from kdst_core.runs.rundir import CONFIG, RESULT

if TYPE_CHECKING:
    from kdst_core.contracts import Scene
    from kdst_core.plugins.method import Method

SECONDS_BETWEEN_LOOKS = 1.0
SCENE = Path("artifacts", "scene.ply")
"""Where the newest state lies in a run directory."""


@frozen
class Unfinished:
    """A run without a result: its method and its options by table, as its configuration says."""

    directory: Path
    method: str
    options: Mapping[str, Any]

    @classmethod
    def of(cls, directory: Path) -> "Unfinished | None":
        """Return the run in a directory if it has a configuration and no result, else None.

        Raises KdstError for a configuration that cannot be read or is that of no reconstruction.
        """
        path = directory / CONFIG
        if (directory / RESULT).exists() or not path.is_file():
            return None
        try:
            tables = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as e:
            raise KdstError(f"{path} cannot be read: {str(e)[:120]}") from e
        methods = [name for name in tables if name not in ("input", "run")]
        return cls(directory, (methods or ["3dgs"])[0], tables)

    @property
    def scene(self) -> Path:
        """The file of the newest state, whether it is there yet or not."""
        return self.directory / SCENE


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
