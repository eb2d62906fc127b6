"""Documents and facts of notices, and what is told of the account."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.core.notice import (
    ACCOUNT_SECONDS,
    MOST_BYTES,
    MOST_JOBS,
    MOST_VARIABLE,
    VARIABLES,
    AccountNews,
    encoded,
    excerpt,
    fitted,
    utc,
    variables,
)


def job(text: str) -> dict[str, Any]:
    return {"n": 1, "state": "failed", "request": {"text": text}}


def test_a_moment_is_utc() -> None:
    """As in result.json."""
    assert utc(1_770_000_000.25) == "2026-02-02T02:40:00.250Z"


@given(st.text(st.characters(exclude_categories=())))
def test_every_text_can_be_said(text: str) -> None:
    """Lone surrogates, too, and it is read back as it was."""
    assert json.loads(encoded({"reason": text})) == {"reason": text}


def test_a_document_that_fits_is_left_alone() -> None:
    """The same value, and nothing says that it was cut."""
    for body in ({"event": "account"}, {"jobs": [job("short")] * 2}):
        assert fitted(body) is body


def test_a_long_document_loses_its_requests_first() -> None:
    """They are in the job file; what became of each job is not."""
    found = fitted({"file": "x.yaml", "jobs": [job("x" * MOST_BYTES)] * 3})
    assert found == {"file": "x.yaml", "cut": True, "jobs": [{"n": 1, "state": "failed"}] * 3}


def test_a_document_that_is_still_too_long_keeps_its_first_jobs() -> None:
    """The most that a receiver is burdened with is bounded."""
    found = fitted({"jobs": [job("x") | {"error": "e" * 200}] * 20_000})
    assert len(found["jobs"]) == MOST_JOBS
    assert len(encoded(found)) <= MOST_BYTES


@given(st.dictionaries(st.sampled_from(sorted(VARIABLES)), st.text(st.characters(exclude_categories=()))))
def test_facts_fit_into_an_environment(body: dict[str, str]) -> None:
    """One printable line each, of a bounded length; no NUL, no surrogate (execve(2))."""
    found = variables(body)
    assert found.keys() == {VARIABLES[key] for key in body}
    for value in found.values():
        assert value.isprintable()
        assert len(value) <= MOST_VARIABLE
        value.encode()


def test_facts_are_written_as_json_would() -> None:
    """What is not known is left out; what is no fact stays in the document."""
    body = {"event": "account", "recovered": False, "n": 3, "reason": None, "jobs": [], "text": "x"}
    assert variables(body) == {
        "CHROMADROP_EVENT": "account",
        "CHROMADROP_RECOVERED": "false",
        "CHROMADROP_N": "3",
    }


@pytest.mark.parametrize(("text", "shown"), [("a\n b", "a b"), ("\x1b[1m", "\\x1b[1m"), ("x" * 201, "x" * 199 + "…")])
def test_an_excerpt_is_one_bounded_line(text: str, shown: str) -> None:
    """Enough to recognise it by."""
    assert excerpt(text) == shown


# --- the account ----------------------------------------------------------------------------------

TROUBLED = AccountNews().troubled("no credit", 100.0)


def test_of_what_is_not_known_nothing_is_told() -> None:
    """Nor that all is well, where nobody was told otherwise."""
    assert AccountNews().due_at is None
    assert AccountNews().well().due_at is None
    assert AccountNews(is_told_troubled=True).due_at is None


def test_the_first_trouble_is_told_at_once() -> None:
    """And no second time; its beginning is kept as long as it lasts."""
    assert TROUBLED.due_at == float("-inf")
    told = TROUBLED.told(10.0)
    assert told.due_at is None
    again = told.troubled("still no credit", 200.0)
    assert (again.due_at, again.reason, again.since) == (None, "still no credit", 100.0)


def test_its_end_is_told_a_minute_later_at_the_earliest() -> None:
    """And not at all when the trouble has come back by then."""
    well = TROUBLED.told(10.0).well()
    assert well.due_at == 10.0 + ACCOUNT_SECONDS
    back = well.troubled("again", 300.0)
    assert (back.due_at, back.since) == (None, 300.0)
    assert well.told(80.0).due_at is None
    assert well.told(80.0).troubled("again", 300.0).due_at == 80.0 + ACCOUNT_SECONDS
