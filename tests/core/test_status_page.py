"""``status.html`` as text; what a browser makes of it is tried in tests/process/test_status_page_in_browser.py."""

from __future__ import annotations

import base64
import hashlib
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.core.advice import MEND, PAID, PAID_KOREAN, what_to_do, what_to_do_korean
from daemon.core.allowance import Limited
from daemon.core.batch import Request
from daemon.core.display import display
from daemon.core.drop import Fingerprint
from daemon.core.estimate import Outlook
from daemon.core.job import Failure, Job, Paid, State, Video
from daemon.core.job_file import FileState, JobFile, Outcome
from daemon.core.messages import Lying, Reason, Waiting
from daemon.core.problem import Problem
from daemon.core.status_page import MOST_VIDEOS, FailedFile, Made, OpenFile, Trouble, View, page

NOW = 1_763_883_600.0
HOSTILE = (
    "</script><img src=x onerror=alert(1)>",
    "</style><script>alert(1)</script>",
    '" onclick="alert(1)" x=\'',
    "' autofocus onfocus='alert(1)",
    "--><b>&lt;&amp;</b><!--",
    "&#60;script&#62;",
    "javascript:alert(1)",
    "\u202elmth.x",
    "a\nb\x1b[31m\udcff",
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

    @property
    def text(self) -> str:
        """All that is to be read, in both languages."""
        return " ".join(" ".join(self.texts).split())

    @property
    def kinds(self) -> Counter[str]:
        """How many elements there are of each kind; but for the places where a path may be broken."""
        return Counter(tag for tag, _ in self.elements if tag != "wbr")

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of each element of a kind."""
        return [attributes for name, attributes in self.elements if name == tag]


def job(state: State, number: int = 1, **more: Any) -> Job:
    text = more.pop("text", "Hello, this is my first work.")
    request = Request({"language": "ko", "text": text, "model": "M000004017", "clothes": "BG00006160"})
    return Job(number, 1, more.pop("position", 1), request, state, **more)


def job_file(name: str = "x.yaml", number: int = 1, **more: Any) -> JobFile:
    known: dict[str, Any] = {"state": FileState.OPEN, "problems": (), "claimed_at": NOW - 60}
    more = known | more
    return JobFile(
        id=number,
        name=name,
        processing_name=name,
        fingerprint=Fingerprint(0, 0, 0, 0, 0),
        digest="",
        content=b"",
        **more,
    )


def in_work(*jobs: Job, name: str = "x.yaml", number: int = 1) -> OpenFile:
    counts = Counter(one.state.value for one in jobs)
    return OpenFile(job_file(name, number), jobs, counts)


def failed(*jobs: Job, name: str = "x.yaml", number: int = 1, problems: tuple[Problem, ...] = ()) -> FailedFile:
    filed = job_file(
        name, number, state=FileState.CLOSED, outcome=Outcome.FAILED, closed_at=NOW - 5, filed_as=f"failed/{name}",
        problems=problems,
    )  # fmt: skip
    return FailedFile(filed, jobs, len(jobs))


def made(path: str = "videos/x.mp4", number: int = 1) -> Made:
    return Made(
        job(State.DONE, number, project_id="p", video=Video(path, 5_000_000, "0"), settled_at=NOW - 9), "x.yaml"
    )


def view_of(words: str) -> View:
    """The same words wherever somebody else's words may stand."""
    request = Request(dict.fromkeys(("language", "text", "model", "clothes"), words), words)
    lost = Job(3, 1, 3, request, State.FAILED, project_id=words, failure=Failure.REFUSED_AFTER, reason=words)
    moving = replace(lost, id=1, state=State.RENDERING, failure=None, progress=4.0, exported_at=NOW)
    done = replace(
        lost, id=4, state=State.DONE, failure=None, video=Video(f"videos/{words}.mp4", 1, ""), settled_at=NOW
    )
    waiting = tuple(Waiting(words, reason, NOW, words) for reason in Reason)
    return View(
        NOW, words,
        account=Trouble(words, NOW), cloud=Trouble(words), root=Trouble(words),
        lying=Lying(waiting, len(waiting), (words, f"{words}.txt"), 2, ((words, words),)),
        files=(in_work(moving, replace(moving, id=2, state=State.QUEUED), lost, name=words),), file_count=1,
        failed=(failed(lost, name=words), failed(name=words, problems=(Problem(words, 1, 2, words),))),
        done=(Made(done, words),),
    )  # fmt: skip


@pytest.mark.parametrize("words", HOSTILE)
def test_whatever_somebody_wrote_stays_text(words: str) -> None:
    """Job texts, file names, models, the cloud's reasons: no element and no attribute comes of them."""
    found, plain = Read(page(view_of(words))), Read(page(view_of("plain")))
    assert found.kinds == plain.kinds
    for tag, attributes in found.elements:
        assert not any(name.startswith("on") or name in {"style", "srcdoc", "action"} for name in attributes), tag
        for name in ("href", "src"):
            assert attributes.get(name, "#") is not None
            assert str(attributes.get(name, "#")).startswith(("#", "./"))
    assert " ".join(display(words).split()) in found.text
    assert len(found.all("script")) == 1


@given(words=st.text(st.characters(exclude_categories=()), max_size=40))
def test_any_words_at_all_change_no_element(words: str) -> None:
    """Whatever its characters; and the page can always be written as UTF-8."""
    text = page(view_of(words))
    text.encode("utf-8")
    found, plain = Read(text), Read(page(view_of("plain")))
    assert found.kinds - plain.kinds == Counter()  # what leads out of the root, or can be no name, has no link


def test_its_policy_lets_through_exactly_its_own_style_and_script() -> None:
    """Nothing is loaded but videos beside it; a page that is read elsewhere loads nothing at all."""
    for view, media in ((View(NOW), "media-src 'self' file:"), (View(NOW, has_files=False), "media-src 'none'")):
        text = page(view)
        policy = next(str(one["content"]) for one in Read(text).all("meta") if one.get("http-equiv"))
        for tag in ("style", "script"):
            [inside] = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
            digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
            assert f"{tag}-src 'sha256-{digest}'" in policy
        assert policy.startswith("default-src 'none'")
        assert media in policy
        assert '<meta name="generator" content="chromadrop">' in text[:4096]


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (job(State.QUEUED), ("1 waits for its turn", "1개가 차례를 기다립니다")),
        (job(State.EXPORTING), ("is being ordered", "주문하는 중")),
        (job(State.EXPORTING, 7), ("it is looked for in the account", "계정에서 찾아보고 있습니다")),
        (job(State.RENDERING, progress=41.6, exported_at=NOW - 125), ("42 %", "2 min 5 s")),
        (job(State.RENDERING, progress=100), ("rendered; the video is being fetched", "받는 중")),
        (job(State.RENDERING, progress=3, reason="503: busy"), ("503: busy", "렌더링")),
        (job(State.RENDERING, progress=3, project_id="6562b0"), ("6562b0", "3 %")),
        (job(State.FAILED, failure=Failure.REFUSED, reason="no such clothes"), ("no such clothes", "Paid: no")),
    ],
)
def test_every_state_is_told(found: Job, words: tuple[str, ...]) -> None:
    """In both languages, with all that is known."""
    text = Read(page(View(NOW, files=(in_work(found),), file_count=1, traced=frozenset({7})))).text.replace("\xa0", " ")
    assert "Hello, this is my first work." in text
    assert [word for word in words if word not in text] == []


def test_what_can_be_expected_is_told() -> None:
    """In both languages, beside the file; not once it is settled."""
    file = replace(in_work(job(State.QUEUED)), outlook=Outlook(40.0, 180.0))
    text = Read(page(View(NOW, files=(file,), file_count=1))).text
    assert "about 40 s of video, ready in about 3 minutes" in text
    assert "약 3분 후 완료 예상" in text
    settled = replace(file, job_file=replace(file.job_file, outcome=Outcome.DONE))
    assert "about 40 s" not in Read(page(View(NOW, files=(settled,), file_count=1))).text


@pytest.mark.parametrize("reason", list(Reason))
def test_why_a_file_waits_is_told(reason: Reason) -> None:
    """Every reason there is has its words in Korean too, and since when; who has to act is told by a mark."""
    text = page(View(NOW, lying=Lying((Waiting("a/b.yaml", reason, NOW - 3600, "line 3: mend it"),), 1)))
    part = text.partition('id="waiting"')[2].partition("</section>")[0]
    assert re.search("[가-힣]{2}.*부터", part, re.DOTALL)
    assert "line 3: mend it" in part
    assert "2025-11-23T06:40:00Z" in part
    assert ("entry warn" in part) is not reason.is_pending


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("x.yaml.txt", "must end in .yaml"),
        ("a/x.json", "must end in .yaml"),
        ("PAUSE.txt", "must be PAUSE alone"),
        ("notes.txt", "as a note"),
    ],
)
def test_what_nobody_takes_is_told(name: str, words: str) -> None:
    """A file that nothing comes of is no riddle."""
    assert words in Read(page(View(NOW, lying=Lying(strangers=(name,), stranger_count=1)))).text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"is_ended": True}, "was stopped at"),
        ({"account": Trouble("402: not enough credit", NOW - 60)}, "402: not enough credit"),
        ({"cloud": Trouble("no route to host")}, "no route to host"),
        ({"root": Trouble("unmounted")}, "unmounted"),
        ({"limited": Limited(NOW + 60, 12, 300.0, 12, None)}, "12 of 12 videos ordered today"),
        ({"is_paused": True}, "no video is ordered until somebody removes it"),
        ({"folders": Trouble("disk full", NOW)}, "The folders do not take files"),
        ({"is_ledger_away": True}, "The records cannot be written"),
        ({"is_blind": True}, "New files are not seen"),
    ],
)
def test_what_keeps_people_waiting_stands_on_top(changes: dict[str, Any], words: str) -> None:
    """With its reason; and all is well only where nothing is wrong."""
    top = Read(page(replace(View(NOW), **changes)).partition("<main>")[0]).text
    assert words in top
    assert "at work, and the account is well" not in top
    assert "at work, and the account is well" in Read(page(View(NOW))).text


def test_a_dispatcher_that_is_stuck_is_told_with_its_last_sign() -> None:
    """Whoever serves the page may be well while nothing is done; what the script would say of an old page is not so."""
    top = page(View(NOW + 100, stuck_since=NOW)).partition("<main>")[0]
    found = Read(top)
    assert "chromadrop hangs: no sign of life for" in found.text
    assert "1 min 40 s" in found.text
    assert "last sign 마지막 신호 2025-11-23 07:40:00 (UTC)" in found.text
    assert "is at work" not in found.text
    [header] = found.all("header")
    assert header["data-at"] == "2025-11-23T07:40:00Z"
    assert "data-ended" in header
    assert "hangs" not in page(View(NOW))


def test_failed_files_that_are_not_shown_are_counted() -> None:
    """Nobody takes those that are shown for all."""
    shown = (failed(job(State.FAILED, failure=Failure.REFUSED)),)
    assert "and 1,234 more, in failed/" in Read(page(View(NOW, failed=shown, failed_count=1235))).text
    assert "<b>1,235</b>" in page(View(NOW, failed=shown, failed_count=1235))
    assert "more, in failed/" not in Read(page(View(NOW, failed=shown))).text


@pytest.mark.parametrize("failure", list(Failure))
def test_a_failure_is_told_as_error_txt_tells_it(failure: Failure) -> None:
    """The same words from the same place: the reason, whether it was paid, what to do; and where the files are."""
    project = None if failure in {Failure.REFUSED, Failure.IN_DOUBT} else "6562b0"
    lost = job(State.FAILED, failure=failure, reason="the cloud's own <words>", project_id=project)
    found = Read(page(View(NOW, failed=(failed(lost, name="a b/x.yaml"),))))
    assert "the cloud's own <words>" in found.text
    assert f"Paid: {PAID[lost.paid]}" in found.text
    assert f"결제: {PAID_KOREAN[lost.paid]}" in found.text
    assert " ".join(" ".join(what_to_do(failure, "a b/x.yaml")).split()) in found.text
    assert what_to_do_korean(failure, "a b/x.yaml") in found.text
    links = [one["href"] for one in found.all("a")]
    assert {"./failed/a%20b/x.yaml", "./failed/a%20b/x.yaml.error.txt"} <= set(links)


def test_an_invalid_file_is_told_with_its_lines() -> None:
    """Nothing was paid; no more lines than anybody reads."""
    problems = tuple(Problem(f"wrong in {n} ways", n, 3, "jobs[1].model") for n in range(1, 100))
    text = Read(page(View(NOW, failed=(failed(problems=problems),)))).text
    assert "line 30, column 3 (jobs[1].model): wrong in 30 ways" in text
    assert "wrong in 31 ways" not in text
    assert "and 69 more, in error.txt" in text
    assert f"Paid: {PAID[Paid.NO]}" in text
    assert " ".join(MEND) in text


NAMES = ("a b", "x#1", "50%", "what?", "it's", 'say "hi"', "a;b,c", "신제품 소개", "a&b=c", "x:y", "%41", "<b>")


@pytest.mark.parametrize("name", NAMES)
def test_a_video_is_found_whatever_its_name(name: str) -> None:
    """The address is relative to the page, and leads to exactly that file (RFC 3986)."""
    found = Read(page(View(NOW, done=(made(f"videos/sub #1/{name}.mp4"),))))
    [video] = found.all("video")
    address = str(video["src"])
    assert address.isascii()
    assert not set(address) & set("#?\"'<> ;,&:=")
    assert unquote(address) == f"./videos/sub #1/{name}.mp4"
    assert video["preload"] == "none"
    assert name in found.text


def test_a_video_outside_of_the_root_has_no_address() -> None:
    """On its reader's machine that path leads nowhere, or elsewhere."""
    for path in ("/srv/videos/x.mp4", "../videos/x.mp4"):
        found = Read(page(View(NOW, done=(made(path),))))
        assert found.all("video") == []
        assert "x.mp4" in found.text


def test_read_elsewhere_nothing_leads_to_a_file() -> None:
    """Over HTTP the page has no folders beside it, and says so."""
    lost = job(State.FAILED, failure=Failure.REFUSED, reason="no")
    found = Read(page(View(NOW, done=(made(),), failed=(failed(lost),), has_files=False)))
    assert found.all("video") == []
    assert all(str(one["href"]).startswith("#") for one in found.all("a"))
    assert "The videos lie in the folder videos/" in found.text


def test_the_figures_are_those_of_everything() -> None:
    """Not of what is shown."""
    counts = {State.RENDERING.value: 2, State.EXPORTING.value: 1, State.QUEUED.value: 4200}
    lying = Lying((), 300, ("x.json",), 12)
    text = Read(page(View(NOW, counts=counts, max_rendering=20, lying=lying, file_count=9))).text
    assert "3 / 20 being made" in text
    assert "4,200 in line" in text
    assert "312 in inbox" in text
    assert "and 9 more job files" in text


def test_only_the_first_videos_can_be_played() -> None:
    """The others are links; all of them are there."""
    found = Read(page(View(NOW, done=tuple(made(f"videos/{n}.mp4", n) for n in range(MOST_VIDEOS + 50)))))
    assert len(found.all("video")) == MOST_VIDEOS
    assert len({one["href"] for one in found.all("a") if str(one["href"]).endswith(".mp4")}) == MOST_VIDEOS + 50


def test_the_page_stays_small_whatever_there_is() -> None:
    """Under 2 MB with hundreds of files and thousands of jobs of the most expensive characters; the rest is counted."""
    dear = "\"'\u0001" * 4000
    moving = [job(State.RENDERING, n, text=dear, reason=dear, project_id=dear, position=n) for n in range(2000)]
    lost = [job(State.FAILED, n, text=dear, reason=dear, failure=Failure.IN_DOUBT, position=n) for n in range(100)]
    queued = [job(State.QUEUED, n, text=dear, reason=dear, position=n) for n in range(100)]
    name = dear[:240]
    one = in_work(*moving, name=name)
    view = View(
        NOW, name,
        lying=Lying(tuple(Waiting(name, Reason.EMPTY, NOW, dear) for _ in range(100)), 5000, (name,) * 100, 9000),
        files=(one, *(in_work(*queued, name=name, number=n) for n in range(500))), file_count=800,
        failed=tuple(failed(*lost, name=name, number=n) for n in range(200)),
        done=tuple(made(f"videos/{name}{n}.mp4", n) for n in range(1000)),
    )  # fmt: skip
    text = page(view)
    assert len(text.encode()) < 2_000_000
    words = Read(text).text
    assert re.search(r"and [78]\d\d more job files", words)
    assert re.search(r"and 1[34],\d\d\d more", words)
    assert re.search(r"and \d+ more, in failed/", words)
    assert re.search(r"and \d+ more, in videos/", words)


def test_everything_is_said_in_both_languages() -> None:
    """Each text has its other one beside it."""
    found = Read(page(view_of("plain")))
    spans = [str(one.get("class")) for one in found.all("span") if one.get("class") in {"en", "ko"}]
    assert Counter(spans)["en"] == Counter(spans)["ko"] > 40


def test_times_are_exact_for_scripts_and_readable_without() -> None:
    """ISO 8601 in the attribute; without a script, UTC and said so."""
    found = Read(page(View(NOW)))
    assert found.all("time")[0]["datetime"] == "2025-11-23T07:40:00Z"
    assert "last sign" in found.text
    assert "2025-11-23 07:40:00 (UTC)" in found.text
