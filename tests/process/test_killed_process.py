"""The real program, ended by SIGKILL again and again while files come in: the accepted counts say who paid twice."""

from __future__ import annotations

import hashlib
import json
import random
import threading
from collections import Counter
from typing import TYPE_CHECKING, Self

import pytest
from place import Place, job, listed

if TYPE_CHECKING:
    from pathlib import Path

    from place import Running

KILLS = 50
PLACES = 2
FAULTS = ("export:close,accepted=yes", "export:503,retry_after=1", "progress:500,times=3", "download:cut,times=3")


class People:
    """Drop files of every kind into a root, until they are told to stop."""

    def __init__(self, place: Place, chance: random.Random) -> None:
        self._place = place
        self._chance = chance
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._drop_files)
        self.dropped: Counter[str] = Counter()
        self.ordered: set[str] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _drop_files(self) -> None:
        number = 0
        while not self._stop.wait(self._chance.uniform(0.1, 0.6)):
            number += 1
            self._drop(number)

    def _drop(self, number: int) -> None:
        texts = [f"{number}: one", f"{number}: two", f"{number}: three"]
        name, content = self._chance.choice(
            [
                (f"{number}.yaml", job(texts[0])),
                (f"sub/folder/{number}.yaml", listed(*map(job, texts))),
                (f"{number}.yml", "---\n".join(map(job, texts[:2]))),
                (f"bad {number}.yaml", f"text: {number}\n"),
                ("always the same.yaml", job(texts[0])),
            ]
        )
        if (self._place.root / "inbox" / name).exists():
            return  # whoever writes over a waiting file has changed his mind
        drop = self._chance.choice([self._place.drop, self._place.drop_at_once])
        self.dropped[content] += 1
        self.ordered.update(text for text in texts if json.dumps(text) in content)
        drop(name, content)


def check_at_death(place: Place, people: People) -> None:
    """Nothing is paid twice, what can be seen in videos/ is whole, no job file is in two folders."""
    rendered = renders(place)
    for name in place.files("videos"):
        assert digest(place.root / "videos" / name) in rendered, f"not whole: {name}"
    found = found_files(place, ("processing", "done", "failed"))
    assert found <= people.dropped, found - people.dropped
    assert max(place.simulator.accepted_by_text().values(), default=1) == 1


def check_end(place: Place, people: People) -> int:
    """All is filed, with every video of what is done; what failed is bad, or in doubt and says so."""
    assert found_files(place, ("done", "failed")) == people.dropped
    assert place.files("inbox") == place.files("processing") == []
    rendered = renders(place)
    paid = place.simulator.accepted_by_text()
    assert set(paid) <= people.ordered
    assert max(paid.values()) == 1
    done = 0
    for name in place.job_files("done"):
        for made in place.result(f"done/{name}")["jobs"]:
            assert rendered[digest(place.root / made["video"])] == made["project_id"]
            done += 1
    in_doubt = 0
    for name in place.job_files("failed"):
        if name.startswith("always") and not (place.root / "failed" / f"{name}.result.json").exists():
            in_doubt += 1  # the next file of its name has taken its place (DESIGN.md, files dropped again)
            continue
        result = place.result(f"failed/{name}")
        failures = {made["failure"] for made in result["jobs"]} - {None}
        assert failures == ({"in_doubt"} if result["jobs"] else set()), name
        assert "problems" in result or failures
        words = (place.root / "failed" / f"{name}.error.txt").read_text()
        assert ("Paid: unknown" if failures else "Paid: no") in words
        in_doubt += sum(made["failure"] == "in_doubt" for made in result["jobs"])
        done += sum(made["state"] == "done" for made in result["jobs"])
    assert len(place.files("videos")) == done
    assert done + in_doubt == len(people.ordered)
    left = [path for path in place.root.rglob("*") if path.name.endswith((".part", ".note", ".tmp", ".new"))]
    assert left == []
    return done


def renders(place: Place) -> dict[str, str]:
    """Every video that the simulator renders, by its digest."""
    accepted = [outcome.key for outcome in place.simulator.outcomes() if outcome.key is not None]
    return {place.simulator.video(project_id).sha256(): project_id for project_id in accepted}


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def found_files(place: Place, folders: tuple[str, ...]) -> Counter[str]:
    """How often each content lies in these folders as a job file."""
    return Counter((place.root / folder / name).read_text() for folder in folders for name in place.job_files(folder))


def kill_again_and_again(place: Place, chance: random.Random, kills: int) -> int:
    """One root: killed at random moments under load; how many videos there are in the end."""
    for fault in FAULTS:
        place.simulator.add_fault(fault)
    with People(place, chance) as people:
        for _ in range(kills):
            running = place.start("run")
            wait_a_little(running, chance)
            running.kill()
            check_at_death(place, people)
    last = place.start("run", "--once")
    assert last.end() in {0, 1}, "".join(last.lines)
    return check_end(place, people)


def wait_a_little(running: Running, chance: random.Random) -> None:
    """To any moment from before the start until well into the work."""
    if chance.random() < 0.15:
        threading.Event().wait(chance.uniform(0.0, 0.7))
        return
    running.until("daemon.started")
    threading.Event().wait(chance.choice([chance.uniform(0.0, 0.15), chance.uniform(0.0, 1.2)]))


@pytest.mark.slow
def test_sigkill_at_random_moments_under_load(tmp_path: Path) -> None:
    """Fifty kills on two roots, files of every kind coming in all the while: never paid twice, never lost."""
    counts: list[int] = []
    errors: list[BaseException] = []

    def one(number: int) -> None:
        root = tmp_path / str(number)
        root.mkdir()
        try:
            with Place(root, render_seconds=0.5) as place:
                counts.append(kill_again_and_again(place, random.Random(number), KILLS // PLACES))
        except BaseException as error:  # noqa: BLE001 - told to the thread that can fail the test
            errors.append(error)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(PLACES)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    assert min(counts) > KILLS // 10
