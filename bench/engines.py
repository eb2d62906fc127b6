"""What several machines cost: the same work on SQLite, on PostgreSQL, by two daemons; and how soon one takes over."""

from __future__ import annotations

import os
import signal
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench.figures import MB, Figure, Row, percentile
from bench.place import Cloud, Place, jobs, pause, usage, wait_until

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))  # the tests' own server, on a disk here

from postgres import Server, skip_reason

if TYPE_CHECKING:
    from collections.abc import Iterator

FOR_EVER: Final = 100_000.0


def engines(cloud: Cloud, count: int = 2000, drops: int = 40) -> Iterator[Row]:
    """Jobs a second where renders take no time, and from a rename to the POST; with each engine."""
    yield from _work(cloud, "SQLite", [None], count, drops)
    if why := skip_reason():
        yield Row("PostgreSQL", {"jobs a second": f"not measured: {why}"})
        return
    with Server(is_durable=True) as server:
        yield from _work(cloud, "PostgreSQL", [server.create_database()], count, drops)
        yield from _work(cloud, "PostgreSQL, two daemons", [server.create_database()] * 2, count, drops)
        yield _takeover(cloud, server.create_database())


def _work(cloud: Cloud, case: str, ledgers: list[str | None], count: int, drops: int) -> Iterator[Row]:
    cloud.clear(0.0)
    with ExitStack() as stack:
        places = _places(stack, cloud, ledgers, JOBS__MAX_RENDERING=200, JOBS__POLL_SECONDS=0.05)
        root = places[0].root
        (root / "inbox/PAUSE").touch()
        for place in places:
            place.start()
            place.await_event("queue.paused")
        before = sum(usage(place.pid).cpu_seconds for place in places)
        for number in range(count // 10):
            places[0].drop(f"{number}.yaml", jobs(10, number * 10))
        wait_until(lambda: _sum(places, "batch.claimed") == count // 10, "all claimed")
        (root / "inbox/PAUSE").unlink()
        begun = time.monotonic()
        wait_until(lambda: _sum(places, "batch.filed") == count // 10, "all filed")
        took = time.monotonic() - begun
        cpu = sum(usage(place.pid).cpu_seconds for place in places) - before
        assert len(set(cloud.record()["texts"])) == len(cloud.record()["texts"]) == count, "asked for twice"
        shares = " + ".join(f"{place.count('job.downloaded'):,}" for place in places)
        waits = _latency(cloud, places[0], count, drops)
        memory = [usage(place.pid).memory_bytes / MB for place in places]
    figures: dict[str, Figure | str] = {
        "jobs a second": f"{count / took:.0f}",
        "videos each": shares,
        "CPU per job": f"{cpu / count * 1000:.1f} ms",
        "rename to POST, median": f"{statistics.median(waits):.0f} ms",
        "p95": f"{percentile(waits, 0.95):.0f} ms",
        "memory each": f"{max(memory):.0f} MB",
    }
    yield Row(case, figures)


def _places(stack: ExitStack, cloud: Cloud, ledgers: list[str | None], **settings: object) -> list[Place]:
    """One daemon for each, all on the first one's root."""
    places: list[Place] = []
    for ledger in ledgers:
        ours = dict(settings)
        if ledger is not None:
            ours |= {"LEDGER__URL": ledger, "FOLDERS__STATE": stack.enter_context(tempfile.TemporaryDirectory())}
        if places:
            ours["FOLDERS__ROOT"] = places[0].root
        places.append(stack.enter_context(Place(cloud, **ours)))
    return places


def _sum(places: list[Place], event: str) -> int:
    return sum(place.count(event) for place in places)


def _latency(cloud: Cloud, place: Place, first: int, drops: int) -> list[float]:
    moments = []
    for number in range(first, first + drops):
        pause(0.25)
        moments.append(place.drop(f"{number}.yaml", jobs(1, number)))
    wait_until(lambda: len(cloud.record()["exports"]) == first + drops, "all exported")
    record = cloud.record()
    exported = dict(zip(record["texts"], record["exports"], strict=True))
    return [(exported[f"Work number {first + number}"] - moment) * 1000 for number, moment in enumerate(moments)]


def _takeover(cloud: Cloud, ledger: str) -> Row:
    """One of two is killed with renders in flight: until the other has all of them."""
    cloud.clear(FOR_EVER)
    with ExitStack() as stack:
        first, second = _places(stack, cloud, [ledger, ledger], JOBS__MAX_RENDERING=100)
        first.start()
        first.await_event("watch.started")
        first.drop("all.yaml", jobs(100))
        first.await_event("job.exported", 100)
        second.start()
        second.await_event("watch.started")
        pause(6)  # it has seen the other alive
        begun = time.monotonic()
        os.kill(first.pid, signal.SIGKILL)
        took = second.await_event("peer.taken_over") - begun
    return Row("PostgreSQL, one of two killed", {"all taken over after": f"{took:.1f} s"})
