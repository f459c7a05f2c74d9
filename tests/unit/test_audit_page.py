"""The audit's page: what it says, that it stands alone, and that hostile text stays text."""

import base64
import io
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from orchestrator.ingest.audit import Audit, ClassBalance, Leak
from orchestrator.results.audit_page import AuditPage, audit_page
from orchestrator.results.audit_pictures import Sample, Twins
from orchestrator.results.html_page import png_of

HOSTILE = (
    '</title><script>alert(1)</script>"><img src=x onerror=alert(1)>&amp;\x1b[31m\u202e\udcff\n'
)
VOID = {"meta", "img", "br"}
rng = np.random.default_rng(0)


def image(height=6, width=5):
    return rng.integers(0, 256, (height, width, 3), np.uint8)


def leak(held_out=100, exact=0, near=0, group=0):
    return Leak(
        duplicate_groups_across=exact,
        near_groups_across=near,
        groups_across=group,
        held_out_rows=held_out,
        held_out_duplicates=exact,
        held_out_near=near,
        held_out_same_group=group,
    )


def sample(label="fear", source="a.png", split="train"):
    return Sample(image=image(), source=source, label=label, splits={"random": split})


def content(word="plain", leaks=None, pairs=None, conflicts=0):
    classes = ["fear", word]
    return AuditPage(
        name=word,
        source=word,
        fingerprint="f" * 64,
        image_shape=(6, 5, 3),
        rows={"listed": 12, "kept": 9, "bad": 2, "left_out": 1},
        classes=classes,
        counts={
            word: {
                "train": {"fear": 4, word: 1234},
                "validation": {"fear": 1, word: 1},
                "test": {"fear": 1, word: 0},
            }
        },
        audit=Audit(
            duplicate_groups=3,
            duplicate_rows=7,
            label_conflicts=conflicts,
            near_threshold=4,
            near_groups=5,
            near_rows=13,
            near_label_conflicts=2,
            near_groups_across_groups=1,
            groups=6,
            classes={
                "fear": ClassBalance(rows=6, groups=2, largest_group_rows=4),
                word: ClassBalance(rows=0, groups=0, largest_group_rows=0),
            },
            leaks={word: leak()} if leaks is None else leaks,
        ),
        pairs=(
            Twins(sample(word), sample("fear", source=word, split=word), exact=False, distance=2),
            Twins(sample(), sample(split="test"), exact=True, distance=0),
        )
        if pairs is None
        else pairs,
        distributions={word: png_of(image())},
        sheets={
            "fear": np.stack([image() for _ in range(15)]),
            word: np.empty((0, 6, 5, 3), np.uint8),
        },
    )


class Reader(HTMLParser):
    """Reads a page as a browser would, and fails where tags do not close in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.text = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text.append(data)

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


def text_of(page):
    return " ".join("".join(Reader(page).text).split())


def test_hostile_text_adds_no_tag_and_no_attribute():
    plain, hostile = Reader(audit_page(content())), Reader(audit_page(content(HOSTILE)))
    assert [tag for tag, _ in hostile.tags] == [tag for tag, _ in plain.tags]
    assert [set(attrs) for _, attrs in hostile.tags] == [set(attrs) for _, attrs in plain.tags]
    shown = "".join(hostile.text)
    assert "<script>alert(1)</script>" in shown  # as text
    assert not {"\x1b", "\u202e", "\udcff"} & set(shown)


def test_the_page_stands_alone_and_lets_nothing_run():
    text = audit_page(content(HOSTILE))
    page = Reader(text)
    assert all(attrs["src"].startswith("data:image/png;base64,") for attrs in page.all("img"))
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "link", "iframe", "object", "base"})
    assert not any(name.startswith("on") for _, attrs in page.tags for name in attrs)
    assert any("default-src 'none'" in attrs.get("content", "") for attrs in page.all("meta"))
    assert "url(" not in text.partition("</style>")[0]
    assert text.encode("utf-8")  # no lone surrogates, which no file could hold


def test_the_page_can_be_read_without_seeing_it():
    page = Reader(audit_page(content()))
    assert page.all("html") == [{"lang": "en"}]
    assert len(page.all("h1")) == len(page.all("title")) == len(page.all("main")) == 1
    assert all(attrs["alt"] for attrs in page.all("img"))
    assert all(attrs["scope"] in ("row", "col") for attrs in page.all("th"))
    assert len(page.all("caption")) == len(page.all("table"))


def test_light_and_dark_are_both_there():
    assert "prefers-color-scheme: dark" in audit_page(content())


def test_verdicts_say_in_words_what_leaks():
    leaks = {
        "random": leak(held_out=1000, exact=70, near=120, group=999),
        "photos": leak(held_out=1000, exact=70, near=70, group=70),
        "group": leak(),
        "tiny": leak(held_out=10_000, near=1),
        "empty": leak(held_out=0),
    }
    text = text_of(audit_page(content(leaks=leaks, conflicts=1)))
    assert (
        "Protocol random: of the 1,000 held-out images, 7.0 % have an exact copy in train; 12.0 % "
        "have a copy in train, exact or near; 99.9 % share their video or subject with train."
    ) in text
    assert (
        "Protocol photos: of the 1,000 held-out images, 7.0 % have an exact copy in train; 7.0 % have a copy in train, exact or near."
        in text
    )
    assert "Protocol group: no held-out image has a copy or its video in train." in text
    assert "Protocol tiny: of the 10,000 held-out images, less than 0.1 % have a copy" in text
    assert "Protocol empty: no image is held out" in text
    assert "Sets of identical images with several labels: 1." in text


def test_rows_and_shares_are_shown():
    text = text_of(audit_page(content()))
    assert "Rows listed 12 = kept 9 + unreadable 2 + left out 1" in text
    assert "4 (66.7 %)" in text  # of fear in one group
    assert "1,234" in text


def test_pairs_with_two_labels_are_shown_apart_from_the_others():
    before, _, after = audit_page(content()).partition("Examples of copies")
    conflicts = before.partition("Label conflicts")[2]
    assert "Near: 2 of 64 bits differ" in conflicts
    assert "The same pixels" in after
    assert "The same pixels" not in conflicts


def test_a_set_without_copies_says_so():
    text = text_of(audit_page(content(pairs=())))
    assert "No example of copies with two labels." in text
    assert "No example of copies with one label." in text


def pixels(attrs):
    data = base64.b64decode(attrs["src"].partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(data)))


def test_pictures_hold_the_very_pixels():
    shown = content()
    page = Reader(audit_page(shown))
    found = [pixels(attrs) for attrs in page.all("img")]
    expected = [side.image for pair in shown.pairs for side in (pair.first, pair.second)]
    for got, want in zip(found[:4], expected, strict=True):
        np.testing.assert_array_equal(got, want)
    sheet = found[-1]
    np.testing.assert_array_equal(sheet[:6, :5, :3], shown.sheets["fear"][0])
    np.testing.assert_array_equal(sheet[10:16, 9:14, :3], shown.sheets["fear"][13])
    assert (sheet[10:16, 27:, 3] == 0).all()  # 15 images leave the second row of 12 unfilled


@pytest.mark.parametrize("tag", ["pairs", "verdicts"])
def test_lists_are_lists(tag):
    assert any(attrs.get("class") == tag for attrs in Reader(audit_page(content())).all("ul"))
