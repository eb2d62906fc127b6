"""The power is cut: what was synced when, by the system calls of a real daemon, and what any cut would have left.

One life of a daemon is traced: a file with two jobs in a subfolder, one with problems, one of whose jobs is refused and
that is dropped again. The rules say in which order the calls must come; the model of the disk (`system_calls.Disk`)
says what would be found after a cut at any moment of that life.
"""

from __future__ import annotations

import json
import random
import re
import sqlite3
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pytest
from place import Place, job, listed
from system_calls import Call, Disk, read_trace, strace_command, why_not_traced

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_WHY_NOT = why_not_traced()
pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(_WHY_NOT), reason=_WHY_NOT or "strace works")]

WAL = "/ledger.sqlite3-wal"
PAIR = listed(job("first of a pair"), job("second of a pair"))
MIXED = listed(job("good"), job("refused at first"))
DROPS = {"spring/pair.yaml": PAIR, "bad.yaml": "language: ko\n", "mixed.yaml": MIXED}


@dataclass(frozen=True)
class Life:
    """What happened, and where.

    Attributes:
        base: holds the root and the state folder, and nothing that was there before.
        calls: of the daemon, as they began.
        place: with the simulator that it talked to.
    """

    base: Path
    calls: list[Call]
    place: Place

    @cached_property
    def root(self) -> str:
        """The root's path."""
        return str(self.base / "root")

    @cached_property
    def main_thread(self) -> int:
        """The only thread that may write the ledger."""
        return self.calls[0].thread

    @cached_property
    def told(self) -> list[tuple[Call, dict[str, Any]]]:
        """Every log line, with the call that wrote it."""
        lines = [call for call in self.calls if call.name == "write" and call.content.startswith(b'{"timestamp"')]
        return [(call, json.loads(call.content)) for call in lines]

    def telling(self, event: str) -> list[tuple[Call, dict[str, Any]]]:
        """The log lines of one event."""
        return [(call, line) for call, line in self.told if line["event"] == event]

    @cached_property
    def posts(self) -> list[tuple[Call, str]]:
        """Every export: its first bytes on the socket, and the text that it asks for."""
        sent = [call for call in self.calls if call.name == "sendto"]
        found = []
        for call in sent:
            if call.content.startswith(b"POST "):
                rest = (after for after in sent if after.thread == call.thread and after.begun > call.begun)
                found.append((call, json.loads(next(rest).content)["text"]))
        return found

    def renames(self, pattern: str) -> list[Call]:
        """Renames to a path below the root that matches."""
        matching = re.compile(re.escape(self.root) + "/" + pattern)
        return [call for call in self.calls if call.is_rename and matching.fullmatch(call.target)]

    def is_synced(self, path: str, after: int, before: int) -> bool:
        """Whether a sync of the file or folder began after the one line of the trace and had ended by the other."""
        syncs = (call for call in self.calls if call.is_sync and call.path == path)
        return any(after < call.begun and call.ended < before for call in syncs)

    def commit_of(self, line: Call) -> Call:
        """The sync of the ledger that came last before a log line: the commit that it tells of."""
        return [call for call in self.calls if call.is_sync and call.path.endswith(WAL) and call.ended < line.begun][-1]

    def begin_of(self, commit: Call) -> int:
        """Where the writes of a commit begin."""
        wal = [call for call in self.calls if call.path.endswith(WAL) and call.begun < commit.begun]
        earlier = max((call.ended for call in wal if call.is_sync), default=0)
        return min((call.begun for call in wal if call.is_write and call.begun > earlier), default=commit.begun)


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    """The life, traced."""
    base = tmp_path_factory.mktemp("life")
    output = tmp_path_factory.mktemp("trace") / "calls"
    root = base / "root"
    (root / "inbox/spring").mkdir(parents=True)
    with Place(root, render_seconds=0.3) as place:
        place.environ["CHROMADROP_FOLDERS__STATE"] = str(base / "var/state")
        place.simulator.add_fault("export:400,match=refused at first")
        running = place.start("run", before=strace_command(output))
        running.until("watch.started")
        for name, content in DROPS.items():
            place.drop_at_once(name, content)
        for _ in DROPS:
            running.until("batch.filed")
        place.drop_at_once("mixed.yaml", MIXED)  # a copy: the one in failed/ stays
        running.until("batch.filed", outcome="done")
        assert running.terminate() == 0
        yield Life(base, read_trace(output), place)


# --- the rules ------------------------------------------------------------------------------------


def ledger_first(life: Life) -> Iterator[str]:
    """Each export: its intent was committed, and the log said so, before its first byte left."""
    started = [line for line, _ in life.telling("job.export_started")]
    for number, (post, text) in enumerate(sorted(life.posts, key=lambda pair: pair[0].begun), start=1):
        if sum(line.ended < post.begun for line in started) < number:
            yield f"the export of {text!r} left before its intent was told"


def synced_before_told(life: Life) -> Iterator[str]:
    """Each log line of a ledger entry: nothing stands between it and the ledger's sync but other log lines."""
    for line, event in life.told:
        if "batch" not in event:
            continue
        mine = [call for call in life.calls if call.thread == line.thread and call.begun < line.begun]
        before = next(call for call in reversed(mine) if call.name != "write" and call.path.startswith(str(life.base)))
        if not (before.is_sync and before.path.endswith(WAL)):
            yield f"{event['event']} was told after {before.name} {before.path}"


def one_writer(life: Life) -> Iterator[str]:
    """The ledger has one writer, so that the order of its commits is the order of our decisions; a page reads it."""
    for call in life.calls:
        if "/ledger.sqlite3" in call.path and call.thread != life.main_thread and call.name != "openat":
            yield f"{call.name} {call.path} by another thread"


def content_before_name(life: Life) -> Iterator[str]:
    """A file of ours that gets its final name was synced after its last byte; but for what is soon made anew."""
    # A hint of another boot is void; an empty status.html is taken for ours, and replaced at the next start.
    hints = re.compile(r".*/\.downloads/[^/]*\.json|.*/(\.chromadrop-)?probe-\d+|.*/root/status\.html")
    for rename in life.calls:
        written = [c for c in life.calls if c.path == rename.path and c.is_write and c.begun < rename.begun]
        is_ours = rename.is_rename and rename.target.startswith(str(life.base))
        if not is_ours or not written or hints.fullmatch(rename.target):
            continue
        if not life.is_synced(rename.path, written[-1].ended, rename.begun):
            yield f"{rename.path} became {rename.target} before it was synced"


def claim_synced(life: Life) -> Iterator[str]:
    """processing/ and inbox/ are synced before the ledger says that the file was claimed."""
    yield from _synced_after_rename(life, "batch.claimed", "processing/", lambda rename: [rename.target, rename.path])


def video_synced(life: Life) -> Iterator[str]:
    """The video's folder is synced before the ledger says that the job is done."""
    yield from _synced_after_rename(life, "job.downloaded", "videos/", lambda rename: [rename.target])


def filing_synced(life: Life) -> Iterator[str]:
    """done/ or failed/, and processing/, are synced before the ledger says that the file was filed."""
    yield from _synced_after_rename(
        life, "batch.filed", "(done|failed)/", lambda rename: [rename.target, rename.path], suffix=r"\.yaml"
    )


def _synced_after_rename(
    life: Life, event: str, folder: str, touched: Callable[[Call], list[str]], suffix: str = ""
) -> Iterator[str]:
    renames = [call for call in life.renames(f"{folder}(?!.*probe).*{suffix}") if "/.downloads/" not in call.target]
    lines = life.telling(event)
    if len(renames) != len(lines):
        yield f"{len(renames)} renames and {len(lines)} times {event}"
    for rename in renames:
        name = rename.target.rpartition("/")[2]
        telling = [line for line, said in lines if rename.ended < line.begun and _names(said, name)]
        if not telling:
            yield f"{event} was told before {name} lay there"
            continue
        commit = life.commit_of(telling[0])
        for path in touched(rename):
            if not life.is_synced(path.rpartition("/")[0], rename.ended, life.begin_of(commit)):
                yield f"{event} was in the ledger before the folder of {path} was synced"


def _names(said: dict[str, Any], name: str) -> bool:
    return name in {str(said.get(key, "")).rpartition("/")[2] for key in ("file", "filed_as", "video")}


def results_before_job_file(life: Life) -> Iterator[str]:
    """The result and error files have their names, and the folder is synced, before the job file comes."""
    for moved in life.renames(r"(done|failed)/.*\.yaml"):
        wanted = [".result.json"] + [".error.txt"] * ("/failed/" in moved.target)
        for suffix in wanted:
            there = [call for call in life.renames(".*") if call.target == moved.target + suffix]
            if not there or not life.is_synced(moved.target.rpartition("/")[0], there[0].ended, moved.begun):
                yield f"{moved.target} came before its {suffix} was safe"


def note_before_video(life: Life) -> Iterator[str]:
    """The note that says where a video is about to appear is safe, in name and content, before it does."""
    for shown in life.renames("videos/(?!.*probe).*"):
        note = shown.path.removesuffix(".part") + ".note"
        made = [call for call in life.calls if call.path == note and call.is_creation and call.begun < shown.begun]
        folder = note.rpartition("/")[0]
        is_safe = made and life.is_synced(note, made[-1].ended, shown.begun)
        if not is_safe or not life.is_synced(folder, made[-1].ended, shown.begun):
            yield f"{shown.target} came before its note was safe"


def old_results_last(life: Life) -> Iterator[str]:
    """The old result and error files go only after the ledger knows of the claim that takes their place."""
    claims = life.telling("batch.claimed")
    gone = [
        call for call in life.calls
        if call.name.startswith("unlink") and call.path.startswith(f"{life.root}/failed/mixed.yaml.")
    ]  # fmt: skip
    if len(gone) != 2:
        yield f"{len(gone)} old files were taken away"
    for call in gone:
        if not claims[-1][0].ended < call.begun:
            yield f"{call.path} went before the claim was told"
        if not life.is_synced(call.folder, call.ended, life.calls[-1].ended):
            yield f"the folder of {call.path} was not synced after it went"


def folders_synced(life: Life) -> Iterator[str]:
    """Whoever makes a folder syncs the one that it lies in, before it does anything else to our files."""
    for made in life.calls:
        if made.name in {"mkdir", "mkdirat"} and made.path.startswith(str(life.base)):
            mine = (call for call in life.calls if call.thread == made.thread and call.begun > made.ended)
            deeds = (call for call in mine if call.path.startswith(str(life.base)) and "O_DIRECTORY" not in call.words)
            following = next(deeds)
            if not (following.is_sync and following.path == made.folder):
                yield f"{made.path} was made, and then came {following.name} {following.path}"


def marker_synced(life: Life) -> Iterator[str]:
    """The root's marker is safe before the ledger remembers that it was seen."""
    marker = life.renames(r"\.chromadrop")[0]
    first = next(call for call in life.calls if call.path.endswith(WAL) and call.is_write and call.begun > marker.ended)
    if not life.is_synced(life.root, marker.ended, first.begun):
        yield "the marker was remembered before it was synced"


def nothing_else(life: Life) -> Iterator[str]:
    """No call that the model does not know touches our files."""
    known = {"openat", "rename", "renameat2", "unlink", "mkdir", "rmdir", "fsync", "fdatasync", "write", "pwrite64"}
    for call in life.calls:
        if call.path.startswith(str(life.base)) and call.name not in known | {"ftruncate"}:
            yield f"{call.name} {call.path}"


RULES: dict[Callable[[Life], Iterator[str]], str] = {
    ledger_first: "a cut after the POST and before the intent would pay twice",
    synced_before_told: "who reads the log must not know more than the ledger after a cut",
    one_writer: "two writers could commit in another order than that in which we decided",
    content_before_name: "a name without its content is an empty file after a cut (ext4 delayed allocation)",
    claim_synced: "the ledger would look in processing/ for a file that is in inbox/ again, and run it twice",
    video_synced: "a job that is done for good, and no video",
    filing_synced: "the ledger would have closed a batch whose file is in processing/ again: nobody would move it",
    results_before_job_file: "whoever waits for the job file reads the result; a retry finds by it how far it got",
    note_before_video: "the video would be downloaded again, under a second name",
    old_results_last: "a cut would leave a failed file without a word why",
    folders_synced: "a folder that is lost takes with it all that was synced in it, the ledger first",
    marker_synced: "a root that was seen before and has no marker is taken for a bare mount point: all stops",
    nothing_else: "the rules would not see it",
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_what_matters_is_synced_in_the_right_order(life: Life, rule: Callable[[Life], Iterator[str]]) -> None:
    """Every rule of the table holds for every call of the life; the table says what breaks otherwise."""
    assert list(rule(life)) == [], RULES[rule]


def test_the_life_was_a_full_one(life: Life) -> None:
    """The rules are about something: everything that they speak of has happened."""
    assert sorted(text for _, text in life.posts) == sorted(
        ["first of a pair", "second of a pair", "good", "refused at first", "refused at first"]
    )
    assert life.place.job_files("done") == ["mixed.yaml", "spring/pair.yaml"]
    assert life.place.job_files("failed") == ["bad.yaml", "mixed.yaml"]
    assert len(life.renames("videos/(?!.*probe).*")) == len(life.place.files("videos")) == 4


# --- the cuts -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cut:
    """One moment, and what a disk may hold when the power is back.

    Attributes:
        before: number and path of the call that was about to begin or to end.
        asked: texts whose export had begun to leave.
        told: log lines that were out.
        files: by path relative to the base.
    """

    before: str
    asked: frozenset[str]
    told: tuple[dict[str, Any], ...]
    files: dict[str, bytes]

    def below(self, folder: str) -> list[str]:
        """Visible files below a folder of the root."""
        found = [path for path in self.files if path.startswith(f"root/{folder}/")]
        return [path for path in found if not any(part.startswith(".") for part in path.split("/"))]


LIKELIHOODS = (0.0, 1.0, 0.5)


def cuts(life: Life) -> Iterator[Cut]:
    """A cut before and after every call that is more than a write, with three disks each."""
    chance = random.Random(20261123)
    found = {f"{life.root}/inbox/{name}": content.encode() for name, content in DROPS.items()}
    folders = [life.root, f"{life.root}/inbox", f"{life.root}/inbox/spring"]
    disk = Disk(str(life.base), folders, found)
    moments = [(call.begun, 1, call) for call in life.calls] + [(call.ended, 2, call) for call in life.calls]
    posts = dict(life.posts)
    lines = dict(life.told)
    asked: set[str] = set()
    told: list[dict[str, Any]] = []
    for _, kind, call in sorted(moments, key=lambda moment: moment[:2]):
        is_ours = call.path.startswith(str(life.base)) and not call.is_write
        if (is_ours and (call.is_sync or kind == 1) and "O_RDONLY" not in call.words) or call in posts:
            for likelihood in LIKELIHOODS:
                files = disk.after_cut(None if likelihood in {0.0, 1.0} else chance, likelihood)
                short = {path.removeprefix(f"{life.base}/"): content for path, content in files.items()}
                yield Cut(f"{call.begun} {call.name} {call.path}", frozenset(asked), tuple(told), short)
        if kind == 1:
            disk.begin(call)
            if call in posts:
                asked.add(posts[call])
        else:
            disk.end(call)
            if call in lines:
                told.append(lines[call])


class LedgerAfterCut:
    """The ledger's rows as SQLite recovers them."""

    def __init__(self, cut: Cut, scratch: Path) -> None:
        self.jobs: list[dict[str, Any]] = []
        self.files: list[dict[str, Any]] = []
        names = ("ledger.sqlite3", "ledger.sqlite3-wal", "ledger.sqlite3-journal")
        for stale in scratch.iterdir():
            stale.unlink()
        for name in names:
            content = cut.files.get(f"var/state/{name}")
            if content is not None:
                (scratch / name).write_bytes(content)
        if not (scratch / names[0]).exists():
            return
        connection = sqlite3.connect(scratch / names[0])
        connection.row_factory = sqlite3.Row
        try:
            assert connection.execute("pragma quick_check").fetchone()[0] == "ok", cut.before
            if connection.execute("select 1 from sqlite_master where name = 'jobs'").fetchone():
                self.jobs = [dict(row) for row in connection.execute("select * from jobs")]
                self.files = [dict(row) for row in connection.execute("select * from job_files")]
        finally:
            connection.close()

    def states(self, text: str) -> set[str]:
        """The states of all jobs with this text."""
        return {row["state"] for row in self.jobs if json.loads(row["body"])["text"] == text}


def assert_nothing_is_lost(cut: Cut, ledger: LedgerAfterCut) -> None:
    """What must hold after any cut at all."""
    for text in cut.asked:
        assert ledger.states(text) & {"exporting", "rendering", "done", "failed"}, f"{text!r} was asked without intent"
    for row in ledger.jobs:
        if row["state"] == "done":
            video = json.loads(row["video"])
            content = cut.files.get(f"root/{video['path']}", b"")
            assert len(content) == video["bytes"], f"the ledger says done: {video['path']}"
    for row in ledger.files:
        name, filed = row["name"].decode(), (row["filed_as"] or b"").decode()
        places = [f"root/processing/{row['processing_name'].decode()}"]
        if row["state"] == "claiming":
            places = [*places, f"root/inbox/{name}"]
        elif row["state"] == "closed":
            places = [f"root/{filed}"]
            assert f"root/{filed}.result.json" in cut.files or (filed == "failed/mixed.yaml"), filed
        elif row["outcome"] is not None:
            places = [*places, f"root/{row['outcome']}/{name}"]
        found = [place for place in places if cut.files.get(place) == DROPS[name].encode()]
        is_not_met_yet = row["state"] == "claiming" and not found
        assert len(found) == 1 or is_not_met_yet, f"{name} is {row['state']}, and lies in {found}"


def assert_nothing_is_half(cut: Cut, whole: dict[str, bytes]) -> None:
    """What can be seen is whole."""
    for path in cut.below("videos"):
        assert cut.files[path] == whole[path], f"{path} is visible and not whole"
    for path in cut.below("done") + cut.below("failed"):
        content = cut.files[path]
        if path.endswith(".yaml"):
            assert content == DROPS[path.split("/", 2)[2]].encode(), path
            is_cleared = path == "root/failed/mixed.yaml"
            assert f"{path}.result.json" in cut.files or is_cleared, f"{path} has no result"
            if "/failed/" in path:
                assert f"{path}.error.txt" in cut.files or is_cleared, f"{path} does not say why"
        elif path.endswith(".json"):
            assert json.loads(content)["id"], path
        else:
            assert content, path


def test_no_cut_loses_or_shows_too_much(life: Life, tmp_path: Path) -> None:
    """At any moment, whatever the disk has of what was not synced.

    No export without its intent, nothing half visible, nothing that the ledger or the log told is untrue.
    """
    videos = life.place.files("videos")
    whole = {f"root/videos/{name}": (life.base / "root/videos" / name).read_bytes() for name in videos}
    count = 0
    for cut in cuts(life):
        count += 1
        ledger = LedgerAfterCut(cut, tmp_path)
        assert_nothing_is_half(cut, whole)
        assert_nothing_is_lost(cut, ledger)
        known = {row["project_id"] for row in ledger.jobs}
        done = {row["filed_as"].decode() for row in ledger.files if row["filed_as"]}
        for said in cut.told:
            assert said["event"] != "job.exported" or said["project_id"] in known, "told, and not in the ledger"
            assert said["event"] != "batch.filed" or said["filed_as"] in done, "told, and not in the ledger"
    assert count > 300


def test_the_daemon_goes_on_after_a_cut(life: Life, tmp_path: Path) -> None:
    """Started on what a cut has left, with nothing that was not synced, it asks for nothing that was asked before."""
    all_cuts = [cut for cut in cuts(life) if cut.asked][:: len(LIKELIHOODS)]
    chosen = random.Random(1).sample(all_cuts, 5)
    for number, cut in enumerate(chosen):
        base = tmp_path / str(number)
        for name in ("inbox", "processing", "done", "failed", "videos"):
            (base / "root" / name).mkdir(parents=True)
        for path, content in cut.files.items():
            (base / path).parent.mkdir(parents=True, exist_ok=True)
            (base / path).write_bytes(content)
        asked_before = len(life.place.simulator.outcomes())
        folders = {"CHROMADROP_FOLDERS__ROOT": str(base / "root"), "CHROMADROP_FOLDERS__STATE": str(base / "var/state")}
        assert life.place.start("run", "--once", **folders).end() in {0, 1}
        again = {outcome.text for outcome in life.place.simulator.outcomes()[asked_before:]}
        assert not again & (cut.asked - {"refused at first"}), cut.before
        left = [path for path in (base / "root/processing").rglob("*.yaml") if not path.name.startswith(".")]
        assert left == [], cut.before
