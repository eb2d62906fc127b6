"""The job's one table: what is legal, what is not, and what is never lost."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.core.batch import Request
from daemon.core.errors import IllegalTransition
from daemon.core.job import (
    TRANSITIONS,
    Deferred,
    Downloaded,
    Event,
    Exported,
    ExportStarted,
    Failure,
    GaveUp,
    InDoubt,
    Job,
    Paid,
    Progressed,
    Refused,
    State,
    Video,
    advance,
    continue_from,
)

NOW = 1_770_000_000.0
BODY: dict[str, str | float | bool] = {"language": "en", "text": "Hello", "model": "ysy", "clothes": "1"}
VIDEO = Video("videos/hello.mp4", 12, "ab" * 32)
QUEUED = Job(id=7, batch_id=3, position=1, request=Request(BODY))
EXPORTING = advance(QUEUED, ExportStarted(), NOW)
RENDERING = advance(EXPORTING, Exported("p1"), NOW)
DONE = advance(RENDERING, Downloaded(VIDEO), NOW)
IN_DOUBT = advance(EXPORTING, InDoubt("no answer"), NOW)
REFUSED = advance(EXPORTING, Refused("bad model"), NOW)
REFUSED_AFTER = advance(RENDERING, Refused("not found"), NOW)
GAVE_UP = advance(RENDERING, GaveUp("no end"), NOW)
BY_STATE = {job.state: job for job in (QUEUED, EXPORTING, RENDERING, DONE, REFUSED)}

EXAMPLES: tuple[Event, ...] = (
    ExportStarted(),
    Exported("p1"),
    Deferred("later"),
    Progressed(50.0),
    Downloaded(VIDEO),
    Refused("no"),
    InDoubt("unheard"),
    GaveUp("too long"),
)
LEGAL = {
    (State.QUEUED, ExportStarted): State.EXPORTING,
    (State.EXPORTING, Exported): State.RENDERING,
    (State.EXPORTING, Deferred): State.QUEUED,
    (State.EXPORTING, Refused): State.FAILED,
    (State.EXPORTING, InDoubt): State.FAILED,
    (State.RENDERING, Progressed): State.RENDERING,
    (State.RENDERING, Deferred): State.RENDERING,
    (State.RENDERING, Downloaded): State.DONE,
    (State.RENDERING, Refused): State.FAILED,
    (State.RENDERING, GaveUp): State.FAILED,
}

words = st.text(max_size=20)
events: st.SearchStrategy[Event] = st.one_of(
    st.just(ExportStarted()),
    st.builds(Exported, words.filter(bool)),
    st.builds(
        Deferred,
        words,
        st.none() | st.floats(0, 300),
        is_outage=st.booleans(),
        is_bounded=st.booleans(),
    ),
    st.builds(Progressed, st.floats(0, 100)),
    st.builds(Downloaded, st.builds(Video, words, st.integers(0), words)),
    st.builds(Refused, words),
    st.builds(InDoubt, words),
    st.builds(GaveUp, words),
)
likely = st.one_of(st.just(ExportStarted()), st.just(Exported("p2")), events)


def test_the_table_is_the_drawing() -> None:
    """No arrow more, no arrow less than DESIGN draws."""
    assert set(TRANSITIONS) == set(LEGAL)


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: type(event).__name__)
def test_every_pair_of_state_and_event_has_its_answer(state: State, event: Event) -> None:
    """A legal event leads where the drawing says; every other one raises and says so."""
    job = BY_STATE[state]
    wanted = LEGAL.get((state, type(event)))
    if wanted is None:
        with pytest.raises(IllegalTransition, match=f"job 7: {type(event).__name__} in state {state}"):
            advance(job, event, NOW)
    else:
        assert advance(job, event, NOW).state is wanted


@given(st.lists(likely, max_size=30))
def test_any_sequence_of_events_keeps_the_rules(sequence: list[Event]) -> None:
    """Illegal events change nothing, settled is settled, and what identifies the job and its render is never lost."""
    job = QUEUED
    for number, event in enumerate(sequence):
        before = replace(job)
        is_legal = (job.state, type(event)) in LEGAL
        assert is_legal or not isinstance(event, ExportStarted) or job.state is not State.QUEUED
        try:
            after = advance(job, event, NOW + number)
        except IllegalTransition:
            assert not is_legal
            assert job == before
            continue
        assert is_legal
        assert job == before, "a job is a value"
        assert not before.state.is_settled
        assert after.state is LEGAL[before.state, type(event)]
        assert (after.id, after.batch_id, after.position, after.request) == (7, 3, 1, QUEUED.request)
        if before.project_id is not None:
            assert after.project_id == before.project_id
        _check_what_the_state_says(after)
        job = after


def _check_what_the_state_says(job: Job) -> None:
    assert (job.video is not None) == (job.state is State.DONE)
    assert (job.failure is not None) == (job.state is State.FAILED)
    assert (job.settled_at is not None) == job.state.is_settled
    if job.state in {State.RENDERING, State.DONE}:
        assert job.project_id is not None
        assert job.exported_at is not None
    if job.state in {State.QUEUED, State.EXPORTING}:
        assert job.project_id is None
    wanted = {
        State.QUEUED: Paid.NO,
        State.EXPORTING: Paid.UNKNOWN,
        State.RENDERING: Paid.YES,
        State.DONE: Paid.YES,
    }.get(job.state)
    if job.failure is not None:
        wanted = {
            Failure.REFUSED: Paid.NO,
            Failure.IN_DOUBT: Paid.UNKNOWN,
            Failure.REFUSED_AFTER: Paid.YES,
            Failure.GAVE_UP: Paid.YES,
        }[job.failure]
    assert job.paid is wanted


def test_an_accepted_export_starts_afresh() -> None:
    """The deadline counts from the acceptance; what went wrong before it is forgotten."""
    deferred = advance(advance(EXPORTING, Deferred("busy"), NOW), ExportStarted(), NOW)
    exported = advance(deferred, Exported("p1"), NOW + 5)
    assert (exported.exported_at, exported.deferrals, exported.refusals, exported.reason) == (NOW + 5, 0, 0, "")


def test_only_bounded_deferrals_count_towards_being_refused() -> None:
    """And any answer that makes sense starts both counts again."""
    once = advance(RENDERING, Deferred("404", is_bounded=True), NOW)
    twice = advance(once, Deferred("away", is_outage=True), NOW)
    assert (twice.refusals, twice.deferrals, twice.reason) == (1, 2, "away")
    heard = advance(twice, Progressed(10.0), NOW)
    assert (heard.refusals, heard.deferrals, heard.reason, heard.progress) == (0, 0, "", 10.0)


def test_a_done_job_has_nothing_to_complain_about() -> None:
    """All of it is there, and no old trouble sticks to it."""
    deferred = advance(RENDERING, Deferred("cut"), NOW)
    done = advance(deferred, Downloaded(VIDEO), NOW + 9)
    assert (done.video, done.progress, done.reason, done.settled_at) == (VIDEO, 100.0, "", NOW + 9)


@pytest.mark.parametrize(
    ("earlier", "may_pay_again", "state"),
    [
        (DONE, False, State.DONE),
        (DONE, True, State.DONE),
        (REFUSED, False, State.QUEUED),
        (REFUSED, True, State.QUEUED),
        (GAVE_UP, False, State.RENDERING),
        (GAVE_UP, True, State.RENDERING),
        (REFUSED_AFTER, False, State.RENDERING),
        (REFUSED_AFTER, True, State.QUEUED),
        (IN_DOUBT, False, State.FAILED),
        (IN_DOUBT, True, State.QUEUED),
    ],
)
def test_a_job_goes_on_where_the_earlier_one_was(earlier: Job, may_pay_again: bool, state: State) -> None:
    """Only what was never accepted is exported, or what a person said to pay again."""
    job = replace(QUEUED, id=0, batch_id=0, position=4)
    continued = continue_from(job, replace(earlier, id=99), NOW + 100, may_pay_again=may_pay_again)
    assert continued.state is state
    assert continued.continues == 99
    assert (continued.id, continued.batch_id, continued.position) == (0, 0, 4)
    assert (continued.settled_at == NOW + 100) == state.is_settled
    if state in {State.DONE, State.RENDERING}:
        assert continued.project_id == "p1"
        assert continued.paid is Paid.YES
    else:
        assert continued.project_id is None


def test_a_continued_render_has_its_whole_deadline_again() -> None:
    """Otherwise it would be given up at the first look."""
    continued = continue_from(QUEUED, GAVE_UP, NOW + 100, may_pay_again=False)
    assert continued.exported_at == NOW + 100
    assert (continued.refusals, continued.deferrals, continued.reason) == (0, 0, "")


def test_a_continued_video_is_the_same_video() -> None:
    """It is not made again, and is known as what it is."""
    continued = continue_from(QUEUED, DONE, NOW + 100, may_pay_again=False)
    assert (continued.video, continued.progress, continued.exported_at) == (VIDEO, 100.0, NOW)


def test_doubt_stays_doubt() -> None:
    """With the same words, so that the second error file says what the first one said."""
    continued = continue_from(QUEUED, IN_DOUBT, NOW + 100, may_pay_again=False)
    assert (continued.failure, continued.reason, continued.paid) == (Failure.IN_DOUBT, "no answer", Paid.UNKNOWN)
