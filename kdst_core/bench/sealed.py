"""What a method is judged by, held where its calls cannot reach it: not in any object, frame or file.

Labels, held-out views, references, answers and originals are sealed when they are loaded and read when
something is scored. `Method.working` encloses every call of a method: in it nothing sealed is read, and
no hidden file is opened; a call that tries is told by `closed`, also where it swallows the refusal.

It holds against code that looks around: in frames, closures, modules, the garbage collector, argument
lists and the files of the data set, in its own threads and in copies of the process, which hold nothing
that is sealed. Threads that a method leaves at work end its run; workers of pools that wait may stay.
It cannot hold against native code, `/proc/self/mem`, memory that was freed,
programs that a method starts and that find a file by themselves, what the user's own program keeps, or
code that is written to take this module apart: a method runs in the same process. The conformance kit
and its paired runs (`kdst_authors.testing.given_only`) look for those.
"""

import json
import mmap
import os
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from typing import Any, NamedTuple

from attrs import frozen

from kdst_core.errors import MethodError

PAD = 1 << 16
READS = ("open", "os.listdir", "os.scandir", "os.rename", "os.link", "os.symlink")
"""Events whose first argument is a file or folder that is read, or gets another name."""
STARTS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn")
"""Events of programs that are started, whose arguments may name a file."""

AT_WORK = "KDST_SEALED"
"""Variable that is 1 in programs that a method starts: no kdst that they import makes what is sealed."""
os.environ.setdefault(AT_WORK, "0")  # there always, since native threads may read what is there

WATCHED = frozenset(READS + STARTS)


class Refused(RuntimeError):
    """What a method is judged by was asked for while the method worked."""


@frozen(eq=False)
class Sealed:
    """Bytes that are out of reach; the object knows only how many they are."""

    length: int

    def read(self) -> bytes:
        """Return the bytes; Refused while a method's call is under way."""
        return _vault.take(self)


@frozen(eq=False)
class SealedArray:
    """An array that is out of reach."""

    kept: Sealed
    shape: tuple[int, ...]
    dtype: str

    def __len__(self) -> int:
        """Return the length of the first axis."""
        return self.shape[0]

    def read(self) -> Any:
        """Return the array, new memory each time; Refused while a method's call is under way."""
        import numpy as np

        return np.frombuffer(bytearray(self.kept.read()), self.dtype).reshape(self.shape)


@frozen(eq=False)
class SealedValue:
    """A plain value that is out of reach: texts, numbers, lists and dicts of them."""

    kept: Sealed

    def read(self) -> Any:
        """Return the value; Refused while a method's call is under way."""
        return json.loads(self.kept.read())


class _Vault(NamedTuple):
    """The only ways to what is sealed and to whether a method works; what they share is in no object."""

    put: Callable[[bytes], Sealed]
    take: Callable[[Sealed], bytes]
    work: Callable[[], AbstractContextManager[list[str]]]
    works: Callable[[], bool]
    note: Callable[[str], None]


def _make_vault() -> _Vault:
    """Return a vault. Bytes are masked, so that a search of the memory's objects does not find them."""
    pad = os.urandom(PAD)
    kept: weakref.WeakKeyDictionary[Sealed, bytes] = weakref.WeakKeyDictionary()
    calls: list[list[str]] = [[]] if os.environ[AT_WORK] == "1" else []
    copies = _Copies()

    def mask(data: bytes) -> bytes:
        size = len(data)
        mine = int.from_bytes((pad * (size // PAD + 1))[:size], "little")
        return (int.from_bytes(data, "little") ^ mine).to_bytes(size, "little")

    def put(data: bytes) -> Sealed:
        sealed = Sealed(len(data))
        kept[sealed] = mask(data)
        return sealed

    def take(sealed: Sealed) -> bytes:
        if calls or sealed not in kept:
            note("what is sealed")
            raise Refused("what is sealed: a method is judged by it, and cannot read it at work")
        return mask(kept[sealed])

    @contextmanager
    def work() -> Iterator[list[str]]:
        tried: list[str] = []
        depth = len(calls)
        calls.append(tried)
        os.environ[AT_WORK] = "1"
        try:
            yield tried
        finally:
            if len(calls) != depth + 1 or calls[-1] is not tried:
                tried.append("the seal, which it breaks")
            if copies.told():
                note("what is sealed, in a process that it started")
            del calls[depth:]
            os.environ[AT_WORK] = "1" if calls else "0"

    def note(what: str) -> None:
        copies.tell()
        for call in calls:
            call.append(what)

    def after_fork() -> None:
        copies.begin(at_work=bool(calls))
        if calls:
            kept.clear()

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=after_fork)
    return _Vault(put, take, work, lambda: bool(calls), note)


class _Copies:
    """What copies of this process, made by a method at work, tell of: a byte of memory that they share."""

    def __init__(self) -> None:
        self.begin(at_work=False)

    def begin(self, *, at_work: bool) -> None:
        """Begin as a process of its own, or as a copy that was made while a method worked."""
        self.copied = at_work
        if not at_work:
            self.byte = mmap.mmap(-1, 1)

    def tell(self) -> None:
        """Note that a method tried something, where this is a copy."""
        if self.copied:
            self.byte[0] = 1

    def told(self) -> bool:
        """Return whether a copy told of something since it was last asked."""
        found, self.byte[0] = self.byte[0], 0
        return bool(found) and not self.copied


_vault = _make_vault()


def seal(data: bytes) -> Sealed:
    """Put bytes away until they are read; they go when the returned object goes."""
    return _vault.put(data)


def seal_array(array: Any) -> SealedArray:
    """Put a copy of a numpy array away."""
    import numpy as np

    flat = np.ascontiguousarray(array)
    return SealedArray(seal(flat.tobytes()), np.shape(array), flat.dtype.str)


def seal_value(value: Any) -> SealedValue:
    """Put a copy of a plain value away, as JSON holds it."""
    return SealedValue(seal(json.dumps(value).encode()))


def closed() -> AbstractContextManager[list[str]]:
    """Let nothing sealed be read within the block, in which a method works; yield what it tried."""
    return _vault.work()


def withhold(what: str) -> None:
    """Refuse, and note, while a method works; for functions that make what methods are judged by."""
    if _vault.works():
        _vault.note(what)
        raise Refused(f"{what}: a method is judged by it, and cannot read it while it works")


@contextmanager
def hidden(paths: Iterable[str | os.PathLike[str]]) -> Iterator[None]:
    """Let no method read these files, or anything in these folders, while it works within the block.

    Raises MethodError where one was read while plugins were loaded.
    """
    _listen()
    mine = {os.path.realpath(path) for path in paths}
    _hidden.append(mine)
    try:
        if seen := [path for path in _early if _is_hidden(path)]:
            raise MethodError(
                f"a plugin read {seen[0]} while it was loaded: a method is judged by that and not given"
                " it.\nIts figures would mean nothing. Report this to the author of the package"
            )
        yield
    finally:
        _hidden.remove(mine)


@contextmanager
def loading() -> Iterator[None]:
    """Take down which files are read within the block, in which code of plugins is loaded."""
    _listen()
    _loading.append(True)
    try:
        yield
    finally:
        _loading.pop()


_hidden: list[set[str]] = []
_loading: list[bool] = []
_early: set[str] = set()


@cache
def _listen() -> None:
    """Watch this process from now on; an audit hook cannot be taken out again."""
    sys.addaudithook(_audit)


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    """Refuse a method's attempt to reach a hidden file or to hear of all events.

    What plugins read as they load is taken down.
    """
    if event == "sys.addaudithook" and _vault.works():
        withhold("what others do, by sys.addaudithook")
    if _loading and event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
        _early.add(os.path.realpath(os.fsdecode(arguments[0])))
    if not (_hidden and event in WATCHED and _vault.works()):
        return
    if event in READS:
        if _is_hidden(arguments[0]) and (event != "open" or _reads(arguments)):
            withhold(os.fsdecode(arguments[0]))
    else:
        for word in _words(arguments):
            if any(path in word for paths in _hidden for path in paths) or _is_hidden(word):
                withhold(word)


def _is_hidden(path: Any) -> bool:
    """Return whether a path is hidden or lies in a hidden folder."""
    if not isinstance(path, str | bytes | os.PathLike):
        return False
    real = os.path.realpath(os.fsdecode(path))
    parts = real.split(os.sep)
    ends = (os.sep.join(parts[:n]) for n in range(len(parts), 1, -1))
    return any(end in paths for end in ends for paths in _hidden)


def _reads(arguments: tuple[Any, ...]) -> bool:
    """Return whether a file is opened to be read: a log that is only appended to is not."""
    _, mode, flags = arguments
    if isinstance(mode, str):
        return "r" in mode or "+" in mode
    return not isinstance(flags, int) or flags & os.O_ACCMODE != os.O_WRONLY


def _words(value: Any) -> Iterator[str]:
    """Yield the texts of nested arguments."""
    if isinstance(value, str | bytes | os.PathLike):
        yield os.fsdecode(value)
    elif isinstance(value, tuple | list):
        for part in value:
            yield from _words(part)
