"""The checkpoint of a run: two slots in turn, so that a kill at any moment leaves the old or the new one."""

import json
import zlib
from pathlib import Path
from typing import Any

from attrs import asdict, frozen

from kdst_core.errors import CheckpointError, KdstError, first_line
from kdst_core.files import write_atomically
from kdst_core.runs.codecs import Codec

STEM, META = "checkpoint", "checkpoint.json"
BLOCK = 1 << 20


@frozen
class Meta:
    """What is known of the current checkpoint.

    slot: 0 or 1. events: bytes of the event log when it was written. seconds: of work so far. crc32:
    of the file, so that a damaged one is not taken for a state.
    """

    slot: int
    events: int
    seconds: float
    crc32: int


@frozen
class Checkpoints:
    """The checkpoints of one run directory."""

    directory: Path
    codec: Codec

    def meta(self) -> Meta | None:
        """Return what is known of the checkpoint, None where there is none.

        Raises CheckpointError when that cannot be read.
        """
        path = self.directory / META
        try:
            text, check = path.read_text(encoding="utf-8").splitlines()
            if int(check, 16) != zlib.crc32(text.encode()):
                raise ValueError("its content is not what was written")
            return Meta(**json.loads(text))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError) as e:
            raise unreadable(path, type(e).__name__) from e

    @property
    def files(self) -> list[Path]:
        """The files that hold states, whether there or not."""
        return [self._slot(number) for number in (0, 1)]

    def write(self, state: Any, events: int, seconds: float) -> None:
        """Write a state into the free slot, then point to it."""
        previous = self.meta()
        slot = 1 - previous.slot if previous else 0
        target = self._slot(slot)
        try:
            self.codec.dump(state, target)
        except OSError:
            raise
        except RuntimeError as e:  # torch says so of a full disk
            reason = first_line(e)
            raise KdstError(f"cannot write the checkpoint {target}: {reason}") from e
        text = json.dumps(asdict(Meta(slot, events, seconds, crc32(target))))
        check = f"{zlib.crc32(text.encode()):08x}"
        write_atomically(self.directory / META, f"{text}\n{check}\n")
        if previous:
            self._slot(previous.slot).unlink(missing_ok=True)

    def read(self, meta: Meta) -> Any:
        """Return the state that was written last; CheckpointError when its file is damaged."""
        path = self._slot(meta.slot)
        try:
            if crc32(path) != meta.crc32:
                raise unreadable(path, "its content is not what was written")
            return self.codec.load(path)
        except CheckpointError:
            raise
        except Exception as e:
            raise unreadable(path, type(e).__name__) from e

    def remove(self) -> None:
        """Remove all of it."""
        for leftover in self.directory.glob(f"{STEM}*"):
            leftover.unlink(missing_ok=True)

    def _slot(self, number: int) -> Path:
        return self.directory / f"{STEM}.{number}"


def unreadable(path: Path, reason: str) -> CheckpointError:
    """Return the error of a checkpoint that cannot be used."""
    told = f"the checkpoint {path} cannot be read ({reason})."
    return CheckpointError(f"{told}\nStart again with another --out")


def crc32(path: Path) -> int:
    """Return the CRC-32 of a file."""
    value = 0
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            value = zlib.crc32(block, value)
    return value
