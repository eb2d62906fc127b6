"""``models.html`` in a real browser, opened as a file, the way people open it on a network drive."""

from __future__ import annotations

import http.server
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from browser import PROGRAM, Browser

from daemon.core.catalogue import catalogue_of
from daemon.core.models_page import page

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="needs chromium (apt-get install chromium)")

PICTURE = b"<svg xmlns='http://www.w3.org/2000/svg' width='3' height='4'><rect width='3' height='4'/></svg>"
ATTACK = "</script><img src=x onerror=\"document.title='hit'\"><script>document.title='hit'</script>"
CHANGE_LANGUAGE = "document.getElementById('language').click()"
NO_CLIPBOARD = "Object.defineProperty(navigator, 'clipboard', {value: undefined}); document.execCommand = () => false;"


class _Pictures(http.server.BaseHTTPRequestHandler):
    """A picture below /there, nothing elsewhere; it remembers who referred to it."""

    referrers: list[str | None]

    def do_GET(self) -> None:
        """Serve one picture."""
        self.referrers.append(self.headers.get("Referer"))
        is_there = self.path.startswith("/there")
        self.send_response(200 if is_there else 404)
        self.send_header("Content-Type", "image/svg+xml")
        self.send_header("Content-Length", str(len(PICTURE) if is_there else 0))
        self.end_headers()
        self.wfile.write(PICTURE if is_there else b"")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def pictures() -> Iterator[tuple[str, list[str | None]]]:
    """Where pictures are, and the referrers that were told."""
    referrers: list[str | None] = []
    kind = type("Pictures", (_Pictures,), {"referrers": referrers})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), kind) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", referrers
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def address(tmp_path: Path) -> str:
    """A page on disk."""
    return written(tmp_path, "http://127.0.0.1:9")


def written(folder: Path, origin: str) -> str:
    """A page of three models, as a file; its address."""
    models = [
        {
            "id": "M1",
            "label": {"en": "Jonadan", "ko": "조나단"},
            "thumbnail": f"{origin}/there/1",
            "clothes": [
                {"id": "C1", "label": {"en": "Navy suit", "ko": "남색 정장"}, "thumbnail": f"{origin}/gone/1"},
                {"id": "0012", "label": {"en": "Hanbok", "ko": "한복"}},
            ],
        },
        {"id": "null", "label": {"en": "Sara"}, "clothes": ["a: b"]},
        {
            "id": ATTACK,
            "label": {"en": ATTACK, "ko": ATTACK},
            "thumbnail": f"{origin}/there/<img>",
            "clothes": [ATTACK],
        },
    ]
    path = folder / "models.html"
    path.write_text(page(catalogue_of(models), read_at=1_763_883_600.0, base=ATTACK), "utf-8")
    return path.as_uri()


def is_remembered(browser: Browser, address: str, words: str) -> bool:
    """Whether the page opens in the language that was chosen.

    Chosen again where it does not: a busy Chromium now and then gives a page a storage that is cut off, which the page
    cannot know, and when it has written down what it was given nothing tells.
    """
    for _ in range(10):
        browser.open(address)
        if words in browser.text():
            return True
        browser.run(CHANGE_LANGUAGE)
    return False


def test_an_attack_stays_text_and_the_console_has_nothing_to_say(tmp_path: Path, address: str) -> None:
    """Neither a script nor an element comes of what the list says, and the page's policy lets its own parts through."""
    with Browser(tmp_path / "profile") as browser:
        browser.open(address)
        assert browser.run("document.documentElement.className") == "scripted"
        assert browser.run("getComputedStyle(document.querySelector('article')).display") == "grid"
        assert browser.run("[document.scripts.length, document.querySelectorAll('article').length]") == [1, 3]
        assert browser.run("document.title") == "Models and clothes"
        assert ATTACK in browser.text()
        assert browser.errors() == []


def test_a_script_that_was_smuggled_in_does_not_run(tmp_path: Path, address: str) -> None:
    """The policy is there also for the day on which something is not escaped; the browser complains of it."""
    path = tmp_path / "models.html"
    path.write_text(path.read_text("utf-8").replace("<main>", "<main><script>document.title='hit'</script>"), "utf-8")
    with Browser(tmp_path / "profile") as browser:
        browser.open(address)
        assert browser.run("document.title") == "Models and clothes"
        assert "Content Security Policy" in str(browser.errors())


@pytest.mark.parametrize(("language", "expected"), [("en-GB", "en"), ("ko-KR", "ko"), ("fr-FR", "en")])
def test_it_speaks_the_readers_language(tmp_path: Path, address: str, language: str, expected: str) -> None:
    """English or Korean, and the other one by a button; the moment is told the local way."""
    words = {"en": "3 models and 4 clothes", "ko": "모델 3명, 의상 4벌"}
    other = {"en": "ko", "ko": "en"}[expected]
    with Browser(tmp_path / "profile", language=language) as browser:
        browser.open(address)
        assert words[expected] in browser.text()
        assert words[other] not in browser.text()
        assert "(UTC)" not in browser.text()
        browser.run(CHANGE_LANGUAGE)
        assert words[other] in browser.text()
        assert words[expected] not in browser.text()
        assert is_remembered(browser, address, words[other])


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("jonadan", ["M1", "C1", "0012"]),
        ("조나", ["M1", "C1", "0012"]),
        ("hanbok", ["M1", "0012"]),
        ("JONADAN  suit", ["M1", "C1"]),
        ("0012", ["M1", "0012"]),
        ("sara", ["null", "a: b"]),
        ("nobody", []),
    ],
)
def test_the_search_finds_by_name_and_id(tmp_path: Path, address: str, query: str, expected: list[str]) -> None:
    """In both languages; a model that is found has all its clothes, clothes that are found have their model."""
    with Browser(tmp_path / "profile") as browser:
        browser.open(address)
        browser.run(
            "(query => { const field = document.querySelector('input'); field.value = query;"
            f"field.dispatchEvent(new Event('input')); }})({query!r})"
        )
        assert browser.texts("main code") == expected
        assert ("Nothing is found" in browser.text()) == (not expected)
        assert browser.text("nav output") == f"{1 if expected else 0} / 3"


@pytest.mark.parametrize(
    ("button", "lines"),
    [
        ("article header button", "model: M1\n"),
        ("article li + li button", "model: M1\nclothes: 0012\n"),
        ("article + article li button", 'model: "null"\nclothes: "a: b"\n'),
    ],
)
def test_a_button_copies_the_lines_for_a_job_file(tmp_path: Path, address: str, button: str, lines: str) -> None:
    """As YAML that says exactly these ids."""
    with Browser(tmp_path / "profile") as browser:
        browser.call("Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])
        browser.open(address)
        browser.run(f"document.querySelector('{button}').click()")
        browser.wait_for("document.querySelector('.copied')")
        assert browser.run("navigator.clipboard.readText()") == lines
        assert "Copied" in browser.text()
        assert browser.errors() == []


def test_without_a_clipboard_the_lines_are_selected(tmp_path: Path, address: str) -> None:
    """Some browsers give a file none: then one key does it."""
    with Browser(tmp_path / "profile", before=NO_CLIPBOARD) as browser:
        browser.open(address)
        browser.run("document.querySelector('article li button').click()")
        browser.wait_for("getSelection().toString()")
        assert browser.run("getSelection().toString()") == "model: M1\nclothes: C1"
        assert "Selected; copy it with Ctrl+C" in browser.text()
        assert "Copied;" not in browser.text()


def test_without_scripts_everything_is_readable(tmp_path: Path, address: str) -> None:
    """In English, with the ids as text, and no button that does nothing."""
    with Browser(tmp_path / "profile", language="ko-KR", is_scripted=False) as browser:
        browser.open(address)
        text = browser.text()
        for words in ("3 models and 4 clothes", "2025-11-23 07:40 (UTC)", "Jonadan", "조나단", "M1", "0012"):
            assert words in text
        assert browser.run("[...document.querySelectorAll('button, input')].filter(e => e.offsetParent).length") == 0


def test_a_picture_that_does_not_load_leaves_the_drawn_one(tmp_path: Path) -> None:
    """And the server of one that does is not told from where it was asked."""
    with pictures() as (origin, referrers), Browser(tmp_path / "profile") as browser:
        browser.open(written(tmp_path, origin))
        browser.wait_for("document.images[0].naturalWidth === 3 && document.images[1].hidden")
        drawn = "getComputedStyle(document.querySelector('li .picture')).backgroundImage"
        assert str(browser.run(drawn)).startswith('url("data:image/svg+xml')
    assert set(referrers) == {None}


@pytest.mark.parametrize("is_dark", [False, True])
@pytest.mark.parametrize("width", [320, 390, 1280])
def test_it_fits_phones_and_desks_by_day_and_night(tmp_path: Path, address: str, width: int, *, is_dark: bool) -> None:
    """Nothing sticks out to the side, and the page is as bright as its reader likes."""
    with Browser(tmp_path / "profile", width=width, is_dark=is_dark) as browser:
        browser.open(address)
        assert browser.run("document.documentElement.scrollWidth") == width
        colour = str(browser.run("getComputedStyle(document.body).backgroundColor"))
        brightness = int(colour.removeprefix("rgb(").partition(",")[0])
        assert (brightness < 64) == is_dark
