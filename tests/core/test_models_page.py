"""``models.html`` as text; what a browser makes of it is tried in tests/process/test_models_page_in_browser.py."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.core.batch import parse_batch
from daemon.core.catalogue import Catalogue, Clothes, Model, catalogue_of
from daemon.core.models_page import page

READ_AT = 1_763_883_600.0
BASE = "https://app.aistudios.com/api/odin/v3"
LIST = catalogue_of(
    [
        {
            "id": "M000045058",
            "label": {"ko": "조나단", "en": "Jonadan"},
            "thumbnail": "https://cdn.example.com/j.png?a=1&b=2",
            "clothes": [{"id": "BG00002320", "label": "Navy suit", "thumbnail": "http://cdn.example.com/c.png"}, "1"],
        },
        {"id": "ysy", "label": {"ja": "サラ"}},
    ]
)
HOSTILE = (
    "</script><img src=x onerror=alert(1)>",
    "</style><script>alert(1)</script>",
    '" onclick="alert(1)" x=\'',
    "--><b>&lt;&amp;</b><!--",
    "&#60;script&#62;",
    "\u202elmth.x",
)


class Read(HTMLParser):
    """A page's elements, and its texts outside of style and script."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._inside = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An element begins."""
        self.elements.append((tag, dict(attrs)))
        self._inside = tag

    def handle_data(self, data: str) -> None:
        """Text, with its entities resolved."""
        if self._inside not in {"style", "script"}:
            self.texts.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of every such element."""
        return [attributes for name, attributes in self.elements if name == tag]


def shown(catalogue: Catalogue) -> Read:
    """The page of a catalogue, read."""
    return Read(page(catalogue, read_at=READ_AT, base=BASE))


def test_every_model_is_there_with_names_id_and_clothes() -> None:
    """In both languages where the list has both, else in the one it has."""
    texts = shown(LIST).texts
    for text in ("Jonadan", "조나단", "M000045058", "Navy suit", "BG00002320", "1", "サラ", "ysy"):
        assert text in texts


def test_it_says_how_many_how_old_and_where_from() -> None:
    """In English and Korean; the moment in UTC, for the script to make local."""
    text = " ".join("".join(shown(LIST).texts).split())
    assert "2 models and 2 clothes, as of 2025-11-23 07:40 (UTC), from app.aistudios.com" in text
    assert "모델 2명, 의상 2벌" in text
    assert [time["datetime"] for time in shown(LIST).all("time")] == ["2025-11-23T07:40:00Z"] * 2
    one = Read(page(Catalogue((Model("M1"),)), read_at=READ_AT, base="/srv/models <1>.yaml"))
    assert "1 model and 0 clothes" in "".join(one.texts)
    assert "/srv/models <1>.yaml" in one.texts


def test_only_pictures_come_from_elsewhere() -> None:
    """Lazily, and nobody is told where they are looked at."""
    found = shown(LIST)
    assert [image["src"] for image in found.all("img")] == [
        "https://cdn.example.com/j.png?a=1&b=2", "http://cdn.example.com/c.png",
    ]  # fmt: skip
    for image in found.all("img"):
        assert (image["loading"], image["referrerpolicy"], image["alt"]) == ("lazy", "no-referrer", "")
    assert not [element for element in found.elements if element[0] in {"link", "iframe", "object", "base", "form"}]
    assert [attributes.get("src") for attributes in found.all("script")] == [None]


def test_its_policy_allows_its_own_style_and_script_and_nothing_else() -> None:
    """By their hashes (CSP3): a script that somebody smuggles in does not run."""
    text = page(LIST, read_at=READ_AT, base=BASE)
    [policy] = [meta["content"] for meta in Read(text).all("meta") if "http-equiv" in meta]
    rules = dict(rule.strip().split(" ", 1) for rule in str(policy).split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "http: https: data:"
    for name, tag in (("style-src", "style"), ("script-src", "script")):
        [inline] = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()
        assert rules[name] == f"'sha256-{digest}'"
    attributes = {name for _, found in Read(text).elements for name in found}
    assert "style" not in attributes
    assert not {name for name in attributes if name.startswith("on")}


def test_it_says_early_who_made_it_and_in_which_letters() -> None:
    """A program that meets the file may replace it only if it is ours."""
    head = page(LIST, read_at=READ_AT, base=BASE)[:200]
    assert '<meta charset="utf-8">' in head
    assert '<meta name="generator" content="chromadrop">' in head


@pytest.mark.parametrize("hostile", HOSTILE)
def test_whatever_the_list_says_stays_text(hostile: str) -> None:
    """Label, id, address, and where it is from: no element and no attribute comes of it."""
    thing = Clothes(hostile, {"en": hostile, "ko": f"ko{hostile}"}, f"https://a/{hostile}")
    model = Model(hostile, thing.labels, thing.thumbnail, (thing,))
    found = Read(page(Catalogue((model,)), read_at=READ_AT, base=hostile))
    tame = Clothes("x", {"en": "x", "ko": "kox"}, "https://a/x")
    like = Read(page(Catalogue((Model("x", tame.labels, tame.thumbnail, (tame,)),)), read_at=READ_AT, base="x"))
    assert [(tag, [*attributes]) for tag, attributes in found.elements] == [
        (tag, [*attributes]) for tag, attributes in like.elements
    ]
    assert found.texts.count(hostile) == like.texts.count("x")
    assert [image["src"] for image in found.all("img")] == [f"https://a/{hostile}"] * 2


ORDINARY = [
    "M000004017",
    "0012",
    "no",
    "null",
    "~",
    "1e3",
    "a b",
    "a: b",
    "a #b",
    "- a",
    "*a",
    "'",
    '"',
    "a\\b",
    "조나단",
]
LETTERS = st.characters(codec="utf-8", exclude_categories=["C"])
IDS = st.sampled_from(ORDINARY) | st.text(LETTERS, min_size=1, max_size=50).filter(str.strip)


@given(IDS, IDS)
def test_the_lines_that_are_copied_ask_for_that_model_and_those_clothes(model: str, clothes: str) -> None:
    """Whatever the ids are: a job file with these lines reads them back."""
    read = shown(catalogue_of([{"id": model, "clothes": [clothes]}]))
    [first], [second] = read.all("article"), read.all("li")
    text = f"language: ko\ntext: x\n{first['data-lines']}\n{second['data-lines']}\n"
    [request] = parse_batch(text.encode()).requests
    assert (request.body["model"], request.body["clothes"]) == (model, clothes)
