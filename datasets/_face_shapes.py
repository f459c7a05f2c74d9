"""The shapes of a drawn face, as functions of the person and the action units. PURE.

Action units are those of the Facial Action Coding System (Ekman & Friesen 1978), each from 0
(rest) to 1 (as far as it goes). Lengths are in half head widths; x to the viewer's right, y down;
the origin lies between the eyes and the mouth, so that eyes are near y=-0.1, the chin near y=1.25.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from datasets._face_person import Person

Points = npt.NDArray[np.float64]

ACTION_UNITS = {
    1: "inner brow raiser",
    2: "outer brow raiser",
    4: "brow lowerer",
    5: "upper lid raiser",
    6: "cheek raiser",
    7: "lid tightener",
    9: "nose wrinkler",
    12: "lip corner puller",
    15: "lip corner depressor",
    17: "chin raiser",
    20: "lip stretcher",
    23: "lip tightener",
    25: "lips part",
    26: "jaw drop",
    45: "blink",
}

Units = Mapping[int, float]


def shapes(person: Person, units: Units) -> dict[str, Points]:
    """All shapes of a person's face under the given action units."""
    moved_by = {
        _still: (),
        _face: (6, 12, 17, 25, 26),
        _brows: (1, 2, 4, 5, 9),
        _eyes: (1, 2, 4, 5, 6, 7, 9, 26, 45),
        _nose: (9, 12),
        _mouth: (9, 12, 15, 17, 20, 23, 25, 26),
        _wrinkles: (1, 2, 9, 12),
    }
    found: dict[str, Points] = {}
    for part, own_units in moved_by.items():
        found |= _part(part, person, tuple((unit, units.get(unit, 0.0)) for unit in own_units))
    return found


@lru_cache(maxsize=32)
def _part(
    part: Callable[[Person, Units], dict[str, Points]],
    person: Person,
    intensities: tuple[tuple[int, float], ...],
) -> dict[str, Points]:
    """One part of the face; cached, because most action units leave most parts alone."""
    return part(person, dict(intensities))


def _still(person: Person, au: Units) -> dict[str, Points]:
    """The shapes that no action unit moves."""
    del au
    return _torso(person) | _hair(person) | _glasses(person)


def _jaw_drop(points: Points, au: Units) -> Points:
    """Moves what hangs on the jaw: nothing above the mouth, all of the chin."""
    share = np.clip((points[:, 1] - 0.3) / 0.8, 0.0, 1.0)
    drop = 0.2 * au[26] + 0.03 * au[25] - 0.04 * au[17]
    return points + xy(np.zeros(len(points)), share * drop)


def _outline(person: Person, angles: Points, grow: float = 1.0) -> Points:
    """The head's contour; angle 0 is the crown, pi the chin, clockwise."""
    sin, cos = np.sin(angles), np.cos(angles)
    below = np.maximum(-cos, 0.0)
    width = person.width * (1.0 - (1.0 - person.jaw) * below**1.6)
    x = width * np.sign(sin) * np.abs(sin) ** (0.86 - 0.2 * below)
    y = np.where(cos > 0, -1.16 * cos, person.chin * below)
    return grow * xy(x, y)


def _torso(person: Person) -> dict[str, Points]:
    x = np.array([-0.52, -0.56, 0.56, 0.52]) * person.width
    shoulders = [
        (-2.2, 2.6),
        (-1.9, 1.85),
        (-0.6, 1.5),
        (0, 1.72),
        (0.6, 1.5),
        (1.9, 1.85),
        (2.2, 2.6),
    ]
    return {
        "neck": xy(x, np.array([0.6, 2.0, 2.0, 0.6])),
        "shoulders": np.array(shoulders),
        **_pair("ear", _ellipse(person.width, 0.06, 0.13, 0.24, 12)),
    }


def _hair(person: Person) -> dict[str, Points]:
    x = np.linspace(1.0, -1.0, 21)
    edge = np.abs(x)
    hairlines = {
        "short": -0.8 + 0.03 * np.cos(22 * x) + 0.46 * edge**3,
        "parted": -0.8 + 0.4 * edge**3 + 0.2 * np.exp(-(((x + 0.55) / 0.35) ** 2)),
        "fringe": -0.6 + 0.025 * np.cos(26 * x) + 0.2 * edge**3,
        "long": -0.86 + 0.62 * edge**2.2,
        "curly": -0.74 + 0.04 * np.cos(14 * x) + 0.4 * edge**3,
        "bald": -0.9 + 0.2 * edge**3,
    }
    hairline = xy(0.97 * person.width * x, hairlines[person.hair_style])
    angles = np.linspace(-0.56 * np.pi, 0.56 * np.pi, 31)
    volume = {"short": 1.12, "parted": 1.17, "fringe": 1.15}.get(person.hair_style, 1.12)
    tufts = 0.02 * np.cos(31 * angles) if person.hair_style == "short" else 0.0 * angles
    crown = _outline(person, angles) * (1 + (volume - 1) * np.cos(angles / 1.3) + tufts)[:, None]
    back = _ellipse(0.0, 0.15, 1.3 * person.width, 1.55, 30)
    back[:, 1] = np.where(back[:, 1] > 0.4, 0.4 + 1.3 * (back[:, 1] - 0.4), back[:, 1])
    ring = np.linspace(0, 2 * np.pi, 66, endpoint=False)
    puff = (
        xy(1.26 * np.sin(ring), -0.42 - 1.0 * np.cos(ring))
        * (1 + 0.03 * np.cos(22 * ring))[:, None]
    )
    return {
        "hair_cap": np.concatenate([crown, hairline]),
        "hair_long": back,
        "hair_puff": puff,
        "hair_shine": _outline(person, np.linspace(-0.3, -0.05, 9) * np.pi, 0.97),
    }


def _glasses(person: Person) -> dict[str, Points]:
    sin, cos = _circle(19)
    rim = xy(
        person.eye_spacing + 0.02 + 0.29 * np.sign(cos) * np.abs(cos) ** 0.7,
        -0.07 + 0.22 * np.sign(sin) * np.abs(sin) ** 0.7,
    )
    return {
        **_pair("rim", np.concatenate([rim, rim[:1]])),
        "bridge": np.array([[-0.14, -0.1], [0.0, -0.14], [0.14, -0.1]]),
        **_pair("temple", np.array([[0.72, -0.1], [1.0, -0.06]])),
    }


def _face(person: Person, au: Units) -> dict[str, Points]:
    chin = person.chin
    contour = _outline(person, np.linspace(0, 2 * np.pi, 36, endpoint=False))
    shadow = np.array([[-0.5, 0.7], [-0.5, chin], [0, chin + 0.32], [0.5, chin], [0.5, 0.7]])
    cheek = _ellipse(0.52, 0.34 - 0.07 * au[6] - 0.03 * au[12], 0.22, 0.15, 14)
    shapes = {
        "face": _jaw_drop(contour, au),
        "neck_shadow": _jaw_drop(shadow, au),
        **_pair("cheek", cheek),
    }
    return shapes | _beard(person, au) if person.beard else shapes


def _beard(person: Person, au: Units) -> dict[str, Points]:
    outer = _outline(person, np.linspace(0.56 * np.pi, 1.44 * np.pi, 21), 1.03)
    x = np.linspace(-0.93, 0.93, 15) * person.width
    upper_edge = 0.52 + 0.1 * np.cos(np.pi * x / 0.7) - 0.62 * (np.abs(x) / 0.93) ** 6
    inner = xy(x, upper_edge - 0.03 * au[12] * np.abs(x))
    return {"beard": _jaw_drop(np.concatenate([outer, inner]), au)}


def _brows(person: Person, au: Units) -> dict[str, Points]:
    u = np.linspace(0.0, 1.0, 7)  # from the nose outwards
    x = 0.15 + 0.56 * u - (0.06 * au[4] + 0.03 * au[9]) * (1 - u)
    y = person.brow_height - person.brow_arch * np.sin(np.pi * u**1.3)
    y = y + 2 * person.brow_slant * (0.5 - u)
    y = y - 0.2 * au[1] * (1 - u) ** 1.3 - 0.19 * au[2] * np.sin(np.pi * np.clip(u, 0, 0.8) / 1.6)
    y = y + au[4] * (0.19 * (1 - u) ** 1.2 + 0.03) + au[9] * 0.09 * (1 - u) - 0.02 * au[5]
    thick = person.brow_thickness * (0.85 + 0.5 * u - 1.2 * u**3) * (1 + 0.12 * au[4])
    return _pair("brow", _between(x, y - thick / 2, y + thick / 2))


def _eyes(person: Person, au: Units) -> dict[str, Points]:
    t = np.linspace(-1.0, 1.0, 11)  # from the nose outwards
    bow = (1 - t**2) ** 0.75
    centre_y = -0.1 - person.eye_tilt * t
    narrow = 0.36 * au[6] + 0.42 * au[7] + 0.34 * au[9] + 0.12 * au[4] + 1.0 * au[45]
    above = person.eye_height * (1.25 + 0.85 * au[5] - 1.1 * narrow + 0.1 * au[26])
    below = person.eye_height * (0.8 + 0.2 * au[5] - 0.75 * narrow)
    sadden = 0.035 * (au[1] - 0.4 * au[2]) * -t  # the upper lid follows the inner brow
    upper = centre_y - above * bow - sadden * bow
    lower = centre_y + below * bow
    x = person.eye_spacing + person.eye_width * t
    # The skin above and below the opening, painted over what of the iris is too much.
    skin_above = _between(x, upper - 0.02 - 0.13 * bow, upper)
    skin_below = _between(x, lower, lower + 0.01 + 0.1 * bow)
    return {
        **_pair("socket", _ellipse(person.eye_spacing, -0.13, person.eye_width * 1.3, 0.2, 16)),
        **_pair("eye_white", _between(x, upper, lower)),
        **_pair("iris", _ellipse(person.eye_spacing, -0.115, 0.118, 0.118, 14)),
        **_pair("pupil", _ellipse(person.eye_spacing, -0.115, 0.06, 0.06, 10)),
        "shine_l": _ellipse(-person.eye_spacing + 0.045, -0.16, 0.03, 0.03, 6),
        "shine_r": _ellipse(person.eye_spacing + 0.045, -0.16, 0.03, 0.03, 6),
        **_pair("lid_upper", skin_above),
        **_pair("lid_lower", skin_below),
        **_pair("lid_crease", xy(x, upper - 0.05 - 0.02 * bow + 0.02 * au[5])[1:-1]),
        **_pair("lash", xy(x, upper)),
        **_pair("lid_line", xy(x, lower)[2:-1]),
    }


def _nose(person: Person, au: Units) -> dict[str, Points]:
    wide = person.nose_width * (1 + 0.14 * au[9] + 0.06 * au[12])
    tip = person.nose_length - 0.05 * au[9]
    wing = tip - 0.06 * au[9]
    return {
        "nose_side": np.array([[0.05, -0.12], [wide, wing - 0.04], [wide * 0.5, tip], [0.03, tip]]),
        "nose_base": np.array(
            [[-wide, wing - 0.07], [-wide, wing + 0.03], [-wide * 0.5, tip + 0.04], [0, tip + 0.07],
             [wide * 0.5, tip + 0.04], [wide, wing + 0.03], [wide, wing - 0.07]]
        ),
        "nose_tip": _ellipse(0.0, tip - 0.05, wide * 0.5, 0.08, 12),
        **_pair("nostril", _ellipse(wide * 0.5, tip + 0.03, 0.05, 0.03, 8)),
    }  # fmt: skip


def _mouth(person: Person, au: Units) -> dict[str, Points]:
    t = np.linspace(-1.0, 1.0, 15)
    bow = (1 - t**2) ** 0.8
    width = person.mouth_width
    width += 0.12 * au[12] + 0.1 * au[20] - 0.07 * au[23] - 0.09 * au[26] - 0.03 * au[17]
    bend = person.mouth_bend - 0.22 * au[12] + 0.2 * au[15] + 0.05 * au[20] + 0.04 * au[17]
    middle = 0.76 + 0.05 * au[12] - 0.05 * au[17] - 0.04 * au[9] - 0.05 * au[15]
    seam = middle + bend * np.abs(t) ** 1.7
    upper_in = seam - bow * (0.02 * au[25] + 0.04 * au[9] + 0.05 * au[26])
    gap = 0.13 * au[25] + 0.36 * au[26] + 0.01 * au[9]
    lower_in = seam + bow * gap
    cupid = 1 - 0.3 * np.exp(-((t / 0.16) ** 2))
    thin = 1 - 0.7 * au[23] - 0.2 * au[12] - 0.2 * au[20] + 0.12 * au[17] - 0.15 * au[9]
    lip = person.lip_thickness * thin
    upper_out = (
        upper_in - bow * cupid * (lip * 0.85 + 0.02) - 0.05 * au[9] * np.exp(-((t / 0.6) ** 2))
    )
    lower_out = lower_in + bow * (lip * 1.25 + 0.02)
    teeth = upper_in + bow * (0.11 * au[25] + 0.07 * au[26] + 0.03 * au[20])
    tongue = lower_in - bow * 0.13 * au[26] * np.exp(-((t / 0.7) ** 2))
    x = width * t
    return {
        "mouth_inner": _between(x, upper_in, lower_in),
        "teeth": _between(x[2:-2], upper_in[2:-2], teeth[2:-2]),
        "tongue": _between(x, tongue, lower_in),
        "lip_upper": _between(x, upper_out, upper_in),
        "lip_lower": _between(x, lower_in, lower_out),
        "seam": xy(x, upper_in),
        "lip_shadow": xy(x * 0.6, lower_out + 0.07)[3:-3],
    }


def _wrinkles(person: Person, au: Units) -> dict[str, Points]:
    """Lines that show only as far as the muscles below them act."""
    x = np.linspace(-0.5, 0.5, 9)
    raised = 0.05 * (au[1] + au[2])
    forehead = [xy(x, y - raised + 0.1 * x**2) for y in (-0.74, -0.64)]
    wing, corner = person.nose_width + 0.05, person.mouth_width + 0.1 + 0.1 * au[12]
    fold = np.array(
        [[wing, person.nose_length - 0.06 - 0.05 * au[9]], [0.5 * (wing + corner) + 0.06, 0.52],
         [corner, 0.72 - 0.08 * au[12]]]
    )  # fmt: skip
    feet = np.array(
        [[0.7, -0.1], [0.84, -0.17], [0.7, -0.1], [0.86, -0.07], [0.7, -0.1], [0.82, 0.02]]
    )
    bridge = np.array(
        [[-0.09, -0.12], [0.0, -0.09], [0.09, -0.12], [0.11, -0.01], [0, 0.03], [-0.11, -0.01]]
    )
    dimple = np.array([[-0.14, 1.02], [-0.05, 0.98], [0.05, 1.0], [0.14, 1.03]])
    return {
        "forehead_1": forehead[0],
        "forehead_2": forehead[1],
        **_pair("frown", np.array([[0.07, -0.48], [0.06, -0.3]])),
        "nose_wrinkle": bridge,
        **_pair("fold", fold),
        **_pair("crow", feet),
        "chin_boss": dimple,
    }


def _pair(name: str, right: Points) -> dict[str, Points]:
    """A shape on the right side of the image, and its mirror image on the left."""
    return {f"{name}_l": right * np.array([-1.0, 1.0]), f"{name}_r": right}


def _ellipse(x: float, y: float, width: float, height: float, num: int) -> Points:
    sin, cos = _circle(num)
    return xy(x + width * sin, y - height * cos)


@lru_cache(maxsize=32)
def _circle(num: int) -> tuple[Points, Points]:
    angles = np.linspace(0, 2 * np.pi, num, endpoint=False)
    return np.sin(angles), np.cos(angles)


def _between(x: Points, upper: Points, lower: Points) -> Points:
    return np.concatenate([xy(x, upper), xy(x, lower)[::-1]])


def xy(x: Points, y: Points) -> Points:
    """Pairs up coordinates: (N,), (N,) -> (N, 2). Several times as fast as np.stack."""
    points = np.empty((len(x), 2))
    points[:, 0], points[:, 1] = x, y
    return points
