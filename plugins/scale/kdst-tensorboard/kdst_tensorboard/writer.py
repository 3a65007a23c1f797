"""Writes events of a run as TensorBoard reads them."""

import json
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.compat.proto.types_pb2 import DT_STRING
from tensorboard.summary.writer.event_file_writer import EventFileWriter

FOLDER = "tensorboard"


class Writer:
    """A listener that keeps `tensorboard/` of a run directory equal to its `events.jsonl`.

    The folder is written anew when a run continues: events after the checkpoint are logged again.
    """

    def __init__(self, directory: Path) -> None:
        folder = directory / FOLDER
        shutil.rmtree(folder, ignore_errors=True)
        self.file = EventFileWriter(str(folder), flush_secs=5)
        self.last = 0
        events = directory / "events.jsonl"
        for line in events.read_text(encoding="utf-8").splitlines() if events.exists() else ():
            self.logged(json.loads(line))

    def logged(self, event: Mapping[str, Any]) -> None:
        """Write one event; one whose value is not finite is left out, since no chart can show it."""
        if event["value"] is None:
            return
        self.last = max(self.last, event["step"])
        self._scalar(event["name"], event["value"], event["step"])

    def finished(self, result: Mapping[str, Any]) -> None:
        """Write the metrics of the result, and its options as a table."""
        for name, value in result["metrics"].items():
            self._scalar(f"result/{name}", value, self.last)
        rows = [f"| {name} | {value} |" for name, value in result["options"].items()]
        self._text("options", "\n".join(["| option | value |", "| --- | --- |", *rows]))

    def close(self) -> None:
        """Write what is left and close the file."""
        self.file.close()

    def _scalar(self, tag: str, value: float, step: int) -> None:
        """Write one number."""
        summary = Summary(value=[Summary.Value(tag=tag, simple_value=value)])
        self.file.add_event(Event(wall_time=time.time(), step=step, summary=summary))

    def _text(self, tag: str, text: str) -> None:
        """Write Markdown."""
        about = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text"))
        shape = TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)])
        tensor = TensorProto(dtype=DT_STRING, string_val=[text.encode()], tensor_shape=shape)
        summary = Summary(value=[Summary.Value(tag=tag, metadata=about, tensor=tensor)])
        self.file.add_event(Event(wall_time=time.time(), step=self.last, summary=summary))
