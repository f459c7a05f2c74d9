"""Production sets of drawn faces whose shift is known, seen by a classifier that was really fitted.

PURE. The domains of `datasets/synthetic.py` change the people alone, and besides them the mix of
classes, the look of the images (dark, blurred), or both. The classifier is the cheapest that
learns something: principal components of the grey images and logistic regression. About four of
ten frames right, so that the analysis works with outputs as poor as they come.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression

from datasets import EMOTIONS, synthetic
from orchestrator.shift.outputs import Floats, Ints, Names, Outputs

CASES: Final[Mapping[str, str]] = {
    "no_shift": "no shift found",
    "label_shift": "label shift",
    "covariate_shift": "covariate shift",
    "production": "both",
}
"""Each domain, and what is to be found with its labels."""
SIDE_PX: Final = 32
COMPONENTS: Final = 60
VIDEOS: Final = 10
FRAMES: Final = 2


def drawn_cases(train_subjects: int, subjects: int) -> tuple[Outputs, dict[str, Outputs]]:
    """A labelled validation set of the study, and a production set of each case.

    Args:
        train_subjects: people that the classifier is fitted on.
        subjects: people of the validation set, and of each production set.
    """
    seen, labels, _ = _drawn("study", range(train_subjects))
    components = PCA(COMPONENTS, whiten=True, random_state=0).fit(seen)
    classifier = LogisticRegression(C=0.05, max_iter=500).fit(components.transform(seen), labels)

    def outputs(domain: str, people: range) -> Outputs:
        images, true, groups = _drawn(domain, people)
        features = components.transform(images)
        return Outputs(classifier.predict_proba(features), features, true, groups)

    reference = outputs("study", range(train_subjects, train_subjects + subjects))
    return reference, {domain: outputs(domain, range(subjects)) for domain in CASES}


def _drawn(domain: str, people: range) -> tuple[Floats, Ints, Names]:
    """Grey images as rows of pixels, their classes, their subjects."""
    options = synthetic.Options(
        size_px=SIDE_PX,
        subjects=people.stop,
        videos_per_subject=VIDEOS,
        frames_per_video=FRAMES,
        domain=domain,
    )
    each = VIDEOS * FRAMES
    faces = list(synthetic.faces(Path(), options))[people.start * each :]
    images = np.stack(list(synthetic.read(Path(), faces, options))).astype(np.float64)
    labels = np.array([EMOTIONS.index(face.label) for face in faces])
    return images.mean(axis=3).reshape(len(faces), -1), labels, np.array([f.group for f in faces])
