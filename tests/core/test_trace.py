"""Which project may be taken for which unanswered export."""

from __future__ import annotations

from dataclasses import replace

import pytest

from daemon.core.batch import Request
from daemon.core.job import ExportStarted, Job, advance
from daemon.core.project import Project
from daemon.core.trace import (
    CLOCK_MARGIN_SECONDS,
    FAILURE_SECONDS,
    OUTAGE_SECONDS,
    ROUNDS_AT,
    WINDOW_SECONDS,
    Trace,
    adoptions,
    may_be_new,
)

ASKED = 1_770_000_000.0
MODELS = frozenset({"M1", "M2"})


def job(number: int, text: str = "Hello", *, model: str = "M1", clothes: str = "C1") -> Job:
    """A job that was asked for."""
    request = Request({"language": "en", "text": text, "model": model, "clothes": clothes})
    return advance(Job(id=number, batch_id=1, position=number, request=request), ExportStarted(), ASKED)


def project(name: str, *texts: str, after: float | None = 1.0) -> Project:
    return Project(name, created_at=None if after is None else ASKED + after, texts=frozenset(texts))


def test_the_only_project_that_fits_is_the_jobs() -> None:
    """Made since, with our text."""
    assert adoptions([job(1)], [], [project("p1", "Hello"), project("p2", "Bye")], MODELS) == {1: "p1"}


def test_white_space_does_not_matter() -> None:
    """The cloud may have trimmed the text or broken its lines anew."""
    assert adoptions([job(1, " Hello \n world\n")], [], [project("p1", "Hello world")], MODELS) == {1: "p1"}


@pytest.mark.parametrize(
    "projects",
    [
        pytest.param([], id="none"),
        pytest.param([project("p1", "Hello"), project("p2", "Hello")], id="two"),
        pytest.param([project("p1", "Hello, world")], id="only begins alike"),
        pytest.param([project("p1", "Hello", after=-CLOCK_MARGIN_SECONDS - 1)], id="made before"),
        pytest.param([project("p1", "Hello", after=None)], id="made nobody knows when"),
        pytest.param([project("p1", "Hello", after=WINDOW_SECONDS + 1)], id="made long after"),
        pytest.param([replace(project("p1", "Hello"), models=frozenset({"other"}))], id="named for another model"),
        pytest.param([replace(project("p1", "Hello"), clothes=frozenset({"C9"}))], id="named for other clothes"),
        pytest.param([project("p1", "Hello", "M2", "C9")], id="another model's"),
    ],
)
def test_without_one_that_fits_alone_nothing_is_adopted(projects: list[Project]) -> None:
    """A person is asked rather than a wrong video delivered."""
    assert adoptions([job(1)], [], projects, MODELS) == {}


def test_what_may_be_another_jobs_is_not_adopted() -> None:
    """Two of ours with the same text: whose it is cannot be told, also when the other one is beyond tracing."""
    found = [project("p1", "Hello")]
    assert adoptions([job(1), job(2)], [], found, MODELS) == {}
    assert adoptions([job(1)], [job(2)], found, MODELS) == {}
    assert adoptions([job(1)], [job(2, "Bye")], found, MODELS) == {1: "p1"}


def test_model_and_clothes_tell_apart_what_says_the_same() -> None:
    """Where the cloud shows them, one text with two models is no riddle."""
    pair = [job(1, model="M1", clothes="C1"), job(2, model="M2", clothes="C2")]
    found = [project("p2", "Hello", "M2", "C2"), project("p1", "Hello", "M1", "C1")]
    assert adoptions(pair, [], found, MODELS) == {1: "p1", 2: "p2"}
    assert adoptions(pair, [], found[:1], MODELS) == {2: "p2"}


def test_a_job_that_was_asked_at_nobody_knows_when_fits_nothing() -> None:
    """As one of a ledger that did not keep it."""
    assert adoptions([replace(job(1), asked_at=None)], [], [project("p1", "Hello")], MODELS) == {}


@pytest.mark.parametrize(("after", "may_be"), [(None, True), (0.0, True), (-CLOCK_MARGIN_SECONDS, True), (-9.0, False)])
def test_what_was_made_before_is_not_even_looked_into(after: float | None, may_be: bool) -> None:
    """Where the list tells when that was."""
    assert may_be_new(project("p", after=after), ASKED) is may_be


def test_the_rounds_come_ever_later_and_end() -> None:
    """A project may appear a little after its answer was lost; a person is not kept waiting for long."""
    trace: Trace | None = Trace("no answer", 100.0, 100.0)
    due = []
    while trace is not None:
        due.append(trace.due_at)
        trace = trace.after_round(trace.due_at)
    assert due == [100.0 + seconds for seconds in ROUNDS_AT]


def test_a_slow_round_delays_the_next_one() -> None:
    """The pause between two is what counts."""
    following = Trace("no answer", 100.0, 100.0).after_round(150.0)
    assert following is not None
    assert following.due_at == 152.0


def test_a_cloud_that_answers_without_its_projects_is_asked_for_a_minute() -> None:
    """However long a trace has waited before: only the failures in a row count."""
    trace: Trace | None = Trace("no answer", 100.0, 5000.0)
    last = trace
    while trace is not None:
        last, trace = trace, trace.after_failure(trace.due_at)
    assert last is not None
    assert last.due_at == 5000.0 + FAILURE_SECONDS
    assert last.rounds == 0, "no round was used up"


def test_a_cloud_that_is_away_is_waited_for_a_day() -> None:
    """An outage is the usual reason why the answer was lost; nobody else gets anything from that cloud meanwhile."""
    trace: Trace | None = Trace("no answer", 100.0, 100.0)
    last = trace
    while trace is not None:
        last, trace = trace, trace.after_outage(trace.due_at)
    assert last is not None
    assert last.due_at == 100.0 + OUTAGE_SECONDS
    assert last.after_round(last.due_at) == Trace("no answer", 100.0, last.due_at + ROUNDS_AT[1], 1)
