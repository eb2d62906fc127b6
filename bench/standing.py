"""What it costs to be there: start, idle, memory, and a ledger that has grown."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
import urllib.request
from typing import TYPE_CHECKING, Final

from bench.figures import MB, Figure, Row, at_most
from bench.past import fill
from bench.place import Cloud, Place, free_port, jobs, pause, usage
from bench.scenarios import FOR_EVER, POLL_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SMALL: Final = 1000


def start(cloud: Cloud, tries: int = 9, done: Sequence[int] = (0, 100_000)) -> Iterator[Row]:
    """How long `--help` takes, and until the daemon watches, with as many done jobs in its ledger."""
    took = []
    for _ in range(tries):
        begun = time.monotonic()
        subprocess.run([sys.executable, "-m", "daemon", "--help"], check=True, stdout=subprocess.DEVNULL)
        took.append((time.monotonic() - begun) * 1000)
    figures: dict[str, Figure | str] = {
        "median": at_most(statistics.median(took), 150, "{:.0f} ms"),
        "max": f"{max(took):.0f} ms",
    }
    yield Row("--help", figures)
    for count in done:
        with Place(cloud) as place:
            fill(place.root, count)
            took = []
            for number in range(1, tries + 1):
                begun = place.start()
                took.append((place.await_event("watch.started", number, every_seconds=0.005) - begun) * 1000)
                place.stop()
        ready: dict[str, Figure | str] = {
            "median": at_most(statistics.median(took), 500, "{:.0f} ms"),
            "max": f"{max(took):.0f} ms",
        }
        yield Row(f"ready, {count:,} done jobs", ready)


def idle(cloud: Cloud, seconds: float = 60.0) -> Iterator[Row]:
    """A daemon that has nothing to do."""
    with Place(cloud, STATUS_PAGE="true") as place:
        place.start()
        place.await_event("watch.started")
        pause(3)
        before = usage(place.pid).cpu_seconds
        pause(seconds)
        cpu = usage(place.pid).cpu_seconds - before
    yield Row("nothing to do", {"CPU": at_most(cpu / seconds * 100, 0.2, "{:.2f} % of a core")})


def memory(
    cloud: Cloud, counts: Sequence[int] = (1000, 5000), done: int = 100_000, seconds: float = 15
) -> Iterator[Row]:
    """Resident memory of the daemon when nothing is to be done, and with so many jobs in flight."""
    with Place(cloud) as place:
        place.start()
        place.await_event("watch.started")
        pause(seconds / 3)
        yield _resident("idle", place, 60, 0)
    with Place(cloud) as place:
        fill(place.root, done)
        place.start()
        place.await_event("watch.started")
        pause(seconds / 3)
        yield _resident(f"idle, {done:,} done jobs in the ledger", place, 60, None)
    for count in counts:
        cloud.clear(FOR_EVER)
        with Place(cloud, JOBS__MAX_RENDERING=count) as place:
            place.start()
            place.await_event("watch.started")
            place.drop("all.yaml", jobs(count))
            place.await_event("job.exported", count)
            pause(POLL_SECONDS + seconds)
            yield _resident(f"{count:,} in flight", place, {1000: 90, 5000: 130}.get(count), count)


def _resident(case: str, place: Place, goal: float | None, count: int | None) -> Row:
    found = usage(place.pid)
    figures: dict[str, Figure | str] = {
        "memory": at_most(found.memory_bytes / MB, goal, "{:.0f} MB"),
        "threads": f"{found.threads}",
    }
    return Row(case, figures, () if count is None else ((count, "memory", found.memory_bytes / MB),))


def soak(cloud: Cloud, rounds: int = 10, files: int = 100, jobs_a_file: int = 10) -> Iterator[Row]:
    """No growth: rounds of 1,000 jobs through one daemon, with renders that take no time."""
    cloud.clear(0.0)
    each = files * jobs_a_file
    found: list[float] = []
    with Place(cloud, JOBS__MAX_RENDERING=200, JOBS__POLL_SECONDS=0.05, WATCH__SETTLE_SECONDS=0) as place:
        place.start()
        place.await_event("watch.started")
        for number in range(rounds):
            for file in range(files):
                first = number * each + file * jobs_a_file
                place.drop(f"{first}.yaml", jobs(jobs_a_file, first))
            place.await_event("batch.filed", (number + 1) * files)
            pause(1)
            found.append(usage(place.pid).memory_bytes / MB)
    third = rounds // 3
    grown = found[-1] - found[third]
    yield Row(
        f"{rounds * each:,} jobs",
        {
            "after the first round": f"{found[0]:.0f} MB",
            f"after {(third + 1) * each:,} jobs": f"{found[third]:.0f} MB",
            "at the end": f"{found[-1]:.0f} MB",
            "grown since": at_most(grown, 3, "{:.1f} MB"),
        },
    )


def ledger(cloud: Cloud, counts: Sequence[int] = (0, 1000, 10_000, 100_000), tries: int = 7) -> Iterator[Row]:
    """`status` and the pages, against the size of the ledger: none of them reads all of it.

    The page shows what was done in the last 7 days and lies in failed/, so that it grows up to its bound, which it has
    reached with 100,000 done jobs of 60 days.
    """
    first: dict[str, float] = {}
    for count in counts:
        port = free_port()
        with Place(cloud, HTTP__LISTEN=f"127.0.0.1:{port}") as place:
            fill(place.root, count)
            place.start()
            place.await_event("http.started")
            took = {
                "status": [_seconds_of_status(place) for _ in range(tries)],
                "/": _times(port, "/", tries),
                "/status": _times(port, "/status", tries),
            }
        medians = {name: statistics.median(values) * 1000 for name, values in took.items()}
        goals = {name: known * 1.5 + 20 for name, known in first.items()}
        if count == SMALL:
            first = medians.copy()
            del first["/"]  # it grows, up to its bound
        figures = {name: at_most(value, goals.get(name), "{:.0f} ms") for name, value in medians.items()}
        yield Row(f"{count:,} done jobs", dict(figures))


def _times(port: int, path: str, tries: int) -> list[float]:
    found: list[float] = []
    for _ in range(tries):
        found.append(_seconds_of(port, path, max(found, default=0.0)))
    return found


def _seconds_of_status(place: Place) -> float:
    begun = time.monotonic()
    command = [sys.executable, "-m", "daemon", "status", "--json"]
    subprocess.run(command, cwd=place.root, env=place.environ, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - begun


def _seconds_of(port: int, path: str, before_seconds: float) -> float:
    pause(max(1.1, 12 * before_seconds))  # answers are kept for a second, and for ten times as long as they took
    begun = time.monotonic()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as answer:
        answer.read()
    return time.monotonic() - begun
