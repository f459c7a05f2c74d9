"""One TensorBoard event file, and the messages that go into it. DRIVER.

Records and messages are tensorboardX's. Its SummaryWriter is not used: that hands events to a
thread of its own, and on a full disk the thread ends and the program waits for it for ever. Here
a record is written in the caller's thread, so that a failure is an exception that can be handled.

tensorboardX imports torch, which takes seconds: it is imported with the first file.
"""

from __future__ import annotations

import io
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.uint8]
Message = Any
"""A protobuf message of tensorboardX, which has no types."""

PREFIX: Final = "events.out.tfevents."
"""What TensorBoard knows an event file by."""
HPARAMS: Final = "hparams"


class EventFile:
    """A new event file in a run's folder, in place of those that were there."""

    def __init__(self, folder: Path) -> None:
        """Begin the file, then remove older ones.

        A TensorBoard that has read the older ones forgets their points: one version of it at the
        start of the session that stands first here, the other at the first step that is not
        larger than the last.
        """
        from tensorboardX import RecordWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog

        folder.mkdir(parents=True, exist_ok=True)
        older = event_files(folder)
        self._event = Event
        # Files are read in the order of their names.
        self._path = folder / f"{PREFIX}{time.time_ns():020d}"
        self._writer = RecordWriter(str(self._path))
        self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))
        start = SessionLog(status=SessionLog.START)
        self._write(Event(wall_time=time.time(), step=0, session_log=start))
        for path in older:
            path.unlink()

    def add(self, step: int, values: Sequence[Message], *, time_s: float | None = None) -> None:
        """Write values of one step; steps of a tag must grow.

        Args:
            step: epochs finished.
            values: messages made by the functions below.
            time_s: when they came to be, seconds since 1970; now, if not given.
        """
        from tensorboardX.proto.summary_pb2 import Summary

        wall_time = time.time() if time_s is None else time_s
        self._write(self._event(wall_time=wall_time, step=step, summary=Summary(value=values)))

    def flush(self) -> None:
        """Let readers see what was written."""
        self._writer.flush()

    def close(self, mark: str = "") -> None:
        """Write out and let go of the file; `mark` is added to its name once it is whole."""
        try:
            self._writer.flush()
        finally:
            self._writer.close()
        if mark:
            self._path.replace(self._path.with_name(f"{self._path.name}.{mark}"))

    def _write(self, event: Message) -> None:
        self._writer.write(event.SerializeToString())


def event_files(folder: Path) -> list[Path]:
    """The event files in a run's folder."""
    return sorted(folder.glob(f"{PREFIX}*"))


def scalar(tag: str, value: float) -> Message:
    """A point of a curve."""
    from tensorboardX.proto.summary_pb2 import Summary

    return Summary.Value(tag=tag, simple_value=value)


def image(tag: str, pixels: Pixels) -> Message:
    """A picture: uint8 RGB of shape (H, W, 3), kept as PNG."""
    from tensorboardX.proto.summary_pb2 import Summary

    height, width, _ = pixels.shape
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, format="png")
    picture = Summary.Image(
        height=height, width=width, colorspace=3, encoded_image_string=encoded.getvalue()
    )
    return Summary.Value(tag=tag, image=picture)


def experiment(kinds: Mapping[str, str], metric: str) -> Message:
    """The columns of the table of hyperparameters: one for each path, and one for a curve's end.

    Args:
        kinds: `number`, `bool` or `string` by dotted path.
        metric: tag of the curve.
    """
    from tensorboardX.proto.api_pb2 import DataType, Experiment, HParamInfo, MetricInfo, MetricName

    types = {"number": "DATA_TYPE_FLOAT64", "bool": "DATA_TYPE_BOOL", "string": "DATA_TYPE_STRING"}
    content = Experiment(
        hparam_infos=[
            HParamInfo(name=path, type=DataType.Value(types[kind])) for path, kind in kinds.items()
        ],
        metric_infos=[MetricInfo(name=MetricName(tag=metric))],
    )
    return _plugin_value("experiment", experiment=content)


def session_start(values: Mapping[str, str | float | bool]) -> Message:
    """A row of that table begins: this run has these hyperparameters."""
    from tensorboardX.proto.plugin_hparams_pb2 import SessionStartInfo

    content = SessionStartInfo(start_time_secs=time.time())
    for path, value in values.items():
        if isinstance(value, bool):
            content.hparams[path].bool_value = value
        elif isinstance(value, str):
            content.hparams[path].string_value = value
        else:
            content.hparams[path].number_value = value
    return _plugin_value("session_start_info", session_start_info=content)


def session_end(*, succeeded: bool) -> Message:
    """The row is complete."""
    from tensorboardX.proto.api_pb2 import Status
    from tensorboardX.proto.plugin_hparams_pb2 import SessionEndInfo

    status = Status.Value("STATUS_SUCCESS" if succeeded else "STATUS_FAILURE")
    content = SessionEndInfo(status=status, end_time_secs=time.time())
    return _plugin_value("session_end_info", session_end_info=content)


def _plugin_value(tag: str, **content: Message) -> Message:
    """A value of TensorBoard's hparams plugin, which reads what stands in the metadata."""
    from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData
    from tensorboardX.proto.summary_pb2 import Summary, SummaryMetadata
    from tensorboardX.proto.tensor_pb2 import TensorProto
    from tensorboardX.proto.tensor_shape_pb2 import TensorShapeProto

    data = HParamsPluginData(version=0, **content).SerializeToString()
    plugin = SummaryMetadata.PluginData(plugin_name=HPARAMS, content=data)
    # Some versions of TensorBoard pass over a value that has metadata and nothing else.
    nothing = TensorProto(
        dtype="DT_FLOAT", tensor_shape=TensorShapeProto(dim=[TensorShapeProto.Dim(size=0)])
    )
    return Summary.Value(
        tag=f"_{HPARAMS}_/{tag}", metadata=SummaryMetadata(plugin_data=plugin), tensor=nothing
    )
