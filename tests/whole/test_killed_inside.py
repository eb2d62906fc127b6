"""Killed at, or failing in, any primitive step of the folders and the ledger: the five invariants hold.

What is killed and made to fail is the same in every run. `KILL_EVERY=1` takes every step on every file system, and
`KILL_SEEDS=1000` lives a thousand random lives; both take minutes.
"""

from __future__ import annotations

import errno
import itertools
import os
import random
from typing import TYPE_CHECKING

import pytest
from life import Life
from steps import FILE_SYSTEMS, Steps, watch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ERRORS = (errno.ENOSPC, errno.EIO, errno.EROFS)
EVERY = int(os.environ.get("KILL_EVERY", "0"))
SEEDS = int(os.environ.get("KILL_SEEDS", "40"))


class Lives:
    """Lives one life after the other, each on a root of its own and to its end."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder = folder
        self._monkeypatch = monkeypatch
        self._count = 0

    def live(self, steps: Steps, acts: Callable[[Life], None]) -> Life:
        """A whole life; what must hold in its end does."""
        self._count += 1
        steps.root = self._folder / str(self._count)
        steps.root.mkdir()
        with self._monkeypatch.context() as patched:
            watch(steps, patched)
            life = Life(steps.root, steps)
            try:
                acts(life)
                life.check_end()
            finally:
                life.stop()
        return life


@pytest.fixture
def lives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lives:
    """Roots below a scratch folder."""
    return Lives(tmp_path, monkeypatch)


def short_life(life: Life) -> None:
    """A subfolder, a refusal, nonsense, an edited file dropped again."""
    life.drop("sub/x.yaml", "one", "refused two")
    life.drop_bad("bad.yaml", "nonsense: [")
    life.run(9)
    life.edit_back("sub/x.yaml", "one", "mended two")
    life.run(9)


def long_life(life: Life) -> None:
    """One name twice at the same time, and a job in doubt dropped again, too."""
    life.drop("y.yaml", "three")
    life.run(2)
    life.drop("y.yaml", "four")
    life.drop("d.yaml", "doubt five")
    short_life(life)
    life.move_back("d.yaml")
    life.run(5)


def test_a_life_without_a_death(lives: Lives) -> None:
    """The yardstick: where everything ends when nothing happens to the daemon."""
    life = lives.live(Steps(lives._folder), long_life)
    assert [path.name for path in life.visible("done") if path.suffix == ".yaml"] == ["x.yaml", "y (2).yaml", "y.yaml"]
    assert [path.name for path in life.visible("failed") if path.suffix == ".yaml"] == ["bad.yaml", "d.yaml"]
    assert life.world.files("videos") == ["sub/x-1.mp4", "sub/x-2.mp4", "y (2).mp4", "y.mp4"]
    assert life.kills == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file_system", "every"), list(zip(FILE_SYSTEMS, (1, 9, 11, 7), strict=True)), ids=FILE_SYSTEMS
)
def test_killed_before_any_step(lives: Lives, file_system: str, every: int) -> None:
    """Inside a move, a write, a transaction, and the very first start: paid once, filed once, nothing left behind."""
    taken = lives.live(Steps(lives._folder, file_system), short_life).steps.taken
    assert len(taken) > 150
    moments = set(range(1, len(taken) + 1, EVERY or every))
    # Between making the new name and giving up the old one: there the file systems differ.
    pairs = enumerate(itertools.pairwise(taken), start=2)
    moments |= {n for n, (before, after) in pairs if before.startswith("link") or is_onto_placeholder(before, after)}
    for moment in sorted(moments):
        life = lives.live(Steps(lives._folder, file_system, kills={moment}), short_life)
        assert life.kills == 1


def is_onto_placeholder(before: str, after: str) -> bool:
    """Whether a file is about to be renamed onto the placeholder that was just made."""
    return before.startswith("open") and after.startswith("replace") and after.endswith(before.partition(" ")[2])


@pytest.mark.slow
@pytest.mark.parametrize("is_lie", [False, True], ids=["not done", "done all the same"])
def test_failing_at_any_step(lives: Lives, *, is_lie: bool) -> None:
    """Disk full, an I/O error, or read-only, once: the daemon lives on and ends where it would have ended.

    A network file system may say no to what it has done (rename(2)).
    """
    length = len(lives.live(Steps(lives._folder, counts_reads=True), short_life).steps.taken)
    for moment in range(1 + is_lie, length + 1, EVERY or 6):
        faults = {moment: (ERRORS[moment // 6 % len(ERRORS)], is_lie)}
        life = lives.live(Steps(lives._folder, counts_reads=True, faults=faults), short_life)
        assert not life.at_risk


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, SEEDS, 20))
def test_random_lives(lives: Lives, first: int) -> None:
    """Up to four deaths, some of them in recovery, and faults in bursts, while people do whatever people do."""
    for seed in range(first, min(first + 20, SEEDS)):
        chance = random.Random(seed)
        steps = Steps(lives._folder, chance.choice(FILE_SYSTEMS))
        moment = chance.randint(1, 150)
        for _ in range(chance.randint(0, 4)):
            steps.kills.add(moment)
            moment += chance.choice([chance.randint(1, 20), chance.randint(20, 200)])
        for _ in range(chance.randint(0, 2)):
            begin, code = chance.randint(1, 400), chance.choice(ERRORS)
            is_lie = chance.random() < 0.3
            steps.faults |= dict.fromkeys(range(begin, begin + chance.choice([1, 1, 3, 15])), (code, is_lie))
        try:
            lives.live(steps, lambda life, chance=chance: random_life(life, chance))  # type: ignore[misc]
        except BaseException as error:
            error.add_note(f"(seed {seed})")
            raise


def random_life(life: Life, chance: random.Random) -> None:
    """Eight deeds of people, at random moments."""
    for number in range(8):
        name = chance.choice(["a.yaml", "b.yaml", "sub/c.yaml"])
        words = [f"{chance.choice(['fine', 'fine', 'refused', 'doubt', 'lost'])} {number}-{n}" for n in range(3)]
        failed = [path for path in life.world.files("failed") if path.endswith(".yaml")]
        deeds: list[Callable[[], None]] = [
            lambda name=name, words=words: life.drop(name, *words[: chance.randint(1, 3)]),  # type: ignore[misc]
            lambda name=name, number=number: life.drop_bad(name, f"bad: {number}"),  # type: ignore[misc]
        ]
        if failed:
            back = chance.choice(failed)
            deeds += [
                lambda back=back: life.move_back(back),  # type: ignore[misc]
                lambda back=back, words=words: edit_back(life, back, words[0]),  # type: ignore[misc]
                lambda back=back: life.pay_again_back(back),  # type: ignore[misc]
            ]
        chance.choice([deeds[0], *deeds])()
        life.run(chance.choice([0, 1, 3, 6, 20]))


def edit_back(life: Life, name: str, text: str) -> None:
    """Keep what can be made of a failed file, and put another text for the rest."""
    result = life.root / "failed" / f"{name}.result.json"
    if result.exists():
        jobs = life.world.result(f"failed/{name}").get("jobs", [])
        kept = [job["request"]["text"] for job in jobs if job["failure"] != "refused"]
        life.edit_back(name, *kept, text)
