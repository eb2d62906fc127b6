"""Who is told of what, and when: the outbox through failures, floods, restarts, and kills."""

from __future__ import annotations

import itertools
import os
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from world import FakeCloud, Killed, World, yaml_of

from daemon import VERSION, notifying
from daemon.core.errors import (
    AccountTroubled,
    CloudInDoubt,
    CloudRefused,
    LedgerUnavailable,
    NoticeDeferred,
    NoticeError,
    NoticeRefused,
)
from daemon.core.notice import Kind, Notice, Sink
from daemon.dispatcher import Limits
from daemon.notifying import NoticePlan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from daemon.edges.ledger import Work

BAD = "nonsense: ["
NO = NoticeDeferred("nobody listens")
DOUBT = (CloudInDoubt("no answer"), False)
REFUSED = (CloudRefused("no such voice"), False)
TROUBLED = (AccountTroubled("the key was refused", is_credential=True), False)


@dataclass
class Ear:
    """Remembers what it was told; `faults` are raised one after the other, before anything is remembered."""

    told: list[dict[str, Any]] = field(default_factory=list)
    tries: int = 0
    faults: deque[NoticeError | None] = field(default_factory=deque)

    def deliver(self, notice: Notice) -> None:
        self.tries += 1
        fault = self.faults.popleft() if self.faults else None
        if fault is not None:
            raise fault
        self.told.append(dict(notice.body))

    def close(self) -> None:
        pass

    def events(self) -> list[str]:
        return [str(body["event"]) for body in self.told]

    def files(self) -> list[str]:
        return [body["file"] for body in self.told]


def plan(
    ears: dict[Sink, Ear], kinds: Iterable[Kind] = (Kind.FAILED, Kind.IN_DOUBT, Kind.ACCOUNT), tries: int = 8
) -> NoticePlan:
    return NoticePlan(ears, frozenset(kinds), tries)


def world_with(root: Path, ear: Ear, *kinds: Kind, tries: int = 8, **more: Any) -> World:
    """A daemon that tells one ear."""
    return World(
        root, notices=plan({Sink.URL: ear}, kinds or (Kind.FAILED, Kind.IN_DOUBT, Kind.ACCOUNT), tries), **more
    )


def drop_bad(world: World, count: int) -> list[str]:
    """Files that fail at once."""
    names = [f"{number:03}.yaml" for number in range(count)]
    for name in names:
        world.drop(name, BAD)
    return names


def gate_is_open(world: World) -> bool:
    return world.dispatcher.summary().trouble is None


# --- what is told ---------------------------------------------------------------------------------


def test_a_failed_file_is_told_with_its_result(tmp_path: Path) -> None:
    """All that result.json says, where the file lies, and what matters of it as a whole."""
    ear = Ear()
    world = world_with(tmp_path, ear)
    world.cloud.export_faults.extend([None, REFUSED])
    world.drop("sub/x.yaml", yaml_of("one", "two"))
    world.pass_time(30)
    (told,) = ear.told
    result = world.result("failed/sub/x.yaml")
    assert told == {
        "event": "failed",
        "notice": f"{world.ledger.id}-failed-1",
        "at": told["at"],
        "version": VERSION,
        "root": str(tmp_path),
        **result,
        "filed_as": "failed/sub/x.yaml",
        "paid": "yes",
        "reason": "no such voice",
    }
    assert told["at"].endswith("Z")
    assert (
        "notice.delivered",
        {"sink": "url", "kind": "failed", "notice": told["notice"], "file": "sub/x.yaml"},
    ) in world.log.lines


def test_a_file_that_is_not_valid_is_told_with_its_problem(tmp_path: Path) -> None:
    """Nothing was paid, and the first thing that is wrong is said."""
    ear = Ear()
    world = world_with(tmp_path, ear)
    world.drop("bad.yaml", BAD)
    world.settle()
    assert (ear.told[0]["paid"], ear.told[0]["jobs"]) == ("no", [])
    assert ear.told[0]["reason"].startswith("line ")


@pytest.mark.parametrize("kinds", [(Kind.FAILED,), (Kind.DONE,), (Kind.FAILED, Kind.DONE), (Kind.ACCOUNT,)])
def test_only_what_was_asked_for_is_told(tmp_path: Path, kinds: tuple[Kind, ...]) -> None:
    """Nobody is told twice of what he sees anyway."""
    ear = Ear()
    world = world_with(tmp_path, ear, *kinds)
    world.cloud.export_faults.extend([DOUBT, None])
    world.drop("x.yaml", yaml_of("one"))
    world.drop("y.yaml", yaml_of("two"))
    world.pass_time(60)
    assert sorted(ear.events()) == sorted(kind for kind in kinds if kind is not Kind.ACCOUNT)


def test_a_job_in_doubt_is_told_at_once(tmp_path: Path) -> None:
    """Not when the rest of its file is ready, which may take an hour."""
    ear = Ear()
    world = world_with(tmp_path, ear, render_seconds=600.0)
    world.cloud.export_faults.extend([None, DOUBT])
    world.drop("x.yaml", yaml_of("one", "two " * 200))
    world.pass_time(10)
    (told,) = ear.told
    assert world.files("processing") == ["x.yaml"]
    assert (told["event"], told["file"], told["n"], told["paid"], told["reason"]) == (
        "in_doubt",
        "x.yaml",
        2,
        "unknown",
        "no answer",
    )
    assert told["text"].startswith("two two")
    assert len(told["text"]) == 200
    world.pass_time(700)
    assert ear.events() == ["in_doubt", "failed"]
    assert ear.told[1]["paid"] == "unknown"
    assert ear.told[1]["id"] == told["id"]


def test_a_job_that_is_in_doubt_after_a_kill_is_told(tmp_path: Path) -> None:
    """Found EXPORTING at the start: that is when it becomes so."""
    ear = Ear()
    world = world_with(tmp_path, ear)
    world.crew.held = {"export"}
    world.drop("x.yaml", yaml_of("one"))
    world.settle()
    world.restart()
    world.settle()
    assert ear.events() == ["in_doubt", "failed"]
    assert "stopped after asking" in ear.told[0]["reason"]


def test_a_doubt_that_was_told_is_not_told_again(tmp_path: Path) -> None:
    """Dropped again without a word it stays in doubt, which is no news; that it failed again is."""
    ear = Ear()
    world = world_with(tmp_path, ear)
    world.cloud.export_faults.append(DOUBT)
    world.drop("x.yaml", yaml_of("one"))
    world.pass_time(5)
    world.drop_again("x.yaml")
    world.pass_time(5)
    assert ear.events() == ["in_doubt", "failed", "failed"]


# --- the account ----------------------------------------------------------------------------------


def test_trouble_is_told_once_and_its_end_once(tmp_path: Path) -> None:
    """However many exports meet it."""
    ear = Ear()
    world = world_with(tmp_path, ear)
    world.cloud.export_faults.extend([TROUBLED] * 3)
    world.cloud.probe_faults.extend([AccountTroubled("still", is_credential=True)] * 3)
    world.drop("x.yaml", yaml_of("one", "two", "three"))
    world.pass_time(600)
    assert ear.events() == ["account", "account"]
    assert (ear.told[0]["recovered"], ear.told[0]["reason"]) == (False, "the key was refused")
    assert ear.told[0]["since"] == ear.told[0]["at"]
    assert ear.told[1]["recovered"] is True
    assert ear.told[0]["notice"] != ear.told[1]["notice"]


def test_an_account_that_comes_and_goes_is_no_flood(tmp_path: Path) -> None:
    """One word a minute at most, and the last one is true."""
    ear = Ear()
    world = world_with(tmp_path, ear)
    told_at: list[float] = []
    for _ in range(40):
        world.cloud.look_faults.append(TROUBLED[0])
        world.drop(f"{len(told_at)}-{world.monotonic}.yaml", yaml_of("one"))
        before = len(ear.told)
        world.pass_time(7)
        told_at += [world.monotonic] * (len(ear.told) - before)
    world.pass_time(200)
    assert len(ear.told) >= 4
    assert all(later - earlier >= 60 - 7 for earlier, later in itertools.pairwise(told_at))
    assert [told["recovered"] for told in ear.told] == [bool(number % 2) for number in range(len(ear.told))]
    assert ear.told[-1]["recovered"] is gate_is_open(world) is True


def test_what_was_told_of_the_account_is_known_after_a_restart(tmp_path: Path) -> None:
    """The same trouble is no news to whoever was told; its end is."""
    ear = Ear()
    world = world_with(tmp_path, ear)
    world.cloud.export_faults.extend([TROUBLED] * 2)
    world.drop("x.yaml", yaml_of("one"))
    world.pass_time(5)
    assert ear.events() == ["account"]
    world.restart()
    world.pass_time(5)
    assert not gate_is_open(world)
    assert ear.events() == ["account"]
    world.pass_time(120)
    assert [told["recovered"] for told in ear.told] == [False, True]


def test_a_healthy_start_is_no_news(tmp_path: Path) -> None:
    """Nobody is told that nothing happened."""
    ear = Ear()
    world = world_with(tmp_path, ear)
    world.drop("x.yaml", yaml_of("one"))
    world.pass_time(30)
    assert ear.told == []


# --- the outbox -----------------------------------------------------------------------------------


def test_one_at_a_time_oldest_first(tmp_path: Path) -> None:
    """A flood of failures starts one command, not a thousand."""
    ear = Ear()
    world = world_with(tmp_path, ear)
    world.crew.held = {"notify"}
    names = drop_bad(world, 30)
    world.settle()
    assert [kind for kind, _call in world.crew.calls] == ["notify"]
    world.crew.held = set()
    world.settle()
    assert ear.files() == names
    assert world.ledger.pending_notices() == []


def test_what_is_not_taken_is_tried_again_later_and_later(tmp_path: Path) -> None:
    """Until it is; what came after it waits its turn."""
    ear = Ear(faults=deque([NO] * 3))
    world = world_with(tmp_path, ear)
    drop_bad(world, 2)
    waits = []
    while (wake := world.settle()) is not None:
        waits.append(wake - world.monotonic)
        world.monotonic = wake
    assert waits == [5.0, 5.0, 10.0]
    assert ear.files() == ["000.yaml", "001.yaml"]
    assert world.log.events().count("notice.deferred") == 1, "the same reason again is no news"


def test_the_other_side_may_say_when(tmp_path: Path) -> None:
    """Retry-After is obeyed."""
    ear = Ear(faults=deque([NoticeDeferred("busy", retry_after_seconds=100.0)]))
    world = world_with(tmp_path, ear)
    drop_bad(world, 1)
    world.pass_time(99)
    assert (ear.tries, ear.told) == (1, [])
    world.pass_time(2)
    assert ear.tries == 2


def test_after_so_many_tries_it_is_given_up(tmp_path: Path) -> None:
    """With one line in the log; restarts do not begin the count anew."""
    ear = Ear(faults=deque([NO] * 3))
    world = world_with(tmp_path, ear, tries=3)
    drop_bad(world, 2)
    world.settle()
    world.restart()
    world.pass_time(60)
    assert ear.files() == ["001.yaml"]
    (line,) = [fields for event, fields in world.log.lines if event == "notice.given_up"]
    assert (line["file"], line["tries"], line["reason"], line["notices"]) == ("000.yaml", 3, "nobody listens", 1)


def test_what_is_refused_is_given_up_at_once(tmp_path: Path) -> None:
    """And the next one has its turn at once."""
    ear = Ear(faults=deque([NoticeRefused("the address answered 404")]))
    world = world_with(tmp_path, ear)
    drop_bad(world, 2)
    world.settle()
    assert ear.files() == ["001.yaml"]
    assert world.log.events().count("notice.given_up") == 1


def test_an_outlet_with_a_bug_is_one_that_failed(tmp_path: Path) -> None:
    """The worker lives on, and the notice is tried again."""
    ear = Ear(faults=deque([RuntimeError("a bug")]))  # type: ignore[list-item]
    world = world_with(tmp_path, ear)
    drop_bad(world, 1)
    world.pass_time(10)
    assert len(ear.told) == 1
    (line,) = [fields for event, fields in world.log.lines if event == "notice.deferred"]
    assert line["reason"] == "an error in chromadrop itself while notifying: RuntimeError"


def test_two_are_told_each_for_itself(tmp_path: Path) -> None:
    """One that is away does not keep the other from being told; the notice has one name."""
    ears = {Sink.COMMAND: Ear(faults=deque([NO] * 100)), Sink.URL: Ear()}
    world = World(tmp_path, notices=plan(ears))
    drop_bad(world, 3)
    world.settle()
    assert (len(ears[Sink.COMMAND].told), len(ears[Sink.URL].told)) == (0, 3)
    ears[Sink.COMMAND].faults.clear()
    world.pass_time(10)
    assert ears[Sink.COMMAND].told == ears[Sink.URL].told


def test_of_too_many_the_oldest_are_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """But for the one that is just being told; the log says how many."""
    monkeypatch.setattr(notifying, "MOST_KEPT", 4)
    ear = Ear()
    world = world_with(tmp_path, ear)
    world.crew.held = {"notify"}
    names = drop_bad(world, 1)
    world.settle()
    names = drop_bad(world, 10)
    world.settle()
    assert len(world.ledger.pending_notices()) == 4
    world.crew.held = set()
    world.settle()
    assert ear.files() == ["000.yaml", *names[-3:]]
    world.pass_time(60)
    dropped = [fields["notices"] for event, fields in world.log.lines if event == "notice.given_up"]
    assert sum(dropped) == 7


def given_up(world: World) -> list[dict[str, Any]]:
    return [fields for event, fields in world.log.lines if event == "notice.given_up"]


def flooded(root: Path, ear: Ear) -> World:
    """A daemon that has dropped two notices and said so, and then many more within the minute."""
    world = world_with(root, ear)
    world.crew.held = {"notify"}
    drop_bad(world, 6)
    world.settle()
    assert [line["files"] for line in given_up(world)] == [["000.yaml", "001.yaml"]]
    for number in range(100, 120):
        world.drop(f"{number}.yaml", BAD)
        world.settle()
    return world


def test_a_flood_is_one_line_a_minute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With how many were dropped, and the first of their files, so that a person knows where to look."""
    monkeypatch.setattr(notifying, "MOST_KEPT", 4)
    world = flooded(tmp_path, Ear())
    assert len(given_up(world)) == 1
    world.pass_time(60)
    first, second = given_up(world)
    assert (first["notices"], second["notices"]) == (2, 20)
    assert second == {
        "sink": "url",
        "reason": "more than 4 wait",
        "notices": 20,
        "files": ["003.yaml", "004.yaml", "005.yaml", "100.yaml", "101.yaml"],
    }
    world.pass_time(600)
    assert len(given_up(world)) == 2


def test_a_stop_says_what_was_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The minute that has not passed takes nothing with it."""
    monkeypatch.setattr(notifying, "MOST_KEPT", 4)
    world = flooded(tmp_path, Ear())
    world.stop()
    world.settle()
    assert world.dispatcher.is_finished
    assert [line["notices"] for line in given_up(world)] == [2, 20]


def test_refusals_are_one_line_a_minute(tmp_path: Path) -> None:
    """An address that is gone for good is not said for every file; another reason is."""
    refusals = [NoticeRefused("the address answered 404")] * 9
    world = world_with(tmp_path, Ear(faults=deque([*refusals, NoticeRefused("the address answered 410")])))
    names = drop_bad(world, 10)
    world.pass_time(90)
    said = [(line["reason"][-3:], line["notices"], line["files"]) for line in given_up(world)]
    assert sorted(said) == [("404", 1, names[:1]), ("404", 8, names[1:6]), ("410", 1, names[9:])]


def test_a_ledger_that_cannot_be_read_drops_without_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """How many there were is said all the same."""
    monkeypatch.setattr(notifying, "MOST_KEPT", 4)
    world = world_with(tmp_path, Ear())
    world.crew.held = {"notify"}

    def fail(notice_id: int) -> Notice:
        raise LedgerUnavailable(str(notice_id))

    world.ledger.notice = fail  # type: ignore[method-assign]
    drop_bad(world, 6)
    world.settle()
    assert sum(line["notices"] for line in given_up(world)) == 2
    assert [line["files"] for line in given_up(world)] == [[]]


def test_what_nobody_is_told_any_more_is_dropped(tmp_path: Path) -> None:
    """A sink that was taken out of the configuration leaves nothing behind."""
    world = world_with(tmp_path, Ear(faults=deque([NO] * 9)))
    drop_bad(world, 3)
    world.settle()
    world.notices = None
    world.restart()
    world.settle()
    assert world.ledger.pending_notices() == []
    assert [fields["notices"] for event, fields in world.log.lines if event == "notice.given_up"] == [3]


# --- nothing waits for it -------------------------------------------------------------------------


def test_no_job_and_no_stop_waits_for_a_notice(tmp_path: Path) -> None:
    """One that is never answered changes nothing, and comes again at the next start."""
    ear = Ear()
    world = world_with(tmp_path, ear, limits=Limits(max_rendering=1))
    world.crew.held = {"notify"}
    drop_bad(world, 2)
    world.drop("x.yaml", yaml_of("one", "two"))
    world.pass_time(60)
    assert world.files("done") == ["x.yaml", "x.yaml.result.json"]
    world.stop()
    world.settle()
    assert world.dispatcher.is_finished
    world.restart()
    world.settle()
    assert ear.files() == ["000.yaml", "001.yaml"]


def test_while_stopping_no_notice_is_begun(tmp_path: Path) -> None:
    """It would only be cut; it is in the outbox for the next daemon."""
    ear = Ear()
    world = world_with(tmp_path, ear)
    world.crew.held = {"export"}
    world.cloud.export_faults.append(DOUBT)
    world.drop("x.yaml", yaml_of("one"))
    world.settle()
    world.stop()
    world.settle()
    world.crew.held = set()
    world.settle()
    assert world.dispatcher.is_finished
    assert ear.tries == 0
    world.restart()
    world.settle()
    assert ear.events()[0] == "in_doubt"


def once(root: Path, ear: Ear) -> World:
    world = world_with(root, ear, is_started=False)
    world.is_once = True
    (root / "inbox/a.yaml").write_text(BAD)
    (root / "inbox/b.yaml").write_text(BAD)
    world.start()
    world.rescan()
    return world


def test_run_once_tells_before_it_ends(tmp_path: Path) -> None:
    """Whoever runs it now and then has no later."""
    ear = Ear()
    world = once(tmp_path, ear)
    world.crew.held = {"notify"}
    world.settle()
    assert not world.dispatcher.is_finished
    world.crew.held = set()
    world.settle()
    assert world.dispatcher.is_finished
    assert ear.files() == ["a.yaml", "b.yaml"]


def test_run_once_does_not_wait_for_a_second_try(tmp_path: Path) -> None:
    """Nobody listens: it ends, and the next run tells."""
    ear = Ear(faults=deque([NO]))
    world = once(tmp_path, ear)
    world.settle()
    assert world.dispatcher.is_finished
    assert ear.tries == 1
    world.restart()
    world.settle()
    assert ear.files() == ["a.yaml", "b.yaml"]


def test_nothing_is_told_before_it_is_on_record(tmp_path: Path) -> None:
    """A ledger that cannot be written holds the notices back, and loses none."""
    ear = Ear()
    world = world_with(tmp_path, ear)
    world.crew.held = {"export"}
    world.cloud.export_faults.append(DOUBT)
    world.drop("x.yaml", yaml_of("one"))
    world.settle()
    real = world.ledger.commit

    def fail(work: Work) -> list[int]:
        del work
        raise LedgerUnavailable("disk full")

    world.ledger.commit = fail  # type: ignore[method-assign]
    world.crew.held = set()
    world.pass_time(30)
    assert ear.tries == 0
    world.ledger.commit = real  # type: ignore[method-assign]
    world.pass_time(30)
    assert ear.events() == ["in_doubt", "failed"]


def test_a_ledger_that_cannot_be_read_costs_no_try(tmp_path: Path) -> None:
    """It is our own trouble, and passes."""
    ear = Ear()
    world = world_with(tmp_path, ear, tries=1)
    real = world.ledger.notice
    failures = [3]

    def read(notice_id: int) -> Notice:
        failures[0] -= 1
        if failures[0] >= 0:
            raise LedgerUnavailable("locked")
        return real(notice_id)

    world.ledger.notice = read  # type: ignore[method-assign]
    drop_bad(world, 1)
    world.pass_time(10)
    assert len(ear.told) == 1


# --- kills ----------------------------------------------------------------------------------------


class Killer:
    """Kills at the n-th moment: before (odd) or after (even) a commit or a delivery."""

    def __init__(self, moment: int) -> None:
        self.left = moment
        self.place = ""

    def watch(self, world: World, ear: Ear) -> None:
        for edge, name in ((world.ledger, "commit"), (world.ledger, "enter"), (ear, "deliver")):
            self._wrap(edge, name)

    def _wrap(self, edge: Any, name: str) -> None:
        real: Callable[..., Any] = getattr(edge, name)

        def wrapped(*args: Any) -> Any:
            self._count(f"before {name}")
            found = real(*args)
            self._count(f"after {name}")
            return found

        setattr(edge, name, wrapped)

    def _count(self, place: str) -> None:
        self.left -= 1
        if self.left == 0:
            self.place = place
            raise Killed(place)


class DoubtfulCloud(FakeCloud):
    """Says by the text what becomes of it, whenever it is asked."""

    def export(self, body: Any) -> str:
        if str(body["text"]).startswith("refused"):
            raise CloudRefused("no")
        if str(body["text"]).startswith("doubt"):
            raise CloudInDoubt("no answer")
        return super().export(body)


def live(world: World) -> None:
    """One of each: refused, in doubt, not valid, done."""
    world.drop("doubt.yaml", yaml_of("doubt one", "two"))
    world.pass_time(15)
    world.drop("refused.yaml", yaml_of("refused three"))
    world.drop("bad.yaml", BAD)
    world.pass_time(15)


@pytest.mark.slow
def test_killed_at_any_commit_and_any_delivery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No notice is lost; one comes twice only where the daemon died between telling and recording that it told."""
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)  # what dies here is the daemon, not the machine
    places = {"the first"}
    for moment in itertools.count(1):
        if "" in places:
            break
        root = tmp_path / str(moment)
        root.mkdir()
        ear = Ear()
        world = world_with(root, ear, *Kind, make_cloud=DoubtfulCloud)
        killer = Killer(moment)
        killer.watch(world, ear)
        try:
            live(world)
        except Killed:
            del ear.deliver
            world.restart()
            world.rescan()
        for name, text in (("refused.yaml", yaml_of("refused three")), ("bad.yaml", BAD)):
            if name not in world.files("failed") and name not in world.files("processing"):
                world.drop(name, text)
        world.pass_time(60)
        places.add(killer.place)
        check(world, ear, killer.place)
        world.kill()
    assert {f"{when} {name}" for when in ("before", "after") for name in ("commit", "enter", "deliver")} <= places
    assert moment > 40


def check(world: World, ear: Ear, place: str) -> None:
    """Everything that happened was told, and nothing else."""
    filed = {
        (outcome, name) for outcome in ("failed", "done") for name in world.files(outcome) if name.endswith(".yaml")
    }
    told = [(body["event"], body["file"]) for body in ear.told]
    assert {pair for pair in told if pair[0] != "in_doubt"} == filed, place
    assert filed == {("failed", "doubt.yaml"), ("failed", "refused.yaml"), ("failed", "bad.yaml")}, place
    in_doubt = [job["n"] for job in world.result("failed/doubt.yaml")["jobs"] if job["failure"] == "in_doubt"]
    assert in_doubt, place
    assert {body["n"] for body in ear.told if body["event"] == "in_doubt"} == set(in_doubt), place
    names = [body["notice"] for body in ear.told]
    twice = len(names) - len(set(names))
    assert twice == 0 or (twice == 1 and place in {"after deliver", "before commit"}), f"{place}: {names}"
    assert world.ledger.pending_notices() == []
