"""Files and folders that a watched process makes, changes or removes outside its run, by whatever means.

Audit events show what Python does itself. What programs do that it starts is seen by comparing folders
before and after: the working directory, the home and the temporary folder, which are its own, with a
few files in them to lose; and the places that its commands name.
"""

import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

BAIT = {
    "notes.txt": "Notes of three weeks.\n",
    "data.csv": "x,y\n1,2\n",
    "model.pt": "weights\n",
    "results/result.json": "{}\n",
}
"""Files as users have them, which a method may find in the working directory and must leave alone."""
PLACES = {"HOME": "home", "TMPDIR": "temporary"}
"""Variables that a watched process has folders of its own for."""
STARTS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn")

Tree = Mapping[str, tuple[int, int]]
"""Path to size and time of the last change."""


def prepare(folder: Path, scratch: Path) -> dict[str, str]:
    """Make the folders of a watched process, with bait; return the variables that name them.

    Caches of libraries stay where they are, so that nothing is compiled or downloaded anew.
    """
    for name, text in BAIT.items():
        path = scratch / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    for place in PLACES.values():
        (folder / place).mkdir()
    home, temporary = Path.home(), Path(os.environ.get("TMPDIR", "/tmp"))
    user = os.environ.get("USER", str(os.getuid()) if hasattr(os, "getuid") else "user")
    kept = {
        "XDG_CACHE_HOME": str(home / ".cache"),
        "HF_HOME": str(home / ".cache" / "huggingface"),
        "TORCH_HOME": str(home / ".cache" / "torch"),
        "TORCHINDUCTOR_CACHE_DIR": str(temporary / f"torchinductor_{user}"),
        "TRITON_CACHE_DIR": str(home / ".triton" / "cache"),
        "PYTHONUSERBASE": str(home / ".local"),
        "MPLCONFIGDIR": str(home / ".config" / "matplotlib"),
    }
    own = {variable: str(folder / place) for variable, place in PLACES.items()}
    return {**{k: v for k, v in kept.items() if k not in os.environ}, **own}


def tree(folders: Sequence[Path]) -> Tree:
    """Return everything that lies in folders."""
    return dict(_entries(folders))


def _entries(folders: Sequence[Path]) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yield paths with size and time; a folder counts by being there."""
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            found = path.lstat()
            yield str(path), (0, 0) if path.is_dir() else (found.st_size, found.st_mtime_ns)


def differences(before: Tree, after: Tree) -> list[str]:
    """Return the paths that were made, changed or removed."""
    paths = dict.fromkeys([*before, *after])
    return [path for path in paths if before.get(path) != after.get(path)]


class Commands:
    """The places that started programs name, and what they were before."""

    def __init__(self) -> None:
        self.before: dict[str, Any] = {}

    def note(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Take an audit event; one that starts a program is looked through for paths."""
        if event in STARTS:
            for path in _paths(arguments):
                self.before.setdefault(path, _state(path))

    def changed(self) -> list[str]:
        """Return the places that are something else now."""
        return [path for path, before in self.before.items() if _state(path) != before]


def _state(path: str) -> Any:
    """Return what lies at a path: nothing, a folder, or a file of a size and time."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return "folder" if os.path.isdir(path) else (found.st_size, found.st_mtime_ns)


def _paths(value: Any) -> Iterator[str]:
    """Yield the absolute paths in the arguments of a program."""
    if isinstance(value, bytes | os.PathLike):
        value = os.fsdecode(value)
    if isinstance(value, str):
        for word in [value, *_words(value)]:
            if word.startswith("/"):
                yield word
    elif isinstance(value, tuple | list):
        for part in value:
            yield from _paths(part)


def _words(text: str) -> list[str]:
    """Return the words of a command line, also where it is not one."""
    try:
        return shlex.split(text.replace(">", " ").replace(";", " ").replace("&", " "))
    except ValueError:
        return text.split()
