"""The rules of readiness."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.core.drop import Fingerprint
from daemon.core.problem import Problem
from daemon.core.settle import Rules, Settling, Verdict, due, has_nul, judge, observe, restart, tried

RULES = Rules(settle_seconds=2, grace_seconds=10, max_bytes=100)
FILE = Fingerprint(device=1, inode=2, size=10, mtime_ns=3, ctime_ns=4)
BAD = (Problem("bad"),)


def test_a_file_is_read_when_it_was_quiet_for_the_settle_time() -> None:
    """Not a moment earlier."""
    settling = observe(None, FILE, 100)
    assert judge(settling, RULES, 101.9) is Verdict.WAIT
    assert judge(settling, RULES, 102) is Verdict.READ
    assert due(settling, RULES) == 102


@pytest.mark.parametrize("field", ["device", "inode", "size", "mtime_ns", "ctime_ns"])
def test_any_change_starts_the_clock_again(field: str) -> None:
    """Even where only the mtime was set, or set back, or another file took the name."""
    settling = observe(observe(None, FILE, 100), replace(FILE, **{field: 7}), 101.5)
    assert due(settling, RULES) == 103.5


def test_an_unchanged_file_keeps_its_clock() -> None:
    """Looking does not disturb."""
    settling = observe(None, FILE, 100)
    assert observe(settling, FILE, 101) is settling


def test_a_slow_answer_is_no_quiet() -> None:
    """The clock starts when the first look was answered, and is read before the second is begun."""
    settling = observe(None, FILE, 110)
    assert judge(settling, RULES, 100) is Verdict.WAIT


def test_zero_bytes_wait_for_ever() -> None:
    """However long it lies there, and however it came."""
    settling = observe(None, replace(FILE, size=0), 0, was_renamed=True)
    assert judge(settling, RULES, 1e9) is Verdict.EMPTY


def test_a_rename_onto_a_free_name_is_ready_at_once() -> None:
    """The writer says that it has finished; also onto a placeholder of zero bytes."""
    placeholder = observe(None, replace(FILE, size=0), 90)
    for before in (None, placeholder):
        assert judge(observe(before, FILE, 100, was_renamed=True), RULES, 100) is Verdict.READ


def test_a_rename_that_a_scan_saw_before_its_event_is_ready_at_once() -> None:
    """Unless somebody was seen to write since, or another file had the name."""
    seen = observe(None, FILE, 100)
    assert judge(observe(seen, FILE, 100.1, was_renamed=True), RULES, 100.1) is Verdict.READ
    held = restart(seen, 100)
    assert judge(observe(held, FILE, 100.1, was_renamed=True), RULES, 100.1) is Verdict.WAIT
    replaced = observe(observe(None, replace(FILE, inode=9), 99), FILE, 100)
    assert judge(observe(replaced, FILE, 100.1, was_renamed=True), RULES, 100.1) is Verdict.WAIT


def test_a_rename_onto_a_file_that_settles_starts_its_clock_again() -> None:
    """An editor that saves by renaming may save once more."""
    before = observe(None, replace(FILE, inode=9), 99)
    settling = observe(before, FILE, 100, was_renamed=True)
    assert judge(settling, RULES, 101) is Verdict.WAIT


def test_a_file_too_large_is_never_read() -> None:
    """It is refused when it has settled, by its size alone."""
    settling = observe(None, replace(FILE, size=101), 100)
    assert judge(settling, RULES, 101) is Verdict.WAIT
    assert judge(settling, RULES, 102) is Verdict.TOO_LARGE
    assert judge(observe(None, replace(FILE, size=100), 100), RULES, 102) is Verdict.READ


@pytest.mark.parametrize("was_renamed", [False, True])
def test_a_bad_file_has_the_grace_on_top(*, was_renamed: bool) -> None:
    """It may still be mended, or be half there; and is read once more at the end."""
    settling = tried(observe(None, FILE, 100, was_renamed=was_renamed), "digest", BAD, 102)
    assert judge(settling, RULES, 111.9) is Verdict.WAIT
    assert judge(settling, RULES, 112) is Verdict.READ


def test_a_change_ends_the_grace() -> None:
    """What was mended is tried as if it were new."""
    settling = tried(observe(None, FILE, 100), "digest", BAD, 102)
    assert observe(settling, replace(FILE, mtime_ns=9), 105) == Settling(replace(FILE, mtime_ns=9), 105)


def test_other_content_behind_the_same_fingerprint_starts_the_clock_again() -> None:
    """A write through a memory map shows late in the file's times."""
    first = tried(observe(None, FILE, 100), "one", BAD, 102)
    assert due(tried(first, "two", BAD, 112), RULES) == 124


def test_a_restart_forgets_how_the_file_came() -> None:
    """Somebody has it open, or could not take it: it settles like any other, and no sooner than wished."""
    renamed = observe(None, FILE, 100, was_renamed=True)
    assert due(restart(renamed, 101), RULES) == 103
    assert due(restart(renamed, 101, delay_seconds=60), RULES) == 161


@given(st.lists(st.tuples(st.floats(0.01, 5), st.integers(1, 3), st.booleans()), min_size=1))
def test_nothing_is_read_before_it_was_quiet(looks: list[tuple[float, int, bool]]) -> None:
    """Whatever happens to a file: when it is to be read, the last settle time showed one fingerprint only."""
    now, changed_at, settling, last = 0.0, 0.0, None, 0
    for pause, mtime, was_replaced in looks:
        now += pause
        seen = replace(FILE, mtime_ns=mtime, inode=int(was_replaced))
        if (key := mtime * 2 + was_replaced) != last:
            changed_at, last = now, key
        settling = observe(settling, seen, now)
        if judge(settling, RULES, now) is Verdict.READ:
            assert now - changed_at >= RULES.settle_seconds - 1e-9


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"a: b\n", False),
        (b"a: b\n\0\0\0", True),
        ("a: b\n".encode("utf-16"), False),
        (b"\xff\xfea\0:\0 \0b\0\0\0\0\0", True),
        (b"", False),
    ],
)
def test_nul_characters_are_found_in_utf_8_and_utf_16(content: bytes, *, expected: bool) -> None:
    """UTF-16 has NUL bytes in every Latin letter, which are no NUL characters."""
    assert has_nul(content) is expected
