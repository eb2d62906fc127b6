"""The whole daemon in corners where a review found it wanting: each stays mended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from world import FakeLook, World, yaml_of

from daemon.core.errors import (
    AccountTroubled,
    CloudDeferred,
    CloudInDoubt,
    CloudRefused,
    LedgerConflict,
    LedgerUnavailable,
)
from daemon.core.messages import PauseSeen, RootFound, RootLost, ScanEnded
from daemon.core.schedule import EXPORTS_AT_ONCE
from daemon.dispatcher import Limits

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A daemon on an empty root."""
    made = World(tmp_path)
    yield made
    made.kill()


def once(tmp_path: Path, **limits: Any) -> World:
    """A daemon that ends when everything is worked off."""
    world = World(tmp_path, limits=Limits(**limits))
    world.kill()
    world.is_once = True
    world.start()
    return world


# --- money ----------------------------------------------------------------------------------------


def test_a_half_failed_file_keeps_its_videos_though_another_of_its_name_was_done_meanwhile(world: World) -> None:
    """Its error text promised that the others are not paid for again."""
    world.cloud.export_faults.extend([None, (CloudRefused("no"), False)])
    world.drop("a.yaml", yaml_of("a", "b"))
    world.pass_time(20)
    world.drop("a.yaml", yaml_of("other"))
    world.pass_time(20)
    assert world.files("done")[0] == "a.yaml"
    world.drop_again("a.yaml")
    world.pass_time(20)
    assert world.cloud.texts_accepted() == {"a": 1, "b": 1, "other": 1}


def test_a_drop_in_the_turn_in_which_its_predecessor_is_filed_continues_it(world: World) -> None:
    """The ledger must know that the file has failed before it is asked what the drop continues."""
    world.cloud.export_faults.append((CloudInDoubt("no answer"), True))
    world.drop("x.yaml", yaml_of("hello"))
    world.crew.held = {"file"}
    world.settle()
    for _ in range(3):
        world.crew.held = set()
        world.crew.work()
        messages = list(world.mailbox)
        world.mailbox.clear()
        if "x.yaml" in world.files("failed"):
            world.drop_again("x.yaml")
            messages += list(world.mailbox)
            world.mailbox.clear()
        world.dispatcher.turn(world.now, messages)
    world.pass_time(20)
    assert len(world.cloud.asked) == 1
    assert world.files("failed")[0] == "x.yaml"


def test_moved_back_between_a_kill_and_the_next_start_it_continues(world: World) -> None:
    """Killed after the move to failed/ and before the ledger knew: the file that a person moved back is the same."""
    world.cloud.export_faults.append((CloudInDoubt("no answer"), True))
    world.drop("x.yaml", yaml_of("hello"))
    while "x.yaml" not in world.files("failed"):
        messages = list(world.mailbox)
        world.mailbox.clear()
        world.dispatcher.turn(world.now, messages)
        world.crew.work()
    world.restart()
    world.crew.held = {"file"}
    world.drop_again("x.yaml")
    world.settle()
    world.crew.held = set()
    world.pass_time(20)
    assert len(world.cloud.asked) == 1
    assert [name for name in world.files("failed") if name.endswith(".yaml")] == ["x.yaml"]
    assert world.files("inbox") == []


def test_two_files_that_continue_the_same_job_while_the_ledger_fails(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A claim that was entered is not entered again when the next one could not be."""
    world.cloud.export_faults.append((CloudInDoubt("no answer"), True))
    (world.root / "failed/x.yaml").write_text("somebody's own")
    world.drop("x.yaml", yaml_of("hello"))
    world.pass_time(5)
    world.drop("x.yaml", yaml_of("hello"))
    world.drop_again("x (2).yaml")
    real = world.ledger.enter
    entered: list[str] = []

    def enter(claims: Any) -> Any:
        if len(claims) > 1:
            raise LedgerConflict("both")
        if entered and len(entered) == 1:
            entered.append("failed")
            raise LedgerUnavailable("disk full")
        entered.append(claims[0][0].name)
        return real(claims)

    monkeypatch.setattr(world.ledger, "enter", enter)
    world.pass_time(30)
    names = [job_file.name for job_file, _jobs in world.ledger.latest_closed(10)]
    assert sorted(names) == ["x (2).yaml", "x.yaml", "x.yaml"]
    assert len(world.cloud.asked) == 1


def test_a_pause_is_minded_before_the_first_scan_after_a_restart(world: World) -> None:
    """Nothing is exported before the scanner has said whether inbox/PAUSE is there."""
    world.mailbox.append(PauseSeen(is_paused=True))
    world.drop("x.yaml", yaml_of("a"))
    world.pass_time(5)
    world.restart()
    world.mailbox.clear()
    world.pass_time(5)
    assert world.cloud.asked == []
    world.mailbox.append(PauseSeen(is_paused=True))
    world.pass_time(5)
    assert world.cloud.asked == []


def test_a_crash_puts_a_bounded_number_of_jobs_in_doubt(tmp_path: Path) -> None:
    """However many may render at once, only so many are being asked for at any moment."""
    world = World(tmp_path, limits=Limits(max_rendering=1000))
    world.crew.held = {"export"}
    world.drop("x.yaml", yaml_of(*(str(n) for n in range(100))))
    world.settle()
    assert world.states().count("exporting") == EXPORTS_AT_ONCE
    world.crew.held = set()
    world.pass_time(30)
    assert len(world.cloud.accepted) == 100
    world.kill()


def test_an_outage_during_trouble_does_not_put_the_queue_in_doubt(world: World) -> None:
    """The export that probes is lost, and so are the next ones: they come one by one, ever later."""
    trouble = AccountTroubled("402: no credit", is_credential=False)
    world.dispatcher.limits = Limits(max_rendering=1)
    world.cloud.export_faults.append((trouble, False))
    world.cloud.export_faults.extend([(CloudInDoubt("502"), False)] * 100)
    world.drop("x.yaml", yaml_of(*(str(n) for n in range(100))))
    world.pass_time(120)
    assert len(world.cloud.asked) <= 10


# --- hangs ----------------------------------------------------------------------------------------


def test_one_claim_that_could_not_be_entered_is_entered_later(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that was full for a moment while a claim was entered stops nothing for good."""
    real = world.ledger.enter
    faults = [LedgerUnavailable("disk full")]

    def enter(claims: Any) -> Any:
        if faults:
            raise faults.pop()
        return real(claims)

    monkeypatch.setattr(world.ledger, "enter", enter)
    world.drop("x.yaml", yaml_of("a"))
    world.pass_time(20)
    assert world.files("done")[0] == "x.yaml"
    assert world.log.events().count("ledger.recovered") == 1


def test_a_busy_cloud_does_not_keep_the_daemon_busy(world: World) -> None:
    """With an export in flight, a pause, or a stop, the daemon is woken by what happens, not by the clock."""
    world.cloud.export_faults.append((CloudDeferred("503", is_outage=True), False))
    world.drop("x.yaml", yaml_of("a", "b", "c"))
    world.settle()
    world.mailbox.append(PauseSeen(is_paused=True))
    world.pass_time(10)
    wake = world.dispatcher.turn(world.now)
    assert wake is None or wake > world.monotonic
    world.mailbox.append(PauseSeen(is_paused=False))
    world.crew.held = {"export"}
    world.pass_time(10)
    wake = world.dispatcher.turn(world.now)
    assert wake is None or wake > world.monotonic
    world.stop()
    world.pass_time(10)
    wake = world.dispatcher.turn(world.now)
    assert wake is None or wake > world.monotonic


def test_what_became_due_while_the_ledger_was_away_is_done_when_it_is_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No job is forgotten in the queue because nothing happens any more."""
    real = world.ledger.commit
    world.drop("x.yaml", yaml_of("a"))
    world.crew.held = {"file"}
    world.settle()

    def refuse(_work: object) -> None:
        raise LedgerUnavailable("disk full")

    monkeypatch.setattr(world.ledger, "commit", refuse)
    world.crew.held = set()
    world.pass_time(5)
    monkeypatch.setattr(world.ledger, "commit", real)
    world.pass_time(20)
    assert world.files("done")[0] == "x.yaml"


def test_a_stop_while_the_ledger_is_away_ends_all_the_same(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGTERM is obeyed within seconds, and the work that could not be written is done again."""

    def refuse(_work: object) -> None:
        raise LedgerUnavailable("disk full")

    with monkeypatch.context() as patched:
        patched.setattr(world.ledger, "commit", refuse)
        world.drop("x.yaml", yaml_of("a"))
        world.pass_time(2)
        world.stop()
        world.pass_time(25)
        assert world.dispatcher.is_finished
    world.restart()
    world.pass_time(30)
    assert world.cloud.texts_accepted() == {"a": 1}


def test_once_ends_when_the_root_stays_away(tmp_path: Path) -> None:
    """It waits for a while, then ends with what there is left resumable."""
    world = once(tmp_path)
    world.mailbox.append(RootLost("inbox may not be read"))
    world.pass_time(100)
    assert not world.dispatcher.is_finished
    world.pass_time(250)
    assert world.dispatcher.is_finished
    assert world.dispatcher.is_cut_off
    world.kill()


def test_once_ends_when_the_cloud_stays_away(tmp_path: Path) -> None:
    """Renders in flight stay on record for the next run."""
    world = once(tmp_path)
    world.drop("x.yaml", yaml_of("a"))
    world.mailbox.append(ScanEnded((), 0, is_idle=True))
    world.settle()
    world.cloud.look_faults.extend([CloudDeferred("no connection", is_outage=True)] * 1000)
    world.pass_time(400)
    assert world.dispatcher.is_finished
    assert world.dispatcher.is_cut_off
    assert world.states() == ["rendering"]
    world.kill()


def test_a_download_that_never_succeeds_is_given_up_and_costs_nothing_to_try_again(world: World) -> None:
    """500 for every download: after many tries the file fails, and dropped again it goes on."""
    world.cloud.download_faults.extend([CloudDeferred("500")] * 50)
    world.drop("x.yaml", yaml_of("a"))
    world.pass_time(2 * 3600)
    assert "could not be downloaded" in world.error("failed/x.yaml")
    world.drop_again("x.yaml")
    world.pass_time(30)
    assert world.files("done")[0] == "x.yaml"
    assert len(world.cloud.asked) == 1


# --- lost work ------------------------------------------------------------------------------------


def test_links_that_grew_old_in_our_own_queue_are_asked_for_again(tmp_path: Path) -> None:
    """Many finished renders and few download slots: no link's age counts against its job."""
    world = World(tmp_path, limits=Limits(max_rendering=100, downloads=1))
    world.drop("x.yaml", yaml_of("a", "b"))
    world.crew.held = {"download"}
    world.pass_time(200)
    looks = sum(world.cloud.looks.values())
    world.crew.held = set()
    world.pass_time(10)
    assert world.files("done")[0] == "x.yaml"
    assert sum(world.cloud.looks.values()) == looks + 1
    world.kill()


def test_killed_between_a_claim_and_its_taking_back_the_file_is_in_the_inbox_again(world: World) -> None:
    """What was moved and is not what was read belongs to the producer, not to processing/."""
    world.drop("x.yaml", yaml_of("old"))
    world.crew.held = {"file"}
    world.settle()
    (world.root / "inbox/x.yaml").unlink()
    (world.root / "processing/x.yaml").write_text(yaml_of("new"))
    world.restart()
    world.settle()
    assert world.files("inbox") == ["x.yaml"]
    world.say_ready("x.yaml")
    world.pass_time(20)
    assert world.cloud.texts_accepted() == {"new": 1}


def test_another_file_of_a_failed_files_name_takes_no_explanation_away(world: World) -> None:
    """What is in doubt is said beside the job file for as long as that lies in failed/."""
    world.cloud.export_faults.append((CloudInDoubt("no answer"), True))
    world.drop("y.yaml", yaml_of("in doubt"))
    world.pass_time(5)
    world.drop("y.yaml", yaml_of("something else"))
    world.pass_time(20)
    assert "unknown" in world.error("failed/y.yaml")
    assert world.files("done")[0] == "y.yaml"
    world.drop("y.yaml", yaml_of("in doubt", pay_again="true"))
    world.pass_time(20)
    assert world.files("failed") == ["y.yaml"]
    assert len(world.cloud.asked) == 3


def test_once_counts_what_had_failed_before_a_crash(tmp_path: Path) -> None:
    """Filed by this run, failed in the one before: the exit code says so."""
    world = World(tmp_path)
    world.cloud.export_faults.append((CloudRefused("no"), False))
    world.drop("x.yaml", yaml_of("a"))
    while not any(job.failure for _file, jobs in world.ledger.unfinished() for job in jobs):
        messages = list(world.mailbox)
        world.mailbox.clear()
        world.dispatcher.turn(world.now, messages)
        world.crew.held = {"file"} if world.states() == ["exporting"] else set()
        world.crew.work()
    world.kill()
    world.is_once = True
    world.start()
    world.mailbox.append(ScanEnded((), 0, is_idle=True))
    world.pass_time(5)
    assert world.dispatcher.is_finished
    assert world.dispatcher.failures == 1
    world.kill()


def test_trouble_that_a_refusal_disproves_is_over(tmp_path: Path) -> None:
    """Whoever refuses a job has accepted the credential: ``run --once`` ends with 1, not 77."""
    world = once(tmp_path)
    world.cloud.export_faults.extend(
        [(AccountTroubled("401", is_credential=True), False), (CloudRefused("clothes unknown"), False)]
    )
    world.drop("x.yaml", yaml_of("a"))
    world.mailbox.append(ScanEnded((), 0, is_idle=True))
    world.pass_time(100)
    assert world.dispatcher.is_finished
    assert not world.dispatcher.is_in_trouble
    assert world.ledger.read_note("account") is None
    assert world.dispatcher.failures == 1
    world.kill()


def test_a_root_that_was_away_at_the_start_is_remembered_once_seen(world: World) -> None:
    """Its marker was seen: without it the next start waits instead of making folders on a bare mount point."""
    world.ledger.note("seen_root", None)
    world.mailbox.append(RootLost("not mounted"))
    world.settle()
    world.mailbox.append(RootFound())
    world.settle()
    assert world.ledger.read_note("seen_root") == str(world.root)
    world.ledger.note("seen_root", None)
    world.mailbox.append(ScanEnded((), 0, is_idle=True))
    world.settle()
    assert world.ledger.read_note("seen_root") == str(world.root)


def test_progress_that_could_not_be_written_is_written_later(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What one job has told is not lost because another one has told more since."""
    world.drop("x.yaml", yaml_of("a", "b"))
    world.settle()
    real = world.ledger.commit

    def refuse(_work: object) -> None:
        raise LedgerUnavailable("disk full")

    world.cloud.look_faults.extend([FakeLook(11.0, None), FakeLook(22.0, None)])
    monkeypatch.setattr(world.ledger, "commit", refuse)
    world.pass_time(4)
    monkeypatch.setattr(world.ledger, "commit", real)
    world.pass_time(1.5)
    assert [job.progress for _file, jobs in world.ledger.unfinished() for job in jobs] == [11.0, 22.0]
