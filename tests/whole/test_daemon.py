"""The whole daemon with a fake clock: what people rely on."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from world import VIDEO, FakeLook, World, yaml_of

from daemon.core.errors import (
    AccountTroubled,
    CloudDeferred,
    CloudInDoubt,
    CloudRefused,
    LedgerUnavailable,
    LinkExpired,
)
from daemon.core.messages import PauseSeen, RootFound, RootLost, ScanEnded
from daemon.core.report import Stop
from daemon.core.schedule import LOOKERS, LOOKS_SECONDS
from daemon.dispatcher import SHORT_DOWNLOAD_SECONDS, STILL_LOOKS, Limits

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from daemon.core.job import Job
    from daemon.core.job_file import JobFile


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A daemon on an empty root."""
    made = World(tmp_path)
    yield made
    made.kill()


# --- the main job ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(yaml_of("first", "second", "third"), id="one list"),
        pytest.param("---\n".join(yaml_of(t).replace("- ", "  ") for t in ("a", "b", "c")), id="documents"),
        pytest.param(
            "defaults: {language: ko, model: M000004017, clothes: BG00006160}\njobs: [{text: a}, {text: b}, {text: c}]",
            id="defaults",
        ),
    ],
)
def test_a_file_with_three_jobs_ends_in_done_with_three_videos(world: World, content: str) -> None:
    """A dropped file is claimed, exported, rendered, downloaded, and filed away with its result."""
    world.drop("works.yaml", content)
    world.pass_time(20)
    assert world.files("inbox") == world.files("processing") == world.files("failed") == []
    assert world.files("done") == ["works.yaml", "works.yaml.result.json"]
    assert world.files("videos") == ["works-1.mp4", "works-2.mp4", "works-3.mp4"]
    assert (world.root / "videos/works-1.mp4").read_bytes() == VIDEO
    assert (world.root / "done/works.yaml").read_text() == content
    assert [job["paid"] for job in world.result("done/works.yaml")["jobs"]] == ["yes"] * 3


def test_subfolders_are_mirrored(world: World) -> None:
    """A file in a subfolder of inbox/ goes to the same subfolder of the others, and leaves no empty ones behind."""
    world.drop("spring/film/x.yaml", yaml_of("hello"))
    world.settle()
    assert world.files("processing") == ["spring/film/x.yaml"]
    world.pass_time(20)
    assert world.files("done") == ["spring/film/x.yaml", "spring/film/x.yaml.result.json"]
    assert world.files("videos") == ["spring/film/x.mp4"]
    assert not (world.root / "processing/spring").exists()


def test_renders_run_at_the_same_time_up_to_the_limit(tmp_path: Path) -> None:
    """``jobs.max_rendering`` renders are in flight at once; the others wait in line."""
    world = World(tmp_path, limits=Limits(max_rendering=3))
    world.drop("many.yaml", yaml_of(*(f"text {i}" for i in range(5))))
    world.pass_time(1)
    assert sorted(world.states()) == ["queued", "queued", "rendering", "rendering", "rendering"]
    world.pass_time(40)
    assert world.files("done")[0] == "many.yaml"
    assert len(world.cloud.accepted) == 5
    world.kill()


def test_a_render_is_looked_at_every_three_seconds(world: World) -> None:
    """Looks keep a rhythm of ``jobs.poll_seconds``."""
    world.drop("x.yaml", yaml_of("hello"))
    world.pass_time(9.5)
    assert world.cloud.looks["project1"] == 3


def test_a_bad_file_fails_whole_and_nothing_of_it_is_asked(world: World) -> None:
    """No job of a file is exported unless every job of it is valid; the reason lies beside it."""
    world.drop("bad.yaml", yaml_of("good") + "- text: no more\n")
    world.pass_time(5)
    assert world.cloud.asked == []
    assert world.files("failed") == ["bad.yaml", "bad.yaml.error.txt", "bad.yaml.result.json"]
    assert "Paid: no" in world.error("failed/bad.yaml")
    assert "line 5" in world.error("failed/bad.yaml")
    assert world.result("failed/bad.yaml")["problems"][0]["line"] == 5


def test_nothing_is_ever_overwritten(world: World) -> None:
    """The same name again gets `` (2)``: the job file, its result, and its video."""
    for _ in range(2):
        world.drop("x.yaml", yaml_of("hello"))
        world.pass_time(20)
    assert [name for name in world.files("done") if name.endswith(".yaml")] == ["x (2).yaml", "x.yaml"]
    assert world.files("videos") == ["x (2).mp4", "x.mp4"]
    assert len(world.cloud.accepted) == 2


def test_the_same_name_dropped_while_the_first_is_in_work_is_a_batch_of_its_own(world: World) -> None:
    """An editor that saves again after the claim makes a second batch; the first is unharmed."""
    world.drop("x.yaml", yaml_of("one"))
    world.settle()
    world.drop("x.yaml", yaml_of("two"))
    world.pass_time(20)
    assert sorted(world.cloud.texts_accepted()) == ["one", "two"]
    assert len([name for name in world.files("done") if name.endswith(".yaml")]) == 2


# --- money ----------------------------------------------------------------------------------------


def test_an_export_without_an_answer_is_never_asked_again_by_itself(world: World) -> None:
    """In doubt: failed, says that it may have been paid, and stays so when the file is dropped again."""
    world.cloud.export_faults.append((CloudInDoubt("no answer came"), True))
    world.drop("x.yaml", yaml_of("hello"))
    world.pass_time(20)
    assert "unknown" in world.error("failed/x.yaml")
    assert "pay_again: true" in world.error("failed/x.yaml")
    world.drop_again("x.yaml")
    world.pass_time(20)
    assert len(world.cloud.asked) == 1
    assert world.files("failed")[0] == "x.yaml"


def test_a_persons_word_orders_a_job_in_doubt_again(world: World) -> None:
    """``pay_again: true`` in the file exports it again, once."""
    world.cloud.export_faults.append((CloudInDoubt("no answer came"), True))
    world.drop("x.yaml", yaml_of("hello"))
    world.pass_time(20)
    (world.root / "failed/x.yaml").write_text(yaml_of("hello", pay_again="true"))
    world.drop_again("x.yaml")
    world.pass_time(20)
    assert len(world.cloud.asked) == 2
    assert world.files("failed") == []
    assert world.files("done") == ["x.yaml", "x.yaml.result.json"]


def test_retry_with_pay_again_orders_a_job_in_doubt_again(world: World) -> None:
    """The operator's word in the ledger counts like the file's."""
    world.cloud.export_faults.append((CloudInDoubt("no answer came"), True))
    world.drop("x.yaml", yaml_of("hello"))
    world.pass_time(20)
    assert world.ledger.allow_paying_again("failed/x.yaml") == 1
    world.drop_again("x.yaml")
    world.pass_time(20)
    assert len(world.cloud.asked) == 2
    assert world.files("done")[0] == "x.yaml"


def test_a_file_dropped_again_pays_for_nothing_that_was_paid_for(world: World) -> None:
    """Done videos are not made again, a refused job is asked again, an edited one is new."""
    world.cloud.export_faults.extend([None, (CloudRefused("clothes unknown"), False), None])
    world.drop("x.yaml", yaml_of("one", "two", "three"))
    world.pass_time(20)
    assert world.files("videos") == ["x-1.mp4", "x-3.mp4"]
    world.drop_again("x.yaml")
    world.pass_time(20)
    assert world.cloud.texts_accepted() == {"one": 1, "two": 1, "three": 1}
    assert world.files("failed") == []
    assert world.files("videos") == ["x-1.mp4", "x-2.mp4", "x-3.mp4"]


def test_a_file_filed_under_a_number_continues_when_dropped_under_it(world: World) -> None:
    """``x (2).yaml`` moved back from failed/ is the file that was dropped as ``x.yaml``: paid renders go on."""
    (world.root / "failed/x.yaml").write_text("somebody's own file")
    world.limits = Limits(render_timeout_seconds=5)
    world.dispatcher.limits = world.limits
    world.drop("x.yaml", yaml_of("hello"))
    world.pass_time(9)
    assert "x (2).yaml" in world.files("failed")
    world.drop_again("x (2).yaml")
    world.pass_time(20)
    assert len(world.cloud.asked) == 1
    assert world.files("done") == ["x (2).yaml", "x (2).yaml.result.json"]


def test_a_render_past_its_deadline_keeps_its_project_and_a_retry_pays_nothing(tmp_path: Path) -> None:
    """Given up after ``render_timeout_seconds``; dropped again it goes on with the same render."""
    world = World(tmp_path, limits=Limits(render_timeout_seconds=60), render_seconds=100)
    world.drop("x.yaml", yaml_of("hello"))
    world.pass_time(70)
    assert world.result("failed/x.yaml")["jobs"][0]["project_id"] == "project1"
    assert "Paid: yes" in world.error("failed/x.yaml")
    world.drop_again("x.yaml")
    world.pass_time(50)
    assert world.files("done")[0] == "x.yaml"
    assert len(world.cloud.asked) == 1
    world.kill()


def test_a_file_dropped_again_after_it_was_done_is_a_new_order(world: World) -> None:
    """What was wholly done is made again, for a person asked for it again."""
    world.drop("x.yaml", yaml_of("hello"))
    world.pass_time(20)
    world.drop("x.yaml", yaml_of("hello"))
    world.pass_time(20)
    assert world.cloud.texts_accepted() == {"hello": 2}


# --- stopped and started again --------------------------------------------------------------------


def test_killed_between_asking_and_hearing_is_in_doubt(world: World) -> None:
    """EXPORTING found at the start means: asked, never heard. It is not asked again."""
    world.drop("x.yaml", yaml_of("hello"))
    world.crew.held = {"export"}
    world.settle()
    assert world.states() == ["exporting"]
    world.restart()
    world.pass_time(20)
    assert world.cloud.asked == []
    assert "may have been" in world.error("failed/x.yaml") or "unknown" in world.error("failed/x.yaml")


def test_killed_while_rendering_goes_on_without_a_second_export(world: World) -> None:
    """A render in flight is looked at again by the next daemon."""
    world.drop("x.yaml", yaml_of("a", "b"))
    world.pass_time(5)
    world.restart()
    world.pass_time(20)
    assert world.cloud.texts_accepted() == {"a": 1, "b": 1}
    assert world.files("done")[0] == "x.yaml"


def test_killed_before_filing_is_only_moved(world: World) -> None:
    """Work done before the move is not done again."""
    world.drop("x.yaml", yaml_of("a"))
    world.pass_time(5)
    world.crew.held = {"file"}
    world.pass_time(20)
    assert world.files("processing") == ["x.yaml"]
    downloads = sum(world.cloud.downloads.values())
    world.restart()
    world.pass_time(5)
    assert world.files("done")[0] == "x.yaml"
    assert sum(world.cloud.downloads.values()) == downloads


def test_killed_between_the_claim_and_the_move_is_claimed_once(world: World) -> None:
    """The intent is in the ledger before the file moves: the next daemon moves it, and the scanner's word is void."""
    world.drop("x.yaml", yaml_of("a"))
    world.crew.held = {"file"}
    world.settle()
    assert world.files("inbox") == ["x.yaml"]
    world.restart()
    world.pass_time(30)
    assert world.files("inbox") == []
    assert world.cloud.texts_accepted() == {"a": 1}


def test_sigterm_starts_nothing_more_and_lets_an_export_end(world: World) -> None:
    """After SIGTERM an export in flight is heard out, and nothing new begins."""
    world.drop("x.yaml", yaml_of("a"))
    world.crew.held = {"export"}
    world.settle()
    world.stop()
    world.settle()
    assert not world.dispatcher.is_finished
    world.crew.held = set()
    world.settle()
    assert world.dispatcher.is_finished
    assert world.states() == ["rendering"]
    assert world.cloud.looks == {}


def test_a_second_sigterm_ends_at_once(world: World) -> None:
    """Whoever says it twice does not want to wait; the export is in doubt then."""
    world.drop("x.yaml", yaml_of("a"))
    world.crew.held = {"export"}
    world.settle()
    world.stop()
    world.stop()
    world.settle()
    assert world.dispatcher.is_finished


# --- trouble --------------------------------------------------------------------------------------


def test_account_trouble_fails_no_job_and_ends_by_itself(world: World) -> None:
    """401 on an export: everything waits, a free probe once a minute, and work resumes."""
    trouble = AccountTroubled("401: no such key", is_credential=True)
    world.cloud.export_faults.append((trouble, False))
    world.cloud.probe_faults.append(trouble)
    world.drop("x.yaml", yaml_of("a"))
    world.pass_time(50)
    assert world.states() == ["queued"]
    assert world.ledger.read_note("account")["reason"] == "401: no such key"
    world.pass_time(55)
    assert world.cloud.probes == 1
    assert len(world.cloud.asked) == 1
    world.pass_time(100)
    assert world.files("done")[0] == "x.yaml"
    assert world.ledger.read_note("account") is None
    assert world.log.events().count("account.trouble") == 1
    assert world.log.events().count("account.recovered") == 1


def test_no_credit_is_probed_by_one_export_a_minute(world: World) -> None:
    """Nothing free tells about credit, so one job is tried; many jobs make no more tries."""
    trouble = AccountTroubled("402: no credit", is_credential=False)
    world.drop("x.yaml", yaml_of(*"abcde"))
    world.cloud.export_faults.extend([(trouble, False)] * 6)
    world.pass_time(50)
    assert len(world.cloud.asked) == 5
    world.pass_time(60)
    assert len(world.cloud.asked) == 6
    assert world.states() == ["queued"] * 5
    world.pass_time(150)
    assert world.files("done")[0] == "x.yaml"


def test_trouble_with_looks_holds_them_until_a_probe_succeeds(world: World) -> None:
    """A credential refused while polling neither fails a job nor polls on in vain."""
    world.drop("x.yaml", yaml_of("a"))
    world.pass_time(2)
    world.cloud.look_faults.append(AccountTroubled("401", is_credential=True))
    world.pass_time(30)
    assert world.cloud.looks["project1"] == 1
    world.pass_time(60)
    assert world.files("done")[0] == "x.yaml"


def test_pause_stops_new_exports_only(world: World) -> None:
    """inbox/PAUSE: renders go on, nothing new is asked until it is gone."""
    world.drop("a.yaml", yaml_of("a"))
    world.settle()
    world.mailbox.append(PauseSeen(is_paused=True))
    world.drop("b.yaml", yaml_of("b"))
    world.pass_time(30)
    assert world.files("done")[0] == "a.yaml"
    assert world.states() == ["queued"]
    world.mailbox.append(PauseSeen(is_paused=False))
    world.pass_time(30)
    assert "b.yaml" in world.files("done")


def test_a_busy_cloud_is_asked_again_one_at_a_time(world: World) -> None:
    """503 with Retry-After: nothing fails, and the whole queue waits, not only the one job."""
    world.cloud.export_faults.append((CloudDeferred("503", retry_after_seconds=30, is_outage=True), False))
    world.drop("x.yaml", yaml_of("a"))
    world.settle()
    world.drop("y.yaml", yaml_of("b"))
    world.pass_time(25)
    assert len(world.cloud.asked) == 1
    world.pass_time(40)
    assert world.files("done") == ["x.yaml", "x.yaml.result.json", "y.yaml", "y.yaml.result.json"]


def test_an_outage_does_not_put_the_whole_queue_in_doubt(tmp_path: Path) -> None:
    """After an export in doubt the next is tried alone, and ever later."""
    world = World(tmp_path, limits=Limits(max_rendering=2))
    world.cloud.export_faults.extend([(CloudInDoubt("502"), False)] * 30)
    world.drop("x.yaml", yaml_of(*(str(i) for i in range(30))))
    world.pass_time(60)
    assert len(world.cloud.asked) <= 10
    world.kill()


def test_a_render_that_the_cloud_does_not_know_is_refused_in_the_end(world: World) -> None:
    """404 again and again is a refusal; a few of them are not."""
    world.cloud.look_faults.extend([CloudDeferred("404", is_bounded=True)] * 3)
    world.drop("x.yaml", yaml_of("a"))
    world.pass_time(40)
    assert world.files("done")[0] == "x.yaml"
    world.cloud.look_faults.extend([CloudDeferred("404: no such project", is_bounded=True)] * 6)
    world.drop("y.yaml", yaml_of("b"))
    world.pass_time(120)
    assert "404: no such project" in world.error("failed/y.yaml")
    assert "Paid: yes" in world.error("failed/y.yaml")


def test_an_outage_while_polling_never_fails_a_render(world: World) -> None:
    """No connection for hours: the render is taken up when the cloud is back, even past its deadline."""
    world.drop("x.yaml", yaml_of("a"))
    world.settle()
    world.cloud.look_faults.extend([CloudDeferred("no connection", is_outage=True)] * 100)
    world.pass_time(7200)
    assert world.files("done")[0] == "x.yaml"
    assert world.log.events().count("cloud.away") == 1
    assert world.log.events().count("cloud.back") == 1


def test_a_hundred_percent_without_a_link_is_looked_at_again(world: World) -> None:
    """The tutorial's program loops for ever here; ours does so every three seconds until the deadline."""
    world.cloud.look_faults.extend([CloudDeferred("100 % without a link")] * 2)
    world.drop("x.yaml", yaml_of("a"))
    world.pass_time(25)
    assert world.files("done")[0] == "x.yaml"


def test_an_expired_link_is_asked_for_again(world: World) -> None:
    """403 on the download: a fresh link comes from the progress."""
    world.cloud.download_faults.append(LinkExpired("403: the link has expired"))
    world.drop("x.yaml", yaml_of("a"))
    world.pass_time(30)
    assert world.files("done")[0] == "x.yaml"


def test_what_is_never_a_video_is_refused_in_the_end(world: World) -> None:
    """An HTML page in place of the video, again and again: failed, paid, and nothing in videos/."""
    world.cloud.download_faults.extend([CloudDeferred("is not a video", is_bounded=True)] * 6)
    world.drop("x.yaml", yaml_of("a"))
    world.pass_time(300)
    assert world.files("videos") == []
    assert "is not a video" in world.error("failed/x.yaml")
    assert "Paid: yes" in world.error("failed/x.yaml")


def test_progress_is_written_once_a_second_at_most_and_survives(world: World) -> None:
    """What was last heard is in the ledger for ``status``."""
    world.cloud.look_faults.append(FakeLook(42.5, None))
    world.drop("x.yaml", yaml_of("a"))
    world.pass_time(4.5)
    assert world.ledger.unfinished()[0][1][0].progress == 42.5


# --- ledger and folders ---------------------------------------------------------------------------


def test_nothing_is_asked_while_the_ledger_cannot_be_written(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk under the ledger: no export leaves, and all goes on when there is room."""
    world.drop("x.yaml", yaml_of("a"))
    world.mailbox.append(PauseSeen(is_paused=True))
    world.settle()

    def refuse(_work: object) -> None:
        raise LedgerUnavailable("disk full")

    with monkeypatch.context() as patched:
        patched.setattr(world.ledger, "commit", refuse)
        world.mailbox.append(PauseSeen(is_paused=False))
        world.pass_time(10)
        assert world.cloud.asked == []
    world.pass_time(20)
    assert world.files("done")[0] == "x.yaml"
    assert world.cloud.texts_accepted() == {"a": 1}
    assert world.log.events().count("ledger.deferred") == 1


def test_while_the_root_is_away_nothing_is_claimed_and_nothing_lost(world: World) -> None:
    """Drops that were seen wait; the render goes on; its video comes when the root is back."""
    world.drop("a.yaml", yaml_of("a"))
    world.settle()
    world.mailbox.append(RootLost("not mounted"))
    world.drop("b.yaml", yaml_of("b"))
    world.pass_time(30)
    assert world.files("inbox") == ["b.yaml"]
    assert world.files("videos") == []
    world.mailbox.append(RootFound())
    world.pass_time(40)
    assert world.files("videos") == ["a.mp4", "b.mp4"]
    assert world.cloud.texts_accepted() == {"a": 1, "b": 1}


def test_a_drop_that_vanished_before_the_move_is_forgotten(world: World) -> None:
    """Deleted between scan and claim: dropped silently, nothing is asked, the scanner may look again."""
    world.drop("x.yaml", yaml_of("a"))
    (world.root / "inbox/x.yaml").unlink()
    world.pass_time(20)
    assert world.cloud.asked == []
    assert world.watch.released == ["x.yaml"]
    assert world.states() == []


def test_a_drop_that_changed_before_the_move_is_settled_again(world: World) -> None:
    """Replaced between reading and claiming: what was not read is not run, and lies in inbox/ again."""
    world.drop("x.yaml", yaml_of("old"))
    replacement = world.root / "inbox/.new"
    replacement.write_text(yaml_of("new and longer"))
    replacement.rename(world.root / "inbox/x.yaml")
    world.pass_time(5)
    assert world.cloud.asked == []
    assert world.watch.released == ["x.yaml"]
    world.say_ready("x.yaml")
    world.pass_time(20)
    assert world.cloud.texts_accepted() == {"new and longer": 1}


def test_a_stray_in_processing_is_left_alone_and_said(world: World) -> None:
    """What the ledger does not know may have been paid: it is never exported, and never in the way."""
    (world.root / "processing/x.yaml").write_text(yaml_of("stray"))
    world.restart()
    world.settle()
    assert "spool.stray" in world.log.events()
    world.drop("x.yaml", yaml_of("mine"))
    world.settle()
    world.say_ready("x.yaml")
    world.pass_time(20)
    assert world.cloud.texts_accepted() == {"mine": 1}
    assert (world.root / "processing/x.yaml").read_text() == yaml_of("stray")


def test_a_job_file_deleted_from_processing_is_filed_all_the_same(world: World) -> None:
    """Somebody tidies up processing/: the video comes, and the job file is written anew."""
    world.drop("x.yaml", yaml_of("a"))
    world.settle()
    (world.root / "processing/x.yaml").unlink()
    world.pass_time(20)
    assert (world.root / "done/x.yaml").read_text() == yaml_of("a")


# --- run --once -----------------------------------------------------------------------------------


def once(tmp_path: Path) -> World:
    """A daemon that ends when everything is worked off."""
    world = World(tmp_path)
    world.kill()
    world.is_once = True
    world.start()
    return world


def test_once_ends_when_everything_is_worked_off(tmp_path: Path) -> None:
    """It waits for the scanner's word that nothing more will come, and for every batch."""
    world = once(tmp_path)
    world.drop("x.yaml", yaml_of("a"))
    world.settle()
    assert not world.dispatcher.is_finished
    world.mailbox.append(ScanEnded((), 0, is_idle=True))
    world.pass_time(5)
    assert not world.dispatcher.is_finished
    world.pass_time(15)
    assert world.dispatcher.is_finished
    assert world.dispatcher.failures == 0
    world.kill()


def test_once_that_is_stopped_is_interrupted_unless_all_was_done(tmp_path: Path) -> None:
    """However early or late the stop comes."""
    world = once(tmp_path)
    world.mailbox.append(Stop())
    world.settle()
    assert world.dispatcher.is_finished
    assert world.dispatcher.is_interrupted  # inbox/ was not even looked at
    world.kill()
    world.start()
    world.drop("x.yaml", yaml_of("a"))
    world.mailbox.append(ScanEnded((), 0, is_idle=True))
    world.pass_time(20)
    assert not world.dispatcher.is_interrupted
    world.mailbox.append(Stop())
    world.settle()
    assert not world.dispatcher.is_interrupted
    world.kill()


def test_once_counts_failures(tmp_path: Path) -> None:
    """A bad file and a refused job both make the exit code 1."""
    world = once(tmp_path)
    world.cloud.export_faults.append((CloudRefused("no"), False))
    world.drop("x.yaml", yaml_of("a"))
    world.drop("bad.yaml", "nonsense: [")
    world.mailbox.append(ScanEnded((), 0, is_idle=True))
    world.pass_time(20)
    assert world.dispatcher.is_finished
    assert world.dispatcher.failures == 2
    world.kill()


def test_once_ends_when_the_account_stays_in_trouble(tmp_path: Path) -> None:
    """One probe is waited for; then it ends, everything resumable."""
    world = once(tmp_path)
    trouble = AccountTroubled("402: no credit", is_credential=False)
    world.cloud.export_faults.extend([(trouble, False)] * 2)
    world.drop("x.yaml", yaml_of("a"))
    world.mailbox.append(ScanEnded((), 0, is_idle=True))
    world.pass_time(55)
    assert not world.dispatcher.is_finished
    world.pass_time(10)
    assert world.dispatcher.is_finished
    assert world.dispatcher.is_in_trouble
    assert world.states() == ["queued"]
    world.kill()


def test_once_ends_when_only_paused_work_is_left(tmp_path: Path) -> None:
    """A paused queue is not waited for."""
    world = once(tmp_path)
    world.mailbox.append(PauseSeen(is_paused=True))
    world.drop("x.yaml", yaml_of("a"))
    world.mailbox.append(ScanEnded((), 0, is_idle=True))
    world.pass_time(5)
    assert world.dispatcher.is_finished
    world.kill()


# --- the record -----------------------------------------------------------------------------------


def test_every_entry_of_the_ledger_is_one_line_of_the_log(world: World) -> None:
    """The record and the log tell the same story, with batch, job, and project id."""
    world.cloud.export_faults.append((CloudRefused("no"), False))
    world.drop("x.yaml", yaml_of("a", "b"))
    world.pass_time(20)
    entries = [entry.event for entry in world.ledger.entries(1)]
    assert entries == [event for event, fields in world.log.lines if fields.get("batch") == 1]
    exported = next(fields for event, fields in world.log.lines if event == "job.exported")
    assert exported["project_id"] == "project1"
    assert {"batch", "job"} <= exported.keys()


def test_a_signed_link_is_nowhere(world: World) -> None:
    """No log line, no entry, no result file holds the query of a download link."""
    world.drop("x.yaml", yaml_of("a"))
    world.pass_time(20)
    record = json.dumps(world.log.lines, default=str)
    everything = [path.read_bytes() for path in world.root.rglob("*") if path.is_file()]
    assert "Signature" not in record
    assert not any(b"Signature" in content for content in everything)


# --- many renders -------------------------------------------------------------------------------------------------


@pytest.fixture
def crowd(tmp_path: Path) -> Iterator[World]:
    """More renders in flight than lookers, and none that ends."""
    world = World(tmp_path, limits=Limits(max_rendering=500), render_seconds=10_000)
    world.drop("x.yaml", yaml_of(*(f"t{number}" for number in range(3 * LOOKERS))))
    world.settle()
    assert len(world.cloud.accepted) == 3 * LOOKERS
    yield world
    world.kill()


def test_more_jobs_at_the_cloud_than_lookers_are_a_crowd(crowd: World, tmp_path: Path) -> None:
    """Whose threads share a core; one job is none."""
    assert crowd.dispatcher.is_crowded
    (tmp_path / "few").mkdir()
    few = World(tmp_path / "few", limits=Limits(max_rendering=500), render_seconds=10_000)
    few.drop("x.yaml", yaml_of("one"))
    few.settle()
    assert not few.dispatcher.is_crowded
    few.kill()


def test_many_renders_are_looked_at_together_every_three_seconds(crowd: World) -> None:
    """By one looker three at a time, once there are connections for it; none is left out, none is early."""
    crowd.cloud.connections = 1000
    crowd.pass_time(3.5)
    assert set(crowd.cloud.looks.values()) == {1}
    assert set(crowd.cloud.looks_together) == {3}
    crowd.pass_time(3)
    assert set(crowd.cloud.looks.values()) == {2}
    assert len(crowd.cloud.looks_together) == 2 * LOOKERS


def test_connections_are_made_a_few_at_a_time(crowd: World) -> None:
    """However many looks are due: those that make one, as they are made alone; the others wait for it."""
    crowd.pass_time(3)
    assert crowd.cloud.connections == 2
    assert crowd.cloud.looks_together == []
    crowd.pass_time(LOOKS_SECONDS)
    assert crowd.cloud.connections == 4
    assert sum(crowd.cloud.looks_together) == 2
    crowd.pass_time(1)
    assert set(crowd.cloud.looks.values()) == {1}


def test_a_look_that_could_not_be_made_together_is_made_alone(crowd: World) -> None:
    """At once, and its rhythm stays."""
    crowd.cloud.connections = 1000
    crowd.cloud.not_together = {"project5", "project6"}
    crowd.pass_time(3.5)
    assert set(crowd.cloud.looks.values()) == {1}
    crowd.cloud.not_together = set()
    crowd.pass_time(3)
    assert set(crowd.cloud.looks.values()) == {2}


def test_a_render_that_stands_still_is_asked_about_alone(crowd: World) -> None:
    """It is looked at in another way, too."""
    crowd.cloud.connections = 1000
    crowd.cloud.render_seconds = float("inf")
    crowd.pass_time(3.0 * STILL_LOOKS + 0.5)
    together = sum(crowd.cloud.looks_together)
    crowd.pass_time(3)
    assert sum(crowd.cloud.looks_together) == together
    assert set(crowd.cloud.looks.values()) == {STILL_LOOKS + 1}


def test_short_downloads_are_ordered_ahead_and_long_ones_are_not(tmp_path: Path) -> None:
    """No worker waits for a turn of ours; but a link that waits long grows old."""
    world = World(tmp_path, limits=Limits(max_rendering=50, downloads=2), render_seconds=2)
    world.crew.held = {"download"}
    world.drop("x.yaml", yaml_of(*(f"t{number}" for number in range(12))))
    world.pass_time(4)

    def ordered() -> int:
        return sum(kind == "download" for kind, _call in world.crew.calls)

    def end_one(after_seconds: float) -> None:
        world.pass_time(after_seconds)
        first = next(pair for pair in world.crew.calls if pair[0] == "download")
        world.crew.calls.remove(first)
        world.mailbox.append(first[1]())
        world.settle()

    assert ordered() == 2
    end_one(5 * SHORT_DOWNLOAD_SECONDS)
    assert ordered() == 2
    end_one(5 * SHORT_DOWNLOAD_SECONDS)
    assert ordered() == 2
    end_one(0)
    assert ordered() == 2, "it had waited longer"
    end_one(0)
    assert ordered() == 4
    end_one(5 * SHORT_DOWNLOAD_SECONDS)
    assert ordered() == 3
    end_one(0)
    assert ordered() == 2
    world.crew.held = set()
    world.pass_time(30)
    assert len(world.files("videos")) == 12
    world.kill()


def test_a_transaction_takes_only_so_many_jobs(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood of large files delays no poll: the file that goes over the limit is the last of its turn."""
    monkeypatch.setattr("daemon.dispatcher.JOBS_A_TURN", 4)
    entered: list[int] = []
    enter = world.ledger.enter

    def counted(claims: Sequence[tuple[JobFile, list[Job]]]) -> list[tuple[JobFile, list[Job]]]:
        entered.append(len(claims))
        return enter(claims)

    monkeypatch.setattr(world.ledger, "enter", counted)
    for name in ("a", "b", "c", "d", "e"):
        world.drop(f"{name}.yaml", yaml_of(f"{name}1", f"{name}2", f"{name}3"))
    world.settle()
    assert entered == [2, 2, 1]
    world.pass_time(30)
    assert len(world.files("videos")) == 15
