"""Drawn faces, so that the first command needs no download. No benchmark of FER.

Subjects show six expressions in short videos. An expression rises, peaks and fades, so that some
frames are ambiguous; neighbouring frames are nearly alike and each subject looks different, so
that a frame-level random split leaks and a subject-disjoint one does not, as in real video. A
`production` domain has other subjects, other class priors, other light; further domains have only
one of these changes, so that what tells shifts apart can be tested. What a model scores here says
nothing about real faces.

Every image is a pure function of (seed, domain, subject, video, frame) and its size: the order,
the batch and the process in which it is drawn do not matter. `faces` runs in the DRIVER, `read`
in a WORKER.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from datasets import EMOTIONS, Face
from datasets._face_person import Person, draw_person
from datasets._face_rig import SUPERSAMPLING, Pose, paint

NEEDS_SOURCE = False


@dataclass(frozen=True)
class Options:
    """How many faces to draw, and whose. Defaults: 3,000 images in 600 videos of 60 subjects."""

    size_px: int = field(
        default=64, metadata={"help": "side of the square images", "at_least": 16, "at_most": 512}
    )
    subjects: int = field(
        default=60,
        metadata={"help": "people; each is one group", "at_least": 1, "at_most": 100_000},
    )
    videos_per_subject: int = field(
        default=10, metadata={"help": "videos of each, one expression a video", "at_least": 1}
    )
    frames_per_video: int = field(
        default=5, metadata={"help": "consecutive frames of each video", "at_least": 1}
    )
    seed: int = field(
        default=0, metadata={"help": "another seed draws other people", "at_least": 0}
    )
    domain: Literal["study", "production", "label_shift", "covariate_shift", "no_shift"] = field(
        default="study",
        metadata={
            "help": "production: other people, other class priors, dark and blurred; label_shift: "
            "other people and priors; covariate_shift: other people, dark and blurred; no_shift: "
            "other people"
        },
    )


# Which action units make an expression, and how far each goes at full intensity: after
# EMFACS (Friesen & Ekman 1983), with the lips parted where the jaw or the corners move.
_EXPRESSIONS: Mapping[str, Mapping[int, float]] = {
    "anger": {4: 1.0, 5: 0.45, 7: 0.8, 17: 0.3, 23: 1.0},
    "disgust": {4: 0.4, 9: 1.0, 15: 0.6, 17: 0.4, 25: 0.25},
    "fear": {1: 1.0, 2: 0.6, 4: 0.5, 5: 0.9, 20: 1.0, 25: 0.6, 26: 0.2},
    "happiness": {6: 1.0, 12: 1.0, 25: 0.75},
    "sadness": {1: 1.0, 4: 0.5, 7: 0.1, 15: 1.0, 17: 0.4},
    "surprise": {1: 1.0, 2: 1.0, 5: 0.8, 25: 0.3, 26: 0.9},
}


@dataclass(frozen=True)
class _Domain:
    """What differs between the study and the place where a model is used."""

    number: int
    group: str
    priors: tuple[float, ...]  # in the order of EMOTIONS
    level: tuple[float, float]  # brightness, lowest and highest
    side_light: float
    warmth: float
    blur_px: tuple[float, float]  # at 64 px
    noise: tuple[float, float]  # standard deviation in grey levels
    turn: float  # standard deviation of the head's yaw in radians


_STUDY = _Domain(
    number=0,
    group="subject",
    priors=(0.17, 0.13, 0.14, 0.22, 0.17, 0.17),
    level=(0.85, 1.08),
    side_light=0.15,
    warmth=0.04,
    blur_px=(0.0, 0.6),
    noise=(1.5, 5.0),
    turn=0.13,
)
_PRODUCTION = _Domain(
    number=1,
    group="production-subject",
    priors=(0.08, 0.05, 0.07, 0.46, 0.22, 0.12),
    level=(0.5, 0.9),
    side_light=0.42,
    warmth=0.07,
    blur_px=(0.3, 1.2),
    noise=(4.0, 11.0),
    turn=0.22,
)
_OTHER_PEOPLE = replace(_STUDY, number=_PRODUCTION.number, group=_PRODUCTION.group)
_DOMAINS = {
    "study": _STUDY,
    "production": _PRODUCTION,
    "label_shift": replace(_OTHER_PEOPLE, priors=_PRODUCTION.priors),
    "covariate_shift": replace(_PRODUCTION, priors=_STUDY.priors),
    "no_shift": _OTHER_PEOPLE,
}
"""All but the study show the same people."""


def faces(source: Path, options: Options) -> Iterator[Face]:
    """Lists subject after subject, video after video, frame after frame; `source` is not used."""
    del source
    for subject in range(options.subjects):
        group = f"{_DOMAINS[options.domain].group}-{subject:03d}"
        for video in range(options.videos_per_subject):
            label = _emotion(options.seed, options.domain, subject, video)
            for frame in range(options.frames_per_video):
                yield Face(
                    source=f"{group}/video-{video:02d}/frame-{frame:03d}",
                    label=label,
                    group=group,
                    frame=video * options.frames_per_video + frame,
                )


def read(source: Path, faces: Sequence[Face], options: Options) -> Iterator[npt.NDArray[np.uint8]]:
    """Draws the faces: (size_px, size_px, 3) uint8 RGB each."""
    del source
    for face in faces:
        subject, video, frame = (int(part.rsplit("-", 1)[1]) for part in face.source.split("/"))
        yield draw(options, subject, video, frame)


def draw(options: Options, subject: int, video: int, frame: int) -> npt.NDArray[np.uint8]:
    """Draws one frame, whether or not the options' counts include it.

    Returns:
        (size_px, size_px, 3) uint8 RGB.
    """
    shot = _shot(options.seed, options.domain, subject, video)
    person = _subject(options.seed, options.domain, subject).person
    image = paint(
        person, _intensities(shot, frame), _pose(shot, frame), _background(shot, options.size_px)
    )
    radius_px = shot.blur_px * options.size_px / 64
    if radius_px > 0.2:  # less cannot be seen
        # A lens out of focus blurs like a box, not like a bell; a box is also thrice as fast.
        image = image.filter(ImageFilter.BoxBlur(radius_px))
    rng = _rng(options.seed, options.domain, subject, video, frame)
    return _developed(np.asarray(image), shot, frame, rng)


# --- who, and what happens in a video ------------------------------------------------------------


@dataclass(frozen=True)
class _Subject:
    person: Person
    style: Mapping[int, float]  # how strongly this person uses each action unit


@dataclass(frozen=True, eq=False)
class _Shot:
    """All that one video's frames share. Phases in turns, periods in frames."""

    number: tuple[int, ...]
    units: Mapping[int, float]
    peak: float
    period: float
    phase: float
    speech: float
    angles: tuple[float, float, float]
    sway: float
    shift: tuple[float, float]
    scale: float
    walls: npt.NDArray[np.uint8]
    gain: npt.NDArray[np.float32]
    slope: tuple[float, float]
    blur_px: float
    noise: float


def _rng(seed: int, domain: str, *number: int) -> np.random.Generator:
    # The count of numbers goes in first: (1, 0) and (1, 0, 0) are different streams.
    return np.random.default_rng([seed, _DOMAINS[domain].number, len(number), *number])


def _emotion(seed: int, domain: str, subject: int, video: int) -> str:
    """Spreads the classes over videos as the priors say, evenly rather than by chance.

    Steps of irrational length visit [0, 1) evenly (Kronecker's sequence), so that already small
    sets hold every class, and each subject shows most of them.
    """
    start = _rng(seed, domain).random()
    place = (start + subject * (math.sqrt(2) - 1) + video * (math.sqrt(5) - 1) / 2) % 1.0
    ends = np.cumsum(_DOMAINS[domain].priors)
    return EMOTIONS[min(int(np.searchsorted(ends, place, side="right")), len(EMOTIONS) - 1)]


@lru_cache(maxsize=256)
def _subject(seed: int, domain: str, subject: int) -> _Subject:
    rng = _rng(seed, domain, subject)
    person = draw_person(rng)
    units = sorted({unit for expression in _EXPRESSIONS.values() for unit in expression})
    lively = rng.uniform(0.8, 1.1)
    return _Subject(person, {unit: lively * rng.uniform(0.7, 1.2) for unit in units})


@lru_cache(maxsize=256)
def _shot(seed: int, domain: str, subject: int, video: int) -> _Shot:
    rng = _rng(seed, domain, subject, video)
    kind = _DOMAINS[domain]
    style = _subject(seed, domain, subject).style
    expression = _EXPRESSIONS[_emotion(seed, domain, subject, video)]
    warm = rng.normal(0.0, kind.warmth)
    light = rng.uniform(0, 2 * math.pi)
    steep = abs(rng.normal(0.0, kind.side_light))
    return _Shot(
        number=(seed, kind.number, subject, video),
        units={
            unit: weight * style[unit] * rng.uniform(0.75, 1.15)
            for unit, weight in expression.items()
        },
        peak=rng.uniform(0.55, 1.15),
        period=rng.uniform(10.0, 15.0),
        phase=rng.uniform(0.1, 0.35),
        speech=max(0.0, rng.normal(0.0, 0.12)),
        angles=(rng.normal(0, kind.turn), rng.normal(0, 0.08), rng.normal(0, 0.06)),
        sway=rng.uniform(0.02, 0.07),
        shift=(rng.normal(0, 0.015), rng.normal(0, 0.015)),
        scale=rng.uniform(0.36, 0.395),
        walls=_walls(rng),
        gain=(rng.uniform(*kind.level) * np.array([1 + warm, 1, 1 - warm])).astype(np.float32),
        slope=(steep * math.cos(light), steep * math.sin(light)),
        blur_px=rng.uniform(*kind.blur_px),
        noise=rng.uniform(*kind.noise),
    )


def _walls(rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """A background out of focus: (4, 4, 3) colours around one muted hue."""
    hue = rng.uniform(105, 195) + rng.normal(0, 14, 3)
    return np.clip(
        hue + rng.normal(0, 16, (4, 4, 1)) + rng.normal(0, 4, (4, 4, 3)), 40, 245
    ).astype(np.uint8)


# --- what one frame adds -------------------------------------------------------------------------


def _intensities(shot: _Shot, frame: int) -> dict[int, float]:
    """The expression at this moment, with a blink or a spoken word now and then."""
    wave = 0.5 - 0.5 * math.cos(2 * math.pi * (frame / shot.period + shot.phase))
    strength = shot.peak * (0.25 + 0.75 * wave)
    intensities = {unit: strength * weight for unit, weight in shot.units.items()}
    word = shot.speech * max(0.0, math.sin(2 * math.pi * (frame / 4.7 + shot.phase)))
    intensities[25] = intensities.get(25, 0.0) + word
    intensities[26] = intensities.get(26, 0.0) + 0.6 * word
    if (frame + sum(shot.number)) % 23 == 0:
        intensities[45] = 0.8
    return intensities


def _pose(shot: _Shot, frame: int) -> Pose:
    """The head sways slowly around the angles at which this video holds it."""
    turn = 2 * math.pi * (frame / 29.0 + shot.phase)
    sway = shot.sway
    return Pose(
        yaw=shot.angles[0] + sway * math.sin(turn),
        pitch=shot.angles[1] + 0.7 * sway * math.sin(1.7 * turn + 1.0),
        roll=shot.angles[2] + 0.5 * sway * math.sin(0.8 * turn + 2.0),
        shift_x=shot.shift[0] + 0.15 * sway * math.sin(turn),
        shift_y=shot.shift[1] + 0.15 * sway * math.sin(1.3 * turn),
        scale=shot.scale,
    )


@lru_cache(maxsize=64)
def _background(shot: _Shot, size_px: int) -> Image.Image:
    side = size_px * SUPERSAMPLING
    return Image.fromarray(shot.walls).resize((side, side), Image.Resampling.BICUBIC)


def _developed(
    picture: npt.NDArray[np.uint8], shot: _Shot, frame: int, rng: np.random.Generator
) -> npt.NDArray[np.uint8]:
    """Lights the picture from a side, rounds the head, and adds the noise of a sensor."""
    x, y, round_off = _fields(picture.shape[0])
    flicker = 1.0 + 0.02 * math.sin(frame / 3.0 + 10 * shot.phase)
    light = (1.0 + shot.slope[0] * x + shot.slope[1] * y) * round_off * np.float32(flicker)
    noise = rng.standard_normal(picture.shape[:2], dtype=np.float32) * np.float32(shot.noise)
    # Planes, because numpy is slow at broadcasting along a last axis of three.
    planes = np.ascontiguousarray(picture.transpose(2, 0, 1)) * light
    planes *= shot.gain[:, None, None]
    planes += noise
    grey_levels = np.clip(planes, 0, 255, out=planes).astype(np.uint8)
    return np.ascontiguousarray(grey_levels.transpose(1, 2, 0))


@lru_cache(maxsize=8)
def _fields(size_px: int) -> tuple[npt.NDArray[np.float32], ...]:
    """Coordinates from -1 to 1, and the dimming towards the edge of the head: (S, S) each."""
    line = np.linspace(-1, 1, size_px, dtype=np.float32)
    x, y = np.meshgrid(line, line)
    distance = np.clip((x / 0.72) ** 2 + (y / 0.95) ** 2, 0.0, 1.3)
    return x, y, np.asarray(1.06 - 0.17 * distance, dtype=np.float32)
