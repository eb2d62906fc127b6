"""``status.html`` in a real browser, opened as a file, the way people open it on a network drive."""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from browser import PROGRAM, Browser
from page_views import ATTACK, attacked, busy, trouble

import daemon.simulator
from daemon.core.status_page import View, page

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="needs chromium (apt-get install chromium)")

NOW = 1_763_883_600.0
"""By the writer's clock."""
CLIP = Path(daemon.simulator.__file__).parent / "green.mp4"
STORAGES = ("localStorage", "sessionStorage")
NO_STORAGE = "".join(
    f"Object.defineProperty(window, '{name}', {{get: () => {{ throw new Error('not on this drive'); }}}});"
    for name in STORAGES
)
OLD = '{"at": 1, "y": 700, "language": "en", "query": "old", "ground": "sky"}'
CUT_OFF = "".join(
    f"Object.defineProperty(window, '{name}', {{value: {{getItem: () => {text!r}, setItem: () => {{}}}}}});"
    for name, text in zip(STORAGES, ("en", OLD), strict=True)
)
"""A busy Chromium gives a page such a storage now and then: what is read is old, what is written is lost."""


def written(folder: Path, view: View, *, videos: int = 4) -> str:
    """The page on disk with its first videos beside it; its address."""
    folder.mkdir(exist_ok=True)
    for made in view.done[:videos]:
        assert made.job.video is not None
        path = folder / made.job.video.path
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(CLIP, path)
    path, coming = folder / "status.html", folder / "status.coming"
    coming.write_text(page(view), "utf-8", "replace")
    coming.replace(path)
    return path.as_uri()


def clock(ahead: int = 0) -> str:
    """A reader's clock, ahead by so many seconds; a page's time passes when its test says so (``window.later``)."""
    return f"Date.now = () => {1000 * (NOW + ahead):.0f} + 1000 * (window.later || 0);"


def type_in(browser: Browser, query: str) -> None:
    """Search for something."""
    browser.run(
        "(query => { const field = document.getElementById('search'); field.value = query;"
        f"field.dispatchEvent(new Event('input')); }})({query!r})"
    )


def test_an_attack_stays_text_and_the_console_has_nothing_to_say(tmp_path: Path) -> None:
    """Whatever was written in jobs, names, models, errors; and the page's policy lets its own parts through."""
    with Browser(tmp_path / "profile", before=clock()) as browser:
        browser.open(written(tmp_path / "root", attacked(NOW), videos=0))
        assert browser.run("document.documentElement.className") == "scripted"
        assert browser.run("[document.scripts.length, document.images.length]") == [1, 0]
        assert browser.run("document.title") == "What is going on"
        assert browser.run("document.querySelectorAll('[onclick], [onerror], [onfocus], [style]').length") == 0
        assert ATTACK in browser.text()
        assert browser.errors() == []


def test_a_script_that_was_smuggled_in_does_not_run(tmp_path: Path) -> None:
    """The policy is there also for the day on which something is not escaped; the browser complains of it."""
    address = written(tmp_path / "root", View(NOW))
    path = tmp_path / "root/status.html"
    path.write_text(path.read_text("utf-8").replace("<main>", "<main><script>document.title='hit'</script>"), "utf-8")
    with Browser(tmp_path / "profile", before=clock()) as browser:
        browser.open(address)
        assert browser.run("document.title") == "What is going on"
        assert "Content Security Policy" in str(browser.errors())


@pytest.mark.parametrize(("language", "expected"), [("en-GB", "en"), ("ko-KR", "ko"), ("fr-FR", "en")])
def test_it_speaks_the_readers_language(tmp_path: Path, language: str, expected: str) -> None:
    """English or Korean, and the other one by a button, also after it has made itself new; moments the local way."""
    words = {"en": "Being made", "ko": "제작 중"}
    other = {"en": "ko", "ko": "en"}[expected]
    with Browser(tmp_path / "profile", before=clock(), language=language) as browser:
        browser.open(written(tmp_path / "root", busy(NOW)))
        assert words[expected] in browser.text()
        assert words[other] not in browser.text()
        assert "(UTC)" not in browser.text()
        browser.run("document.getElementById('language').click()")
        assert words[other] in browser.text()
        browser.go_on("location.reload()")
        assert words[other] in browser.text()
        assert words[expected] not in browser.text()


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["campaign", "late.yaml", "morning.yaml", "hello.mp4"]),
        ("CAMPAIGN", ["campaign"]),
        ("소개 (2)", ["(2).yaml"]),
        ("6562b0c3e4d1f00000000001", ["campaign"]),
        ("sale #2", ["sale #2 (50%).mp4"]),
        ("nobody", ["Nothing is found"]),
    ],
)
def test_the_search_finds_by_name_text_and_project(tmp_path: Path, query: str, expected: list[str]) -> None:
    """What does not fit is not shown."""
    everything = ("spring/campaign.yaml", "late.yaml", "morning.yaml", "hello.mp4", "Nothing is found")
    with Browser(tmp_path / "profile", before=clock()) as browser:
        browser.open(written(tmp_path / "root", busy(NOW)))
        type_in(browser, query)
        shown = browser.text("main")
        assert [words for words in expected if words not in shown] == []
        others = [name for name in everything if not any(word in name for word in expected)]
        assert [name for name in others if name in shown] == []


def test_a_video_plays_in_the_page(tmp_path: Path) -> None:
    """On its relative address, whatever its name; over checks when somebody wants to see it without the green."""
    with Browser(tmp_path / "profile", before=clock()) as browser:
        browser.open(written(tmp_path / "root", busy(NOW), videos=6))
        for n in range(6):
            browser.run(f"document.querySelectorAll('video')[{n}].scrollIntoView()")
            browser.wait_for(f"document.querySelectorAll('video')[{n}].readyState >= 1")
        assert browser.run("document.querySelectorAll('video')[2].videoWidth") > 0
        browser.run("document.querySelector('video').muted = true")
        browser.run("document.querySelector('video').play()")
        browser.wait_for("document.querySelector('video').currentTime > 0")
        filters = "getComputedStyle(document.querySelector('video')).filter"
        assert browser.run(filters) == "none"
        browser.run("document.querySelector('.grounds [value=checks]').click()")
        assert "#key" in str(browser.run(filters))
        assert browser.errors() == []


def test_two_hundred_videos_are_not_loaded(tmp_path: Path) -> None:
    """Only what is looked at, or near; one that was taken away says so."""
    loaded = "[...document.querySelectorAll('video')].filter(video => video.preload !== 'none').length"
    with Browser(tmp_path / "profile", before=clock()) as browser:
        browser.open(written(tmp_path / "root", busy(NOW, count=240), videos=1))
        assert browser.run("document.querySelectorAll('video').length") == 200
        browser.run("document.querySelectorAll('video')[1].scrollIntoView()")
        browser.wait_for("document.querySelector('.gone:not([hidden])')")
        assert "not there any more" in browser.text()
        assert 2 <= int(browser.run(loaded)) < 40


@pytest.mark.parametrize("ahead", [0, 45, -300])
def test_a_fresh_page_is_no_alarm(tmp_path: Path, ahead: int) -> None:
    """Nor is one for a reader whose clock is a little off."""
    with Browser(tmp_path / "profile", before=clock(ahead)) as browser:
        browser.open(written(tmp_path / "root", busy(NOW)))
        assert "No sign of life" not in browser.text()
        assert "chromadrop is at work" in browser.text()


def test_a_page_is_held_against_the_browsers_own_clock(tmp_path: Path) -> None:
    """Whose time is the real one."""
    with Browser(tmp_path / "profile") as browser:
        browser.open(written(tmp_path / "root", busy(time.time())))
        assert "No sign of life" not in browser.text()
        browser.open(written(tmp_path / "root", busy(time.time() - 3600)))
        assert "No sign of life for 1 h" in browser.text()


def test_an_old_page_says_so_in_big_words(tmp_path: Path) -> None:
    """For how long nothing is known; nothing else says that all is well."""
    with Browser(tmp_path / "profile", before=clock(400)) as browser:
        browser.open(written(tmp_path / "root", busy(NOW)))
        assert "No sign of life for 6 min 40 s" in browser.text()
        assert "chromadrop is at work" not in browser.text()
        size = "parseFloat(getComputedStyle(document.querySelector('#stale strong')).fontSize)"
        assert float(browser.run(size)) >= 22


def test_a_reader_whose_clock_is_wrong_is_not_alarmed_for_long(tmp_path: Path) -> None:
    """A page that has moved on between two looks was written by somebody who is alive; one that stays is old again."""
    root = tmp_path / "root"
    with Browser(tmp_path / "profile", before=clock(400)) as browser:
        browser.open(written(root, busy(NOW - 9)))
        assert "No sign of life" in browser.text()
        written(root, busy(NOW))
        browser.go_on("location.reload()")
        assert "No sign of life" not in browser.text()
        browser.go_on("location.reload()")
        assert "No sign of life" not in browser.text()


def test_a_daemon_that_has_ended_says_when(tmp_path: Path) -> None:
    """Its last page stays true, however old it gets."""
    with Browser(tmp_path / "profile", before=clock(4000)) as browser:
        browser.open(written(tmp_path / "root", replace(busy(NOW), is_ended=True)))
        assert "chromadrop was stopped at" in browser.text()
        assert "No sign of life" not in browser.text()
        assert "is at work" not in browser.text()


@pytest.mark.parametrize("storage", ["", NO_STORAGE, CUT_OFF])
def test_made_new_it_keeps_what_its_reader_is_at(tmp_path: Path, storage: str) -> None:
    """Language, search, an open fold, the background, the place, how far a video was seen; whatever the storage."""
    root = tmp_path / "root"
    with Browser(tmp_path / "profile", before=clock() + storage) as browser:
        browser.open(written(root, busy(NOW)))
        browser.run("document.getElementById('language').click()")
        browser.run("document.querySelector('summary').click()")
        browser.run("document.querySelector('.grounds [value=white]').click()")
        type_in(browser, "e")
        browser.run("document.querySelector('video').preload = 'metadata'")
        browser.wait_for("document.querySelector('video').readyState >= 1")
        browser.run("document.querySelector('video').currentTime = 0.5")
        browser.run("document.getElementById('search').focus()")
        written(root, busy(NOW))
        browser.go_on("scrollTo(0, 150); document.getElementById('refresh').click()")
        assert browser.run("document.documentElement.lang") == "ko"
        assert browser.run("document.getElementById('search').value") == "e"
        assert browser.run("document.activeElement.id") == "search"
        assert browser.run("document.querySelector('details').open") is True
        assert browser.run("document.documentElement.dataset.ground") == "white"
        assert browser.run("document.querySelector('.grounds :checked').value") == "white"
        assert browser.run("scrollY") == 150
        browser.wait_for("document.querySelector('video').currentTime === 0.5")
        assert browser.errors() == []


TEN_FRAMES = """new Promise(done => {
  let left = 10;
  const draw = () => left-- > 0 ? requestAnimationFrame(draw) : done();
  draw();
})"""


def test_what_comes_on_top_does_not_move_what_is_looked_at(tmp_path: Path) -> None:
    """The video in view stays where it is when newer ones stand before it."""
    root = tmp_path / "root"
    view = busy(NOW, count=90)
    newest = replace(view, done=view.done[:30])
    with Browser(tmp_path / "profile", before=clock()) as browser:
        where = "document.getElementById('v150').getBoundingClientRect().top"
        browser.open(written(root, replace(view, done=view.done[30:]), videos=0))
        browser.run("document.getElementById('v150').scrollIntoView({block: 'center'})")
        written(root, replace(view, done=(*newest.done, *view.done[30:])), videos=0)
        browser.go_on(f"window.name = {where}; document.getElementById('refresh').click()")
        assert browser.run("document.getElementById('v100') !== null"), "newer ones have come"
        browser.run(TEN_FRAMES)
        was, is_now = float(browser.run("window.name")), float(browser.run(where))
        assert 0 < was < 900
        assert abs(is_now - was) < 40


SCROLLING = """{
  const draw = requestAnimationFrame;
  window.requestAnimationFrame = deed => {
    if (window.name === "again") { window.name = ""; scrollTo(0, 900); }
    return draw(deed);
  };
}"""


def test_who_scrolls_while_it_is_being_drawn_is_not_taken_back(tmp_path: Path) -> None:
    """However long the first frames of a page that was made new take."""
    with Browser(tmp_path / "profile", before=clock() + SCROLLING) as browser:
        browser.open(written(tmp_path / "root", busy(NOW), videos=0))
        browser.run("scrollTo(0, 1500)")
        browser.go_on("window.name = 'again'; document.getElementById('refresh').click()")
        browser.run(TEN_FRAMES)
        assert browser.run("window.name") == ""
        assert abs(browser.run("scrollY") - 900) < 60


def test_it_makes_itself_new_when_that_disturbs_nobody(tmp_path: Path) -> None:
    """After ten seconds by its reader's clock."""
    root = tmp_path / "root"
    with Browser(tmp_path / "profile", before=clock()) as browser:
        browser.open(written(root, busy(NOW)))
        written(root, trouble(NOW))
        browser.go_on("window.later = 11")
        assert "402: not enough credit" in browser.text()


TYPING = "document.getElementById('search').dispatchEvent(new Event('input', {bubbles: true}))"
PLAYING = "(one => { one.muted = one.loop = true; return one.play(); })(document.querySelector('video'))"


@pytest.mark.parametrize("deed", [TYPING, PLAYING, "getSelection().selectAllChildren(document.querySelector('h1'))"])
def test_it_does_not_disturb_who_is_at_something(tmp_path: Path, deed: str) -> None:
    """Who types, marks a text, or looks at a video: it says how old it is, and a button makes it new."""
    with Browser(tmp_path / "profile", before=clock()) as browser:
        browser.open(written(tmp_path / "root", busy(NOW)))
        browser.run(f"window.isOld = true; window.later = 11; {deed}")
        browser.wait_for("!document.getElementById('held').hidden")
        assert "This is how it was at" in browser.text()
        assert browser.run("window.isOld") is True
        browser.go_on("document.getElementById('refresh').click()")
        assert browser.run("window.isOld") is None


def test_without_scripts_everything_is_readable(tmp_path: Path) -> None:
    """In English, with times in UTC, videos that play on a click, and no button that does nothing."""
    with Browser(tmp_path / "profile", before=clock(), is_scripted=False) as browser:
        browser.open(written(tmp_path / "root", busy(NOW)))
        tree = browser.call("DOM.getDocument", depth=-1)
        names = {str(node["nodeName"]) for node in nodes(tree["root"])}
        assert {"VIDEO", "PROGRESS", "ARTICLE"} <= names
        visible = browser.call("DOMSnapshot.captureSnapshot", computedStyles=[])
        words = " ".join(visible["strings"])
        assert "(UTC)" in words
        shown = {
            visible["strings"][index] for one in visible["documents"] for index in one["layout"]["text"] if index >= 0
        }
        assert any("Being made" in text for text in shown)
        assert not any("제작 중" in text or "No sign of life" in text for text in shown)


def nodes(root: dict[str, Any]) -> list[dict[str, Any]]:
    """A node and all below it."""
    return [root, *(found for child in root.get("children", []) for found in nodes(child))]


@pytest.mark.parametrize("is_dark", [False, True])
@pytest.mark.parametrize("width", [320, 390, 1280])
@pytest.mark.parametrize("make", [busy, trouble, attacked])
def test_it_fits_phones_and_desks_by_day_and_night(
    tmp_path: Path, width: int, make: Callable[[float], View], *, is_dark: bool
) -> None:
    """Nothing sticks out to the side, and the page is as bright as its reader likes."""
    with Browser(tmp_path / "profile", before=clock(), width=width, is_dark=is_dark) as browser:
        browser.open(written(tmp_path / "root", make(NOW), videos=0))
        assert browser.run("document.documentElement.scrollWidth") == width
        colour = str(browser.run("getComputedStyle(document.body).backgroundColor"))
        brightness = int(colour.removeprefix("rgb(").partition(",")[0])
        assert (brightness < 64) == is_dark


CONTRAST = """(() => {
  const rgb = text => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(c => (c /= 255) <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4)
    .reduce((sum, c, n) => sum + c * [.2126, .7152, .0722][n], 0);
  const ground = element => {
    for (let at = element; at; at = at.parentElement) {
      const colour = rgb(getComputedStyle(at).backgroundColor);
      if (colour.length < 4 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const poor = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.getClientRects().length || element.closest(".stage, svg")) continue;
    const [one, two] = [light(rgb(getComputedStyle(element).color)), light(ground(element))];
    const ratio = (Math.max(one, two) + .05) / (Math.min(one, two) + .05);
    if (ratio < 4.5) poor.push(`${ratio.toFixed(2)} ${element.textContent.slice(0, 40)}`);
  }
  return [...new Set(poor)];
})()"""


@pytest.mark.parametrize("is_dark", [False, True])
@pytest.mark.parametrize("make", [busy, trouble])
def test_every_word_stands_out_from_its_ground(tmp_path: Path, make: Callable[[float], View], *, is_dark: bool) -> None:
    """By 4.5 to 1 at least (WCAG 2.2, 1.4.3); and every field and video has a name."""
    with Browser(tmp_path / "profile", before=clock(), is_dark=is_dark) as browser:
        browser.open(written(tmp_path / "root", make(NOW), videos=0))
        assert browser.run(CONTRAST) == []
        nodes_of = browser.call("Accessibility.getFullAXTree")["nodes"]
        named = {"searchbox", "button", "radio", "link", "progressbar", "navigation", "main", "Video", "region"}
        wanted = named - {"navigation", "main"}
        nameless = [
            node["role"]["value"]
            for node in nodes_of
            if not node["ignored"] and node["role"]["value"] in wanted and not node.get("name", {}).get("value")
        ]
        assert nameless == []
        assert {"main", "navigation", "searchbox"} <= {
            node["role"]["value"] for node in nodes_of if not node["ignored"]
        }
