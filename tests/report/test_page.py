import json
import re
from html.parser import HTMLParser

import pytest
from helpers.drawn_comparison import comparison, gallery

from ovseg.report.comparison import Note
from ovseg.report.page import page, script_json

HOSTILE = (
    "</script><script>alert(1)</script>",
    "<!--<script>",
    '"><img src=x onerror=alert(1)>',
    "it's & {{ 7 * 7 }}",
)
VOID = {"meta", "img", "input", "br", "link"}


class Reader(HTMLParser):
    """Refuses tags that are not closed in order; keeps tags, attributes and text by element."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.texts = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if data.strip():
            self.texts.append((self.open[-1] if self.open else "", data.strip()))

    def of(self, tag, key=None):
        return [attributes for name, attributes in self.tags if name == tag and key in (None, *attributes)]


def data_of(text):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)[1])


@pytest.fixture(scope="module")
def plain():
    return page(comparison(notes=[Note("a", "other words")]), gallery(), 1)


def test_the_page_is_well_formed_and_shows_the_numbers(plain):
    reader = Reader(plain)
    texts = [text for _, text in reader.texts]
    for text in (
        "drawn (val)",
        "70.2",
        "(71.0)",
        "[68.2, 72.2]",
        "−10.5",
        "[−12.0, −9.0]",
        "75.0",
        "other words",
    ):
        assert text in texts
    assert [text for tag, text in reader.texts if tag == "h3"] == ["By what was seen in training", "a", "b"]
    assert sum("best" in attributes.get("class", "") for attributes in reader.of("span")) == 1
    assert sum("down" in attributes.get("class", "") for attributes in reader.of("span")) == 1
    assert len(reader.of("img")) == 2 * 4
    assert [label["data-label"] for label in reader.of("td", "data-label")][:2] == ["PQ", "AP"]


def test_the_page_needs_nothing_else(plain):
    reader = Reader(plain)
    for tag, attributes in reader.tags:
        assert tag not in ("link", "iframe", "object", "base")
        assert "href" not in attributes
        assert attributes.get("src", "data:image/jpeg;base64,").startswith("data:image/jpeg;base64,")
        assert not [key for key in attributes if key.startswith("on")]
    assert not re.search(r"https?://|@import|url\(|fetch\(|XMLHttp|import\(", plain)
    policy = next(attributes for attributes in reader.of("meta", "http-equiv"))
    assert policy["content"].startswith("default-src 'none'; img-src data:;")


def test_what_comes_from_data_stays_text():
    names = HOSTILE[:2]
    text = page(
        comparison(names=names, classes=HOSTILE, notes=[Note("a", HOSTILE[2])]),
        gallery(names=names, keys=HOSTILE, remarks=HOSTILE),
        1,
    )
    reader = Reader(text)
    assert len(reader.of("script")) == 2
    assert len(reader.of("img")) == 4 * len(HOSTILE)
    assert not [1 for _, attributes in reader.tags if "onerror" in attributes]
    data = data_of(text)
    assert [entry["name"] for entry in data["classes"]] == list(HOSTILE)
    assert data["methods"] == list(names)
    assert [text for tag, text in reader.texts if tag == "h3"][1:] == list(HOSTILE)
    assert "{{ 7 * 7 }}" in text


def test_json_in_a_script_cannot_end_it():
    text = script_json({"<!--": "</script>&"})
    assert not set("<>&") & set(text)
    assert json.loads(text) == {"<!--": "</script>&"}


def test_what_the_script_is_given(plain):
    data = data_of(plain)
    assert data["per_class"] == {"PQ": [[0.0, None], [10.0, None]]}
    assert data["classes"][1] == {"name": "dog", "is_thing": False, "is_seen": False}
    assert data["shown"] == ["first", "second"]
    assert data["shots"][0]["panels"] == [[0, 24], [0, 24], [1, 24]]
    assert data["shots"][0]["scores"] == [{"PQ": 12.5}, {"PQ": 12.5}]
    assert data["shots"][0]["map"] == [4, 6]


@pytest.mark.parametrize(("count", "columns"), [(1, 3), (2, 4), (3, 5), (4, 3), (5, 4), (6, 4), (12, 5)])
def test_many_methods_stand_in_rows(count, columns):
    names = [f"method {number}" for number in range(count)]
    text = page(comparison(names=names), gallery(names=names), 1)
    assert f'class="columns-{columns}"' in text
    Reader(text)


def test_without_pictures_the_page_says_why():
    compared = comparison()
    text = page(compared, gallery(keys=(), remarks=["No run has kept predictions."]), 1)
    assert "No run has kept predictions." in text
    assert 'id="shots"' not in text
    assert "No pictures were asked for" in page(compared, gallery(keys=()), 1)


def test_digits():
    assert ">70.250<" in page(comparison(), gallery(), 3)


def test_different_machines_are_not_said_to_be_one():
    assert "Measured on" not in page(comparison(same_machine=False), gallery(), 1)
