"""What is ill about the daemon, and what is not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from daemon.core.folder_trouble import FolderTrouble, FolderWaits
from daemon.core.job import Deferred
from daemon.core.schedule import Instant
from daemon.core.vitals import BEAT_SECONDS, FOLDERS_SECONDS, STUCK_SECONDS, Delay, Ill, Part, Vitals, delay_of, ills

WELL = Vitals(turned_at=100.0)


def test_all_well() -> None:
    """Nothing is ill; a pause is a person's wish, and a stop is an end in good order."""
    assert ills(WELL, 100.0) == []
    assert ills(replace(WELL, is_paused=True, is_stopping=True, queued=5000), 100.0) == []


@pytest.mark.parametrize(
    ("ill", "part", "words"),
    [
        (replace(WELL, account="no credit"), Part.ACCOUNT, "no credit"),
        (replace(WELL, cloud="refused"), Part.CLOUD, "refused"),
        (replace(WELL, root="unmounted"), Part.ROOT, "unmounted"),
        (replace(WELL, held_since=1.0), Part.ROOT, "the file server does not answer: no drop is seen"),
        (
            replace(WELL, is_ledger_away=True),
            Part.LEDGER,
            "it cannot be written: nothing new is asked for until it can",
        ),
        (replace(WELL, is_scanner_alive=False), Part.SCANNER, "it has ended or hangs: no drop is seen"),
    ],
)
def test_each_part_can_be_ill(ill: Vitals, part: Part, words: str) -> None:
    """One part, its own words."""
    assert ills(ill, 100.0) == [Ill(part, words)]


def test_everything_can_be_ill_at_once() -> None:
    """Every part once, in a fixed order; a root that is lost is not told twice."""
    bad = Vitals(
        turned_at=0.0, account="a", cloud="c", root="r", is_ledger_away=True, is_scanner_alive=False, held_since=1.0,
        folders=FolderTrouble("f", Instant(0.0, 0.0)),
    )  # fmt: skip
    assert [ill.part for ill in ills(bad, 1000.0)] == list(Part)


def test_a_main_loop_is_stuck_when_it_should_have_turned_several_times() -> None:
    """Idle it turns at every beat, so that a longer silence means something."""
    assert STUCK_SECONDS > 3 * BEAT_SECONDS
    assert ills(WELL, 100.0 + STUCK_SECONDS) == []
    assert ills(WELL, 131.0) == [Ill(Part.MAIN_LOOP, "it has not turned for 31 s")]


def test_the_folders_are_ill_once_something_has_waited_for_them() -> None:
    """A single try that failed is no illness; from then on the reason is told."""
    waiting = replace(WELL, folders=FolderTrouble("cannot write done: disk full", Instant(90.0, 5.0)))
    assert ills(waiting, 90.0 + FOLDERS_SECONDS) == []
    found = ills(replace(waiting, turned_at=121.0), 121.0)
    assert found == [Ill(Part.FOLDERS, "cannot write done: disk full")]


def test_the_folders_are_in_trouble_until_nothing_waits() -> None:
    """Since the first that waited, in the words of the oldest; a root that is back begins afresh."""
    waits = FolderWaits()
    assert waits.trouble is None
    waits.wait(("file", 1), "first", Instant(1.0, 101.0))
    waits.wait(("video", 1), "second", Instant(2.0, 102.0))
    waits.wait(("file", 1), "first, again", Instant(3.0, 103.0))
    assert waits.trouble == FolderTrouble("first, again", Instant(1.0, 101.0))
    waits.end(("file", 1))
    waits.end(("file", 7))
    assert waits.trouble == FolderTrouble("second", Instant(1.0, 101.0))
    waits.restart(Instant(9.0, 109.0))
    assert waits.trouble == FolderTrouble("second", Instant(9.0, 109.0))
    waits.end(("video", 1))
    assert waits.trouble is None
    waits.wait(("file", 2), "another", Instant(20.0, 120.0))
    assert waits.trouble == FolderTrouble("another", Instant(20.0, 120.0))


@pytest.mark.parametrize(
    ("outcome", "delay"),
    [
        (Deferred("x", is_outage=True), Delay.OUTAGE),
        (Deferred("x", is_outage=True, is_bounded=True), Delay.OUTAGE),
        (Deferred("x", is_ours=True), Delay.OURS),
        (Deferred("x", is_bounded=True), Delay.REFUSAL),
        (Deferred("x"), Delay.OTHER),
    ],
)
def test_the_kind_of_a_deferral(outcome: Deferred, delay: Delay) -> None:
    """A few kinds, whatever the words."""
    assert delay_of(outcome) is delay
