"""A life of a daemon and the people around it, in which it dies and is started again, and what must hold throughout."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections import Counter
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

import yaml
from steps import DEVICES, LINK, PLACEHOLDER, Steps
from world import FakeCloud, FakeLook, FakePart, Killed, World, yaml_of

from daemon.core.errors import CloudDeferred, CloudInDoubt, CloudRefused, FilingDeferred, LedgerUnavailable, SpoolError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

JOB_FOLDERS: Final = ("inbox", "processing", "done", "failed")


def video_of(project_id: str) -> bytes:
    """What the cloud renders: long enough to be there by half."""
    return f"the whole video of {project_id}".encode() * 20


class StrictCloud(FakeCloud):
    """Whether it accepts, and what becomes of the render, is said by the text's first word; every call is a step.

    ``refused`` is refused; ``doubt`` is accepted, and the answer lost; ``lost`` is accepted and never found again.
    """

    life: Life

    def export(self, body: Mapping[str, object]) -> str:
        text = str(body["text"])
        self.life.steps.take(f"export {text}", can_fail=False)
        self.life.on_export(text)
        self.asked.append(dict(body))
        if text.startswith("refused"):
            raise CloudRefused("no")
        project_id = f"project{len(self.accepted) + 1}"
        self.accepted[project_id] = (self.clock(), dict(body))
        self.life.steps.take(f"answer {text}", can_fail=False)
        if text.startswith("doubt"):
            raise CloudInDoubt("no answer")
        return project_id

    def look(self, project_id: str, *, is_afresh: bool = False) -> FakeLook:
        self.life.steps.take(f"look {project_id}", can_fail=False)
        if str(self.accepted[project_id][1]["text"]).startswith("lost"):
            raise CloudDeferred("404: there is no such project", is_bounded=True)
        return super().look(project_id, is_afresh=is_afresh)

    def download(self, url: str, part: Path, *, should_stop: Callable[[], bool]) -> FakePart:
        del should_stop
        content = video_of(url.rpartition("/")[2].partition(".")[0])
        self.downloads[url] += 1
        try:
            with part.open("wb") as opened:
                opened.write(content)
                os.fsync(opened.fileno())
        except OSError as error:
            raise FilingDeferred(str(error)) from error
        return FakePart(len(content), hashlib.sha256(content).hexdigest())

    def project_of(self, text: str) -> str:
        """Its latest render."""
        return [project_id for project_id, (_at, body) in self.accepted.items() if body["text"] == text][-1]


class Life:
    """People drop files, the daemon works, dies, and is started again.

    Attributes:
        files: the content of every job file that people have dropped and not taken away, which is never lost.
        words: how often each text may be accepted.
        at_risk: texts that were being asked for when the daemon died.
        taken_away: where people have moved files from, relative to the root.
    """

    def __init__(self, root: Path, steps: Steps) -> None:
        self.steps = steps
        self.root = root
        self.files: Counter[bytes] = Counter()
        self.words: Counter[str] = Counter()
        self.at_risk: set[str] = set()
        self.taken_away: set[str] = set()
        self.kills = 0
        self.met: list[int] = []
        self.broken: list[str] = []
        self._last_words = ""
        self.world = World(root, render_seconds=5.0, make_cloud=self._make_cloud, is_started=False)
        self.start()

    def _make_cloud(self, clock: Callable[[], float], render_seconds: float) -> StrictCloud:
        self.cloud = StrictCloud(clock, render_seconds)
        self.cloud.life = self
        return self.cloud

    # --- people -----------------------------------------------------------------------------------

    def drop(self, name: str, *texts: str, **more: str) -> None:
        """Drop a job file with these texts, each of them once in a life."""
        self.words.update(texts)
        self._drop(name, yaml_of(*texts, **more).encode())

    def drop_bad(self, name: str, content: str) -> None:
        """Drop something that is no job file."""
        self._drop(name, content.encode())

    def _drop(self, name: str, content: bytes) -> None:
        for _ in range(60):
            if not (self.root / "inbox" / name).exists():
                break
            self.run(1)
        else:
            return  # whoever writes over a waiting file has changed his mind
        self.files[content] += 1
        self.world.drop(name, content)

    def move_back(self, name: str, content: bytes | None = None) -> None:
        """Move a failed file back into inbox/, edited or as it is; only if it has failed."""
        source, target = self.root / "failed" / name, self.root / "inbox" / name
        if not source.exists() or target.exists() or (self.root / "processing" / name).exists():
            return  # in the middle of a copy from one device to another there are two of it
        target.parent.mkdir(parents=True, exist_ok=True)
        source.rename(target)
        self.taken_away.add(f"failed/{name}")
        if content is not None:
            self.files[target.read_bytes()] -= 1
            self.files[content] += 1
            target.write_bytes(content)
        if b"pay_again: true" in target.read_bytes():
            # It is said anew whenever the file comes back; at most for each job in it.
            self.words.update(job["text"] for job in yaml.safe_load(target.read_bytes()))
        self.world.say_ready(name)

    def edit_back(self, name: str, *texts: str) -> None:
        """Move a failed file back with other texts in it."""
        if (self.root / "failed" / name).exists():
            self.words.update({text: 1 for text in texts if text not in self.words})
            self.move_back(name, yaml_of(*texts).encode())

    def pay_again_back(self, name: str) -> None:
        """Move a failed file back and say that it may be paid again."""
        result = self.root / "failed" / f"{name}.result.json"
        if not result.exists():
            return
        texts = [job["request"]["text"] for job in json.loads(result.read_text()).get("jobs", [])]
        if texts:
            self.move_back(name, yaml_of(*texts, pay_again="true", name=f"v{len(self.taken_away)}").encode())

    # --- the daemon -------------------------------------------------------------------------------

    def run(self, seconds: float) -> None:
        """Let time pass; the daemon is started again whenever it dies."""
        end = self.world.monotonic + seconds
        while True:
            try:
                with self.steps.running():
                    self.world.pass_time(end - self.world.monotonic)
            except Killed as death:
                self.on_death(death)
                self.start()
                continue
            if not self._look_again():
                return
            end = self.world.monotonic + 1

    def _look_again(self) -> bool:
        """What the scanner does when it hears that a drop could not be claimed."""
        names = [name for name in set(self.world.watch.released) if (self.root / "inbox" / name).exists()]
        self.world.watch.released.clear()
        for name in names:
            self.world.say_ready(name)
        return bool(names)

    def on_death(self, death: Killed) -> None:
        """Look at what it left behind."""
        self.kills += 1
        self._last_words += f"killed before: {death}\n"
        self.stop()
        if (self.root / ".chromadrop").exists():
            self.audit()

    def start(self) -> None:
        """Start it, however often that takes."""
        while True:
            try:
                with self.steps.running():
                    self.world.start()
            except Killed as death:
                self.on_death(death)
            except (SpoolError, LedgerUnavailable):
                self.stop()
            else:
                self.world.watch.released.clear()
                self.world.rescan()
                return

    def stop(self) -> None:
        """Have the kernel let go of what it held."""
        if hasattr(self.world, "ledger"):
            self.world.kill()

    def story(self, words: str) -> str:
        """For a failure: what happened, and how to see it again."""
        faults = "".join(
            f"failed: {self.steps.taken[number - 1]} with {code}\n"
            for number, (code, _lied) in self.steps.faults.items()
            if number <= len(self.steps.taken)
        )
        return f"{words}\n{self._last_words}{faults}(file system: {self.steps.file_system})"

    # --- what must hold at every instant ----------------------------------------------------------

    def on_export(self, text: str) -> None:
        """The ledger knows before the cloud is asked, and nothing is asked for that might have been accepted."""
        rows = [row for row in self.jobs() if row["text"] == text and row["state"] == "exporting"]
        # An error raised here would be taken for the cloud's.
        if len(rows) != 1:
            self.broken.append(f"asked without a word in the ledger: {text}")
        if self.cloud.texts_accepted()[text] >= self.words[text]:
            self.broken.append(f"asked for again: {text}")

    def audit(self) -> None:
        """Whatever has happened so far, and even in the instant of a death."""
        assert not self.broken, self.story("; ".join(self.broken))
        self._audit_job_files()
        self._audit_videos()
        files, jobs = self.batches(), self.jobs()
        self._audit_folders_by_ledger(files)
        self._audit_money(jobs)
        self._audit_entries(files, jobs)
        self.at_risk |= {str(row["text"]) for row in jobs if row["state"] == "exporting"}

    def _audit_job_files(self) -> None:
        """A job file is in exactly one of the four folders; never in none."""
        found = Counter(path.read_bytes() for folder in JOB_FOLDERS for path in self.visible(folder) if _is_job(path))
        if self.steps.file_system in {LINK, DEVICES}:
            found = Counter(dict.fromkeys(found, 1))  # for an instant it has two names
        if self.steps.file_system == PLACEHOLDER:
            del found[b""]
        assert found == +self.files, self.story(f"job files: {found - self.files} too many, {self.files - found} lost")

    def _audit_videos(self) -> None:
        """What can be seen in videos/ is whole."""
        whole = {video_of(project_id) for project_id in self.cloud.accepted}
        for path in self.visible("videos"):
            content = path.read_bytes()
            is_placeholder = self.steps.file_system == PLACEHOLDER and not content
            assert content in whole or is_placeholder, self.story(f"{path.name} is not whole: {content[:20]!r}")

    def _audit_folders_by_ledger(self, files: list[dict[str, Any]]) -> None:
        """What the ledger calls closed is filed, what lies in processing/ it knows."""
        names = {os.fsdecode(row["processing_name"]) for row in files if row["state"] in {"claiming", "open"}}
        base = self.root / "processing"
        for path in self.visible("processing"):
            if self.steps.file_system == PLACEHOLDER and not path.stat().st_size:
                continue
            assert path.relative_to(base).as_posix() in names, self.story(f"{path.name} is not in the ledger")
        for row in files:
            if row["state"] == "closed":
                filed_as = os.fsdecode(row["filed_as"])
                is_there = (self.root / filed_as).exists() or filed_as in self.taken_away
                assert is_there, self.story(f"closed, and not there: {filed_as}")

    def _audit_money(self, jobs: list[dict[str, Any]]) -> None:
        """No more is paid than was ordered, and the ledger knows of all that was."""
        for text, count in self.cloud.texts_accepted().items():
            assert count <= self.words[text], self.story(f"paid {count} times: {text}")
        known = {row["project_id"] for row in jobs}
        unknown = {row["text"] for row in jobs if row["state"] == "exporting" or row["failure"] == "in_doubt"}
        for project_id, (_at, body) in self.cloud.accepted.items():
            assert project_id in known or body["text"] in unknown, self.story(f"paid and forgotten: {body['text']}")

    def _audit_entries(self, files: list[dict[str, Any]], jobs: list[dict[str, Any]]) -> None:
        """A row and the entries that tell of it are one transaction."""
        told_files: dict[int, str] = {}
        told_jobs: dict[int, str] = {}
        for row in self._rows("SELECT event, file_id, job_id, fields FROM entries ORDER BY id"):
            if row["job_id"] is not None:
                state = _STATES.get(row["event"]) or json.loads(row["fields"]).get("state")
                if row["event"] == "job.deferred":
                    state = "rendering" if told_jobs[row["job_id"]] == "rendering" else "queued"
                told_jobs[row["job_id"]] = state
            elif row["event"] in _FILE_STATES:
                told_files[row["file_id"]] = _FILE_STATES[row["event"]]
        for row in files:
            told = told_files.get(row["id"], "claiming")
            assert row["state"] == told, self.story(f"batch {row['id']} is {row['state']}, told as {told}")
        opened = {row["id"] for row in files if row["state"] != "claiming"}
        for row in jobs:
            if row["file_id"] in opened:
                told = told_jobs[row["id"]]
                assert row["state"] == told, self.story(f"job {row['id']} is {row['state']}, told as {told}")

    # --- what must hold in the end ----------------------------------------------------------------

    def check_end(self) -> None:
        """Everything has come to rest, in the place where it belongs."""
        self.run(30)
        self.steps.kills.clear()
        self.met = [number for number in self.steps.faults if number <= len(self.steps.taken)]
        self.steps.faults.clear()
        for _ in range(100):
            if not self._rows("SELECT id FROM job_files WHERE state IN ('claiming', 'open')"):
                break
            self.run(30)
        else:
            raise AssertionError(self.story("it has come to rest with work left"))
        if self.met:
            # What could not be removed when nobody needed it any more is removed at the next start.
            self.stop()
            self.start()
            self.run(1)
        self.audit()
        assert self.world.files("inbox") == self.world.files("processing") == [], self.story("unfinished")
        self._check_jobs()
        self._check_results()
        self._check_leftovers()

    def _check_jobs(self) -> None:
        """Each ends where it would have ended, but for those in doubt, which say so."""
        for row in self.jobs():
            if row["continued_by"] is not None:
                continue
            text = row["text"]
            if row["failure"] == "in_doubt":
                assert text in self.at_risk or text.startswith("doubt"), self.story(f"in doubt, and why? {text}")
                continue
            wanted = _FAILURES.get(text.split()[0])
            end = row["state"], row["failure"]
            assert end == (("failed", wanted) if wanted else ("done", None)), self.story(f"{text} ended as {end}")

    def _check_results(self) -> None:
        """Beside each filed job file its result, and what failed is explained."""
        videos: list[str] = []
        # A new file of its name takes a failed one's place, even if people have left that one lying (DESIGN.md).
        cleared = {pair[1] for row in self.batches() for pair in json.loads(row["clears"])}
        for folder in ("done", "failed"):
            for path in self.visible(folder):
                name = path.relative_to(self.root / folder).as_posix()
                if not _is_job(path):
                    owner = name.removesuffix(".result.json").removesuffix(".error.txt")
                    assert (self.root / folder / owner).exists(), self.story(f"left behind: {folder}/{name}")
                    continue
                if f"{folder}/{name}" in cleared and not path.with_name(f"{path.name}.result.json").exists():
                    continue
                result = self.world.result(f"{folder}/{name}")
                assert path.with_name(f"{path.name}.error.txt").exists() == (folder == "failed"), self.story(name)
                states = [job["state"] for job in result["jobs"]]
                is_done = set(states) == {"done"}
                assert is_done == (folder == "done"), self.story(f"{folder}/{name}: {states}")
                videos += self._check_videos(result)
                if any(job["failure"] == "in_doubt" for job in result["jobs"]):
                    assert "Paid: unknown" in self.world.error(f"failed/{name}"), self.story(name)
        seen = [path.relative_to(self.root).as_posix() for path in self.visible("videos")]
        assert len(videos) == len(set(videos)), self.story(f"one video for two jobs: {videos}")
        assert set(videos) <= set(seen), self.story(f"videos that are not there: {set(videos) - set(seen)}")
        assert len(seen) == len({path.read_bytes() for path in self.visible("videos")}), self.story(f"twice: {seen}")

    def _check_videos(self, result: dict[str, Any]) -> list[str]:
        done = [job for job in result["jobs"] if job["state"] == "done"]
        for job in done:
            content = (self.root / job["video"]).read_bytes()
            assert content == video_of(job["project_id"]), self.story(f"the wrong video: {job['video']}")
            assert job["project_id"] == self.cloud.project_of(job["request"]["text"]), self.story(job["video"])
        return [job["video"] for job in done]

    def _check_leftovers(self) -> None:
        """Nothing lies about that nobody needs."""
        left = []
        # An empty folder does no harm.
        was_rmdir_refused = any(self.steps.taken[n - 1].startswith("rmdir") for n in self.met)
        for path in self.root.rglob("*"):
            name = path.relative_to(self.root).as_posix()
            if name.startswith(("state/", "inbox/")) or path.name in {".chromadrop", ".downloads"}:
                continue
            is_scratch = path.name.startswith(".") or "/.downloads/" in name
            is_empty = path.is_file() and not path.stat().st_size
            is_hollow = path.is_dir() and name.startswith("processing/") and not was_rmdir_refused
            if is_scratch or is_empty or is_hollow:
                left.append(name)
        assert left == [], self.story(f"left behind: {left}")

    # --- looking ----------------------------------------------------------------------------------

    def visible(self, folder: str) -> list[Path]:
        """Every visible file below a folder."""
        return [self.root / folder / name for name in self.world.files(folder)]

    def _rows(self, select: str) -> list[dict[str, Any]]:
        path = self.root / "state" / "ledger.sqlite3"
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(select)]

    def batches(self) -> list[dict[str, Any]]:
        """The job files that the ledger has committed, but for those that never were."""
        return self._rows("SELECT * FROM job_files WHERE state != 'withdrawn' ORDER BY id")

    def jobs(self) -> list[dict[str, Any]]:
        """The jobs that the ledger has committed, with their texts."""
        return [row | {"text": json.loads(row["body"])["text"]} for row in self._rows("SELECT * FROM jobs ORDER BY id")]


_STATES: Final = {
    "job.queued": "queued",
    "job.export_started": "exporting",
    "job.exported": "rendering",
    "job.downloaded": "done",
    "job.refused": "failed",
    "job.in_doubt": "failed",
    "job.gave_up": "failed",
}
_FILE_STATES: Final = {
    "batch.claimed": "open",
    "batch.settled": "open",
    "batch.filed": "closed",
    "batch.withdrawn": "withdrawn",
}
_FAILURES: Final = {"refused": "refused", "doubt": "in_doubt", "lost": "refused_after"}


def _is_job(path: Path) -> bool:
    return path.suffix == ".yaml"
