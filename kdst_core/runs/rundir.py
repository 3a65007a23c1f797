"""The run directory: resolved configuration, environment, events, checkpoint and result of one run.

`result.json` is written last and atomically, so its presence means that the run is complete. A run
that was stopped keeps its checkpoint and continues with `--resume` when its configuration is the same.
"""

import json
import math
import os
import platform
import re
import shutil
import sys
import time
from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Any

from kdst_core import __version__
from kdst_core.bench.sealed import AT_WORK
from kdst_core.contracts import Listener
from kdst_core.errors import KdstError, MethodError
from kdst_core.files import (
    LOCK,
    claim,
    give_back,
    is_temporary,
    refuse_links,
    remove_temporaries,
    write_atomically,
)
from kdst_core.progress import Advance, Mode, progress
from kdst_core.runs.checkpoints import STEM, Checkpoints, unreadable
from kdst_core.runs.codecs import Codec, JsonCodec

RESULT, CONFIG, EVENTS, REPORT = "result.json", "config.toml", "events.jsonl", "report.html"
ENVIRONMENT, LOCKED = "env.json", "requirements.lock"


def slug(name: str) -> str:
    """Return a name that is safe as one component of a path.

    Raises KdstError when nothing of the name is left.
    """
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-")
    if not safe:
        raise KdstError(f"{name!r} cannot be a file name; use letters, digits, '.', '_' or '-'")
    return safe[:100]


def default_directory(method: str) -> Path:
    """Return a directory under `runs/` that does not exist yet."""
    stem = f"{slug(method)}-{time.strftime('%Y%m%d-%H%M%S')}"
    names = (stem if n == 1 else f"{stem}-{n}" for n in range(1, 1000))
    return next(p for p in (Path("runs") / name for name in names) if not p.exists())


class Run:
    """One run and its directory; implements `kdst_core.contracts.RunServices`."""

    def __init__(
        self,
        directory: Path,
        *,
        seed: int,
        device: str,
        codec: Codec | None = None,
        show: Mode = "auto",
        growing: Collection[tuple[str, str]] = (),
    ) -> None:
        self.dir = directory
        self.seed = seed
        self.device = device
        self.checkpoints = Checkpoints(directory, codec or JsonCodec())
        self.show: Mode = show
        self.growing = frozenset(growing)
        self.listeners: list[Listener] = []
        self._events: IO[bytes] | None = None
        self._lock: Any = None
        self._found = False
        self._started = time.perf_counter()
        self._seconds_before = 0.0

    @property
    def seconds(self) -> float:
        """Wall seconds of work on this run, earlier sessions up to their last checkpoint included."""
        return self._seconds_before + time.perf_counter() - self._started

    @property
    def artifacts(self) -> Path:
        """Directory of pictures and data that the report shows."""
        return self.dir / "artifacts"

    def open(self, config: Mapping[str, Any], *, resume: bool, extended: bool = False) -> bool:
        """Claim the directory and write the configuration; True when an earlier run is continued.

        extended: the run is finished and goes on with this configuration, which was compared.
        Raises KdstError when the directory holds a finished run, another run's files, a run with
        another configuration, or cannot be written.
        """
        if extended:
            refuse_links(self.dir)
        else:
            self._refuse_conflicts(config, resume=resume)
        self._found = self.dir.exists()
        try:
            self.artifacts.mkdir(parents=True, exist_ok=True)
            self._lock = claim(self.dir)
            if not extended:
                self._refuse_conflicts(config, resume=resume)  # another process may have run here
            continuing = (self.dir / CONFIG).exists()
            remove_temporaries(self.dir)
            if not continuing or extended or self._grown(config):
                import tomli_w

                write_atomically(self.dir / CONFIG, tomli_w.dumps(_without_none(config)))
            if extended:
                (self.dir / RESULT).unlink(missing_ok=True)
            self._truncate_events()
        except OSError as e:
            self.close()
            raise KdstError(f"cannot write the run directory {self.dir}: {e.strerror}") from e
        except KdstError:
            self.close()
            raise
        return continuing

    def _refuse_conflicts(self, config: Mapping[str, Any], *, resume: bool) -> None:
        """Raise KdstError when the directory must not be written."""
        if self.dir.exists() and not self.dir.is_dir():
            raise KdstError(f"{self.dir} is a file; give --out a directory")
        if not self.dir.is_dir() or not any(self.dir.iterdir()):
            return
        if not (self.dir / CONFIG).exists():
            ours = {"artifacts", LOCK}
            if all(p.name in ours or is_temporary(p) for p in self.dir.iterdir()):
                return
            raise KdstError(f"{self.dir} holds other files; give --out a new or empty directory")
        if not resume:
            state = "a finished" if (self.dir / RESULT).exists() else "an unfinished"
            todo = "" if (self.dir / RESULT).exists() else " or add --resume to continue it"
            told = f"{self.dir} holds {state} run, which is never overwritten."
            raise KdstError(f"{told}\nGive --out another directory{todo}")
        refuse_links(self.dir)
        self.refuse_other_configuration(config)

    def refuse_other_configuration(self, config: Mapping[str, Any], besides: str = "") -> None:
        """Raise KdstError that names what differs from the run to be resumed, but for one table.

        Limits that may grow may be higher than before.
        """
        changed = [
            f"{table}.{key}: {before!r} -> {now!r}"
            for (table, key), (before, now) in self._changes(config).items()
            if table != besides and not self._higher((table, key), before, now)
        ]
        if changed:
            raise KdstError(
                f"{self.dir} was started with another configuration ({'; '.join(changed[:3])}).\n"
                "Resume with the same options, or give --out another directory"
            )

    def _changes(self, config: Mapping[str, Any]) -> dict[tuple[str, str], tuple[Any, Any]]:
        """Return table and key of what differs from the run's configuration, with both values."""
        import tomllib

        try:
            before = tomllib.loads((self.dir / CONFIG).read_text(encoding="utf-8"))
        except (OSError, ValueError) as e:
            raise KdstError(f"cannot read {self.dir / CONFIG}: {e}") from e
        now = _without_none(config)
        values = {
            (table, key): (before.get(table, {}).get(key), now.get(table, {}).get(key))
            for table in sorted({*before, *now})
            for key in sorted({*before.get(table, {}), *now.get(table, {})})
        }
        return {name: both for name, both in values.items() if both[0] != both[1]}

    def _higher(self, name: tuple[str, str], before: Any, now: Any) -> bool:
        """Return whether a limit that may grow is higher than before."""
        numbers = all(isinstance(v, int | float) for v in (before, now))
        return name in self.growing and numbers and now > before

    def _grown(self, config: Mapping[str, Any]) -> bool:
        """Return whether a limit of the run that is continued is higher than before."""
        changes = self._changes(config).items()
        return any(self._higher(name, *values) for name, values in changes)

    def write_environment(self, packages: list[str]) -> None:
        """Record versions, what is installed, platform, command line and kdst's variables in `env.json`,
        and every package of the environment in `requirements.lock`."""
        from kdst_core.plugins import provenance

        ours = [k for k in sorted(os.environ) if k.startswith("KDST_") and k != AT_WORK]
        environment = {
            "command": sys.argv,
            "python": platform.python_version(),
            "platform": platform.platform(),
            "cpus": os.cpu_count(),
            "packages": {name: _version(name) for name in packages},
            "installed": provenance.as_json(provenance.installed()),
            "variables": {k: os.environ[k] for k in ours},
        }
        write_atomically(self.dir / ENVIRONMENT, json.dumps(environment, indent=2) + "\n")
        write_atomically(self.dir / LOCKED, provenance.lock())

    def progress(self, total: int, label: str) -> AbstractContextManager[Advance]:
        """Show progress over `total` steps."""
        return progress(total, label, self.show)

    def log(self, name: str, value: float, step: int, **context: str | int) -> None:
        """Append one line to `events.jsonl`, at once."""
        number = float(value)
        event: dict[str, Any] = {
            "name": name,
            "step": step,
            "value": number if math.isfinite(number) else None,
            **context,
        }
        self._event_file().write(json.dumps(event).encode() + b"\n")
        self._event_file().flush()
        self._tell("logged", event)

    def _tell(self, what: str, *arguments: Any) -> None:
        """Call all listeners; one that raises is told no more, and never ends the run."""
        for listener in list(self.listeners):
            try:
                getattr(listener, what)(*arguments)
            except (Exception, SystemExit) as e:
                self.listeners.remove(listener)
                name = type(listener).__module__.partition(".")[0]
                reason = f"{type(e).__name__}: {e}"
                print(f"Warning: {name} stopped watching ({reason})", file=sys.stderr)

    def _event_file(self) -> IO[bytes]:
        if self._events is None:
            self._events = (self.dir / EVENTS).open("ab")
        return self._events

    def checkpoint(self, state: Any) -> None:
        """Replace the checkpoint by `state`; a kill at any moment leaves the old one or the new one.

        The number of events so far is kept with it, so that a resumed run repeats none.
        """
        os.fsync(self._event_file().fileno())
        events = (self.dir / EVENTS).stat().st_size
        self.checkpoints.write(state, events, self.seconds)

    def restore(self) -> Any | None:
        """Return the state last given to `checkpoint`, or None in a fresh run.

        Raises CheckpointError when it is damaged.
        """
        meta = self.checkpoints.meta()
        if meta is None:
            return None
        self._seconds_before = meta.seconds
        return self.checkpoints.read(meta)

    def _truncate_events(self) -> None:
        """Drop events that were logged after the checkpoint that the run continues from."""
        path = self.dir / EVENTS
        meta = self.checkpoints.meta()
        if meta and meta.events > (path.stat().st_size if path.exists() else 0):
            raise unreadable(path, "events that the checkpoint counts are missing")
        if path.exists():
            with path.open("rb+") as file:
                file.truncate(meta.events if meta else 0)
        else:
            path.touch()

    def finish(self, result: Mapping[str, Any], *, extensible: bool = False) -> None:
        """Write `result.json`, the last file of a run, and drop the checkpoint unless the run may be
        extended from it."""
        try:
            text = json.dumps(result, indent=2, allow_nan=False) + "\n"
        except ValueError as e:
            raise MethodError(f"the result holds a number that is not finite: {e}") from e
        write_atomically(self.dir / RESULT, text)
        self._tell("finished", result)
        if not extensible:
            self.checkpoints.remove()

    def close(self) -> None:
        """Close files and give the directory back."""
        self._tell("close")
        self.listeners = []
        if self._events is not None:
            self._events.close()
            self._events = None
        if self._lock is not None:
            give_back(self._lock)
            self._lock = None

    def tidy(self) -> None:
        """Remove what a kill just after the result was written left of the run."""
        if any(self.dir.glob(f"{STEM}*")) or (self.dir / LOCK).exists():
            lock = claim(self.dir)
            self.checkpoints.remove()
            remove_temporaries(self.dir)
            give_back(lock)

    def discard_without_progress(self) -> None:
        """Remove the directory of a run that an error ended before its first checkpoint."""
        if self.checkpoints.meta() is not None:
            return
        shutil.rmtree(self.dir, ignore_errors=True)
        self.close()
        if self._found:
            self.dir.mkdir(exist_ok=True)


def _without_none(config: Mapping[str, Any]) -> dict[str, Any]:
    """Drop None values, which TOML cannot hold; an absent key means the default."""
    return {
        k: _without_none(v) if isinstance(v, Mapping) else list(v) if isinstance(v, tuple) else v
        for k, v in config.items()
        if v is not None
    }


def _version(package: str) -> str | None:
    """Return the installed version of a package, or None."""
    if package == "kdst-core":
        return __version__
    try:
        return version(package)
    except PackageNotFoundError:
        return None
