"""How fast: makespan, punctuality, latency, intake, growth. Each scenario gives rows of a table."""

from __future__ import annotations

import itertools
import statistics
import subprocess
import time
from collections import Counter
from typing import TYPE_CHECKING, Final

from bench.figures import MB, Row, at_least, at_most, percentile
from bench.place import Cloud, Place, jobs, pause, usage, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

POLL_SECONDS: Final = 3.0
RENDER_SECONDS: Final = 20.0
SETTLE_MS: Final = 2000.0
FOR_EVER: Final = 100_000.0


def makespan(
    cloud: Cloud, counts: Sequence[int] = (1, 10, 100, 1000, 5000), render_seconds: float = RENDER_SECONDS
) -> Iterator[Row]:
    """All of N jobs, from the drop to the last video visible, with a render of 20 seconds.

    The limit is the render and one poll interval. The other way is the vendor's tutorial: one job after the other.
    """
    alone = _one_after_the_other(cloud, render_seconds)
    limit = render_seconds + POLL_SECONDS
    goals = {1000: 1.1, 5000: 1.3}
    for count in counts:
        cloud.clear(render_seconds)
        with Place(cloud, JOBS__MAX_RENDERING=count) as place:
            place.start()
            place.await_event("watch.started")
            begun = place.drop("all.yaml", jobs(count))
            before = usage(place.pid).cpu_seconds
            ended = place.await_event("batch.filed")
            cpu = usage(place.pid).cpu_seconds - before
            exported = max(cloud.record()["exports"]) - begun
        took = ended - begun
        yield Row(
            f"{count:,} jobs",
            {
                "took": f"{took:.1f} s",
                "of the limit": at_most(took / limit, goals.get(count), "{:.2f}"),
                "last export after": f"{exported:.2f} s",
                "one after the other": f"{count * alone:,.0f} s ({'measured' if count == 1 else 'computed'})",
                "CPU": f"{cpu:.1f} s",
                "CPU per job": f"{cpu / count * 1000:.1f} ms",
            },
            ((count, "chromadrop", took), (count, "limit", limit), (count, "one after the other", count * alone)),
        )


def _one_after_the_other(cloud: Cloud, render_seconds: float) -> float:
    """The vendor tutorial's way, for one job: ask, look every 3 seconds until it is there, download."""
    import requests  # noqa: PLC0415 - as that program does

    cloud.clear(render_seconds)
    begun = time.monotonic()
    body = {"language": "ko", "text": "Hello", "model": "M000004017", "clothes": "BG00006160"}
    key = requests.post(f"{cloud.origin}/simple/video", json=body, timeout=60).json()["data"]["key"]
    while True:
        found = requests.get(f"{cloud.origin}/editor/progress/{key}", timeout=60).json()["data"]
        if found["progress"] >= 100 and "url" in found:  # noqa: PLR2004 - percent
            requests.get(found["url"], timeout=60).raise_for_status()
            return time.monotonic() - begun
        pause(POLL_SECONDS)


def punctuality(cloud: Cloud, counts: Sequence[int] = (100, 1000, 2000, 5000), seconds: float = 30.0) -> Iterator[Row]:
    """The interval between two looks at one job, while N are in flight and nothing else happens."""
    goals = {2000: 50.0, 5000: 250.0}
    for count in counts:
        cloud.clear(FOR_EVER)
        with Place(cloud, JOBS__MAX_RENDERING=count) as place:
            place.start()
            place.await_event("watch.started")
            place.drop("all.yaml", jobs(count))
            place.await_event("job.exported", count)
            pause(2 * POLL_SECONDS)
            begun, cpu = time.monotonic(), usage(place.pid).cpu_seconds
            pause(seconds)
            cpu = usage(place.pid).cpu_seconds - cpu
            ended = time.monotonic()
            looks = looks_between(cloud, begun, ended)
        off = off_rhythm(looks)
        yield Row(
            f"{count:,} in flight",
            {
                "off 3 s, median": f"{percentile(off, 0.5):.1f} ms",
                "p99": at_most(percentile(off, 0.99), goals.get(count), "{:.0f} ms"),
                "max": f"{max(off):.0f} ms",
                "CPU": f"{cpu / (ended - begun):.0%} of a core",
                "CPU per poll": f"{cpu / sum(map(len, looks)) * 1000:.2f} ms",
            },
            ((count, "p99 off 3 s", percentile(off, 0.99)), (count, "median", percentile(off, 0.5))),
        )


def looks_between(cloud: Cloud, begun: float, ended: float) -> list[list[float]]:
    """When each job was looked at, in that time."""
    return [[at for at in one if begun <= at <= ended] for one in cloud.record()["looks"]]


def off_rhythm(looks: Sequence[Sequence[float]]) -> list[float]:
    """By how many milliseconds each interval was not the poll interval."""
    intervals = [later - earlier for one in looks for earlier, later in itertools.pairwise(one)]
    return [abs(interval - POLL_SECONDS) * 1000 for interval in intervals]


def latency(cloud: Cloud, drops: int = 80) -> Iterator[Row]:
    """From a rename onto the final name to the POST, one drop every 250 ms; and from the end of a plain copy."""
    for case, is_renamed in (("renamed into place", True), ("plain cp, which settles for 2 s", False)):
        cloud.clear(5.0)
        with Place(cloud, JOBS__MAX_RENDERING=drops) as place:
            place.start()
            place.await_event("watch.started")
            pause(1)
            moments = [_drop_one(place, number, is_renamed=is_renamed) for number in range(drops)]
            wait_until(lambda: len(cloud.record()["exports"]) == drops, "all exported")
            record = cloud.record()
        exported = dict(zip(record["texts"], record["exports"], strict=True))
        waits = [(exported[f"Work number {number}"] - moment) * 1000 for number, moment in enumerate(moments)]
        median, p95 = statistics.median(waits), percentile(waits, 0.95)
        goals = (20.0, 60.0) if is_renamed else (SETTLE_MS + 60.0, None)
        yield Row(
            case,
            {
                "median": at_most(median, goals[0], "{:.0f} ms"),
                "p95": at_most(p95, goals[1], "{:.0f} ms"),
                "max": f"{max(waits):.0f} ms",
            },
        )


def _drop_one(place: Place, number: int, *, is_renamed: bool) -> float:
    pause(0.25)
    if is_renamed:
        return place.drop(f"{number}.yaml", jobs(1, number))
    source = place.root / f"{number}.source"
    source.write_text(jobs(1, number))
    subprocess.run(["cp", source, place.root / "inbox" / f"{number}.yaml"], check=True)
    return time.monotonic()


def intake(cloud: Cloud, counts: Sequence[int] = (1000, 10_000)) -> Iterator[Row]:
    """Job files that lie in inbox/ at the start: claimed, parsed, and durably in the ledger.

    The last case has the names that a file manager gives to many: x (1).yaml, x (2).yaml.
    """
    for count, name in (*((count, "{}.yaml") for count in counts), (counts[0], "x ({}).yaml")):
        cloud.clear(FOR_EVER)
        with Place(cloud, JOBS__MAX_RENDERING=1, WATCH__SETTLE_SECONDS=0) as place:
            for number in range(count):
                (place.root / "inbox" / name.format(number)).write_text(jobs(1, number))
            begun = place.start()
            place.await_event("watch.started", every_seconds=0.01)
            ready = time.monotonic()
            ended = place.await_event("batch.claimed", count, every_seconds=0.1)
            cpu = usage(place.pid).cpu_seconds
        yield Row(
            f"{count:,} files, {name.format('N')}",
            {
                "files a second": at_least(count / (ended - ready), 500, "{:,.0f}"),
                "all claimed after": f"{ended - begun:.1f} s",
                "CPU per file": f"{cpu / count * 1000:.1f} ms",
            },
        )


def growth(cloud: Cloud, counts: Sequence[int] = (100, 1000, 10_000)) -> Iterator[Row]:
    """How cost grows: time and memory per job, from files of 10 jobs each, with renders that take no time."""
    first = 0.0
    for count in counts:
        cloud.clear(0.0)
        with Place(cloud, JOBS__MAX_RENDERING=200, JOBS__POLL_SECONDS=0.05, WATCH__SETTLE_SECONDS=0) as place:
            files = count // 10
            for number in range(files):
                (place.root / "inbox" / f"{number}.yaml").write_text(jobs(10, number * 10))
            place.start()
            begun = place.await_event("watch.started", every_seconds=0.01)
            before = usage(place.pid).cpu_seconds
            ended = place.await_event("batch.filed", files, every_seconds=0.05)
            used = usage(place.pid)
            texts = Counter(cloud.record()["texts"])
        assert set(texts.values()) == {1}, "a job was asked for twice"
        assert len(texts) == count
        cpu = (used.cpu_seconds - before) / count * 1000
        goal = None if not first else first * 1.25
        first = first or cpu
        yield Row(
            f"{count:,} jobs",
            {
                "took": f"{ended - begun:.1f} s",
                "per job": f"{(ended - begun) / count * 1000:.1f} ms",
                "CPU per job": at_most(cpu, goal, "{:.1f} ms"),
                "memory": f"{used.memory_bytes / MB:.0f} MB",
            },
            ((count, "CPU per job", cpu), (count, "time per job", (ended - begun) / count * 1000)),
        )
