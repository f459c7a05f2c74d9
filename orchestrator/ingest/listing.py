"""Which rows a source has, before a pixel is read: counted, checked, and cut into slices.

The source is listed twice, once to count and check and once to hand its rows out, so that no
list of all rows is ever held: a slice of them is all that is in memory.

DRIVER: reads names and tables, no pixels. No ray, no torch.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import datasets
from datasets import Face, SourceError
from orchestrator.config.errors import ConfigError
from orchestrator.ingest.manifest import VERSION

KEPT = "kept"
BAD = "bad"
LEFT_OUT = "left out"


LABELS_SHOWN = 10
LISTED_PER_KEPT = 8  # rows of a slice at most, for each that it may keep


@dataclass(frozen=True)
class Recipe:
    """What the pixels of a row depend on; travels to the workers.

    Attributes:
        adapter: Name of the module in `datasets/`.
        source: Where the raw data lies.
        options: The adapter's own `Options`.
        classes: Class names in the order of their index.
        drop: Labels left out.
        every: Of the frames of a video, one in so many.
        image_px: Side of the square images.
        max_pixels: Largest image decoded.
    """

    adapter: str
    source: Path
    options: object
    classes: tuple[str, ...]
    drop: tuple[str, ...]
    every: int
    image_px: int
    max_pixels: int

    @property
    def identity(self) -> str:
        """The recipe as text: equal for equal recipes, and the same in each process."""
        return json.dumps(
            {
                "adapter": self.adapter,
                "source": str(self.source),
                "options": repr(self.options),
                "classes": self.classes,
                "drop": self.drop,
                "every": self.every,
                "image_px": self.image_px,
                "max_pixels": self.max_pixels,
            }
        )

    def kind(self, face: Face) -> str:
        """Says what a row is as far as its listing tells: kept, bad or left out."""
        if face.problem:
            return BAD
        return LEFT_OUT if face.left_out or face.label in self.drop else KEPT

    def reason(self, face: Face) -> str:
        """Says why a row is not kept as far as its listing tells; "" where it is."""
        dropped = f"label {face.label} is left out" if face.label in self.drop else ""
        return face.problem or face.left_out or dropped


@dataclass(frozen=True)
class Census:
    """What a listing of the source found.

    Attributes:
        rows: Rows listed.
        passed_over: Rows that `every` skips; they are not listed.
        labels: Rows of each label, those that cannot be kept not counted.
        digest: sha256 over all rows in order.
        provenance: What the adapter says of the release, for the manifest.
    """

    rows: int
    passed_over: int
    labels: Mapping[str, int]
    digest: str
    provenance: Mapping[str, str | int]


@dataclass(frozen=True)
class Slice:
    """Consecutive rows of the listing, decoded by one task.

    Attributes:
        index: Place among the slices.
        start: Place of its first row in the listing.
        faces: The rows, those to be left out among them.
        key: Digest of the rows and of the recipe: equal keys, equal result.
        digest: sha256 over all rows up to its last: of the last slice that of the census, if
            the source is still what it was.
    """

    index: int
    start: int
    faces: tuple[Face, ...]
    key: str
    digest: str


def recipe(
    *,
    adapter: str,
    source: str,
    options: Mapping[str, object],
    classes: Sequence[str],
    drop: Sequence[str],
    every: int,
    image_px: int,
    max_pixels: int,
) -> Recipe:
    """Checks what can be checked without looking at the source.

    Raises:
        ConfigError: Unknown adapter or option, no source, classes named twice; all at once.
    """
    problems = _label_problems(classes, drop)
    made: object = None
    try:
        module = datasets.adapter(adapter)
        if module.NEEDS_SOURCE:
            problems += _source_problems(source, adapter)
        made = datasets.options(module, options)
    except SourceError as error:
        problems += str(error).splitlines()
    if problems:
        raise ConfigError(*problems)
    return Recipe(
        adapter=adapter,
        source=Path(source).resolve() if source else Path(),
        options=made,
        classes=tuple(map(datasets.canonical, classes)),
        drop=tuple(sorted(set(map(datasets.canonical, drop)))),
        every=every,
        image_px=image_px,
        max_pixels=max_pixels,
    )


def census(recipe: Recipe) -> Census:
    """Lists the source once: counts rows and labels and fingerprints the listing.

    Raises:
        ConfigError: The source is not what the adapter reads, has labels that are neither a
            class nor left out (with their counts), or has no row to keep.
    """
    labels: Counter[str] = Counter()
    digest = hashlib.sha256(recipe.identity.encode())
    rows = passed_over = frames = 0
    for face in _all_faces(recipe):
        frames += face.frame >= 0
        if not _is_taken(recipe, face):
            passed_over += 1
            continue
        rows += 1
        digest.update(_bytes_of(face))
        if not face.problem and not face.left_out:
            labels[face.label] += 1
    if recipe.every > 1 and not frames:
        raise ConfigError(
            f"every: only rows with frame numbers can be thinned out; got {recipe.every}, and no "
            "row has one. Leave it out, or see the adapter's options."
        )
    _check_labels(recipe, labels)
    return Census(
        rows=rows,
        passed_over=passed_over,
        labels=dict(sorted(labels.items())),
        digest=digest.hexdigest(),
        provenance=_provenance(recipe),
    )


def slices(recipe: Recipe, rows: int) -> Iterator[Slice]:
    """Lists the source again and cuts it wherever `rows` rows to keep have come together.

    Rows that are not kept count too, lightly: a slice never grows without bound.
    """
    whole = hashlib.sha256(recipe.identity.encode())
    for index, (start, faces) in enumerate(_cut(recipe, rows)):
        own = hashlib.sha256(f"{VERSION} {start} {recipe.identity}".encode())
        for content in map(_bytes_of, faces):
            own.update(content)
            whole.update(content)
        yield Slice(index, start, faces, key=own.hexdigest()[:16], digest=whole.hexdigest())


def _label_problems(classes: Sequence[str], drop: Sequence[str]) -> list[str]:
    """Finds labels that are named twice, or both kept and dropped."""
    named = Counter(map(datasets.canonical, classes))
    problems = [
        f"classes: each class must be named once; got {name!r} {count} times. Remove one."
        for name, count in named.items()
        if count > 1
    ]
    both = sorted(set(named) & set(map(datasets.canonical, drop)))
    if both:
        problems.append(f"drop: must not name a class; got {', '.join(both)}. Remove it from one.")
    return problems


def _source_problems(source: str, adapter: str) -> list[str]:
    if not source:
        return [
            f"source: dataset={adapter} needs the place of its raw data; got ''. Set source=PATH."
        ]
    if not Path(source).exists():
        return [f"source: must exist; got {source}. Check the path."]
    return []


def _faces(recipe: Recipe) -> Iterator[Face]:
    """Lists the rows that are taken."""
    return (face for face in _all_faces(recipe) if _is_taken(recipe, face))


def _is_taken(recipe: Recipe, face: Face) -> bool:
    """Whether `every` takes a row: frames 1, 1 + every, ...; one without a number always."""
    return face.frame < 0 or (face.frame - 1) % recipe.every == 0


def _all_faces(recipe: Recipe) -> Iterator[Face]:
    """Lists the source; its complaints become ours."""
    try:
        yield from datasets.adapter(recipe.adapter).faces(recipe.source, recipe.options)
    except SourceError as error:
        raise ConfigError(*str(error).splitlines()) from error
    except OSError as error:
        raise ConfigError(f"source: must be readable; got {error}. Check the path.") from error


def _cut(recipe: Recipe, rows: int) -> Iterator[tuple[int, tuple[Face, ...]]]:
    """Lists the rows that are taken, in slices, each with the place of its first row."""
    faces: list[Face] = []
    kept = start = 0
    for face in _faces(recipe):
        faces.append(face)
        kept += recipe.kind(face) == KEPT
        if kept == rows or len(faces) == LISTED_PER_KEPT * rows:
            yield start, tuple(faces)
            faces, kept, start = [], 0, start + len(faces)
    if faces:
        yield start, tuple(faces)


def _provenance(recipe: Recipe) -> Mapping[str, str | int]:
    """Asks the adapter what release it met; most have nothing to say."""
    tell = getattr(datasets.adapter(recipe.adapter), "provenance", None)
    try:
        return dict(tell(recipe.source, recipe.options)) if tell else {}
    except SourceError as error:
        raise ConfigError(*str(error).splitlines()) from error


def _check_labels(recipe: Recipe, labels: Mapping[str, int]) -> None:
    strange = {name: count for name, count in labels.items() if name not in recipe.classes}
    strange = {name: count for name, count in strange.items() if name not in recipe.drop}
    if strange:
        shown = sorted(strange.items())[:LABELS_SHOWN]
        counted = ", ".join(f"{ascii(name)[1:-1]} ({count:,} rows)" for name, count in shown)
        more = f" and {len(strange) - len(shown)} others" if len(strange) > len(shown) else ""
        names = ",".join(ascii(name)[1:-1] for name, _ in shown)
        raise ConfigError(
            f"classes: every label must be a class or be left out; got {counted}{more}. "
            f"Leave out with drop=[{names}], or add to classes "
            f"({', '.join(recipe.classes)})."
        )
    if not any(labels.get(name) for name in recipe.classes):
        raise ConfigError(
            f"source: must have faces of the classes {', '.join(recipe.classes)}; got none "
            f"in {recipe.source.name or recipe.adapter}. Check source, options and drop."
        )


def _bytes_of(face: Face) -> bytes:
    """All that a row says, in a form no other row shares."""
    fields = (face.source, face.label, face.group, face.frame, face.split)
    text = repr((*fields, face.problem, face.left_out))
    return text.encode("utf-8", "surrogateescape") + len(face.payload).to_bytes(8) + face.payload
