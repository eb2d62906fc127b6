"""How large videos are fetched, against curl and cp; everything until it is on the disk (fsync)."""

from __future__ import annotations

import hashlib
import resource
import shlex
import subprocess
import time
from datetime import datetime
from typing import TYPE_CHECKING, Final

from bench.figures import MB, Figure, Row, at_most, percentile
from bench.nginx import Nginx, why_not
from bench.place import Cloud, Place, jobs, pause, usage
from bench.scenarios import POLL_SECONDS, looks_between, off_rhythm

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

GB: Final = 1_000_000_000
CHUNK_BYTES: Final = 256 * 1024


def download(
    cloud: Cloud, video_bytes: int = GB, at_once: Sequence[int] = (1, 4), beside: int = 500, tries: int = 3
) -> Iterator[Row]:
    """A large video from a local nginx, one and four at once: the median of three, against curl and cp in turn.

    Before each, as many bytes are written and removed, so that all of them find memory that the machine has at hand: a
    virtual machine gives back what lies idle, and having it again may take as long as the download.

    CPU is the client's own. Ours has the sha256 of every byte and the look at the file's structure in it, which
    neither curl nor cp make; what the sha256 alone costs is the last row but one.
    """
    reason = why_not()
    if reason:
        yield Row(reason, {})
        return
    with Nginx(video_bytes) as nginx:
        for kind in nginx.urls:
            for count in at_once:
                yield from _compared(cloud, nginx, kind, count, tries)
        yield _sha256(nginx.source)
        yield _beside_polls(cloud, nginx, beside, max(at_once))


def _compared(cloud: Cloud, nginx: Nginx, kind: str, count: int, tries: int) -> Iterator[Row]:
    ours, curls, copies = [], [], []
    total = count * nginx.source.stat().st_size
    settings = {"VIDEOS__DOWNLOADS": count, "JOBS__POLL_SECONDS": 0.05, **nginx.settings}
    with Place(cloud, **settings) as place:
        place.start()
        place.await_event("watch.started")
        for number in range(tries):
            _have_memory(place.root, total)
            ours.append(_by_us(cloud, place, nginx.urls[kind], count, number))
            url, trust = shlex.quote(nginx.urls[kind]), shlex.quote(str(nginx.certificate))
            _have_memory(place.root, total)
            curls.append(_by_command(place.root, f"curl -sS -f --cacert {trust} -o FILE {url}", count))
            _have_memory(place.root, total)
            copies.append(_by_command(place.root, f"cp {shlex.quote(str(nginx.source))} FILE", count))
    goal, _ = _medians(curls)
    for name, found, is_ours in (("chromadrop", ours, True), ("curl", curls, False), ("cp", copies, False)):
        seconds, cpu = _medians(found)
        yield Row(
            f"{kind}, {count} at once: {name}",
            {
                "time": at_most(seconds, goal * 1.1 if is_ours else None, "{:.2f} s"),
                "CPU": at_most(cpu, _medians(curls)[1] * 1.1 if is_ours else None, "{:.2f} s"),
                "a second": f"{count * nginx.source.stat().st_size / seconds / MB:,.0f} MB",
            },
        )


def _have_memory(folder: Path, size: int) -> None:
    """Have the machine find memory for so many bytes of files, and leave it free."""
    path, chunk = folder / "ballast", bytes(1 << 20)
    with path.open("wb") as file:
        for _ in range(0, size, len(chunk)):
            file.write(chunk)
    path.unlink()


def _medians(found: Sequence[tuple[float, float]]) -> tuple[float, float]:
    times, cpus = zip(*found, strict=True)
    return percentile(times, 0.5), percentile(cpus, 0.5)


def _by_us(cloud: Cloud, place: Place, url: str, count: int, number: int) -> tuple[float, float]:
    """From the answer that says where the videos are until the ledger has them as done; and our CPU."""
    cloud.clear(0.0)
    cloud.serve_videos_from(url)
    done = place.count("job.downloaded")
    before = usage(place.pid).cpu_seconds
    place.drop(f"{number}.yaml", jobs(count))
    place.await_event("job.downloaded", done + count)
    place.await_event("batch.filed", number + 1)
    cpu = usage(place.pid).cpu_seconds - before
    told = min(max(looks) for looks in cloud.record()["looks"])
    ended = [line["timestamp"] for line in place.lines() if line["event"] == "job.downloaded"][-1]
    seconds = datetime.fromisoformat(ended).timestamp() - time.time() + time.monotonic() - told
    for path in (place.root / "videos").glob("*.mp4"):
        path.unlink()
    return seconds, cpu


def _by_command(folder: Path, command: str, count: int) -> tuple[float, float]:
    """The same by a program, so often at once, each file synced; and its CPU."""
    files = [folder / f"other-{number}.mp4" for number in range(count)]
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    processes = [
        subprocess.Popen(
            ["sh", "-c", f"{command.replace('FILE', shlex.quote(str(file)))} && sync {shlex.quote(str(file))}"]
        )
        for file in files
    ]
    codes = [process.wait() for process in processes]
    assert not any(codes), command
    seconds, after = time.monotonic() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    for file in files:
        file.unlink()
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _sha256(source: Path) -> Row:
    """What hashing alone costs, in the pieces in which it is written."""
    digest, spent = hashlib.sha256(), 0.0
    with source.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            begun = time.thread_time()
            digest.update(chunk)
            spent += time.thread_time() - begun
    return Row("sha256 alone, of one video", {"CPU": f"{spent:.2f} s"})


def _beside_polls(cloud: Cloud, nginx: Nginx, renders: int, count: int) -> Row:
    """How punctual polls are while that many downloads are under way."""
    cloud.clear(0.0)
    cloud.serve_videos_from(nginx.urls["TLS"])
    cloud.render_longer(from_number=count)
    settings = {"VIDEOS__DOWNLOADS": count, "JOBS__MAX_RENDERING": renders + count}
    with Place(cloud, **settings, **nginx.settings) as place:
        place.start()
        place.await_event("watch.started")
        place.drop("large.yaml", jobs(count))
        place.await_event("job.exported", count)
        place.drop("others.yaml", jobs(renders, count))
        ended = place.await_event("job.downloaded", count)
        pause(2 * POLL_SECONDS if ended else 0)
        looks = looks_between(cloud, 0.0, time.monotonic())[count:]
    off = off_rhythm(looks)
    p99 = percentile(off, 0.99) if off else 0.0
    figures: dict[str, Figure | str] = {
        "time": f"p99 off 3 s: {at_most(p99, 50, '{:.0f} ms')}, max {max(off, default=0.0):.0f} ms",
    }
    return Row(f"polls of {renders:,} renders beside {count} downloads", figures)
