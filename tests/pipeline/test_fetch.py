"""Fetch: one look, and the download that makes a video visible."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from orders import CLIP, Answer, Cloud, job, job_file, spool_in

from daemon.core.errors import AccountTroubled, CloudDeferred, FilingDeferred, LinkExpired
from daemon.core.job import Deferred, Downloaded, Exported, ExportStarted, Job, Progressed, Refused, Video
from daemon.core.project import Project
from daemon.core.report import DownloadEnded, Looked, LooksEnded, Probed, Rendered, Troubled
from daemon.pipeline import fetch

if TYPE_CHECKING:
    from pathlib import Path

    from daemon.edges.spool import Spool

URL = "https://store.example/out/clip.MP4?signature=secret"
RENDERING = job(ExportStarted(), Exported("p1"))


def download(cloud: Cloud, spool: Spool, one: Job = RENDERING, *, name: str = "x.yaml") -> DownloadEnded:
    return fetch.download(cloud, spool, one, job_file(name), url=URL, template="{file}-{n}", should_stop=lambda: False)


# --- looks ----------------------------------------------------------------------------------------


def test_a_look_tells_the_progress() -> None:
    """Of this project."""
    cloud = Cloud(answer=Answer(42.5))
    assert fetch.look(cloud, RENDERING) == Looked(1, Progressed(42.5))
    assert cloud.asked == ["p1"]


def test_a_finished_render_has_its_link() -> None:
    """Which no repr shows: it is signed."""
    looked = fetch.look(Cloud(answer=Answer(100.0, URL)), RENDERING)
    assert looked == Looked(1, Rendered(URL))
    assert "secret" not in repr(looked)


BOUNDED = CloudDeferred("404", is_bounded=True)
OUTAGE = CloudDeferred("busy", retry_after_seconds=9.0, is_outage=True)


@pytest.mark.parametrize(
    ("trouble", "outcome"),
    [
        (BOUNDED, Deferred("404", is_bounded=True)),
        (OUTAGE, Deferred("busy", retry_after_seconds=9.0, is_outage=True)),
        (AccountTroubled("bad key", is_credential=True), Troubled("bad key", is_credential=True)),
        (RuntimeError("secret"), Deferred("an error in chromadrop itself while looking: RuntimeError")),
    ],
)
def test_a_look_that_failed_is_made_again(trouble: Exception, outcome: object) -> None:
    """Looking is free, so nothing about it is ever final here."""
    assert fetch.look(Cloud(trouble), RENDERING).outcome == outcome


# --- a render that stands still -------------------------------------------------------------------

STILL = replace(RENDERING, progress=42.0)


def test_the_project_is_asked_only_where_the_render_stands_still() -> None:
    """It moved, or nobody has waited long, or the API has no such thing, or the cloud is away."""
    told = Project("p1", state="failed")
    for cloud, is_still in (
        (Cloud(answer=Answer(43.0), described=told), True),
        (Cloud(answer=Answer(42.0), described=told), False),
        (Cloud(answer=Answer(42.0)), True),
        (Cloud(trouble=OUTAGE, described=told), True),
        (Cloud(answer=Answer(100.0, URL), described=told), True),
    ):
        looked = fetch.look(cloud, STILL, is_still=is_still)
        assert cloud.asked == ["p1"]
        assert not isinstance(looked.outcome, Refused)


@pytest.mark.parametrize(
    ("project", "reason"),
    [
        (Project("p1", state="failed", words="No voice."), "the cloud says that the render ended as failed: No voice."),
        (Project("p1", state="error"), "the cloud says that the render ended as error"),
        (
            Project("p1", state="cancelled", credit=0.0),
            (
                "the cloud says that the render ended as cancelled; "
                "by its credit of 0 perhaps nothing was taken: the account tells"
            ),
        ),
    ],
)
def test_a_state_that_says_failure_ends_the_job_with_the_vendors_words(project: Project, reason: str) -> None:
    """Instead of an hour of looks at a render that is dead."""
    looked = fetch.look(Cloud(answer=Answer(42.0), described=project), STILL, is_still=True)
    assert looked == Looked(1, Refused(reason))


def test_also_where_the_look_makes_no_sense_or_gives_no_link() -> None:
    """Such an answer is standing still, too; a plain no has an end of its own."""
    told = Project("p1", state="failed")
    assert isinstance(
        fetch.look(Cloud(trouble=CloudDeferred("?"), described=told), STILL, is_still=True).outcome, Refused
    )
    assert isinstance(fetch.look(Cloud(trouble=BOUNDED, described=told), STILL, is_still=True).outcome, Deferred)


@pytest.mark.parametrize(
    "described",
    [
        Project("p1", state="exported", url=URL),
        Project("p1"),
        BOUNDED,
        AccountTroubled("x", is_credential=True),
        RuntimeError(),
    ],
)
def test_a_project_that_says_nothing_changes_nothing(described: Project | Exception) -> None:
    """It is asked because it may help; the look's own outcome stands."""
    looked = fetch.look(Cloud(answer=Answer(42.0), described=described), STILL, is_still=True)
    assert looked == Looked(1, Progressed(42.0))


MANY = [replace(RENDERING, id=number, project_id=f"p{number}") for number in (11, 12, 13, 14, 15)]


def test_looks_made_together_end_like_looks_made_alone() -> None:
    """Each in its own way, as the answers come; what has to be asked alone is said."""
    cloud = Cloud(answers=[Answer(42.5), Answer(100.0, URL), OUTAGE, None, AccountTroubled("no", is_credential=True)])
    assert list(fetch.look_together(cloud, MANY)) == [
        LooksEnded((Looked(11, Progressed(42.5)),)),
        LooksEnded((Looked(12, Rendered(URL)),)),
        LooksEnded((Looked(13, Deferred("busy", retry_after_seconds=9.0, is_outage=True)),)),
        LooksEnded((), (14,)),
        LooksEnded((Looked(15, Troubled("no", is_credential=True)),)),
    ]
    assert cloud.asked == [["p11", "p12", "p13", "p14", "p15"]]


@pytest.mark.parametrize("trouble", [OUTAGE, RuntimeError("secret")])
def test_looks_that_cannot_be_made_together_are_made_alone(trouble: Exception) -> None:
    """Whatever it was: none is without an end."""
    ended = list(fetch.look_together(Cloud(trouble=trouble), MANY))
    assert ended == [LooksEnded((), (11, 12, 13, 14, 15))]


@pytest.mark.parametrize("project_id", ["p1", None])
def test_a_probe_that_passed_has_nothing_to_say(project_id: str | None) -> None:
    """With the project that it may ask about, if there is one."""
    cloud = Cloud()
    assert fetch.probe(cloud, project_id) == Probed(None)
    assert cloud.asked == [project_id]


@pytest.mark.parametrize(
    ("trouble", "outcome"),
    [
        (OUTAGE, Deferred("busy", retry_after_seconds=9.0, is_outage=True)),
        (AccountTroubled("bad key", is_credential=True), Troubled("bad key", is_credential=True)),
        (RuntimeError("secret"), Deferred("an error in chromadrop itself while probing: RuntimeError")),
    ],
)
def test_a_probe_says_why_not(trouble: Exception, outcome: object) -> None:
    """And never ends a worker."""
    assert fetch.probe(Cloud(trouble), None).outcome == outcome


# --- downloads ------------------------------------------------------------------------------------


def test_a_download_becomes_a_video(tmp_path: Path) -> None:
    """In the mirrored subfolder, under the template's name, with the URL's extension."""
    spool = spool_in(tmp_path)
    ended = download(Cloud(), spool, name="sub/x.yaml")
    assert ended == DownloadEnded(1, Downloaded(Video("videos/sub/x-1.mp4", len(CLIP), "ab" * 32)))
    assert (tmp_path / "videos/sub/x-1.mp4").read_bytes() == CLIP


def test_a_video_that_is_there_already_is_not_downloaded_again(tmp_path: Path) -> None:
    """Killed between the rename and the ledger's line."""
    spool = spool_in(tmp_path)
    cloud = Cloud()
    part = spool.part(1)
    part.write_bytes(CLIP)
    video = spool.publish(1, "", "x.mp4", size=len(CLIP), sha256=hashlib.sha256(CLIP).hexdigest())
    assert download(cloud, spool) == DownloadEnded(1, Downloaded(video))
    assert cloud.asked == []
    assert [path.name for path in (tmp_path / "videos").iterdir()] == ["x.mp4"]


@pytest.mark.parametrize(
    ("trouble", "outcome"),
    [
        (OUTAGE, Deferred("busy", retry_after_seconds=9.0, is_outage=True)),
        (BOUNDED, Deferred("404", is_bounded=True)),
        (LinkExpired("403"), Deferred("403", is_bounded=True)),
        (FilingDeferred("disk full"), Deferred("disk full", is_ours=True)),
        (AccountTroubled("bad key", is_credential=True), Deferred("bad key", is_outage=True)),
        (
            RuntimeError("secret"),
            Deferred("an error in chromadrop itself while downloading: RuntimeError", is_bounded=True),
        ),
    ],
)
def test_a_download_that_failed_is_made_again(tmp_path: Path, trouble: Exception, outcome: object) -> None:
    """What is the cloud's fault is bounded; a full disk is nobody's, and never costs a paid video."""
    assert download(Cloud(trouble), spool_in(tmp_path)).outcome == outcome
    assert list((tmp_path / "videos").iterdir()) == []


@pytest.mark.parametrize("marker", [None, '{"ledger": "another"}'])
def test_a_share_that_is_away_costs_no_video(tmp_path: Path, marker: str | None) -> None:
    """Gone, or another one in its place: neither counts against the job."""
    root = tmp_path / "root"
    root.mkdir()
    spool = spool_in(root)
    root.rename(tmp_path / "elsewhere")
    root.mkdir()
    if marker is not None:
        (root / ".chromadrop").write_text(marker)
    outcome = download(Cloud(), spool).outcome
    assert isinstance(outcome, Deferred)
    assert not outcome.is_bounded
    assert outcome.is_ours


def test_a_link_that_has_grown_old_is_asked_for_again(tmp_path: Path) -> None:
    """Just before the download; a render without one is looked at again later."""
    spool = spool_in(tmp_path)
    cloud = Cloud(answer=Answer(100.0, URL))
    ended = fetch.download(cloud, spool, RENDERING, job_file(), url=None, template="{file}", should_stop=lambda: False)
    assert isinstance(ended.outcome, Downloaded)
    assert cloud.asked == ["p1", URL]
    spool.discard(1)
    cloud = Cloud(answer=Answer(100.0))
    ended = fetch.download(cloud, spool, RENDERING, job_file(), url=None, template="{file}", should_stop=lambda: False)
    assert isinstance(ended.outcome, Deferred)
    assert not ended.outcome.is_bounded


# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "name", "url", "wanted"),
    [
        ("{file}", None, URL, "x.mp4"),
        ("{file}-{n}", None, URL, "x-1.mp4"),
        ("{url}", None, URL, "clip.mp4"),
        ("{url}", None, "https://s.example/a/clip.v1.mp4", "clip.v1.mp4"),
        ("{url}", None, "https://s.example/a/clip", "clip.mp4"),
        ("{project}_{model}_{language}", None, URL, "p1_ysy_en.mp4"),
        ("{file}", None, "https://s.example/clip.webm", "x.webm"),
        ("{file}", "Spring", URL, "Spring.mp4"),
        ("{file}", "Spring.mp4", URL, "Spring.mp4"),
        ("{file}", "Spring 2.0", URL, "Spring 2.0.mp4"),
        ("{file}", "../../etc/passwd", URL, None),
        ("{file}", "CON", URL, "_CON.mp4"),
        ("{url}", None, "https://s.example/%2e%2e%2fup.mp4", "up.mp4"),
    ],
)
def test_a_video_is_named_as_wished(template: str, name: str | None, url: str, wanted: str | None) -> None:
    """The job's own name wins; the extension is the URL's; it never leaves its folder."""
    one = job(ExportStarted(), Exported("p1"), name=name)
    found = fetch.video_name(one, job_file("sub/x.yaml"), url=url, template=template)
    assert "/" not in found
    assert "\\" not in found
    assert not found.startswith(".")
    if wanted is not None:
        assert found == wanted
