"""A drawn face that moves by action units, for `datasets/synthetic.py`. PURE.

As animators do it: a person's face is a cloud of points, and each action unit of the Facial Action
Coding System (Ekman & Friesen 1978) pulls those points by a fixed amount, its blend shape. A frame
is neutral face + sum of (intensity x blend shape), turned in space as if the points lay on an
ellipsoid, and filled layer by layer with Pillow. Blend shapes are worked out once a person; a
frame then costs one weighted sum and some fifty polygons.

Who is drawn is told by `_face_person`, what a face looks like by `_face_shapes`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw

from datasets._face_person import Colour, Person
from datasets._face_shapes import ACTION_UNITS, Points, shapes, xy

SUPERSAMPLING = 2  # 3 looks hardly better at 64 px and costs a quarter more


@dataclass(frozen=True)
class Pose:
    """Where the head is: angles in radians, shifts and scale in fractions of the image side."""

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    shift_x: float = 0.0
    shift_y: float = 0.0
    scale: float = 0.32


def paint(
    person: Person,
    intensities: Mapping[int, float],
    pose: Pose,
    background: Image.Image,
) -> Image.Image:
    """Draws one frame.

    Args:
        person: Whose face.
        intensities: Action unit -> intensity, 0 (neutral) to 1 (as far as it goes).
        pose: How the head is held.
        background: Square RGB canvas to draw on a copy of, `SUPERSAMPLING` times the final side.

    Returns:
        An RGB image, `SUPERSAMPLING` times smaller than `background`.
    """
    rig = _rig(person)
    side = background.width
    flat = _on_canvas(_deformed(rig, intensities), rig, pose, side).ravel().tolist()
    image = background.copy()
    draw = ImageDraw.Draw(image)
    stroke_px = pose.scale * side
    for layer, start, stop in rig.layers:
        colour = rig.palette[layer.colour]
        if layer.shown_by:
            strength = min(1.0, sum(intensities.get(unit, 0.0) for unit in layer.shown_by))
            if strength < 0.1:
                continue
            colour = _mix(rig.palette["skin"], colour, strength * person.wrinkles)
        points = flat[2 * start : 2 * stop]
        if layer.stroke:
            draw.line(points, fill=colour, width=max(1, round(layer.stroke * stroke_px)))
        else:
            draw.polygon(points, fill=colour)
    return image.reduce(SUPERSAMPLING)


# --- from a person to blend shapes ---------------------------------------------------------------


@dataclass(frozen=True)
class _Layer:
    """One shape to fill, or to stroke with a line as wide as `stroke`."""

    shape: str
    colour: str
    stroke: float = 0.0
    lift: float = 0.0  # how far before (+) or behind (-) the ellipsoid
    shown_by: tuple[int, ...] = ()  # a wrinkle: visible as far as these units act
    fixed: bool = False  # does not turn with the head


@dataclass(frozen=True, eq=False)
class _Rig:
    """A person's points, what each action unit does to them, and what to fill them with."""

    neutral: Points  # (N, 2)
    blend: dict[int, Points]  # unit -> (N, 2)
    lift: Points  # (N,)
    turns: Points  # (N,), 1 or 0
    layers: tuple[tuple[_Layer, int, int], ...]  # with first and last point
    palette: dict[str, Colour]


@lru_cache(maxsize=256)
def _rig(person: Person) -> _Rig:
    """Works out the blend shapes as differences from the neutral face."""
    layers = _layers(person)
    neutral_shapes = shapes(person, {})
    neutral = np.concatenate([neutral_shapes[layer.shape] for layer in layers])
    blend = {}
    for unit in ACTION_UNITS:
        moved = shapes(person, {unit: 1.0})
        blend[unit] = np.concatenate([moved[layer.shape] for layer in layers]) - neutral
    sizes = [len(neutral_shapes[layer.shape]) for layer in layers]
    ends = np.cumsum(sizes).tolist()
    return _Rig(
        neutral=neutral,
        blend=blend,
        lift=np.repeat([layer.lift for layer in layers], sizes),
        turns=np.repeat([0.0 if layer.fixed else 1.0 for layer in layers], sizes),
        layers=tuple(
            (layer, end - size, end) for layer, size, end in zip(layers, sizes, ends, strict=True)
        ),
        palette=_palette(person),
    )


def _deformed(rig: _Rig, intensities: Mapping[int, float]) -> Points:
    points = rig.neutral.copy()
    for unit in sorted(intensities):
        if intensities[unit]:
            points += intensities[unit] * rig.blend[unit]
    return points


def _on_canvas(points: Points, rig: _Rig, pose: Pose, side: int) -> Points:
    """Turns the points in space and projects them: (N, 2) in pixels of the canvas."""
    x, y = points[:, 0], points[:, 1]
    inside = 1.0 - (x / 1.08) ** 2 - (y / 1.4) ** 2
    z = 0.8 * np.sqrt(np.maximum(inside, 0.0)) + rig.lift
    sin_yaw, cos_yaw = math.sin(pose.yaw), math.cos(pose.yaw)
    sin_pitch, cos_pitch = math.sin(pose.pitch), math.cos(pose.pitch)
    turned_x = x * cos_yaw + z * sin_yaw
    depth = z * cos_yaw - x * sin_yaw
    turned_y = y * cos_pitch - depth * sin_pitch
    sin_roll, cos_roll = math.sin(pose.roll), math.cos(pose.roll)
    rolled_x = turned_x * cos_roll - turned_y * sin_roll
    rolled_y = turned_x * sin_roll + turned_y * cos_roll
    final_x = x + rig.turns * (rolled_x - x)
    final_y = y + rig.turns * (rolled_y - y)
    scale = pose.scale * side
    return xy(
        final_x * scale + (0.5 + pose.shift_x) * side,
        final_y * scale + (0.49 + pose.shift_y) * side,
    )


# --- what is painted over what, and in which colours ---------------------------------------------


def _layers(person: Person) -> tuple[_Layer, ...]:
    """The layers of a person, back to front."""
    style = person.hair_style
    layers = [
        *([_Layer("hair_long", "hair_dark", lift=-0.35)] if style == "long" else []),
        *([_Layer("hair_puff", "hair_dark", lift=-0.2)] if style == "curly" else []),
        _Layer("neck", "skin_dark", fixed=True),
        _Layer("neck_shadow", "skin_darker", lift=-0.1),
        _Layer("shoulders", "clothes", fixed=True),
        *_both("ear", "skin_dark", lift=-0.15),
        _Layer("face", "skin"),
        *_both("cheek", "blush"),
        *([_Layer("beard", "stubble", lift=0.02)] if person.beard else []),
        *_both("socket", "skin_shade"),
        *_both("eye_white", "white"),
        *_both("iris", "iris"),
        *_both("pupil", "black"),
        *_both("shine", "white"),
        *_both("lid_upper", "skin_shade"),
        *_both("lid_lower", "skin_shade"),
        *_both("lid_crease", "skin_dark", stroke=0.03),
        *_both("lash", "lash", stroke=0.055),
        *_both("lid_line", "skin_dark", stroke=0.025),
        _Layer("forehead_1", "skin_dark", stroke=0.03, shown_by=(1, 2)),
        _Layer("forehead_2", "skin_dark", stroke=0.03, shown_by=(1, 2)),
        *(() if person.beard else _both("fold", "skin_darker", stroke=0.04, shown_by=(9, 12))),
        *_both("crow", "skin_dark", stroke=0.025, shown_by=(6,)),
        _Layer("nose_base", "skin_dark", lift=0.12),
        _Layer("nose_side", "skin_shade", lift=0.12),
        *_both("nostril", "skin_darkest", lift=0.14),
        _Layer("nose_tip", "skin_light", lift=0.24),
        _Layer("nose_wrinkle", "skin_darker", stroke=0.035, lift=0.08, shown_by=(9,)),
        *_both("frown", "skin_darker", stroke=0.035, shown_by=(4,)),
        *_both("brow", "brow", lift=0.03),
        *([] if person.beard else [_Layer("chin_boss", "skin_dark", stroke=0.03, shown_by=(17,))]),
        *([] if person.beard else [_Layer("lip_shadow", "skin_shade", stroke=0.05)]),
        _Layer("mouth_inner", "mouth"),
        _Layer("tongue", "tongue"),
        _Layer("teeth", "teeth"),
        _Layer("lip_upper", "lip_dark"),
        _Layer("lip_lower", "lip"),
        _Layer("seam", "lip_seam", stroke=0.03),
        *([_Layer("hair_cap", "hair", lift=0.02)] if style != "bald" else []),
        *(
            [_Layer("hair_shine", "hair_light", stroke=0.1)]
            if style not in ("bald", "curly")
            else []
        ),
    ]
    return (*layers, *(_glasses_layers() if person.glasses else ()))


def _both(
    name: str,
    colour: str,
    *,
    stroke: float = 0.0,
    lift: float = 0.0,
    shown_by: tuple[int, ...] = (),
) -> tuple[_Layer, _Layer]:
    left = _Layer(f"{name}_l", colour, stroke, lift, shown_by)
    return left, replace(left, shape=f"{name}_r")


def _glasses_layers() -> tuple[_Layer, ...]:
    return (
        *_both("temple", "frame", stroke=0.05),
        *_both("rim", "frame", stroke=0.05, lift=0.12),
        _Layer("bridge", "frame", stroke=0.05, lift=0.14),
    )


def _palette(person: Person) -> dict[str, Colour]:
    skin, hair, black = person.skin, person.hair, (20, 14, 14)
    shadow = (int(skin[0] * 0.55), int(skin[1] * 0.42), int(skin[2] * 0.4))
    lip = _mix(skin, (168, 50, 58), 0.5)
    return {
        "skin": skin,
        "skin_light": _mix(skin, (255, 244, 236), 0.22),
        "skin_shade": _mix(skin, shadow, 0.14),
        "skin_dark": _mix(skin, shadow, 0.36),
        "skin_darker": _mix(skin, shadow, 0.62),
        "skin_darkest": _mix(skin, black, 0.75),
        "blush": _mix(skin, (214, 84, 76), 0.13),
        "hair": hair,
        "hair_light": _mix(hair, (255, 244, 236), 0.08),
        "hair_dark": _mix(hair, black, 0.35),
        "brow": _mix(hair, black, 0.25),
        "stubble": _mix(skin, hair, 0.72),
        "white": (246, 244, 240),
        "iris": person.iris,
        "black": black,
        "lash": _mix(shadow, black, 0.7),
        "teeth": (244, 240, 230),
        "mouth": (74, 22, 26),
        "tongue": (188, 84, 88),
        "lip": lip,
        "lip_dark": _mix(lip, shadow, 0.3),
        "lip_seam": _mix(lip, black, 0.55),
        "clothes": person.clothes,
        "frame": _mix(person.clothes, black, 0.75),
    }


def _mix(first: Colour, second: Colour, share: float) -> Colour:
    r, g, b = (round(a + (z - a) * share) for a, z in zip(first, second, strict=True))
    return r, g, b
