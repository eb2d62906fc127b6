"""Checking before paying: what a list of models may decide, and when."""

from __future__ import annotations

import pytest

from daemon.core.batch import Request
from daemon.core.catalogue import Catalogue, Clothes, Model
from daemon.core.model_check import (
    FRESH_SECONDS,
    PATIENCE_SECONDS,
    REFRESH_SECONDS,
    RETRY_SECONDS,
    ModelCheck,
    Verdict,
)

LIST = Catalogue((Model("M1", clothes=(Clothes("C1"),)),))
GOOD = (Request({"language": "en", "text": "a", "model": "M1", "clothes": "C1"}),)
BAD = (Request({"language": "en", "text": "a", "model": "M2", "clothes": "C1"}),)
NOW = 1000.0


def verdict(check: ModelCheck, requests: tuple[Request, ...], now: float = NOW) -> Verdict:
    return check.judge(requests, now)[0]


def test_before_the_first_list_everything_waits_for_it_a_little() -> None:
    """It has been asked for at the start; a file that was copied settles for about as long anyway."""
    asked = ModelCheck().asked(NOW)
    for requests in (GOOD, BAD):
        assert verdict(ModelCheck(), requests) is Verdict.AWAITED
        assert verdict(asked, requests, NOW + PATIENCE_SECONDS - 0.1) is Verdict.AWAITED
        assert verdict(asked, requests, asked.until(NOW)) is Verdict.PASSED


def test_a_list_that_cannot_be_had_refuses_nothing_and_delays_nothing() -> None:
    """Neither while it is away nor until it is asked for the next time."""
    failed = ModelCheck().asked(NOW).failed(NOW + 1)
    assert {verdict(failed, requests, NOW + 1) for requests in (GOOD, BAD)} == {Verdict.PASSED}
    assert verdict(failed, BAD, NOW + RETRY_SECONDS) is Verdict.PASSED
    assert not failed.is_due(NOW + RETRY_SECONDS)
    assert failed.is_due(NOW + 1 + RETRY_SECONDS)


def test_a_list_that_was_just_read_decides() -> None:
    """With the problem that a person can mend."""
    read = ModelCheck().asked(NOW).read(LIST, NOW)
    assert read.judge(GOOD, NOW) == (Verdict.PASSED, ())
    refused, problems = read.judge(BAD, NOW + FRESH_SECONDS)
    assert refused is Verdict.REFUSED
    assert [problem.path for problem in problems] == ["model"]


def test_an_old_list_lets_pass_but_refuses_only_when_it_was_asked_for_again() -> None:
    """A model that came this morning is not turned away by the list of last night."""
    later = NOW + FRESH_SECONDS + 1
    old = ModelCheck().asked(NOW).read(LIST, NOW)
    assert verdict(old, GOOD, later) is Verdict.PASSED
    assert verdict(old, BAD, later) is Verdict.AWAITED
    wanted = old.wanted(later)
    assert wanted.is_due(later)
    assert verdict(wanted.asked(later).read(LIST, later), BAD, later) is Verdict.REFUSED
    assert verdict(wanted.asked(later).failed(later), BAD, later) is Verdict.PASSED


def test_a_copy_of_an_earlier_daemon_refuses_nothing() -> None:
    """It is as old as that daemon."""
    copy = ModelCheck.of_copy(LIST)
    assert verdict(copy, GOOD) is Verdict.PASSED
    assert verdict(copy, BAD) is Verdict.AWAITED
    assert verdict(copy.asked(NOW), BAD, NOW + PATIENCE_SECONDS) is Verdict.PASSED


def test_an_answer_that_never_comes_delays_nothing_twice() -> None:
    """What is dropped while it is still awaited passes at once."""
    hanging = ModelCheck().asked(NOW)
    assert verdict(hanging, BAD, NOW + PATIENCE_SECONDS + 20) is Verdict.PASSED


@pytest.mark.parametrize(
    ("check", "due_at"),
    [
        (ModelCheck(), float("-inf")),
        (ModelCheck().asked(NOW).read(LIST, NOW), NOW + REFRESH_SECONDS),
        (ModelCheck().asked(NOW).failed(NOW), NOW + RETRY_SECONDS),
        (ModelCheck().asked(NOW).read(LIST, NOW).wanted(NOW + 5), NOW + 5),
    ],
)
def test_the_list_is_read_daily_and_sooner_where_it_was_not_had(check: ModelCheck, due_at: float) -> None:
    """And at once when somebody waits for it."""
    assert check.due_at == due_at


def test_the_list_is_asked_for_once_at_a_time() -> None:
    """However many drops want it."""
    assert not ModelCheck().asked(NOW).wanted(NOW).is_due(NOW + 1)
