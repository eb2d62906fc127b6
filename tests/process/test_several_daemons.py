"""Several daemon processes on one root and one PostgreSQL ledger, killed, frozen, cut off, and their database too.

`CHROMADROP_TEST_FILES` says how many job files the writers of `test_people` drop together; as many as one likes.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import pytest
from network import Network, why_no_network
from place import Place, Running, job, listed, wait_until
from postgres import Server, skip_reason, through
from tcp_proxy import Proxy
from test_people import CASES, GRACE_SECONDS, SETTLE_SECONDS, Hand, TooSlow

from daemon.core.schedule import EXPORTS_AT_ONCE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(skip_reason()), reason=skip_reason())]

FILES: Final = int(os.environ.get("CHROMADROP_TEST_FILES", "75"))
AT_ONCE: Final = 60
"""So many writers write at the same time."""
AGES: Final = 100_000.0
"""Renders that take so long end when the test says so."""
WRITERS: Final = (
    "cp", "mv of 2020", "mv of the future", "rename", "rsync", "rsync --inplace", "rsync --partial-dir=.p",
    "rsync --delay-updates", "slow stream", "four appends", "NUL tail filled", "mtime set back", "vim", "nano", "emacs",
    "VS Code", "saved after the claim", "replaced while settling", "zero bytes", "odd names", "twins",
    "same name twice", "mended within the grace", "encodings", "touched",
)  # fmt: skip
"""Of the cases of `test_people` those that end in videos alone."""


class Farm(Place):
    """A root, and daemons on it that share a ledger.

    Args:
        root: theirs.
        url: of the ledger.
    """

    def __init__(self, root: Path, url: str, **settings: Any) -> None:
        super().__init__(root, **settings)
        self.environ["CHROMADROP_LEDGER__URL"] = url
        self.environ["CHROMADROP_STATUS_PAGE"] = "false"
        self.states = root.parent / f"{root.name}-states"
        self.daemons: dict[str, Running] = {}

    def __enter__(self) -> Self:
        super().__enter__()
        self.states.mkdir()
        return self

    def daemon(self, name: str, **environ: str) -> Running:
        """A daemon with a state folder of its own, which watches; it may have had it before."""
        running = self.start("run", CHROMADROP_FOLDERS__STATE=str(self.states / name), **environ)
        running.until("watch.started")
        self.daemons[name] = running
        return running

    def said(self, event: str, **fields: object) -> list[dict[str, Any]]:
        """What all of them have said, those that are dead too."""
        return [one for running in self._running for one in running.said(event, **fields)]

    def drop_works(self, count: int, jobs: int = 1, prefix: str = "work") -> list[str]:
        """So many job files, renamed into inbox/; their texts."""
        texts = []
        for number in range(count):
            some = [f"{prefix} {number}.{position}" for position in range(jobs)]
            self.drop_at_once(f"{prefix}{number}.yaml", listed(*map(job, some)))
            texts += some
        return texts

    def wait_until_filed(self, count: int) -> None:
        """Until so many job files were filed, whichever daemon did it; what does not end is told."""
        try:
            wait_until(lambda: len(self.job_files("done") + self.job_files("failed")) >= count, f"{count} filed")
        except AssertionError as error:
            there = {folder: len(self.job_files(folder)) for folder in ("inbox", "processing", "done", "failed")}
            last = {name: "".join(running.lines[-5:]) for name, running in self.daemons.items()}
            raise AssertionError(f"{error}; {there}; {last}") from None

    def check(self, texts: Iterable[str], *, in_doubt: Iterable[str] = ()) -> None:
        """Each of these was paid once and has its whole video; of those in doubt nobody knows; nothing else is there.

        Then all that still run are told to stop, and end well.
        """
        doubtful = set(in_doubt)
        wanted = set(texts) - doubtful
        accepted = Counter(self.simulator.accepted_by_text())
        assert {text: accepted[text] for text in wanted if accepted[text] != 1} == {}
        assert {text: count for text, count in accepted.items() if count > 1} == {}
        videos = []
        for folder in ("done", "failed"):
            for name in _visible(self.files(folder)):
                videos += [one["video"] for one in self.result(f"{folder}/{name}")["jobs"] if one.get("video")]
        assert len(videos) == len(set(videos)) == len(wanted)
        assert {f"videos/{name}" for name in self.files("videos")} == set(videos)
        assert self.job_files("processing") == []
        parts = self.root / "processing/.downloads"
        wait_until(lambda: not list(parts.glob("*.part")), "the end of all unfinished downloads")
        for running in self.daemons.values():
            if running.process.poll() is None:
                assert running.terminate() == 0, "".join(running.lines[-20:])

    def doubtful(self) -> set[str]:
        """The texts of the jobs that are said to be in doubt."""
        found = set()
        for name in self.job_files("failed"):
            texts = [one["text"] for one in _requests(self.root / "failed" / name)]
            jobs = self.result(f"failed/{name}")["jobs"]
            found |= {text for text, one in zip(texts, jobs, strict=True) if one.get("paid") == "unknown"}
        return found


def _requests(path: Path) -> list[dict[str, Any]]:
    import yaml

    found = yaml.safe_load(path.read_text())
    return found if isinstance(found, list) else [found]


@contextmanager
def farm(url: str, **settings: Any) -> Iterator[Farm]:
    """On a folder that is as good as any, and goes."""
    scratch = Path(tempfile.mkdtemp())
    (scratch / "root").mkdir()
    try:
        with Farm(scratch / "root", url, **settings) as made:
            yield made
    finally:
        shutil.rmtree(scratch)


# --- each once ------------------------------------------------------------------------------------


def write_all(hands: dict[str, tuple[str, Hand]]) -> set[str]:
    """Many writers at once; those of them who were too slow to be the case that they are meant to be."""
    slow: set[str] = set()

    def act(name: str) -> None:
        case, hand = hands[name]
        try:
            CASES[case].act(hand)
        except TooSlow:
            slow.add(name)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(act, hands))
    return slow


@pytest.mark.parametrize("count", [2, 4])
def test_each_file_of_every_writer_runs_once(postgres_url: str, count: int) -> None:
    """Whoever of the daemons sees it first: each order is paid once, all videos are there, none came twice."""
    with farm(postgres_url, render_seconds=0.3) as place:
        settle = {
            "CHROMADROP_WATCH__SETTLE_SECONDS": str(SETTLE_SECONDS),
            "CHROMADROP_WATCH__GRACE_SECONDS": str(GRACE_SECONDS),
            "CHROMADROP_JOBS__MAX_RENDERING": "200",
        }
        for number in range(count):
            place.daemon(f"daemon{number}", **settle)
        names = {f"{number} {WRITERS[number % len(WRITERS)]}": number for number in range(FILES)}
        hands = {
            name: (WRITERS[number % len(WRITERS)], Hand(place.root, number, name)) for name, number in names.items()
        }
        slow = write_all(hands)
        live = {name: CASES[case] for name, (case, _hand) in hands.items() if name not in slow}
        texts = [f"{name}: {text}" for name, case in live.items() for text in case.texts]
        folders = {hands[name][1].folder for name in live}

        def filed() -> int:
            done = _visible(place.files("done") + place.files("failed"))
            return sum(name.partition("/")[0] in folders for name in done)

        _until_it_stands(filed, sum(len(case.done) for case in live.values()))
        place.drop_at_once("last.yaml", job("last"))  # time for a second run of what must not have one
        wait_until((place.root / "done/last.yaml").exists, "the last one")
        wait_until(lambda: not place.job_files("processing"), "the end of all of them")
        accepted = place.simulator.accepted_by_text()
        assert {text: accepted.get(text, 0) for text in texts if accepted.get(text, 0) != 1} == {}
        assert max(accepted.values()) == 1
        if not slow:
            assert set(accepted) == {*texts, "last"}
            place.check([*texts, "last"])
        done = _by_folder(_visible(place.files("done")))
        counts = {name: len(done.get(hands[name][1].folder, [])) for name in live}
        assert counts == {name: len(case.done) for name, case in live.items()}
        found = [one for name in live for one in done.get(hands[name][1].folder, [])]
        videos = [one["video"] for name in found for one in place.result(f"done/{name}")["jobs"]]
        assert len(videos) == len(set(videos)) == len(texts)
        assert all((place.root / video).stat().st_size > 0 for video in videos)
        shares = [len(running.said("batch.claimed")) for running in place.daemons.values()]
        assert sum(map(bool, shares)) > 1, f"they share the work: {shares}"
        assert place.said("spool.stray") == []


def _by_folder(paths: Iterable[str]) -> dict[str, list[str]]:
    """Each hand has a folder of its own."""
    found: dict[str, list[str]] = {}
    for path in paths:
        found.setdefault(path.partition("/")[0], []).append(path)
    return found


def _visible(names: Iterable[str]) -> set[str]:
    """The job files among them."""
    return {name for name in names if name.lower().endswith((".yaml", ".yml"))}


def _until_it_stands(count: Any, wanted: int) -> None:
    """Until so many; patience begins anew whenever some more have come."""
    while (before := count()) < wanted:
        wait_until(lambda before=before: count() > before, f"more than {before} of {wanted}")  # type: ignore[misc]


# --- one of them dies -----------------------------------------------------------------------------


def test_who_is_killed_under_load_is_taken_over(postgres_url: str) -> None:
    """Nothing is paid twice, nothing is lost; in doubt is only what was being asked for at that moment."""
    with farm(postgres_url, render_seconds=1.0) as place:
        first, second = place.daemon("first"), place.daemon("second")
        texts = place.drop_works(30, jobs=2)
        busy: list[Running] = []

        def is_one_busy() -> bool:
            busy[:] = [one for one in (first, second) if len(one.said("job.exported")) > 5]
            return bool(busy)

        wait_until(is_one_busy, "some exports")
        busy[0].kill()
        heir = second if busy[0] is first else first
        heir.until("peer.taken_over")
        place.wait_until_filed(30)
        doubtful = place.doubtful()
        assert len(doubtful) == len(heir.said("job.in_doubt")) <= EXPORTS_AT_ONCE
        place.check(texts, in_doubt=doubtful)


def test_what_was_being_asked_for_is_in_doubt(postgres_url: str) -> None:
    """Killed between the request and its answer: a person is asked, though the other daemon lives on."""
    with farm(postgres_url, render_seconds=0.3) as place:
        first = place.daemon("first", CHROMADROP_API__READ_TIMEOUT_SECONDS="120")
        place.simulator.add_fault("export:delay,seconds=100")
        place.drop_at_once("x.yaml", job("hello"))
        first.until("job.export_started")
        second = place.daemon("second")
        first.kill()
        second.until("batch.filed", outcome="failed")
        assert place.doubtful() == {"hello"}
        assert place.simulator.accepted_by_text().get("hello", 0) <= 1


def test_who_is_frozen_keeps_its_jobs_until_it_is_killed(postgres_url: str) -> None:
    """Its session stands, so nobody may take anything from it; the others work on; its end is everybody's cue."""
    with farm(postgres_url, render_seconds=AGES) as place:
        first = place.daemon("first")
        mine = place.drop_works(3, prefix="mine")
        for _ in mine:
            first.until("job.exported")
        first.process.send_signal(signal.SIGSTOP)
        second = place.daemon("second")
        theirs = place.drop_works(3, prefix="theirs")
        for _ in theirs:
            second.until("job.exported")
        place.simulator.advance(AGES)
        for _ in theirs:
            second.until("batch.filed", outcome="done")
        assert second.said("peer.taken_over") == []
        assert sorted(place.job_files("processing")) == ["mine0.yaml", "mine1.yaml", "mine2.yaml"]
        first.kill()
        assert second.until("peer.taken_over")["jobs"] == 3
        for _ in mine:
            second.until("batch.filed", outcome="done")
        place.check(mine + theirs)


def test_who_comes_back_works_on(postgres_url: str) -> None:
    """Killed and started again, at once or after it was taken over: the same daemon, with new work."""
    with farm(postgres_url, render_seconds=0.5) as place:
        first, second = place.daemon("first"), place.daemon("second")
        texts = place.drop_works(6, prefix="before")
        wait_until(lambda: place.said("job.exported"), "an export")
        first.kill()
        second.until("peer.taken_over")
        again = place.daemon("first")
        place.wait_until_filed(6)
        second.terminate()
        texts += place.drop_works(3, prefix="after")
        for _ in range(3):
            again.until("batch.filed", outcome="done")
        place.check(texts, in_doubt=place.doubtful())


# --- the database goes ----------------------------------------------------------------------------


def test_a_database_that_is_restarted_under_load_costs_nothing(tmp_path: Path) -> None:
    """Orderly or as in a crash: all wait, nobody ends, nothing is paid twice, and nothing is in doubt."""
    del tmp_path
    with Server() as server, farm(server.create_database(), render_seconds=0.5) as place:
        running = place.daemon("first"), place.daemon("second")
        texts = place.drop_works(20, jobs=2)
        wait_until(lambda: len(place.said("job.exported")) > 4, "some exports")
        server.restart("fast")
        wait_until(lambda: len(place.said("job.exported")) > 12, "more exports")
        server.kill()
        server.start()
        place.wait_until_filed(20)
        assert [one.process.poll() for one in running] == [None, None]
        assert place.said("job.in_doubt") == []
        place.check(texts)


def test_a_switched_primary_is_followed(tmp_path: Path) -> None:
    """The primary dies under load and its synchronous copy takes its place at the same address."""
    del tmp_path
    with Server() as server:
        url = server.create_database()
        with (
            server.standby(synchronous=True) as standby,
            Proxy(server.host, server.port) as proxy,
            farm(through(url, proxy.host, proxy.port), render_seconds=0.5) as place,
        ):
            running = place.daemon("first"), place.daemon("second")
            texts = place.drop_works(20)
            wait_until(lambda: len(place.said("job.exported")) > 4, "some exports")
            server.kill()
            standby.promote()
            proxy.point_to(standby.host, standby.port)
            proxy.drop()
            place.wait_until_filed(20)
            assert [one.process.poll() for one in running] == [None, None]
            assert place.said("job.in_doubt") == []
            place.check(texts)


def test_sessions_that_are_ended_again_and_again_cost_nothing(postgres_server: Server, postgres_url: str) -> None:
    """At any moment, in the middle of any transaction: all is done once, and no daemon ends."""
    chance = random.Random(8)
    database = postgres_url.rpartition("/")[2]
    with farm(postgres_url, render_seconds=0.5) as place:
        running = place.daemon("first"), place.daemon("second")
        texts = place.drop_works(25, jobs=2)
        for _ in range(30):
            before = sum(len(one.lines) for one in running)
            which = chance.choice(["true", "query LIKE '%COMMIT%'", "state = 'idle in transaction'", "pid % 2 = 0"])
            postgres_server.terminate(f"datname = '{database}' AND ({which})")
            count = chance.randint(1, 6)
            wait_until(
                lambda before=before, count=count: (  # type: ignore[misc]
                    sum(len(one.lines) for one in running) >= before + count or len(place.job_files("done")) == 25
                ),
                "some more life",
            )
        place.wait_until_filed(25)
        assert [one.process.poll() for one in running] == [None, None]
        assert place.said("job.in_doubt") == []
        place.check(texts)


# --- cut off, not dead ----------------------------------------------------------------------------

QUICK: Final = (
    "keepalives_idle=1&keepalives_interval=1&keepalives_count=2&tcp_user_timeout=2000&options="
    "-c%20tcp_keepalives_idle%3D1%20-c%20tcp_keepalives_interval%3D1%20-c%20tcp_keepalives_count%3D2"
    "%20-c%20tcp_user_timeout%3D2000"
)
"""Both sides notice within seconds that the other has gone."""


@pytest.mark.skipif(bool(why_no_network()), reason=why_no_network())
def test_who_is_cut_off_asks_for_nothing_and_is_taken_over(tmp_path: Path) -> None:
    """It sees the folders and the cloud, but not the ledger: the other goes on, and with it the one that comes back."""
    del tmp_path
    with Network(3) as network:
        database, one, other = network.machines
        with (
            Server(host=database.address, port=5432, launcher=database.launcher) as server,
            farm(f"{server.create_database()}?{QUICK}", render_seconds=AGES) as place,
        ):
            port = int(place.simulator.origin.rpartition(":")[2])
            for machine in (one, other):
                machine.lend(port)
            place.launcher = one.launcher
            first = place.daemon("first")
            mine = place.drop_works(4, prefix="mine")
            for _ in mine:
                first.until("job.exported")
            place.launcher = other.launcher
            second = place.daemon("second")
            one.cut()
            first.until("lifeline.cut")
            theirs = place.drop_works(4, prefix="theirs")
            second.until("peer.taken_over")
            wait_until(lambda: len(second.said("job.exported")) == 4, "the other's exports")
            place.simulator.advance(AGES)
            place.wait_until_filed(8)
            assert len(first.said("job.export_started")) == 4, "nothing was asked for that the ledger did not know of"
            assert len(first.said("batch.claimed")) == 4
            one.heal()
            first.until("ledger.lost")
            first.until("watch.started")
            assert second.terminate() == 0
            last = place.drop_works(2, prefix="last")
            for _ in last:
                first.until("job.exported")
            place.simulator.advance(AGES)
            for _ in last:
                first.until("batch.filed", outcome="done")
            place.check(mine + theirs + last)
            assert place.said("job.in_doubt") == []


# --- what is refused ------------------------------------------------------------------------------


def test_a_second_ledger_on_the_same_root_is_refused(postgres_server: Server, postgres_url: str) -> None:
    """The root's marker names its ledger: another database, or SQLite, would pay for everything again."""
    other = postgres_server.create_database()
    with farm(postgres_url, render_seconds=0.3) as place:
        first = place.daemon("first")
        for url in (other, ""):
            state = str(place.states / f"other{len(url)}")
            refused = place.start("run", CHROMADROP_FOLDERS__STATE=state, CHROMADROP_LEDGER__URL=url)
            assert refused.end() == 78
            assert "ledger" in "".join(refused.lines)
        place.drop_at_once("x.yaml", job("hello"))
        first.until("batch.filed", outcome="done")
        place.check(["hello"])
    postgres_server.drop_database(other)


def test_one_state_folder_is_one_daemon(postgres_url: str) -> None:
    """A copy of it, on the same machine or another of the same name, is refused while the first lives: exit 75."""
    with farm(postgres_url) as place:
        place.daemon("first")
        shutil.copytree(place.states / "first", place.states / "copy")
        second = place.start("run", CHROMADROP_FOLDERS__STATE=str(place.states / "copy"))
        assert second.end() == 75
        assert "another chromadrop is this daemon" in "".join(second.lines)


def test_downloads_and_renders_are_shared(postgres_url: str) -> None:
    """One with a single slow download lends the others; in flight there is never more than the account allows."""
    with farm(postgres_url, render_seconds=0.6) as place:
        shared = {"CHROMADROP_VIDEOS__DOWNLOADS": "1", "CHROMADROP_JOBS__MAX_RENDERING": "4"}
        place.simulator.add_fault("download:trickle,times=0,bytes=400,seconds=0.05")
        first = place.daemon("first", **shared)
        texts = place.drop_works(1, jobs=8)
        first.until("batch.claimed")
        second = place.daemon("second", **shared)
        place.wait_until_filed(1)
        assert first.said("job.downloaded")
        assert second.said("job.downloaded"), "some of the first one's"
        place.check(texts)
