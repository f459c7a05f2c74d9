"""Who is drawn: the lasting looks of a made-up subject. PURE."""

from dataclasses import dataclass

import numpy as np

Colour = tuple[int, int, int]

SKINS = (
    (255, 226, 204), (247, 208, 178), (236, 188, 152), (224, 172, 128),
    (203, 146, 102), (172, 118, 80), (136, 90, 62), (104, 68, 48),
)  # fmt: skip
HAIRS = (
    (32, 26, 26), (58, 40, 32), (92, 62, 42), (128, 88, 56),
    (206, 170, 112), (160, 84, 46), (168, 166, 164), (44, 34, 44),
)  # fmt: skip
IRISES = ((70, 44, 30), (96, 66, 38), (72, 108, 72), (74, 116, 156), (92, 98, 104))
CLOTHES = (
    (70, 96, 132), (150, 76, 72), (86, 122, 92), (58, 60, 70), (196, 178, 150), (122, 96, 136),
)  # fmt: skip
HAIR_STYLES = ("short", "parted", "fringe", "long", "curly", "bald")


@dataclass(frozen=True)
class Person:
    """What stays the same in all videos of one subject."""

    skin: Colour
    hair: Colour
    iris: Colour
    clothes: Colour
    hair_style: str
    glasses: bool
    beard: bool
    width: float
    jaw: float
    chin: float
    eye_spacing: float
    eye_width: float
    eye_height: float
    eye_tilt: float
    brow_height: float
    brow_slant: float
    brow_arch: float
    brow_thickness: float
    nose_width: float
    nose_length: float
    mouth_width: float
    mouth_bend: float
    lip_thickness: float
    wrinkles: float


def draw_person(rng: np.random.Generator) -> Person:
    """Makes up a person. Some have brows or mouths that look angry or sad when at rest."""
    beard = rng.random() < 0.2
    styles = [style for style in HAIR_STYLES if not (beard and style == "long")]
    tone = int(rng.integers(len(SKINS)))
    # Fair and red hair go with the lighter half of the skins only, as mostly in life.
    hair = HAIRS[rng.integers(len(HAIRS) if tone < len(SKINS) // 2 else 3)]
    return Person(
        skin=_jittered(SKINS[tone], 3, rng),
        hair=_jittered(hair, 4, rng),
        iris=IRISES[rng.integers(len(IRISES))],
        clothes=_jittered(CLOTHES[rng.integers(len(CLOTHES))], 8, rng),
        hair_style=styles[rng.integers(len(styles))],
        glasses=bool(rng.random() < 0.22),
        beard=bool(beard),
        width=rng.uniform(0.9, 1.06),
        jaw=rng.uniform(0.58, 0.84),
        chin=rng.uniform(1.16, 1.34),
        eye_spacing=rng.uniform(0.38, 0.46),
        eye_width=rng.uniform(0.2, 0.25),
        eye_height=rng.uniform(0.085, 0.125),
        eye_tilt=rng.normal(0.0, 0.02),
        brow_height=rng.normal(-0.42, 0.035),
        brow_slant=float(np.clip(rng.normal(0.0, 0.05), -0.1, 0.1)),
        brow_arch=rng.uniform(0.02, 0.09),
        brow_thickness=rng.uniform(0.045, 0.105),
        nose_width=rng.uniform(0.15, 0.24),
        nose_length=rng.uniform(0.34, 0.46),
        mouth_width=rng.uniform(0.3, 0.4),
        mouth_bend=float(np.clip(rng.normal(0.0, 0.045), -0.09, 0.09)),
        lip_thickness=rng.uniform(0.05, 0.11),
        wrinkles=rng.uniform(0.35, 1.0),
    )


def _jittered(colour: Colour, spread: float, rng: np.random.Generator) -> Colour:
    """Lighter or darker as a whole, and a little off in hue."""
    change = rng.normal(0, 2 * spread) + rng.normal(0, spread, 3)
    r, g, b = np.clip(np.array(colour) + change, 0, 255).astype(int).tolist()
    return r, g, b
