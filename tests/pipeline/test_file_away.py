"""File away: the explanation for people, the result for programs, and that it always ends."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from orders import LEDGER, NOW, NOW_TEXT, job, job_file, spool_in

from daemon.core.job import (
    Deferred,
    Downloaded,
    Event,
    Exported,
    ExportStarted,
    GaveUp,
    InDoubt,
    Job,
    Refused,
    Video,
)
from daemon.core.job_file import Leftover, Outcome
from daemon.core.problem import Problem
from daemon.pipeline import file_away

if TYPE_CHECKING:
    from pathlib import Path

    from daemon.core.job_file import JobFile
    from daemon.edges.spool import Spool

ACCEPTED: tuple[Event, ...] = (ExportStarted(), Exported("p1"))
DONE = (*ACCEPTED, Downloaded(Video("videos/x.mp4", 12, "ab" * 32)))
REFUSED = (ExportStarted(), Refused('the cloud says no (HTTP 400): "unknown model"'))
IN_DOUBT = (ExportStarted(), InDoubt("the answer was lost"))
REFUSED_AFTER = (*ACCEPTED, Refused("not found"))
GAVE_UP = (*ACCEPTED, GaveUp("the render has no end after 3600 s"))
PROBLEMS = (Problem("is empty", line=3, column=5, path="jobs[2].model"), Problem("'cloths' is not known", line=4))


def filed(spool: Spool, one: JobFile, jobs: list[Job], *, is_retry: bool = False) -> str:
    """Where it lies after it was filed away."""
    settled = replace(one, outcome=file_away.outcome_of(one, jobs))
    path = spool.places.processing / one.processing_name
    if not is_retry:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(one.content)
    ended = file_away.file_away(spool, settled, jobs, ledger_id=LEDGER, is_retry=is_retry)
    assert ended.reason == ""
    assert ended.filed_as is not None
    return ended.filed_as


# --- where to -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("problems", "endings", "outcome"),
    [
        ((), [DONE], Outcome.DONE),
        ((), [DONE, DONE], Outcome.DONE),
        ((), [DONE, REFUSED], Outcome.FAILED),
        ((), [IN_DOUBT], Outcome.FAILED),
        (PROBLEMS, [], Outcome.FAILED),
    ],
)
def test_done_is_only_what_is_wholly_done(problems: Any, endings: Any, outcome: Outcome) -> None:
    """Invariant 3: a file in done/ has every video of its batch."""
    assert file_away.outcome_of(job_file(problems=problems), [job(*events) for events in endings]) is outcome


# --- for people -----------------------------------------------------------------------------------


def told(one: JobFile, *jobs: Job, name: str = "x.yaml") -> str:
    """The explanation, on one line, as a person reads it."""
    return " ".join(file_away.explanation(one, jobs, name).split())


def test_an_invalid_file_is_explained() -> None:
    """All that is wrong, with its place, that nothing was paid, and what to do."""
    text = told(job_file(problems=PROBLEMS))
    assert "this job file cannot be used. Nothing was sent, nothing was paid." in text
    assert "line 3, column 5 (jobs[2].model): is empty" in text
    assert "line 4: 'cloths' is not known" in text
    assert "Paid: no" in text
    assert "What to do: mend the file and move it back into inbox/" in text


@pytest.mark.parametrize(
    ("events", "paid", "words", "advice"),
    [
        (REFUSED, "no", 'the cloud says no (HTTP 400): "unknown model"', "change what the cloud refused, and move x"),
        (IN_DOUBT, "unknown", "the answer was lost", "look into the AI Studios account"),
        (IN_DOUBT, "unknown", "the answer was lost", "see that the job has the line pay_again: true, and move x.yaml"),
        (IN_DOUBT, "unknown", "the answer was lost", "chromadrop retry --pay-again x.yaml"),
        (REFUSED_AFTER, "yes", "not found", "asks for the same render again and pays nothing"),
        (REFUSED_AFTER, "yes", "not found", "see that the job has the line pay_again: true, to order"),
        (GAVE_UP, "yes", "no end after 3600 s", "goes on waiting for the same render and pays nothing"),
    ],
)  # fmt: skip
def test_a_failure_is_explained(events: Any, paid: str, words: str, advice: str) -> None:
    """What went wrong in the vendor's words, whether it was paid, and what to do next."""
    text = told(job_file(), job(*events))
    assert "1 of 1 videos could not be made" in text
    assert "What went wrong: " in text
    assert words in text
    assert f"Paid: {paid}" in text
    assert advice in text
    assert ("Project: p1" in text) == (paid == "yes")


def test_it_says_which_job_and_what_became_of_the_others() -> None:
    """By number, with the beginning of its text; and that nothing is paid twice."""
    jobs = [
        job(*DONE, position=1, text="one"),
        job(*REFUSED, position=2, text="two\n  and more" + " words" * 40),
        job(*DONE, position=3, text="three"),
    ]
    text = told(job_file(), *jobs)
    assert "1 of 3 videos could not be made" in text
    assert 'Job 2 of 3: "two and more words' in text
    assert '..."' in text
    assert "(language en, model ysy, clothes 1)" in text
    assert "The other 2 are in videos/ and will not be made or paid for again." in text
    assert "Job 1 of 3" not in text


def test_the_explanation_has_the_name_that_the_file_got(tmp_path: Path) -> None:
    """In failed/ it may be another than in inbox/, and that one is to be moved."""
    spool = spool_in(tmp_path)
    filed(spool, job_file("sub/x.yaml"), [job(*REFUSED)])
    name = filed(spool, job_file("sub/x.yaml", id=2), [job(*REFUSED)])
    assert name == "failed/sub/x (2).yaml"
    assert "move sub/x (2).yaml from failed/ back into inbox/" in (tmp_path / f"{name}.error.txt").read_text()


# --- for programs ---------------------------------------------------------------------------------

KEYS = ["id", "file", "outcome", "claimed_at", "settled_at", "jobs"]
JOB_KEYS = [
    "n", "state", "paid", "project_id", "video", "bytes", "sha256", "adopted", "failure", "error", "exported_at",
    "settled_at", "request", "name",
]  # fmt: skip


def test_the_result_has_the_same_keys_always(tmp_path: Path) -> None:
    """Programs rely on them; what is not known is null."""
    spool = spool_in(tmp_path)
    name = filed(spool, job_file(), [job(*DONE), job(*IN_DOUBT, position=2, name="second")])
    found = json.loads((tmp_path / f"{name}.result.json").read_text())
    assert list(found) == KEYS
    assert [list(one) for one in found["jobs"]] == [JOB_KEYS, JOB_KEYS]
    assert {key: found[key] for key in KEYS[:5]} == {
        "id": f"{LEDGER}-1",
        "file": "x.yaml",
        "outcome": "failed",
        "claimed_at": NOW_TEXT,
        "settled_at": NOW_TEXT,
    }
    body = {"language": "en", "text": "Hello", "model": "ysy", "clothes": "1"}
    assert found["jobs"] == [
        {
            "n": 1, "state": "done", "paid": "yes", "project_id": "p1", "video": "videos/x.mp4", "bytes": 12,
            "sha256": "ab" * 32, "adopted": False, "failure": None, "error": None, "exported_at": NOW_TEXT,
            "settled_at": NOW_TEXT,
            "request": body, "name": None,
        },
        {
            "n": 2, "state": "failed", "paid": "unknown", "project_id": None, "video": None, "bytes": None,
            "sha256": None, "adopted": False, "failure": "in_doubt", "error": "the answer was lost",
            "exported_at": None,
            "settled_at": NOW_TEXT, "request": body, "name": "second",
        },
    ]  # fmt: skip


def test_the_result_of_an_invalid_file_has_its_problems(tmp_path: Path) -> None:
    """With line and column, as numbers."""
    spool = spool_in(tmp_path)
    name = filed(spool, job_file(problems=PROBLEMS), [])
    found = json.loads((tmp_path / f"{name}.result.json").read_text())
    assert list(found) == [*KEYS, "problems"]
    assert (found["outcome"], found["jobs"]) == ("failed", [])
    assert found["problems"] == [
        {"line": 3, "column": 5, "path": "jobs[2].model", "message": "is empty"},
        {"line": 4, "column": None, "path": None, "message": "'cloths' is not known"},
    ]


def test_text_stays_readable_in_the_result(tmp_path: Path) -> None:
    """People look into it too."""
    name = filed(spool_in(tmp_path), job_file(), [job(*DONE, text="안녕하세요 größe")])
    assert "안녕하세요 größe" in (tmp_path / f"{name}.result.json").read_text("utf-8")


# --- all of it ------------------------------------------------------------------------------------


def test_a_done_file_needs_no_explanation(tmp_path: Path) -> None:
    """Only the job file and its result."""
    assert filed(spool_in(tmp_path), job_file(), [job(*DONE)]) == "done/x.yaml"
    assert sorted(path.name for path in (tmp_path / "done").iterdir()) == ["x.yaml", "x.yaml.result.json"]


def test_filing_again_finds_it_filed(tmp_path: Path) -> None:
    """By the batch's marker, which tells the ledger and the number."""
    spool = spool_in(tmp_path)
    assert filed(spool, job_file(), [job(*DONE)]) == filed(spool, job_file(), [job(*DONE)], is_retry=True)
    assert sorted(path.name for path in (tmp_path / "done").iterdir()) == ["x.yaml", "x.yaml.result.json"]


def test_words_that_are_no_unicode_do_not_stop_it(tmp_path: Path) -> None:
    """JSON can say a lone surrogate, so the cloud's words and ours must survive it."""
    doubtful = job(ExportStarted(), Refused("no \ud800 more"))
    name = filed(spool_in(tmp_path), job_file(), [doubtful])
    assert "no \\ud800 more" in (tmp_path / f"{name}.error.txt").read_text("utf-8")
    assert json.loads((tmp_path / f"{name}.result.json").read_text("utf-8"))["jobs"][0]["error"] == "no \ud800 more"


def test_what_it_continues_is_cleared_away_first(tmp_path: Path) -> None:
    """So that the name is free, and no old explanation stays beside a new one."""
    spool = spool_in(tmp_path)
    old = filed(spool, job_file(), [job(*REFUSED)])
    (tmp_path / old).unlink()
    name = filed(spool, job_file(id=2, clears=(Leftover(1, old, is_continued=True),)), [job(*REFUSED)])
    assert name == old
    assert json.loads((tmp_path / f"{name}.result.json").read_text())["id"] == f"{LEDGER}-2"


def test_clearing_never_raises(tmp_path: Path) -> None:
    """Filing away tries once more."""
    root = tmp_path / "root"
    root.mkdir()
    spool = spool_in(root)
    root.rename(tmp_path / "elsewhere")
    file_away.clear(spool, job_file(clears=(Leftover(1, "failed/x.yaml", is_continued=True),)), ledger_id=LEDGER)
    root.mkdir()
    (root / ".chromadrop").write_text('{"ledger": "another"}')
    file_away.clear(spool, job_file(clears=(Leftover(1, "failed/x.yaml", is_continued=True),)), ledger_id=LEDGER)


def test_filing_always_ends_in_an_outcome(tmp_path: Path) -> None:
    """While the share is away, and where a bug strikes; the reason is told, and the same call may be made again."""
    root = tmp_path / "root"
    root.mkdir()
    spool = spool_in(root)
    settled = job_file(outcome=Outcome.DONE)
    broken = replace(job(*DONE), settled_at="not a time")  # type: ignore[arg-type]
    ended = file_away.file_away(spool, settled, [broken], ledger_id=LEDGER, is_retry=False)
    assert ended.filed_as is None
    assert ended.reason == "an error in chromadrop itself while filing: TypeError"
    root.rename(tmp_path / "elsewhere")
    ended = file_away.file_away(spool, settled, [job(*DONE)], ledger_id=LEDGER, is_retry=False)
    assert ended.filed_as is None
    assert "is not there" in ended.reason


def test_a_deferred_job_is_not_called_failed_for_its_old_trouble() -> None:
    """What was deferred and then done has nothing to explain."""
    done = job(*ACCEPTED, Deferred("cut"), Downloaded(Video("videos/x.mp4", 1, "")))
    assert file_away.result(job_file(outcome=Outcome.DONE), [done], LEDGER)["jobs"][0]["error"] is None
    assert NOW > 0
