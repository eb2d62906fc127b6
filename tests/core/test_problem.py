"""How what is wrong is told."""

from __future__ import annotations

import pytest

from daemon.core.problem import Problem, did_you_mean

FIELDS = ("language", "text", "model", "clothes", "pay_again")


@pytest.mark.parametrize(
    ("problem", "text"),
    [
        (Problem("is empty"), "is empty"),
        (Problem("is empty", line=3), "line 3: is empty"),
        (Problem("is empty", line=3, column=5), "line 3, column 5: is empty"),
        (Problem("is empty", line=3, column=5, path="jobs[2].model"), "line 3, column 5 (jobs[2].model): is empty"),
        (Problem("is empty", path="jobs[2].model"), "jobs[2].model: is empty"),
        (Problem("is empty", path="api.version", where="CHROMADROP_API__VERSION"),
         "CHROMADROP_API__VERSION (api.version): is empty"),
        (Problem("is empty", line=1, where="config.yaml"), "config.yaml, line 1: is empty"),
        (Problem("is empty", column=5), "is empty"),
    ],
)  # fmt: skip
def test_a_problem_says_where_as_far_as_it_is_known(problem: Problem, text: str) -> None:
    """Nothing is made up for what is not known; a column alone tells nobody anything."""
    assert str(problem) == text


@pytest.mark.parametrize(("word", "meant"), [("cloths", "clothes"), ("Model", "model"), ("pay-again", "pay_again")])
def test_a_near_word_is_offered(word: str, meant: str) -> None:
    """Spelled as it must be written, whatever the case of the mistake."""
    assert did_you_mean(word, FIELDS) == f" Did you mean '{meant}'?"


@pytest.mark.parametrize("word", ["", "resolution", "x"])
def test_a_word_that_is_far_from_all_offers_nothing(word: str) -> None:
    """A wrong guess is worse than none."""
    assert did_you_mean(word, FIELDS) == ""
