"""How long is tried what does not come, and whose trouble an answer is."""

from __future__ import annotations

from daemon.core.patience import DOWNLOADS_IN_A_ROW, OVERDUE_SECONDS, Patience
from daemon.core.suspicion import Suspicion


def test_downloads_of_each_job_are_counted_for_themselves() -> None:
    """As many as it takes; what one job has used up is not missing for another."""
    patience = Patience()
    tries = [patience.on_download_failed(1, is_outage=False) for _ in range(DOWNLOADS_IN_A_ROW)]
    assert tries == [False] * (DOWNLOADS_IN_A_ROW - 1) + [True]
    assert not patience.on_download_failed(2, is_outage=False)
    patience.forget(1)
    assert (patience.failures(1), patience.failures(2)) == (0, 1)


def test_whether_videos_can_be_reached_is_what_the_last_download_found() -> None:
    """Or nobody knows, once the job that found it out has ended."""
    patience = Patience()
    patience.on_download_failed(1, is_outage=True)
    assert patience.are_videos_away
    patience.on_download_failed(2, is_outage=False)
    assert not patience.are_videos_away
    patience.on_download_failed(1, is_outage=True)
    patience.on_downloaded()
    assert not patience.are_videos_away
    patience.on_download_failed(1, is_outage=True)
    patience.forget(3)
    assert patience.are_videos_away
    patience.forget(1)
    assert not patience.are_videos_away


def test_a_render_past_its_deadline_has_a_while_of_answers() -> None:
    """From the first one, however late that came, and anew after an outage; no longer than the deadline itself was."""
    patience = Patience()
    assert not patience.is_over(1, 5000.0, 3600.0)
    assert not patience.is_over(1, 5000.0 + OVERDUE_SECONDS - 1, 3600.0)
    assert patience.is_over(1, 5000.0 + OVERDUE_SECONDS, 3600.0)
    patience.on_outage(1)
    assert not patience.is_over(1, 9000.0, 3600.0)
    assert not patience.is_over(2, 9000.0, 10.0)
    assert patience.is_over(2, 9010.0, 10.0)


def test_a_job_is_to_blame_only_while_the_account_is_found_well() -> None:
    """Accused, then the account is well: its own. The account is not: nobody's."""
    suspicion = Suspicion()
    suspicion.accuse(1, "403")
    assert not suspicion.is_own(1)
    assert suspicion.unsuspected([1, 2]) == 2
    suspicion.account_is_well()
    assert suspicion.is_own(1)
    suspicion.accuse(1, "403 again")
    assert suspicion.reason(1) == "403 again"
    assert suspicion.unsuspected([1]) is None
    suspicion.account_is_not_well()
    assert not suspicion.is_own(1)
    assert suspicion.unsuspected([1]) == 1
    suspicion.accuse(1, "403")
    suspicion.clear(1)
    suspicion.account_is_well()
    assert not suspicion.is_own(1)
