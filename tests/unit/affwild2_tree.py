"""Writes a small tree in the shape of an Aff-Wild2 release, with drawn faces and its pitfalls."""

import functools
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from datasets import EMOTIONS, synthetic

CLASSES = ("neutral", *EMOTIONS, "other")
RELEASES = {
    "abaw1": ("annotations/EXPR_Set", "Training_Set", "Validation_Set"),
    "abaw2": ("annotations/EXPR_Set", "Train_Set", "Validation_Set"),
    "abaw3": (
        "Third ABAW Annotations/EXPR_Classification_Challenge",
        "Train_Set",
        "Validation_Set",
    ),
    "abaw8": ("8th_ABAW_Annotations/EXPR_Recognition_Challenge", "Train_Set", "Validation_Set"),
    "mtl": ("MTL_Challenge", "train_set.txt", "validation_set.txt"),
}
SIDE_PX = 112


@dataclass(frozen=True)
class Video:
    """One video to write; frames count from 1.

    Attributes:
        name: Name of its folder and of its annotation file.
        split: "train" or "validation".
        lines: Label lines; line k says class k modulo the number of classes, if not -1.
        disregarded: Frames labelled -1.
        holes: Frames without a picture.
        pictures: Pictures, holes counted; None = one a line, 0 = an empty folder.
        folder: Whether there is a folder of pictures at all.
        newline: What ends a line.
        after_header: What follows the last class name.
        at_end: What follows the last line.
    """

    name: str
    split: str
    lines: int = 8
    disregarded: frozenset[int] = frozenset()
    holes: frozenset[int] = frozenset()
    pictures: int | None = None
    folder: bool = True
    newline: str = "\n"
    after_header: str = ""
    at_end: str = "\n"

    def shown(self) -> set[int]:
        """Returns the frames that have a picture."""
        count = self.lines if self.pictures is None else self.pictures
        return set(range(1, count + 1)) - self.holes if self.folder else set()


PITFALLS = (
    Video("1-30-1280x720", "train", holes=frozenset({1, 4, 5}), after_header=", "),
    Video("10-60-1280x720", "train", disregarded=frozenset({2, 3})),
    Video("10-60-1280x720_right", "train", newline="\r\n", at_end="\r\n\r\n \r\n"),
    Video("102", "train", lines=5, at_end=""),
    Video("428", "train", lines=3, pictures=0),
    Video("video5_left", "train", holes=frozenset({8}), at_end="\n\n\n"),
    Video("video5_right", "train", lines=4),
    Video("video10_1", "train", disregarded=frozenset({1}), holes=frozenset({1, 2})),
    Video("135-24-1920x1080_left", "validation", lines=4, disregarded=frozenset(range(1, 5))),
    Video("360", "validation", lines=4, folder=False),
    Video("video59", "validation", pictures=9),
    Video("video59_right", "validation", pictures=7),
)
"""Every pitfall once: holes, frame 1 missing, off by one both ways, no label, no picture."""


@dataclass(frozen=True)
class Tree:
    """What was written, counted from the plan and not from the files.

    Attributes:
        root: The source.
        annotations: Folder of the annotations relative to it.
        options: What the adapter must be told to read it.
        rows: Split -> label lines.
        usable: Label -> rows with a picture.
        disregarded: Rows that say -1.
        without_picture: Rows with a label but no picture.
        listed_twice: Rows of a list about a frame that an earlier row names.
        pictures: Pictures in all.
        pictures_without_label: Pictures of frames beyond the last line.
        videos_without_pictures: Annotated videos with no folder or an empty one.
    """

    root: Path
    annotations: str
    options: Mapping[str, str]
    rows: Mapping[str, int]
    usable: Mapping[str, int]
    disregarded: int
    without_picture: int
    listed_twice: int
    pictures: int
    pictures_without_label: int
    videos_without_pictures: int


def write_tree(
    root: Path, *, release: str = "abaw3", videos: Sequence[Video] = PITFALLS, seed: int = 0
) -> Tree:
    """Writes the pictures and the annotations of one release, with other tasks' beside them.

    Args:
        root: Folder to write to.
        release: A key of `RELEASES`; "mtl" also lists the first row twice.
        videos: What to write.
        seed: Another seed draws other people.
    """
    classes = CLASSES[:7] if release in ("abaw1", "abaw2") else CLASSES
    for video in videos:
        if video.folder:
            (root / "cropped_aligned" / video.name).mkdir(parents=True)
        for frame in video.shown():
            path = root / "cropped_aligned" / video.name / f"{frame:05d}.jpg"
            path.write_bytes(picture(classes[frame % len(classes)], frame, seed))
    if release == "mtl":
        _write_lists(root, videos)
    else:
        _write_files(root, RELEASES[release], videos, classes)
    return _expected(root, release, videos, classes)


@functools.lru_cache(maxsize=512)
def picture(label: str, frame: int, seed: int = 0) -> bytes:
    """Draws a face that shows the label; for neutral and other, whatever comes first."""
    options = synthetic.Options(size_px=SIDE_PX, subjects=20, videos_per_subject=1, seed=seed)
    subjects = [face.label for face in synthetic.faces(Path(), options) if face.frame == 0]
    subject = subjects.index(label) if label in subjects else frame % len(subjects)
    file = io.BytesIO()
    Image.fromarray(synthetic.draw(options, subject, 0, frame)).save(file, "JPEG", quality=90)
    return file.getvalue()


def _labels(video: Video, classes: Sequence[str]) -> list[int]:
    return [
        -1 if frame in video.disregarded else frame % len(classes)
        for frame in range(1, video.lines + 1)
    ]


def _write_files(
    root: Path, folders: tuple[str, str, str], videos: Sequence[Video], classes: Sequence[str]
) -> None:
    """Writes a file a video, the other tasks' folders, and the list of the test videos."""
    top, *splits = folders
    for video in videos:
        header = ",".join(name.capitalize() for name in classes) + video.after_header
        lines = [header, *map(str, _labels(video, classes))]
        path = root / top / splits[video.split == "validation"] / f"{video.name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((video.newline.join(lines) + video.at_end).encode())
    other = (root / top).parent / "VA_Set" / splits[0]
    other.mkdir(parents=True)
    (other / "102.txt").write_text("valence,arousal\n-5,-5\n")
    tests = "Expression_Classification_Challenge_test_set_release.txt"
    (root / tests).write_text("1-30-1920x1080\n")


def _write_lists(root: Path, videos: Sequence[Video]) -> None:
    """Writes a list a split; the first row of the first video occurs twice."""
    folder, *names = RELEASES["mtl"]
    (root / folder).mkdir()
    for split, name in zip(("train", "validation"), names, strict=True):
        rows = [
            f"{video.name}/{frame:05d}.jpg,-5.0,0.054,{label},-1,0,0,0,0,0,0,0,0,0,0,0"
            for video in videos
            if video.split == split
            for frame, label in enumerate(_labels(video, CLASSES), start=1)
        ]
        rows += rows[:1] if split == videos[0].split else []
        header = "image,valence,arousal,expression,aus"
        (root / folder / name).write_text("\n".join([header, *rows]) + "\n")


def _expected(root: Path, release: str, videos: Sequence[Video], classes: Sequence[str]) -> Tree:
    usable: Counter[str] = Counter()
    rows: Counter[str] = Counter()
    disregarded = without_picture = 0
    for video in videos:
        rows[video.split] += video.lines
        for frame, number in enumerate(_labels(video, classes), start=1):
            disregarded += number < 0
            without_picture += number >= 0 and frame not in video.shown()
            usable.update([classes[number]] if number >= 0 and frame in video.shown() else [])
    twice = int(release == "mtl")
    rows[videos[0].split] += twice
    return Tree(
        root=root,
        annotations=RELEASES[release][0],
        options={"task": "mtl"} if twice else {},
        rows=rows,
        usable=usable,
        disregarded=disregarded,
        without_picture=without_picture,
        listed_twice=twice,
        pictures=sum(len(video.shown()) for video in videos),
        pictures_without_label=sum(
            len([frame for frame in video.shown() if frame > video.lines]) for video in videos
        ),
        videos_without_pictures=sum(not video.shown() for video in videos),
    )
