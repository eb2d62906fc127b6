"""What is measured; each scenario gives rows of a table. Run on an idle machine."""

from __future__ import annotations

import itertools
import os
import statistics
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bench.place import Cloud, Place, jobs, pause, usage, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

POLL_SECONDS: Final = 3.0
RENDER_SECONDS: Final = 20.0
MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Row:
    """One measured figure, or several of one run.

    Attributes:
        scenario: which measurement.
        case: what was varied, such as ``1,000 jobs``.
        figures: name to text, in order.
        plot: (scenario's x, series, y) to be drawn.
    """

    scenario: str
    case: str
    figures: dict[str, str]
    plot: tuple[tuple[float, str, float], ...] = ()


def percentile(values: Sequence[float], share: float) -> float:
    """The value that so large a share does not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


# --- makespan -------------------------------------------------------------------------------------


def makespan(cloud: Cloud, counts: Sequence[int] = (1, 10, 100, 1000, 5000)) -> Iterator[Row]:
    """All of N jobs, from the drop to the last video visible, against render + one poll interval."""
    alone = _one_after_the_other(cloud)
    limit = RENDER_SECONDS + POLL_SECONDS
    for count in counts:
        cloud.clear(RENDER_SECONDS)
        with Place(cloud, JOBS__MAX_RENDERING=count) as place:
            place.start()
            place.await_event("watch.started")
            begun = place.drop("all.yaml", jobs(count))
            before = usage(place.pid).cpu_seconds
            ended = place.await_event("batch.filed")
            cpu = usage(place.pid).cpu_seconds - before
            record = cloud.record()
        took = ended - begun
        exported = max(record["exports"]) - begun
        yield Row(
            "makespan",
            f"{count:,} jobs",
            {
                "took": f"{took:.1f} s",
                "of the limit": f"{took / limit:.2f}",
                "last export after": f"{exported:.2f} s",
                "one after the other": f"{count * alone:,.0f} s" + (" (measured)" if count == 1 else " (computed)"),
                "CPU": f"{cpu:.1f} s",
            },
            ((count, "chromadrop", took), (count, "limit", limit), (count, "one after the other", count * alone)),
        )


def _one_after_the_other(cloud: Cloud) -> float:
    """The vendor tutorial's way, for one job: ask, look every 3 seconds until it is there, download."""
    import requests  # noqa: PLC0415 - as that program does

    cloud.clear(RENDER_SECONDS)
    begun = time.monotonic()
    body = {"language": "ko", "text": "Hello", "model": "M000004017", "clothes": "BG00006160"}
    key = requests.post(f"{cloud.origin}/simple/video", json=body, timeout=60).json()["data"]["key"]
    while True:
        found = requests.get(f"{cloud.origin}/editor/progress/{key}", timeout=60).json()["data"]
        if found["progress"] >= 100 and "url" in found:  # noqa: PLR2004 - percent
            requests.get(found["url"], timeout=60).raise_for_status()
            return time.monotonic() - begun
        pause(POLL_SECONDS)


# --- punctuality ----------------------------------------------------------------------------------


def punctuality(cloud: Cloud, counts: Sequence[int] = (100, 1000, 2000, 5000), seconds: float = 30.0) -> Iterator[Row]:
    """The interval between two looks at one job, while N are in flight and nothing else happens."""
    for count in counts:
        cloud.clear(100_000.0)
        with Place(cloud, JOBS__MAX_RENDERING=count) as place:
            place.start()
            place.await_event("watch.started")
            place.drop("all.yaml", jobs(count))
            place.await_event("job.exported", count)
            pause(2 * POLL_SECONDS)
            begun, cpu = time.monotonic(), usage(place.pid).cpu_seconds
            pause(seconds)
            cpu = usage(place.pid).cpu_seconds - cpu
            ended, memory = time.monotonic(), usage(place.pid).memory_bytes
            looks = [[at for at in one if begun <= at <= ended] for one in cloud.record()["looks"]]
        intervals = [later - earlier for one in looks for earlier, later in itertools.pairwise(one)]
        off = [abs(interval - POLL_SECONDS) * 1000 for interval in intervals]
        polls = sum(map(len, looks))
        yield Row(
            "punctuality",
            f"{count:,} in flight",
            {
                "off 3 s, p50": f"{percentile(off, 0.5):.1f} ms",
                "p99": f"{percentile(off, 0.99):.1f} ms",
                "max": f"{max(off):.0f} ms",
                "longest interval": f"{max(intervals):.3f} s",
                "CPU": f"{cpu / (ended - begun):.0%} of a core",
                "CPU per poll": f"{cpu / polls * 1000:.2f} ms",
                "memory": f"{memory / MIB:.0f} MiB",
            },
            ((count, "p99 off 3 s (ms)", percentile(off, 0.99)), (count, "memory (MiB)", memory / MIB)),
        )


# --- latency --------------------------------------------------------------------------------------


def latency(cloud: Cloud, drops: int = 80) -> Iterator[Row]:
    """From a rename onto the final name to the POST, one drop every 250 ms; and for a plain copy."""
    for case, is_renamed in (("renamed into place", True), ("plain cp (settles for 2 s)", False)):
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
        yield Row(
            "latency",
            case,
            {
                "median": f"{statistics.median(waits):.0f} ms",
                "p95": f"{percentile(waits, 0.95):.0f} ms",
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


# --- intake ---------------------------------------------------------------------------------------


def intake(cloud: Cloud, counts: Sequence[int] = (1000, 10_000)) -> Iterator[Row]:
    """Job files that lie in inbox/ at the start: claimed, parsed, and durably in the ledger."""
    for count in counts:
        cloud.clear(100_000.0)
        with Place(cloud, JOBS__MAX_RENDERING=1, WATCH__SETTLE_SECONDS=0) as place:
            for number in range(count):
                (place.root / "inbox" / f"{number}.yaml").write_text(jobs(1, number))
            begun = place.start()
            place.await_event("watch.started", every_seconds=0.01)
            ready = time.monotonic()
            ended = place.await_event("batch.claimed", count, every_seconds=0.1)
            cpu = usage(place.pid).cpu_seconds
        yield Row(
            "intake",
            f"{count:,} files",
            {
                "ready after": f"{ready - begun:.2f} s",
                "all claimed after": f"{ended - begun:.1f} s",
                "files a second": f"{count / (ended - ready):,.0f}",
                "CPU": f"{cpu:.1f} s",
            },
        )


# --- memory, start, idle --------------------------------------------------------------------------


def start(_cloud: Cloud, tries: int = 9) -> Iterator[Row]:
    """How long ``--help`` takes."""
    took = []
    for _ in range(tries):
        begun = time.monotonic()
        subprocess.run([sys.executable, "-m", "daemon", "--help"], check=True, stdout=subprocess.DEVNULL)
        took.append((time.monotonic() - begun) * 1000)
    yield Row("start", "--help", {"median": f"{statistics.median(took):.0f} ms", "max": f"{max(took):.0f} ms"})


def idle(cloud: Cloud, seconds: float = 30.0) -> Iterator[Row]:
    """A daemon that has nothing to do."""
    with Place(cloud, STATUS_PAGE="true") as place:
        begun = place.start()
        ready = place.await_event("watch.started", every_seconds=0.01)
        pause(3)
        before = usage(place.pid)
        pause(seconds)
        after = usage(place.pid)
        yield Row(
            "idle",
            "nothing to do",
            {
                "ready after": f"{ready - begun:.2f} s",
                "CPU": f"{(after.cpu_seconds - before.cpu_seconds) / seconds:.2%} of a core",
                "memory": f"{after.memory_bytes / MIB:.0f} MiB",
            },
        )


# --- growth ---------------------------------------------------------------------------------------


def growth(cloud: Cloud, counts: Sequence[int] = (100, 1000, 10_000)) -> Iterator[Row]:
    """Time and memory per job, from one file of 10 jobs each, renders that take no time."""
    for count in counts:
        cloud.clear(0.0)
        with Place(cloud, JOBS__MAX_RENDERING=200, JOBS__POLL_SECONDS=0.05, WATCH__SETTLE_SECONDS=0) as place:
            files = count // 10
            for number in range(files):
                (place.root / "inbox" / f"{number}.yaml").write_text(jobs(10, number * 10))
            place.start()
            begun = place.await_event("watch.started", every_seconds=0.01)
            ended = place.await_event("batch.filed", files, every_seconds=0.1)
            used = usage(place.pid)
            texts = Counter(cloud.record()["texts"])
        assert set(texts.values()) == {1}, "a job was asked for twice"
        assert len(texts) == count
        yield Row(
            "growth",
            f"{count:,} jobs",
            {
                "took": f"{ended - begun:.1f} s",
                "per job": f"{(ended - begun) / count * 1000:.1f} ms",
                "CPU per job": f"{used.cpu_seconds / count * 1000:.1f} ms",
                "memory": f"{used.memory_bytes / MIB:.0f} MiB",
            },
        )


def machine() -> str:
    """What this was measured on, in one line."""
    with open("/proc/cpuinfo") as cpuinfo:  # noqa: PTH123 - a line of it
        model = next((line.partition(":")[2].strip() for line in cpuinfo if line.startswith("model name")), "unknown")
    python = ".".join(map(str, sys.version_info[:3]))
    return f"{os.cpu_count()} cores of {model}, Python {python}, {time.strftime('%Y-%m-%d', time.gmtime())}"


SCENARIOS: Final = {each.__name__: each for each in (makespan, punctuality, latency, intake, start, idle, growth)}
