"""Claim: what the ledger is to say of a drop, and what came of the move."""

from __future__ import annotations

import errno
import hashlib
import os
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from orders import NOW, job, job_file, request, spool_in, states

from daemon.core.batch import Batch, Request
from daemon.core.drop import Drop, Fingerprint
from daemon.core.job import Downloaded, Exported, ExportStarted, GaveUp, InDoubt, Job, Refused, State, Video
from daemon.core.job_file import FileState
from daemon.core.problem import Problem
from daemon.core.report import ClaimEnded
from daemon.edges.ledger import Earlier
from daemon.pipeline import claim

if TYPE_CHECKING:
    from pathlib import Path

    from daemon.core.job_file import JobFile
    from daemon.edges.spool import Spool

PRINT = Fingerprint(1, 2, 3, 4, 5)
ACCEPTED = (ExportStarted(), Exported("p1"))
DONE = (*ACCEPTED, Downloaded(Video("videos/x.mp4", 1, "")))
IN_DOUBT = (ExportStarted(), InDoubt("no answer"))


def drop(*requests: Request, problems: tuple[Problem, ...] = ()) -> Drop:
    batch = None if problems else Batch(requests)
    return Drop("sub/x.yaml", PRINT, b"text: Hello\n", "ab", batch, problems)


def failed(number: int, batch_id: int, text: str, *events: object) -> Job:
    return replace(job(*events, text=text), id=number, batch_id=batch_id)  # type: ignore[arg-type]


def test_a_new_file_is_a_queue_of_new_jobs() -> None:
    """In the order of the file, counted from 1, with nothing to be cleared away."""
    planned, jobs = claim.plan(drop(request("1"), request("2")), "sub/x (2).yaml", Earlier(), NOW)
    assert states(jobs) == [State.QUEUED, State.QUEUED]
    assert [one.position for one in jobs] == [1, 2]
    assert [one.continues for one in jobs] == [None, None]
    assert (planned.name, planned.processing_name, planned.state) == (
        "sub/x.yaml",
        "sub/x (2).yaml",
        FileState.CLAIMING,
    )
    assert (planned.fingerprint, planned.digest, planned.content) == (PRINT, "ab", b"text: Hello\n")
    assert (planned.claimed_at, planned.clears, planned.problems) == (NOW, (), ())


def test_an_invalid_file_has_no_jobs() -> None:
    """No job of a file is exported unless every job of it is valid."""
    planned, jobs = claim.plan(drop(problems=(Problem("bad"),)), "x.yaml", Earlier(), NOW)
    assert jobs == []
    assert planned.problems == (Problem("bad"),)


@pytest.mark.parametrize(
    ("jobs", "words"),
    [
        ((failed(1, 7, "a", *DONE),), "1 video is made; nothing"),
        ((failed(1, 7, "a", *DONE), failed(2, 7, "b", *DONE)), "2 videos are made; nothing"),
        ((failed(1, 7, "a", *ACCEPTED, GaveUp("late")),), "1 video was paid, or may have been (project p1); nothing"),
        (
            (failed(1, 7, "a", *DONE), failed(2, 7, "b", *IN_DOUBT), failed(3, 7, "c", *IN_DOUBT)),
            "1 video is made, and 2 videos were paid, or may have been; nothing",
        ),
    ],
)
def test_an_invalid_file_says_what_an_earlier_one_has(jobs: tuple[Job, ...], words: str) -> None:
    """What is made already, and what was or may have been paid: its writer need not fear for it."""
    earlier = Earlier(jobs, ((7, "failed/sub/x.yaml"),))
    planned, _ = claim.plan(drop(problems=(Problem("bad"),)), "x.yaml", earlier, NOW)
    assert [problem.message.startswith("besides: ") for problem in planned.problems] == [False, True]
    assert f"of an earlier file of this name {words} of that is lost" in planned.problems[1].message


def test_an_invalid_file_says_nothing_of_an_earlier_one_that_cost_nothing() -> None:
    """There is nothing to be lost."""
    earlier = Earlier((failed(1, 7, "a", ExportStarted(), Refused("no")),), ((7, "failed/sub/x.yaml"),))
    planned, _ = claim.plan(drop(problems=(Problem("bad"),)), "x.yaml", earlier, NOW)
    assert planned.problems == (Problem("bad"),)


def test_each_job_goes_on_where_its_earlier_one_was() -> None:
    """Requests are matched by what they ask for, whatever their place in the file."""
    earlier = Earlier(
        (
            failed(1, 7, "done", *DONE),
            failed(2, 7, "refused", ExportStarted(), Refused("no")),
            failed(3, 7, "doubt", *IN_DOUBT),
            failed(4, 7, "late", *ACCEPTED, GaveUp("no end")),
        ),
        ((7, "failed/sub/x.yaml"),),
    )
    texts = ["late", "new", "doubt", "done", "refused"]
    planned, jobs = claim.plan(drop(*(request(text) for text in texts)), "x.yaml", earlier, NOW)
    assert states(jobs) == [State.RENDERING, State.QUEUED, State.FAILED, State.DONE, State.QUEUED]
    assert [one.continues for one in jobs] == [4, None, 3, 1, 2]
    assert planned.clears == ((7, "failed/sub/x.yaml", True),)


def test_a_render_is_taken_over_once() -> None:
    """Two equal requests in one file are two videos."""
    earlier = Earlier((failed(1, 7, "same", *DONE),), ((7, "failed/x.yaml"),))
    _, jobs = claim.plan(drop(request("same"), request("same")), "x.yaml", earlier, NOW)
    assert [one.continues for one in jobs] == [1, None]
    assert states(jobs) == [State.DONE, State.QUEUED]


def test_name_and_pay_again_do_not_make_it_another_request() -> None:
    """A file that was only given a name, or the word to pay, keeps what it has."""
    earlier = Earlier((failed(1, 7, "same", *DONE),), ())
    _, jobs = claim.plan(drop(request("same", name="other", may_pay_again=True)), "x.yaml", earlier, NOW)
    assert states(jobs) == [State.DONE]


@pytest.mark.parametrize(
    ("in_file", "by_retry", "state"),
    [
        (False, False, State.FAILED),
        (True, False, State.QUEUED),
        (False, True, State.QUEUED),
        (True, True, State.QUEUED),
    ],
)
def test_a_job_in_doubt_is_asked_for_again_on_a_persons_word_only(in_file: bool, by_retry: bool, state: State) -> None:
    """``pay_again: true`` in the file, or ``retry --pay-again``."""
    doubtful = replace(failed(1, 7, "same", *IN_DOUBT), is_pay_again_allowed=by_retry)
    _, jobs = claim.plan(drop(request("same", may_pay_again=in_file)), "x.yaml", Earlier((doubtful,)), NOW)
    assert states(jobs) == [state]
    assert not jobs[0].is_pay_again_allowed


def test_what_is_cleared_away_is_what_is_spoken_for() -> None:
    """The batches whose jobs go on, and the nearest of that name, even where it had no job at all."""
    earlier = Earlier(
        (failed(1, 7, "old", *DONE), failed(2, 8, "other", *DONE)),
        ((9, "failed/x.yaml"), (8, "failed/x (3).yaml"), (7, "failed/x (2).yaml")),
    )
    planned, _ = claim.plan(drop(request("old")), "x.yaml", earlier, NOW)
    assert planned.clears == ((9, "failed/x.yaml", False), (7, "failed/x (2).yaml", True))


# --- the move -------------------------------------------------------------------------------------


def _dropped(path: Path, content: bytes = b"text: Hello\n") -> tuple[Fingerprint, str]:
    path.write_bytes(content)
    return Fingerprint.of(path.stat()), hashlib.sha256(content).hexdigest()


def taken(spool: Spool, one: JobFile, *, is_retry: bool = False) -> ClaimEnded:
    return claim.take(spool, [(one, is_retry)]).ended[0]


def test_many_are_moved_before_their_folders_are_synced_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sync for each of ten thousand small files would be most of their intake; nobody is told before it."""
    spool = spool_in(tmp_path)
    claims = []
    for number in range(1, 6):
        print_, digest = _dropped(spool.places.inbox / f"{number}.yaml")
        one = job_file(f"{number}.yaml", fingerprint=print_, digest=digest)
        claims.append((replace(one, id=number, processing_name=f"{number}.yaml"), False))
    (spool.places.inbox / "3.yaml").unlink()
    seen: list[int] = []

    def sync(_fd: int) -> None:
        seen.append(len(list(spool.places.processing.glob("*.yaml"))))

    monkeypatch.setattr(os, "fsync", sync)
    ended = claim.take(spool, claims).ended
    assert [one.is_claimed for one in ended] == [True, True, False, True, True]
    assert seen == [4, 4]


def test_claims_that_cannot_be_made_durable_do_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are deferred, and the same call again finds them moved."""
    spool = spool_in(tmp_path)
    print_, digest = _dropped(spool.places.inbox / "x.yaml")
    wanted = job_file(fingerprint=print_, digest=digest)

    def refuse(_fd: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refuse)
        ended = taken(spool, wanted)
    assert (ended.is_claimed, ended.is_deferred) == (False, True)
    assert ended.reason == "cannot make claims durable: Input/output error"
    assert taken(spool, wanted, is_retry=True).is_claimed


def test_a_claim_is_told_and_may_be_made_again(tmp_path: Path) -> None:
    """After a crash the same call finds it moved."""
    spool = spool_in(tmp_path)
    print_, digest = _dropped(spool.places.inbox / "x.yaml")
    wanted = job_file(fingerprint=print_, digest=digest)
    for is_retry in (False, True):
        assert taken(spool, wanted, is_retry=is_retry) == ClaimEnded(1, is_claimed=True)
    assert (spool.places.processing / "x.yaml").exists()


def test_what_vanished_or_changed_is_withdrawn(tmp_path: Path) -> None:
    """Neither deferred nor a collision: the watch looks at the name again."""
    spool = spool_in(tmp_path)
    gone = taken(spool, job_file())
    assert (gone.is_claimed, gone.is_deferred, gone.is_collision) == (False, False, False)
    assert gone.reason == "x.yaml is not in inbox/ any more"
    print_, digest = _dropped(spool.places.inbox / "x.yaml")
    _dropped(spool.places.inbox / "x.yaml", b"something else")
    changed = taken(spool, job_file(fingerprint=print_, digest=digest))
    assert (changed.is_claimed, changed.is_deferred, changed.is_collision) == (False, False, False)
    assert (spool.places.inbox / "x.yaml").read_bytes() == b"something else"


def test_a_stray_is_a_collision(tmp_path: Path) -> None:
    """Another name is to be taken, and the drop stays."""
    spool = spool_in(tmp_path)
    print_, digest = _dropped(spool.places.inbox / "x.yaml")
    (spool.places.processing / "x.yaml").write_text("stray")
    ended = taken(spool, job_file(fingerprint=print_, digest=digest))
    assert (ended.is_claimed, ended.is_deferred, ended.is_collision) == (False, False, True)


def test_a_share_that_is_away_defers(tmp_path: Path) -> None:
    """Also where another share is mounted in its place."""
    root = tmp_path / "root"
    root.mkdir()
    spool = spool_in(root)
    root.rename(tmp_path / "elsewhere")
    assert taken(spool, job_file()).is_deferred
    root.mkdir()
    (root / ".chromadrop").write_text('{"ledger": "another"}')
    ended = taken(spool, job_file())
    assert ended.is_deferred
    assert "belongs to another ledger" in ended.reason


def test_a_claim_always_ends_in_an_outcome(tmp_path: Path) -> None:
    """A name that no system call takes must not kill the worker, or nothing would be filed any more."""
    spool = spool_in(tmp_path)
    ended = taken(spool, job_file("\ud800.yaml"))
    assert ended.is_deferred
    assert ended.reason == "an error in chromadrop itself while claiming: UnicodeEncodeError"
