"""CK+, the extended Cohn-Kanade set (Lucey et al. 2010): posed, from neutral to the peak.

    original  cohn-kanade-images/S005/001/S005_001_00000011.png, 593 sequences of 123 subjects,
              and for 327 of them Emotion/S005/001/S005_001_00000011_emotion.txt with one number.
              The last frames of a sequence, up to the one that this file names, have its label;
              the first frame is neutral. A sequence without that file has no label.
    CK+48     <class>/S010_004_00000017.png, with or without a folder CK+48 around the classes

The group is the subject. `faces` runs in the DRIVER and opens no image; `read` in a WORKER.
"""

import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from datasets import Face, SourceError, Unreadable, canonical, folder, frame_number
from datasets._image_files import printable, problem_with, read_files
from datasets._listed_rows import annotation_facts, fault_of_name, shown

NEEDS_SOURCE = True

LABELS = ("neutral", "anger", "contempt", "disgust", "fear", "happiness", "sadness", "surprise")
"""In the order of their numbers, which start at 0."""

NO_LABEL = "sequence without a label"

_IMAGES = "cohn-kanade-images"
_EMOTION_FOLDERS = ("Emotion", "Emotion_labels")
_EMOTION = "_emotion.txt"
_LIKE = "S005/001/S005_001_00000011"
_PICTURE = re.compile(
    r"(?P<sequence>(?P<subject>S\d+)/(?P<take>\d+))/(?P=subject)_(?P=take)_(?P<frame>\d+)\.\w+",
    re.ASCII,
)
_SMALL_PICTURE = re.compile(r"(?P<subject>S\d+)_\d+_(?P<frame>\d+)\.\w+", re.ASCII)
_SMALL_FOLDER = "CK+48"
_EMOTION_BYTES = 64


@dataclass(frozen=True)
class Options:
    """Which frames of a sequence; both are for the original form."""

    peak_frames: int = field(
        default=3,
        metadata={"help": "so many last frames of a sequence have its label", "at_least": 1},
    )
    neutral: bool = field(
        default=True, metadata={"help": "take the first frame of a labelled sequence as neutral"}
    )


def faces(source: Path, options: Options) -> Iterator[Face]:
    """Lists the frames sequence by sequence, or class by class, sorted by name.

    Raises:
        SourceError: Neither form is there, or a folder that is no class.
    """
    if _is_original(source):
        emotions = _emotion_files(source)
        listed = folder.faces(source / _IMAGES, folder.Options())
        return _rows_of_sequences(source, listed, emotions, options)
    root = _small_root(source)
    return _rows_of_classes(root, folder.faces(source / root, folder.Options()))


def read(source: Path, faces: Sequence[Face], options: Options) -> Iterator[bytes | Unreadable]:
    """Yields the encoded bytes of each image file."""
    del options
    return read_files(source, faces)


def provenance(source: Path, options: Options) -> Mapping[str, str | int]:
    """Tells the form, and of the original one the sha256 over its emotion files."""
    del options
    if not _is_original(source):
        _small_root(source)
        return {"release": "CK+48"}
    files = sorted(file for files in _emotion_files(source).values() for file in files)
    return annotation_facts("original", [source / f for f in files if not problem_with(source, f)])


def _is_original(source: Path) -> bool:
    if not source.is_dir():
        raise SourceError(f"source: must be a folder; got '{source}'. Name the folder of the set.")
    return (source / _IMAGES).is_dir()


def _emotion_files(source: Path) -> dict[str, list[str]]:
    """Maps a sequence, "S005/001", to its emotion files: one, if all is well."""
    root = next((name for name in _EMOTION_FOLDERS if (source / name).is_dir()), "")
    files: dict[str, list[str]] = {}
    for path in sorted((source / root).glob(f"*/*/*{_EMOTION}") if root else ()):
        if not path.name.startswith("."):
            sequence = f"{path.parent.parent.name}/{path.parent.name}"
            files.setdefault(sequence, []).append(f"{root}/{sequence}/{path.name}")
    if not files:
        raise SourceError(
            f"source: must hold {_EMOTION_FOLDERS[0]}/{_LIKE}{_EMOTION} and "
            f"its like beside {_IMAGES}; got '{source}', which holds none. Unpack the labels there."
        )
    return files


@dataclass(frozen=True)
class _Emotion:
    """The peak that an emotion file names, with its label, or what is wrong with the file."""

    peak: Face
    problem: str


def _rows_of_sequences(
    source: Path, listed: Iterator[Face], emotions: Mapping[str, Sequence[str]], options: Options
) -> Iterator[Face]:
    """Yields pictures that belong to no sequence, then the rows of each sequence."""
    sequences: dict[str, list[Face]] = {sequence: [] for sequence in emotions}
    for face in listed:
        path = f"{_IMAGES}/{face.source}"
        name = _PICTURE.fullmatch(face.source)
        if name:
            frame = frame_number(name["frame"])
            taken = Face(path, "", name["subject"], frame, problem=face.problem)
            sequences.setdefault(name["sequence"], []).append(taken)
        else:
            problem = face.problem if face.label else ""  # else "in no class folder"
            problem = problem or fault_of_name(path) or f"path must be like {_LIKE}.png"
            yield Face(printable(path), "", problem=problem)
    for sequence, frames in sorted(sequences.items()):
        frames.sort(key=lambda face: (face.frame, face.source))
        files = emotions.get(sequence, ())
        if files:
            emotion = _emotion(source, sequence, files)
            yield from _labelled(frames, emotion, options)
        else:
            last = _moving(frames)[-options.peak_frames :]
            yield from (replace(face, left_out=NO_LABEL) for face in last)


def _moving(frames: Sequence[Face]) -> Sequence[Face]:
    """All but the first frame, which is neutral; a lone frame must be the peak."""
    return frames[1:] or frames


def _labelled(frames: Sequence[Face], emotion: _Emotion, options: Options) -> Iterator[Face]:
    if options.neutral and len(frames) > 1:
        yield replace(frames[0], label="neutral")
    problem = emotion.problem
    if not problem and emotion.peak.source not in [face.source for face in frames]:
        problem = f"sequence lacks its peak, frame {emotion.peak.frame}"
    if problem:
        yield replace(emotion.peak, problem=emotion.problem or "file missing")
    last = [face for face in _moving(frames) if problem or face.frame <= emotion.peak.frame]
    for face in last[-options.peak_frames :]:
        yield replace(face, label=emotion.peak.label, problem=face.problem or problem)


def _emotion(source: Path, sequence: str, files: Sequence[str]) -> _Emotion:
    """Reads the emotion file of a sequence."""
    file = files[0]
    name = _PICTURE.fullmatch(f"{sequence}/{posixpath.basename(file).removesuffix(_EMOTION)}.png")
    peak = Face(printable(file), "", group=printable(sequence.partition("/")[0]))
    if len(files) > 1:
        return _Emotion(peak, f"sequence has {len(files)} emotion files")
    if not name:
        return _Emotion(peak, f"path must be like {_LIKE}{_EMOTION}")
    text, problem = _content(source, file)
    label = _label(text)
    if not label:
        return _Emotion(peak, problem or f"emotion must be a number, 0 to 7; got {shown(text)}")
    path = f"{_IMAGES}/{name[0]}"
    return _Emotion(Face(path, label, name["subject"], frame_number(name["frame"])), "")


def _content(source: Path, file: str) -> tuple[str, str]:
    """Returns what a file of one number holds, or why it cannot be read."""
    problem = problem_with(source, file)
    if problem:
        return "", problem
    try:
        with (source / file).open("rb") as stream:
            return stream.read(_EMOTION_BYTES).decode("ascii", "replace").strip(), ""
    except OSError as error:
        return "", f"file cannot be read: {error.strerror}"


def _label(text: str) -> str:
    """Returns the label of a number like "3.0000000e+00"; "" where there is none."""
    try:
        number = float(text)
    except ValueError:
        return ""
    return LABELS[int(number)] if number in range(len(LABELS)) else ""


def _small_root(source: Path) -> str:
    """Finds the folder of the classes, "" or CK+48, and checks that it holds nothing else."""
    inner = (source / _SMALL_FOLDER).is_dir() and not (source / _SMALL_FOLDER).is_symlink()
    root = _SMALL_FOLDER if inner else ""
    found = sorted(path.name for path in (source / root).iterdir() if path.is_dir())
    found = [name for name in found if not name.startswith((".", "__MACOSX"))]
    strange = [name for name in found if canonical(name) not in LABELS]
    if strange or not found:
        raise SourceError(
            f"source: must hold {_IMAGES} and {_EMOTION_FOLDERS[0]}, or folders called "
            f"{', '.join(LABELS)} as in CK+48; got '{source / root}', which holds "
            f"{', '.join(map(printable, strange[:10])) or 'no folder'}."
        )
    return root


def _rows_of_classes(root: str, listed: Iterator[Face]) -> Iterator[Face]:
    """Gives the rows of adapter folder their subject and frame."""
    for face in listed:
        path = posixpath.join(root, face.source)
        name = _SMALL_PICTURE.fullmatch(posixpath.basename(path))
        problem = face.problem or fault_of_name(path)
        yield replace(
            face,
            source=printable(path),
            group=name["subject"] if name else "",
            frame=frame_number(name["frame"]) if name else -1,
            problem=problem or ("" if name else "name must be like S010_004_00000017.png"),
        )
