"""Aff-Wild2 (Kollias and Zafeiriou 2019) with the expression labels of any ABAW round.

`source` is the folder of the release as users have it: pictures in
`cropped_aligned/<video>/<frame>.jpg`, and the annotations of one round in whatever folder they
were unpacked to. The label of line k belongs to frame k of the video and so to picture number k,
never to the k-th picture: frames without a face have no picture. Two people of one video
(`_left`, `_right`) are one group, since they share the scene.

`faces` runs in the DRIVER and opens no image; `read` runs in a WORKER.
"""

import hashlib
import itertools
import os
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from datasets import Face, SourceError, Unreadable
from datasets._affwild2_labels import (
    AnnotatedVideo,
    Annotations,
    LabelLine,
    file_digest,
    label_lines,
    read_annotations,
)
from datasets._affwild2_pictures import Pictures, list_pictures, picture_name
from datasets._affwild2_release import Release, find_release, folder_below
from datasets._image_files import printable, problem_with, read_files

NEEDS_SOURCE = True

_DISREGARD = "-1"


@dataclass(frozen=True)
class Options:
    """Where the parts of the release lie."""

    images: str = field(
        default="cropped_aligned",
        metadata={"help": "folder in the source with a folder of pictures for each video"},
    )
    annotations: str = field(
        default="",
        metadata={"help": "folder in the source with the annotations; '' = search for it"},
    )
    task: Literal["expr", "mtl"] = field(
        default="expr",
        metadata={"help": "expr: a file for each video; mtl: the lists of the MTL challenge"},
    )


@dataclass(frozen=True)
class _Layout:
    release: Release
    annotations: Annotations
    images: str


def faces(source: Path, options: Options) -> Iterator[Face]:
    """Lists each label line, split by split, video by video, in the order of its file.

    Raises:
        SourceError: No pictures, no annotations or several, or a header of other classes; all
            but an annotation file that is unreadable later is found before the first face.
    """
    layout = _layout(source, options)
    videos = layout.annotations.videos
    return (face for video in videos for face in _faces_of(source, layout, video))


def read(source: Path, faces: Sequence[Face], options: Options) -> Iterator[bytes | Unreadable]:
    """Yields the encoded bytes of each picture, left out or not."""
    del options
    return read_files(source, faces)


def provenance(source: Path, options: Options) -> Mapping[str, str | int]:
    """Says which release this is and what its rows do not tell; lists every annotated video.

    Labels differ between releases, so `annotations_sha256` is over split, name and content of
    all annotation files, wherever they lie. `pictures_without_label` are pictures of annotated
    videos of which no line says anything, `pictures_passed_over` those whose number another
    picture has.

    Raises:
        SourceError: As `faces` does.
    """
    layout = _layout(source, options)
    counts = {"videos_without_pictures": 0, "pictures": 0}
    counts |= {"pictures_without_label": 0, "pictures_passed_over": 0, "label_lines": 0}
    for video in layout.annotations.videos:
        frames = [line.frame for line in label_lines(source, video)]
        counts["label_lines"] += len(frames)
        if _is_usable(video):
            pictures = list_pictures(source / layout.images / video.name)
            counts["videos_without_pictures"] += not pictures.names
            counts["pictures"] += len(pictures.names)
            counts["pictures_without_label"] += len(pictures.names.keys() - set(frames))
            counts["pictures_passed_over"] += pictures.passed_over
    splits = [split for split, _ in layout.annotations.files]
    return {
        "release": printable(layout.release.name),
        "annotations_sha256": _digest(source, layout.annotations),
        "classes": len(layout.annotations.classes),
        "annotation_files_train": splits.count("train"),
        "annotation_files_validation": splits.count("validation"),
        **counts,
    }


def _layout(source: Path, options: Options) -> _Layout:
    """Finds all parts and checks that they belong together."""
    if not source.is_dir():
        raise SourceError(
            f"source: must be a folder; got '{source}'. Name the folder that holds "
            f"{options.images} and the annotations."
        )
    images = folder_below(source, "images", options.images)
    release = find_release(
        source, task=options.task, annotations=options.annotations, images=images
    )
    annotations = read_annotations(source, release)
    _check_belonging(source / images, options.images, annotations)
    return _Layout(release, annotations, images)


def _check_belonging(folder: Path, images: str, annotations: Annotations) -> None:
    """Checks that at least one annotated video has a folder of pictures."""
    named = [video.name for video in annotations.videos if _is_usable(video)]
    if named and not any(os.path.isdir(folder / name) for name in named):  # noqa: PTH112  (takes any name)
        with os.scandir(folder) as entries:
            there = sorted(itertools.islice((entry.name for entry in entries), 1000))[:5]
        raise SourceError(
            "options.images: must hold a folder for each video; looked for "
            f"{images}/{printable(named[0])}/00001.jpg for instance, got "
            f"{', '.join(map(repr, there)) or 'nothing'} in {images}. Name the folder whose "
            "folders are called like the videos."
        )


def _faces_of(source: Path, layout: _Layout, video: AnnotatedVideo) -> Iterator[Face]:
    """Lists one video; looks into its folder once."""
    folder = posixpath.join(layout.images, video.name)
    pictures = list_pictures(source / folder) if _is_usable(video) else Pictures()
    labels = {str(number): name for number, name in enumerate(layout.annotations.classes)}
    group = _group(printable(video.name))
    for line in label_lines(source, video):
        label = labels.get(line.word, "")
        path = f"{folder}/{pictures.names.get(line.frame) or picture_name(line.frame)}"
        problem = video.problem or line.problem
        if problem:  # the path is not this line's own
            path = f"{printable(video.file)}:{line.line}"
        else:
            problem = _problem(source, path, line, label, pictures)
        left_out = "" if problem else _left_out(line, pictures)
        yield Face(path, label, group, line.frame, video.split, b"", problem, left_out)


def _is_usable(video: AnnotatedVideo) -> bool:
    return bool(video.name) and not video.problem


def _group(video: str) -> str:
    """Returns the name of the video whose left or right person this is."""
    return video.removesuffix("_left").removesuffix("_right")


def _problem(source: Path, path: str, line: LabelLine, label: str, pictures: Pictures) -> str:
    """Finds what is wrong with a line or with the picture that it labels."""
    if line.word == _DISREGARD:
        return ""
    if not label:
        return f"label out of range: {line.word[:20]!r}" if line.word else "line without a label"
    doubtful = line.frame in pictures.doubtful
    return pictures.problem or (problem_with(source, path) if doubtful else "")


def _left_out(line: LabelLine, pictures: Pictures) -> str:
    if line.word == _DISREGARD:
        return "label -1: to be disregarded"
    return "" if line.frame in pictures.names else "no picture of this frame"


def _digest(source: Path, annotations: Annotations) -> str:
    digest = hashlib.sha256()
    for split, file in annotations.files:
        name = f"{split}/{posixpath.basename(file)}\0".encode("utf-8", "surrogateescape")
        digest.update(name + file_digest(source, file))
    return digest.hexdigest()
