"""Several whole daemons with one ledger: each file once, whoever dies, and never more than all of them may."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from world import VIDEO, World, yaml_of
from worlds import Worlds

from daemon.allowance import DailyLimits
from daemon.core.errors import CloudDeferred, LedgerLost
from daemon.core.job import State
from daemon.core.messages import LifelineMended, PauseSeen
from daemon.dispatcher import Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from team import Team

WORDS = ("one", "two", "three", "four", "five", "six", "seven", "eight")


@pytest.fixture
def worlds(team: Team) -> Iterator[Worlds]:
    """Two daemons."""
    with Worlds(team) as made:
        made.settle()
        yield made


def events(world: World) -> list[str]:
    return world.log.events()


def all_well(worlds: Worlds, *texts: str) -> None:
    """Each was paid once, each video is there and whole, nothing is left lying about."""
    assert worlds.cloud.texts_accepted() == dict.fromkeys(texts, 1)
    videos = worlds.files("videos")
    assert len(videos) == len(texts)
    assert {(worlds.root / "videos" / name).read_bytes() for name in videos} == {VIDEO}
    assert (worlds.files("processing"), worlds.files("inbox"), worlds.files("failed")) == ([], [], [])
    downloads = worlds.root / "processing/.downloads"
    assert [path.name for path in downloads.iterdir() if path.is_file()] == []
    assert all(not world.ledger.unfinished() for world in worlds.alive.values())


# --- each once ------------------------------------------------------------------------------------


def test_what_all_see_is_done_once(worlds: Worlds) -> None:
    """Each drop by one of them; the other looks at it again, and finds it gone."""
    for word in WORDS:
        worlds.drop(f"{word}.yaml", yaml_of(word))
    worlds.pass_time(60)
    all_well(worlds, *WORDS)
    lines = [line for world in worlds.alive.values() for line in world.log.lines]
    claimed = sorted(fields["file"] for event, fields in lines if event == "batch.claimed")
    assert claimed == sorted(f"{word}.yaml" for word in WORDS)
    assert worlds["a"].watch.released + worlds["b"].watch.released


def test_a_file_that_follows_one_that_is_just_being_moved_waits(worlds: Worlds) -> None:
    """It may continue what that one leaves behind, whoever has it."""
    worlds["a"].crew.held = {"file"}
    worlds.drop("x.yaml", yaml_of("one"), "a")
    worlds.settle()
    worlds["b"].say_ready("x.yaml")
    worlds.settle()
    assert worlds["b"].ledger.unfinished() == []
    worlds["a"].crew.held = set()
    worlds.pass_time(60)
    all_well(worlds, "one")


def test_a_file_dropped_again_is_continued_by_whoever_sees_it(worlds: Worlds) -> None:
    """What one daemon had in doubt another does not pay again."""
    worlds["a"].crew.held = {"export"}
    worlds.drop("x.yaml", yaml_of("one", "two"), "a")
    worlds.settle()
    worlds.kill("a")
    worlds.tell_lost("a")
    worlds.pass_time(30)
    assert worlds.files("failed") == ["x.yaml"]
    worlds.start("a")
    (worlds.root / "failed/x.yaml").rename(worlds.root / "inbox/x.yaml")
    worlds["a"].say_ready("x.yaml")
    worlds.pass_time(30)
    assert worlds.cloud.asked == []
    assert worlds.files("failed") == ["x.yaml"]


# --- taking over ----------------------------------------------------------------------------------


def _claiming(world: World) -> None:
    world.crew.held = {"file"}


def _queued(world: World) -> None:
    world.mailbox.append(PauseSeen(is_paused=True))


def _rendering(world: World) -> None:
    world.crew.held = {"look"}


def _to_be_downloaded(world: World) -> None:
    world.crew.held = {"download"}


@pytest.mark.parametrize(
    ("hold", "wanted"),
    [
        (_claiming, [State.QUEUED] * 2),
        (_queued, [State.QUEUED] * 2),
        (_rendering, [State.RENDERING] * 2),
        (_to_be_downloaded, [State.RENDERING] * 2),
    ],
)
def test_who_takes_over_ends_what_was_begun(worlds: Worlds, hold: Callable[[World], None], wanted: list[State]) -> None:
    """Moved or not, paid or not: as it would have ended."""
    hold(worlds["a"])
    worlds.drop("x.yaml", yaml_of("one", "two"), "a")
    worlds.pass_time(15)
    assert worlds["a"].states() == wanted
    worlds.kill("a")
    worlds.pass_time(5)
    assert worlds["b"].ledger.unfinished() == [], "nobody has said anything"
    worlds.tell_lost("a")
    worlds.pass_time(60)
    all_well(worlds, "one", "two")
    assert "peer.taken_over" in events(worlds["b"])
    assert "job.in_doubt" not in events(worlds["b"])


def test_who_takes_over_files_what_is_settled(worlds: Worlds) -> None:
    """The videos are there; only the job file was not moved."""
    worlds.drop("x.yaml", yaml_of("one"), "a")
    worlds.pass_time(9)
    worlds["a"].crew.held = {"file"}
    worlds.pass_time(10)
    assert (worlds["a"].states(), worlds.files("processing")) == ([State.DONE], ["x.yaml"])
    worlds.kill("a")
    worlds.tell_lost("a")
    worlds.pass_time(5)
    all_well(worlds, "one")
    assert sum(worlds.cloud.downloads.values()) == 1


@pytest.mark.parametrize("was_accepted", [True, False])
def test_what_was_being_asked_for_is_in_doubt(worlds: Worlds, *, was_accepted: bool) -> None:
    """Nobody knows whether it was heard: a person decides, and nothing is asked again."""
    worlds["a"].crew.held = {"export"}
    worlds.drop("x.yaml", yaml_of("one"), "a")
    worlds.settle()
    assert worlds["a"].states() == [State.EXPORTING]
    if was_accepted:
        worlds["a"].crew.calls[0][1]()
    worlds.kill("a")
    worlds.tell_lost("a")
    worlds.pass_time(60)
    assert "job.in_doubt" in events(worlds["b"])
    assert worlds.files("failed") == ["x.yaml"]
    assert len(worlds.cloud.asked) == was_accepted


def test_of_several_heirs_one_takes_over(team: Team) -> None:
    """All are told, and all try."""
    with Worlds(team, "abc") as worlds:
        worlds["a"].crew.held = {"look"}
        for word in WORDS:
            worlds.drop(f"{word}.yaml", yaml_of(word), "a")
        worlds.pass_time(5)
        worlds.kill("a")
        worlds.tell_lost("a")
        worlds.tell_lost("a")
        worlds.pass_time(60)
        all_well(worlds, *WORDS)
        assert sum(events(world).count("peer.taken_over") for world in worlds.alive.values()) == 1


def test_the_living_are_left_alone(worlds: Worlds) -> None:
    """Who is said to be lost and has just come back is not."""
    worlds["a"].crew.held = {"look"}
    worlds.drop("x.yaml", yaml_of("one"), "a")
    worlds.settle()
    worlds.tell_lost("a")
    worlds.settle()
    assert worlds["a"].states() == [State.RENDERING]
    assert "peer.taken_over" not in events(worlds["b"])


def test_an_heir_that_dies_too_leaves_all_to_the_next(team: Team) -> None:
    """In the middle of it: what it had taken up is its own by then."""
    with Worlds(team, "abc") as worlds:
        for word in WORDS:
            worlds.drop(f"{word}.yaml", yaml_of(word), "a")
        worlds.pass_time(5)
        worlds.kill("a")
        worlds.tell_lost("a", "b")
        worlds.settle()
        worlds.kill("b")
        worlds.tell_lost("b", "c")
        worlds.pass_time(60)
        all_well(worlds, *WORDS)


def test_who_stops_takes_nothing_over(worlds: Worlds) -> None:
    """It would begin what it cannot end; another will, or it itself when it is started again."""
    worlds["a"].crew.held = {"look"}
    worlds.drop("x.yaml", yaml_of("one"), "a")
    worlds.settle()
    worlds.kill("a")
    worlds["b"].stop()
    worlds.tell_lost("a")
    worlds.settle()
    assert worlds["b"].ledger.unfinished() == []
    worlds.kill("b")
    worlds.start("b")
    worlds.tell_lost("a")
    worlds.pass_time(60)
    all_well(worlds, "one")


# --- downloads of others --------------------------------------------------------------------------


@pytest.fixture
def narrow(team: Team) -> Iterator[Worlds]:
    """Two daemons that make one download at a time."""
    with Worlds(team, limits=Limits(downloads=1)) as made:
        made.settle()
        yield made


def lending(worlds: Worlds, *texts: str) -> None:
    """The first one's only download does not end, and the second has borrowed another, which does not end either."""
    worlds["a"].crew.held = worlds["b"].crew.held = {"download"}
    worlds.drop("x.yaml", yaml_of(*texts), "a")
    worlds.pass_time(15)
    assert (len(worlds["a"].crew.calls), len(worlds["b"].crew.calls)) == (1, 1)


def test_who_has_a_download_to_spare_makes_it(narrow: Worlds) -> None:
    """Each video comes once, into the one videos/; the file is filed by whose it is."""
    lending(narrow, *WORDS)
    narrow["b"].crew.held = set()
    narrow.pass_time(30)
    assert len(narrow.files("videos")) == len(WORDS) - 1
    narrow["a"].crew.held = set()
    narrow.pass_time(30)
    all_well(narrow, *WORDS)
    assert set(narrow.cloud.downloads.values()) == {1}
    assert "batch.filed" in events(narrow["a"])
    assert events(narrow["b"]).count("job.downloaded") == len(WORDS) - 1
    result = narrow["a"].result("done/x.yaml")
    assert [job["state"] for job in result["jobs"]] == ["done"] * len(WORDS)


def test_a_borrowed_download_that_fails_goes_back(narrow: Worlds) -> None:
    """As it was; and is made by whose it is, or tried again."""
    lending(narrow, "one", "two")
    narrow.cloud.download_faults.extend([CloudDeferred("503", is_bounded=False)])
    narrow["b"].crew.held = set()
    narrow.settle()
    narrow["a"].crew.held = set()
    narrow.pass_time(120)
    all_well(narrow, "one", "two")


def test_what_the_dead_had_borrowed_is_downloaded_by_whose_it_is(narrow: Worlds) -> None:
    """Once somebody has taken over."""
    lending(narrow, "one", "two")
    narrow.kill("b")
    narrow["a"].crew.held = set()
    narrow.pass_time(30)
    assert narrow["a"].states() == [State.DONE, State.RENDERING]
    narrow.tell_lost("b")
    narrow.pass_time(30)
    all_well(narrow, "one", "two")


def test_what_was_borrowed_from_the_dead_goes_on_as_ones_own(narrow: Worlds) -> None:
    """The heir has the very job in its hands that it takes up: it is downloaded once, and the file is filed."""
    lending(narrow, "one", "two", "three")
    narrow.kill("a")
    narrow.tell_lost("a")
    narrow.pass_time(15)
    narrow["b"].crew.held = set()
    narrow.pass_time(60)
    all_well(narrow, "one", "two", "three")
    assert set(narrow.cloud.downloads.values()) == {1}


def test_a_borrowed_download_that_ends_as_its_owner_dies_counts(narrow: Worlds) -> None:
    """Both are heard of in one turn."""
    lending(narrow, "one", "two")
    narrow.kill("a")
    narrow["b"].crew.held = set()
    narrow["b"].crew.work()
    narrow.tell_lost("a")
    narrow.pass_time(60)
    all_well(narrow, "one", "two")


def test_what_the_dead_had_lent_is_awaited_by_the_heir(team: Team) -> None:
    """Who has borrowed it goes on, and gives it to who has the file then."""
    with Worlds(team, "abc", limits=Limits(downloads=1)) as worlds:
        worlds.settle()
        worlds["c"].crew.held = {"download"}
        lending(worlds, "one", "two", "three")
        worlds.kill("a")
        worlds.tell_lost("a", "c")
        worlds.settle()
        worlds["b"].crew.held = set()
        worlds["c"].crew.held = set()
        worlds.pass_time(60)
        all_well(worlds, "one", "two", "three")
        assert "batch.filed" in events(worlds["c"])


def test_a_borrower_that_is_started_again_gives_back(narrow: Worlds) -> None:
    """It knows nothing of it any more."""
    lending(narrow, "one", "two")
    narrow.kill("b")
    narrow.start("b")
    narrow["a"].crew.held = set()
    narrow.pass_time(60)
    all_well(narrow, "one", "two")


def test_a_lender_that_is_started_again_waits_for_what_is_lent(narrow: Worlds) -> None:
    """It is not downloaded twice."""
    lending(narrow, "one", "two")
    narrow.kill("a")
    narrow.start("a")
    narrow.pass_time(30)
    assert [sorted(narrow.cloud.downloads.values()), narrow["a"].states()] == [[1], [State.DONE, State.RENDERING]]
    narrow["b"].crew.held = set()
    narrow.pass_time(30)
    all_well(narrow, "one", "two")
    assert set(narrow.cloud.downloads.values()) == {1}


# --- what all of them have together ---------------------------------------------------------------


@pytest.mark.parametrize("most", [1, 3])
def test_renders_in_flight_are_counted_together(team: Team, most: int) -> None:
    """`Worlds.check` looks at every moment; all is done in the end, by both of them."""
    with Worlds(team, limits=Limits(max_rendering=most)) as worlds:
        for name in "ab":
            worlds.drop(f"{name}.yaml", yaml_of(*(f"{name} {word}" for word in WORDS)), name)
        worlds.pass_time(2 * len(WORDS) * 25)
        all_well(worlds, *(f"{name} {word}" for name in "ab" for word in WORDS))


def test_who_comes_late_gets_its_part(team: Team) -> None:
    """One has all slots and much to do: it lets go as its renders end, and both have the half of them."""
    with Worlds(team, limits=Limits(max_rendering=4)) as worlds:
        worlds.drop("a.yaml", yaml_of(*(f"a {number}" for number in range(40))), "a")
        worlds.pass_time(15)
        worlds.drop("b.yaml", yaml_of(*WORDS), "b")
        worlds.pass_time(60)
        texts = worlds.cloud.texts_accepted()
        mine = sum(count for text, count in texts.items() if text in WORDS)
        assert mine >= 4, texts


def test_the_slots_of_the_dead_come_back(team: Team) -> None:
    """Its renders count until they have ended; then all is the survivor's."""
    with Worlds(team, limits=Limits(max_rendering=2)) as worlds:
        worlds.drop("a.yaml", yaml_of("one", "two", "three"), "a")
        worlds.pass_time(2)
        worlds.drop("b.yaml", yaml_of("four", "five"), "b")
        worlds.pass_time(1)
        worlds.kill("a")
        worlds.tell_lost("a")
        worlds.pass_time(120)
        all_well(worlds, "one", "two", "three", "four", "five")


def test_a_daemon_that_waits_for_its_account_lets_go_of_its_slots(team: Team) -> None:
    """Paused, it keeps nothing from the other."""
    with Worlds(team, limits=Limits(max_rendering=1)) as worlds:
        worlds["a"].mailbox.append(PauseSeen(is_paused=True))
        worlds.drop("a.yaml", yaml_of("one"), "a")
        worlds.drop("b.yaml", yaml_of("two"), "b")
        worlds.pass_time(60)
        assert worlds.cloud.texts_accepted() == {"two": 1}
        worlds["a"].mailbox.append(PauseSeen(is_paused=False))
        worlds.pass_time(60)
        all_well(worlds, "one", "two")


@pytest.mark.parametrize("limit", [2, 5])
def test_the_day_allows_so_many_to_all_together(team: Team, limit: int) -> None:
    """Whoever orders them; the rest waits for tomorrow, and is said to."""
    with Worlds(team, limits=Limits(daily=DailyLimits(limit))) as worlds:
        for name in "ab":
            worlds.drop(f"{name}.yaml", yaml_of(*(f"{name} {word}" for word in WORDS[:4])), name)
        worlds.pass_time(30)
        assert len(worlds.cloud.accepted) == limit
        assert any(world.dispatcher.summary().limited is not None for world in worlds.alive.values())
        for _ in range(8 // limit):
            worlds.skip_time(86_400)
        all_well(worlds, *(f"{name} {word}" for name in "ab" for word in WORDS[:4]))


def test_what_the_dead_meant_to_order_today_others_may(team: Team) -> None:
    """And what it had ordered counts."""
    with Worlds(team, limits=Limits(daily=DailyLimits(3), max_rendering=1)) as worlds:
        worlds.drop("a.yaml", yaml_of("one", "two", "three", "four"), "a")
        worlds.pass_time(1)
        assert len(worlds.cloud.accepted) == 1
        worlds.kill("a")
        worlds.tell_lost("a")
        worlds.pass_time(120)
        assert len(worlds.cloud.accepted) == 3


# --- cut off, not dead ----------------------------------------------------------------------------


def test_who_is_cut_off_claims_and_asks_for_nothing(worlds: Worlds) -> None:
    """Though it sees the folders and the cloud; it goes on where it was when the ledger knows it again."""
    worlds["a"].mailbox.append(PauseSeen(is_paused=True))
    worlds.drop("x.yaml", yaml_of("one"), "a")
    worlds.settle()
    worlds.cut("a")
    worlds["a"].mailbox.append(PauseSeen(is_paused=False))
    worlds.drop("y.yaml", yaml_of("two"), "a")
    worlds.pass_time(30)
    assert worlds.cloud.asked == []
    assert worlds.files("inbox") == ["y.yaml"]
    summary = worlds["a"].dispatcher.summary()
    assert summary.cut_reason == "the connection is lost"
    worlds.mend("a")
    worlds.pass_time(60)
    assert worlds["a"].dispatcher.summary().cut_reason is None
    all_well(worlds, "one", "two")
    said = events(worlds["a"])
    assert (said.count("lifeline.cut"), said.count("lifeline.mended")) == (1, 1)


def test_a_video_of_who_is_cut_off_is_downloaded_by_another(worlds: Worlds) -> None:
    """It begins no download itself meanwhile; where it can still say so, it offers them."""
    worlds.drop("x.yaml", yaml_of("one"), "a")
    worlds.pass_time(5)
    worlds.cut("a")
    worlds.pass_time(30)
    assert "job.downloaded" in events(worlds["b"])
    worlds.mend("a")
    worlds.pass_time(30)
    all_well(worlds, "one")


def test_who_was_taken_over_meanwhile_begins_anew(worlds: Worlds) -> None:
    """Mended, it learns that nothing is its own any more, and says so to who runs it."""
    worlds.drop("x.yaml", yaml_of("one", "two"), "a")
    worlds.pass_time(5)
    worlds.cut("a")
    worlds.settle()
    lost = worlds.alive.pop("a")
    worlds.tell_lost("a")
    worlds.settle()
    assert "peer.taken_over" in events(worlds["b"])
    worlds.mend("a")
    with pytest.raises(LedgerLost):
        lost.settle()
    lost.kill()
    worlds.pass_time(60)
    all_well(worlds, "one", "two")


def test_who_was_taken_over_and_does_not_know_can_write_nothing(worlds: Worlds) -> None:
    """Its first write tells it; what it has asked for before is in doubt with the heir, and is not asked for again."""
    worlds["a"].crew.held = {"export"}
    worlds.drop("x.yaml", yaml_of("one"), "a")
    worlds.settle()
    lost = worlds.alive.pop("a")
    worlds.cut("a")
    lost.mailbox.pop()
    worlds.tell_lost("a")
    worlds.settle()
    lost.crew.held = set()
    with pytest.raises(LedgerLost):
        lost.settle()
    lost.kill()
    worlds.pass_time(60)
    assert worlds.cloud.texts_accepted() == {"one": 1}
    assert worlds.files("failed") == ["x.yaml"]


def test_mended_without_having_been_cut_is_no_news(worlds: Worlds) -> None:
    """Nothing changes."""
    worlds["a"].mailbox.append(LifelineMended())
    worlds.drop("x.yaml", yaml_of("one"), "a")
    worlds.pass_time(30)
    all_well(worlds, "one")


def test_what_a_zombie_still_meant_to_move_it_leaves_alone(worlds: Worlds) -> None:
    """Its heir has filed the job file; no second copy of it appears, and none is claimed anew."""
    worlds.drop("x.yaml", yaml_of("one"), "a")
    worlds.settle()
    worlds["a"].crew.held = {"file"}
    worlds.pass_time(20)
    worlds.cut("a")
    worlds.tell_lost("a", "b")
    worlds.pass_time(20)
    assert worlds.files("done") == ["x.yaml"]
    zombie = worlds.alive.pop("a")
    zombie.crew.held = set()
    zombie.crew.work()
    assert worlds.files("done") == ["x.yaml"]
    assert worlds.files("processing") == []
    assert zombie.files("videos") == ["x.mp4"]
    zombie.kill()
