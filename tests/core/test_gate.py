"""Whether new exports may start."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.core.gate import PROBE_SECONDS, SHORTEST_CLOSED_SECONDS, Gate, Trouble
from daemon.core.schedule import LONGEST_BACK_OFF_SECONDS

CREDIT = Trouble("no credit", is_credential=False, since=1000.0)
KEY = Trouble("key refused", is_credential=True, since=2000.0)


def test_an_open_gate_lets_any_number_through() -> None:
    """It is open at the start, and waits for nothing."""
    gate = Gate()
    assert gate.may_export(0.0, 0)
    assert gate.may_export(0.0, 500)
    assert gate.opens_at is None
    assert not gate.is_probe_due(1e9)


def test_a_deferred_export_closes_it_for_a_while_then_one_at_a_time() -> None:
    """So that an outage does not put a whole queue in doubt."""
    gate = Gate().deferred(100.0)
    assert not gate.may_export(100.9, 0)
    assert gate.opens_at == 100.0 + SHORTEST_CLOSED_SECONDS
    assert gate.may_export(101.0, 0)
    assert not gate.may_export(101.0, 1)
    assert gate.opened().may_export(101.0, 1)


@given(st.integers(1, 40), st.floats(0, 1e6))
def test_each_misfortune_closes_it_at_least_as_long_as_the_last(times: int, now: float) -> None:
    """Up to a minute, never for ever."""
    gate, waits = Gate(), []
    for _ in range(times):
        gate = gate.deferred(now)
        assert gate.opens_at is not None
        waits.append(gate.opens_at - now)
        assert not gate.may_export(now, 0)
        assert gate.may_export(gate.opens_at, 0)
    assert waits == sorted(waits)
    assert waits[-1] <= LONGEST_BACK_OFF_SECONDS + 1e-6


def test_it_obeys_what_the_cloud_asked_for() -> None:
    """Retry-After beats our own, shorter wait."""
    assert Gate().deferred(0.0, 120.0).opens_at == 120.0


def test_account_trouble_closes_it_until_a_probe() -> None:
    """No time that passes opens it, only an answer does."""
    gate = Gate().troubled(50.0, CREDIT)
    assert not gate.may_export(1e9, 0)
    assert gate.opens_at == 50.0 + PROBE_SECONDS
    assert not gate.is_probe_due(50.0 + PROBE_SECONDS - 0.1)
    assert gate.is_probe_due(50.0 + PROBE_SECONDS)


def test_trouble_that_goes_on_keeps_its_beginning_and_takes_the_latest_words() -> None:
    """People want to know since when."""
    gate = Gate().troubled(50.0, CREDIT).troubled(110.0, KEY)
    assert gate.trouble == Trouble("key refused", is_credential=True, since=1000.0)
    assert gate.opens_at == 110.0 + PROBE_SECONDS


def test_while_a_probe_is_under_way_nothing_starts() -> None:
    """Neither an export nor a second probe."""
    gate = Gate().troubled(0.0, KEY).probing()
    assert gate.probes == 1
    assert not gate.may_export(1e9, 0)
    assert not gate.is_probe_due(1e9)


def test_a_probe_that_passed_lets_one_export_through() -> None:
    """The trouble is over only when that one is accepted."""
    gate = Gate().troubled(0.0, KEY).probing().half_opened()
    assert gate.may_export(0.0, 0)
    assert not gate.may_export(0.0, 1)
    assert gate.trouble == KEY
    assert gate.opened() == Gate()


def test_trouble_again_at_the_half_open_gate_closes_it_again() -> None:
    """And counts the probes on, so that somebody can see that one was made."""
    gate = Gate().troubled(0.0, CREDIT).probing().half_opened().troubled(60.0, CREDIT)
    assert not gate.may_export(60.0, 0)
    assert gate.opens_at == 60.0 + PROBE_SECONDS
    assert gate.probes == 1


MISFORTUNES = st.sampled_from(["deferred", "troubled", "probing", "half_opened"])


def _after(gate: Gate, steps: list[str]) -> Gate:
    for now, step in enumerate(steps):
        if step == "deferred":
            gate = gate.deferred(float(now))
        elif step == "troubled":
            gate = gate.troubled(float(now), CREDIT)
        else:
            gate = gate.probing() if step == "probing" else gate.half_opened()
    return gate


@given(st.lists(MISFORTUNES, min_size=1, max_size=20), st.integers(1, 50))
def test_only_an_accepted_export_opens_it_wide(steps: list[str], exporting: int) -> None:
    """After any misfortune, at any time, there is at most one export in flight."""
    gate = _after(Gate(), steps)
    assert not gate.may_export(1e9, exporting)
    assert gate.opened().may_export(0.0, exporting)


@pytest.mark.parametrize("exporting", [1, 5])
def test_a_half_open_gate_waits_for_what_is_in_flight(exporting: int) -> None:
    """Exports that left before the trouble count."""
    assert not Gate().half_opened().may_export(0.0, exporting)
