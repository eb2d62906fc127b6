"""The whole daemon with an API that lists projects: an export in doubt is looked for before a person is asked."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from world import VIDEO, FakeLook, World, yaml_of

from daemon.core.errors import AccountTroubled, CloudDeferred, CloudInDoubt, LedgerUnavailable
from daemon.core.messages import PauseSeen
from daemon.core.project import Project
from daemon.core.trace import FAILURE_SECONDS, MOST_DESCRIBED, OUTAGE_SECONDS, ROUNDS_AT, WINDOW_SECONDS
from daemon.dispatcher import Limits

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOST = CloudInDoubt("the export was sent, but no answer came")
SEARCH_SECONDS = ROUNDS_AT[-1] + 1


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A daemon whose cloud lists projects."""
    made = World(tmp_path)
    made.cloud.has_projects = True
    yield made
    made.kill()


def show(world: World, project_id: str, text: str, *, after: float = 0.0) -> None:
    """Have the cloud list a project."""
    world.cloud.described[project_id] = Project(
        project_id, created_at=world.wall + after, texts=frozenset({text, "M000004017", "BG00006160", "progress"})
    )


def lose(world: World, text: str = "hello", *, is_accepted: bool = True, is_shown: bool = True) -> None:
    """Drop a job whose export is never answered."""
    world.cloud.export_faults.append((LOST, is_accepted))
    world.drop("x.yaml", yaml_of(text))
    if is_accepted and is_shown:
        show(world, f"project{len(world.cloud.accepted) + 1}", text)


def test_a_project_that_is_the_lost_exports_is_adopted(world: World) -> None:
    """The video is made, paid once, and entry and result say how it came."""
    lose(world)
    world.pass_time(40)
    assert world.files("done") == ["x.yaml", "x.yaml.result.json"]
    assert (world.root / "videos/x.mp4").read_bytes() == VIDEO
    (job,) = world.result("done/x.yaml")["jobs"]
    assert (job["adopted"], job["project_id"], job["paid"]) == (True, "project1", "yes")
    assert len(world.cloud.asked) == 1
    events = [entry.event for entry in world.ledger.entries(1)]
    assert events.index("job.traced") < events.index("job.adopted") < events.index("job.downloaded")


def test_one_that_appears_a_little_later_is_found(world: World) -> None:
    """The cloud was still busy with it when it was first looked for."""
    lose(world, is_shown=False)
    world.pass_time(ROUNDS_AT[2] - 1)
    assert world.states() == ["exporting"]
    show(world, "project1", "hello")
    world.pass_time(30)
    assert world.files("done") == ["x.yaml", "x.yaml.result.json"]


@pytest.mark.parametrize("is_accepted", [True, False])
def test_without_a_project_it_stays_in_doubt(world: World, *, is_accepted: bool) -> None:
    """Whether the cloud does not list it or never had it: a person is asked, and told what was tried."""
    lose(world, is_accepted=is_accepted, is_shown=False)
    world.pass_time(SEARCH_SECONDS)
    assert world.files("failed") == ["x.yaml", "x.yaml.error.txt", "x.yaml.result.json"]
    told = world.error("failed/x.yaml")
    assert "looked for among the account's projects" in told
    assert "Paid: unknown" in told
    assert len(world.cloud.asked) == 1


def test_with_two_projects_that_fit_it_stays_in_doubt(world: World) -> None:
    """Somebody may have made the same by hand meanwhile."""
    lose(world)
    show(world, "by hand", "hello")
    world.pass_time(SEARCH_SECONDS)
    assert world.files("failed")[0] == "x.yaml"


def test_another_jobs_project_is_never_adopted(world: World) -> None:
    """The same text twice: the first was answered, so its project is known; the second one's never was made."""
    world.cloud.export_faults.extend([None, (LOST, False)])
    world.drop("x.yaml", yaml_of("hello", "hello"))
    show(world, "project1", "hello")
    world.pass_time(SEARCH_SECONDS + 20)
    states = [(job["state"], job["adopted"]) for job in world.result("failed/x.yaml")["jobs"]]
    assert states == [("done", False), ("failed", False)]


def test_of_two_lost_at_once_neither_takes_the_others(tmp_path: Path) -> None:
    """One was accepted, and which of them cannot be told: both stay in doubt."""
    world = World(tmp_path, limits=Limits(max_rendering=9))
    world.cloud.has_projects = True
    world.cloud.export_faults.extend([(LOST, True), (LOST, False)])
    world.drop("x.yaml", yaml_of("hello", "hello"))
    show(world, "project1", "hello")
    world.pass_time(SEARCH_SECONDS + 20)
    assert [job["state"] for job in world.result("failed/x.yaml")["jobs"]] == ["failed", "failed"]
    world.kill()


def test_a_cloud_without_such_a_list_is_asked_once(world: World) -> None:
    """The answer is a plain no: a person is asked at once."""
    world.cloud.project_faults.append(CloudDeferred("404", is_bounded=True))
    lose(world)
    world.settle()
    assert world.files("failed")[0] == "x.yaml"
    assert world.cloud.listings == 1


def test_an_outage_that_ate_the_answer_is_waited_for(world: World) -> None:
    """For hours if need be: when the cloud is back, the project is found."""
    world.cloud.project_faults.extend([CloudDeferred("away", is_outage=True)] * 60)
    lose(world)
    world.pass_time(2000)
    assert world.files("done") == ["x.yaml", "x.yaml.result.json"]
    assert {"cloud.away", "cloud.back"} <= set(world.log.events())


def test_an_outage_that_lasts_for_a_day_leaves_it_in_doubt(world: World) -> None:
    """It says so."""
    world.cloud.project_faults.extend([CloudDeferred("away", is_outage=True)] * 9999)
    lose(world)
    world.pass_time(OUTAGE_SECONDS + 60)
    assert "away" in world.error("failed/x.yaml")


def test_a_cloud_that_fails_to_list_them_leaves_it_in_doubt_soon(world: World) -> None:
    """It is there, and may never do better."""
    world.cloud.project_faults.extend([CloudDeferred("500")] * 99)
    lose(world)
    world.pass_time(FAILURE_SECONDS + 1)
    assert "500" in world.error("failed/x.yaml")


def test_run_once_does_not_wait_for_a_cloud_that_is_away(world: World) -> None:
    """It ends after its five minutes, and the next run looks on."""
    world.is_once = True
    world.restart()
    world.cloud.project_faults.extend([CloudDeferred("away", is_outage=True)] * 99)
    lose(world)
    world.pass_time(400)
    assert world.dispatcher.is_cut_off
    assert world.dispatcher.is_finished
    assert world.states() == ["exporting"]


def test_account_trouble_while_it_is_looked_for_fails_no_job(world: World) -> None:
    """All waits for the probe, as ever; then it is found."""
    world.cloud.project_faults.extend([AccountTroubled("bad key", is_credential=True)] * 2)
    world.cloud.probe_faults.append(AccountTroubled("bad key", is_credential=True))
    lose(world)
    world.pass_time(100)
    assert world.states() == ["exporting"]
    assert world.dispatcher.summary().trouble == "bad key"
    world.pass_time(300)
    assert world.files("done") == ["x.yaml", "x.yaml.result.json"]


def test_a_project_that_cannot_be_described_hides_no_second_one(world: World) -> None:
    """What only the list tells of it counts, which is no text."""
    lose(world)
    world.cloud.described["silent"] = Project("silent")
    world.pass_time(20)
    assert world.files("done") == ["x.yaml", "x.yaml.result.json"]


def test_an_account_full_of_strangers_projects_is_not_searched_for_ever(world: World) -> None:
    """Beyond a bound nothing is adopted: there might be a second one that fits."""
    lose(world)
    for number in range(MOST_DESCRIBED):
        show(world, f"stranger{number}", "something else")
    world.pass_time(SEARCH_SECONDS)
    assert world.files("failed")[0] == "x.yaml"


def test_older_projects_do_not_count_where_the_list_tells_their_age(world: World) -> None:
    """They are not even described."""
    lose(world)
    listed = {f"old{number}": Project(f"old{number}", created_at=world.wall - 3600) for number in range(9000)}
    world.cloud.described |= listed
    projects = world.cloud.projects
    world.cloud.projects = lambda: tuple(listed.get(p.id, p) for p in projects())  # type: ignore[method-assign]
    world.pass_time(20)
    assert world.files("done") == ["x.yaml", "x.yaml.result.json"]


# --- killed and stopped ---------------------------------------------------------------------------


def test_a_job_that_was_asked_when_the_daemon_was_killed_is_looked_for(world: World) -> None:
    """It is the same doubt; the time of the asking is in the ledger."""
    world.crew.held.add("export")
    world.drop("x.yaml", yaml_of("hello"))
    world.settle()
    assert world.states() == ["exporting"]
    world.cloud.accepted["project1"] = (world.monotonic, {"text": "hello"})
    show(world, "project1", "hello")
    world.kill()
    world.wall += 3600
    world.monotonic += 3600
    world.start()
    world.pass_time(20)
    assert world.files("done") == ["x.yaml", "x.yaml.result.json"]
    assert world.cloud.asked == []


@pytest.mark.parametrize("held", ["errand", "none"])
def test_stopped_while_it_looks_it_goes_on_at_the_next_start(world: World, held: str) -> None:
    """A stop does not wait for it, and loses nothing."""
    world.crew.held.add(held)
    lose(world, is_shown=False)
    world.pass_time(1)
    world.stop()
    world.settle()
    assert world.dispatcher.is_finished
    assert world.states() == ["exporting"]
    show(world, "project1", "hello")
    world.restart()
    world.pass_time(20)
    assert world.files("done") == ["x.yaml", "x.yaml.result.json"]
    assert len(world.cloud.asked) == 1


def test_a_ledger_that_cannot_be_read_adopts_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the project is another job's is not guessed."""

    def fail(_project_ids: object) -> set[str]:
        raise LedgerUnavailable("the disk is gone")

    monkeypatch.setattr(world.ledger, "unknown_projects", fail)
    lose(world)
    world.pass_time(SEARCH_SECONDS)
    assert world.files("failed")[0] == "x.yaml"


def test_a_project_that_another_job_got_meanwhile_is_not_adopted(world: World) -> None:
    """Its owner's answer comes while the projects are being described."""
    world.cloud.export_faults.extend([(LOST, False), None])
    world.crew.held.add("errand")
    world.drop("x.yaml", yaml_of("hello"))
    world.pass_time(1)
    world.drop("y.yaml", yaml_of("hello"))
    show(world, "project1", "hello")
    world.pass_time(5)
    assert len(world.cloud.accepted) == 1
    world.crew.held.clear()
    world.pass_time(SEARCH_SECONDS + 20)
    assert world.files("done") == ["y.yaml", "y.yaml.result.json"]
    assert world.files("failed")[0] == "x.yaml"


def test_what_is_looked_for_counts_as_rendering(tmp_path: Path) -> None:
    """It may be: the account's limit holds."""
    world = World(tmp_path, limits=Limits(max_rendering=1))
    world.cloud.has_projects = True
    world.cloud.export_faults.append((LOST, True))
    world.drop("x.yaml", yaml_of("one", "two"))
    world.pass_time(SEARCH_SECONDS - 2)
    assert len(world.cloud.asked) == 1
    world.pass_time(30)
    assert len(world.cloud.asked) == 2
    world.kill()


def test_an_adopted_render_that_fails_is_known_as_adopted_to_whoever_reads_why(world: World) -> None:
    """So that a person who compares with the account understands."""
    lose(world)
    world.cloud.render_seconds = 99_999
    world.pass_time(4000)
    assert "this project was found in the account" in world.error("failed/x.yaml")


def test_a_render_whose_project_says_failure_ends_at_once(world: World) -> None:
    """With the vendor's words, and as paid; an hour is not waited."""
    world.cloud.has_project = True
    world.cloud.look_faults.extend([FakeLook(42.0, None)] * 99)
    world.drop("x.yaml", yaml_of("hello"))
    show(world, "project1", "hello")
    failed = replace(world.cloud.described["project1"], state="failed", words="No voice for this language.")
    world.cloud.described["project1"] = failed
    world.pass_time(30)
    told = world.error("failed/x.yaml")
    assert "No voice for this language." in told
    assert "Paid: yes" in told


# --- whose it is ----------------------------------------------------------------------------------


def test_a_job_in_doubt_that_is_filed_away_keeps_its_claim(world: World) -> None:
    """Its project may appear later, and must not become another job's, not even after a restart."""
    lose(world, is_shown=False)
    world.pass_time(SEARCH_SECONDS)
    assert world.files("failed")[0] == "x.yaml"
    world.restart()
    world.mailbox.append(PauseSeen(is_paused=False))
    world.cloud.export_faults.append((LOST, False))
    world.drop("y.yaml", yaml_of("hello"))
    show(world, "project1", "hello")
    world.pass_time(SEARCH_SECONDS + 20)
    assert [name for name in world.files("failed") if name.endswith(".yaml")] == ["x.yaml", "y.yaml"]


def test_what_was_made_long_after_is_another_order(world: World) -> None:
    """Killed on Friday; on Monday somebody makes the same by hand, and then the daemon is started."""
    world.crew.held.add("export")
    world.drop("x.yaml", yaml_of("hello"))
    world.settle()
    world.kill()
    world.wall += WINDOW_SECONDS + 60
    world.monotonic += WINDOW_SECONDS + 60
    show(world, "by hand", "hello")
    world.wall += 60
    world.monotonic += 60
    world.start()
    world.pass_time(SEARCH_SECONDS)
    assert world.files("failed")[0] == "x.yaml"
