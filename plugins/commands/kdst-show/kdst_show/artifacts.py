"""Files of a finished run, read for its report."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from attrs import frozen

from kdst_core.errors import KdstError


@frozen
class Artifacts:
    """The artifacts that a result names. directory: of the run."""

    result: Mapping[str, Any]
    directory: Path

    def __contains__(self, name: str) -> bool:
        return name in self.result["artifacts"]

    def bytes(self, name: str) -> bytes:
        """Return what a file holds; KdstError where it is gone."""
        path = self._path(name)
        try:
            return path.read_bytes()
        except OSError as e:
            raise KdstError(f"cannot read {path}, which the report needs: {e.strerror}") from e

    def text(self, name: str) -> str:
        """Return a file's text; KdstError where it is gone or no text."""
        return self._understood(name, bytes.decode)

    def json(self, name: str) -> Any:
        """Return what a JSON file holds; KdstError where it is gone or no JSON."""
        return self._understood(name, json.loads)

    def lines(self, name: str) -> Iterator[Any]:
        """Yield what the lines of a JSONL file hold; KdstError where it is gone or one is no JSON."""
        for line in filter(None, self.text(name).split("\n")):
            yield self._parsed(name, line, json.loads)

    def _path(self, name: str) -> Path:
        """Return where an artifact lies."""
        return self.directory / str(self.result["artifacts"][name])

    def _understood(self, name: str, parse: Any) -> Any:
        """Return what a file says."""
        return self._parsed(name, self.bytes(name), parse)

    def _parsed(self, name: str, content: Any, parse: Any) -> Any:
        """Return what content says; KdstError where it is not what its name promises."""
        try:
            return parse(content)
        except ValueError as e:
            raise KdstError(f"cannot read {self._path(name)}, which the report needs: {e}") from e
