"""Reads TensorBoard's event files back, record by record, with tensorboardX's messages."""

import io
import struct
from pathlib import Path

import numpy as np
from PIL import Image
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData
from tensorboardX.record_writer import masked_crc32c


def read_events(folder: Path) -> list[Event]:
    """All events of a run's folder in the order in which TensorBoard reads them."""
    return [event for path in sorted(folder.glob("*tfevents*")) for event in _records(path)]


def curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """(step, value) by tag, as written: with what is there twice."""
    found: dict[str, list[tuple[int, float]]] = {}
    for event in read_events(folder):
        for value in event.summary.value:
            if value.HasField("simple_value"):
                found.setdefault(value.tag, []).append((event.step, value.simple_value))
    return found


def images(folder: Path) -> dict[str, list[tuple[int, np.ndarray]]]:
    """(step, pixels) by tag."""
    found: dict[str, list[tuple[int, np.ndarray]]] = {}
    for event in read_events(folder):
        for value in event.summary.value:
            if value.HasField("image"):
                with Image.open(io.BytesIO(value.image.encoded_image_string)) as picture:
                    pixels = np.asarray(picture)
                assert pixels.shape[:2] == (value.image.height, value.image.width)
                found.setdefault(value.tag, []).append((event.step, pixels))
    return found


def hparams(folder: Path) -> dict[str, HParamsPluginData]:
    """What the hparams plugin reads, by the last part of the tag."""
    found = {}
    for event in read_events(folder):
        for value in event.summary.value:
            plugin = value.metadata.plugin_data
            if plugin.plugin_name == "hparams":
                found[value.tag.rpartition("/")[2]] = HParamsPluginData.FromString(plugin.content)
    return found


def row(folder: Path) -> dict[str, object]:
    """A run's hyperparameters as plain values."""
    start = hparams(folder)["session_start_info"].session_start_info
    return {name: getattr(v, v.WhichOneof("kind")) for name, v in start.hparams.items()}


def _records(path: Path) -> list[Event]:
    content, events = path.read_bytes(), []
    while content:
        (length,) = struct.unpack("<Q", content[:8])
        data = content[12 : 12 + length]
        assert struct.unpack("<I", content[8:12]) == (masked_crc32c(content[:8]),)
        assert struct.unpack("<I", content[12 + length : 16 + length]) == (masked_crc32c(data),)
        events.append(Event.FromString(data))
        content = content[16 + length :]
    return events
