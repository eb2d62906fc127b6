"""The folders, for real: nothing is lost, nothing is overwritten, whatever fails and whenever."""

from __future__ import annotations

import contextlib
import errno
import grp
import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import LogCapture

from daemon.core.drop import Fingerprint
from daemon.core.drop_name import RESULT_TABLE
from daemon.core.errors import (
    DropChanged,
    DropVanished,
    FilingDeferred,
    LedgerRefused,
    NameTaken,
    RootUnavailable,
)
from daemon.core.job import Video
from daemon.edges import spool as spool_module
from daemon.edges.spool import ERROR, MARKER, RESULT, Filing, Places, Sharing, Spool, first_free, group_number, move

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LEDGER = "0123456789abcdef"
CONTENT = b"text: Hello\n"
ODD_NAMES = (
    "a\nb.yaml",
    os.fsdecode(b"\xff\xfe.yaml"),
    "-rf.yaml",
    "\x1b[31m.yaml",
    'quo"te.yaml',
    "gro\u0308\u00dfe.yaml",
    "n" * 250 + ".yaml",
    "\u00e4" * 125 + ".yaml",
    os.fsdecode(b"\xff" * 250 + b".yaml"),
    "sub/deep/x.yaml",
)


def places_in(root: Path) -> Places:
    return Places(root, root / "inbox", root / "processing", root / "done", root / "failed", root / "videos")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root that nobody has used yet."""
    folder = tmp_path / "root"
    folder.mkdir()
    return folder


@pytest.fixture
def spool(root: Path) -> Spool:
    """Its folders, prepared."""
    found = Spool(places_in(root), ledger_id=LEDGER, was_seen=False)
    found.check_root()
    return found


@dataclass
class Dropped:
    """A file in inbox/ that was read."""

    path: Path
    name: str
    content: bytes = CONTENT
    fingerprint: Fingerprint = field(init=False)
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_bytes(self.content)
        self.fingerprint = Fingerprint.of(self.path.stat())
        self.digest = hashlib.sha256(self.content).hexdigest()


def dropped(spool: Spool, name: str = "x.yaml", content: bytes = CONTENT) -> Dropped:
    return Dropped(spool.places.inbox / name, name, content)


def claim(spool: Spool, drop: Dropped, processing_name: str | None = None, *, is_retry: bool = False) -> Path:
    """The drop, claimed; where it lies."""
    name = processing_name or drop.name
    spool.claim(drop.name, name, drop.fingerprint, drop.digest, is_retry=is_retry)
    return spool.places.processing / name


def files_in(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones too, with its content."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


def result_of(marker: str, **more: Any) -> bytes:
    return json.dumps({"id": marker, **more}).encode()


def filing(name: str = "x.yaml", *, is_done: bool = False, marker: str = "L-1", is_retry: bool = False) -> Filing:
    """A settled file whose job file's content is CONTENT."""
    return Filing(
        name=name,
        processing_name=name,
        is_done=is_done,
        marker=marker,
        result=result_of(marker),
        explain=None if is_done else lambda filed: f"{filed}: {marker}".encode("utf-8", "surrogateescape"),
        content=CONTENT,
        is_retry=is_retry,
    )


def in_processing(spool: Spool, name: str = "x.yaml", content: bytes = CONTENT) -> Path:
    path = spool.places.processing / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


# --- file systems without renameat2, without links, and two of them -------------------------------


def _refuse(code: int) -> Callable[..., Any]:
    def refuse(source: Any, *_: Any, **__: Any) -> Any:
        raise OSError(code, os.strerror(code), os.fspath(source))

    return refuse


def _no_renameat2(patch: pytest.MonkeyPatch, code: int = errno.EINVAL) -> None:
    patch.setattr(spool_module, "_renameat2", _refuse(code))


def _no_link(patch: pytest.MonkeyPatch, code: int = errno.EPERM) -> None:
    _no_renameat2(patch)
    patch.setattr(os, "link", _refuse(code))


WAYS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "renameat2": lambda _patch: None,
    "link": _no_renameat2,
    "placeholder": _no_link,
}


@pytest.fixture(params=sorted(WAYS))
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How this file system can move without overwriting."""
    WAYS[request.param](monkeypatch)
    return str(request.param)


@pytest.fixture
def other_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on another file system than tmp_path."""
    shm = Path("/dev/shm")  # the one file system that is not the temporary folder's nearly everywhere
    if not os.access(shm, os.W_OK) or shm.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("/dev/shm is not there, or on the temporary folder's file system")
    folder = Path(tempfile.mkdtemp(dir=shm))
    yield folder
    shutil.rmtree(folder)


# --- move -----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("way")
def test_a_move_never_overwrites(tmp_path: Path) -> None:
    """Whatever the file system can do; both files stay what they are."""
    source, target = tmp_path / "a", tmp_path / "b"
    source.write_text("mine")
    target.write_text("theirs")
    with pytest.raises(FileExistsError):
        move(source, target)
    assert (source.read_text(), target.read_text()) == ("mine", "theirs")
    target.unlink()
    move(source, target)
    assert files_in(tmp_path) == {"b": b"mine"}


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("kind", ["folder", "dangling link"])
def test_a_move_goes_over_nothing_at_all(tmp_path: Path, kind: str) -> None:
    """Not over an empty folder, and not through a link that leads nowhere."""
    source, target = tmp_path / "a", tmp_path / "b"
    source.write_text("mine")
    if kind == "folder":
        target.mkdir()
    else:
        target.symlink_to("nowhere")
    with pytest.raises(FileExistsError):
        move(source, target)
    assert files_in(tmp_path) == {"a": b"mine"}


@pytest.mark.usefixtures("way")
def test_nothing_to_be_moved_makes_nothing(tmp_path: Path) -> None:
    """No placeholder stays behind."""
    with pytest.raises(FileNotFoundError):
        move(tmp_path / "a", tmp_path / "b")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOSYS, errno.ENOTSUP])
@pytest.mark.parametrize("link_code", [None, errno.EPERM, errno.ENOTSUP, errno.EMLINK])
def test_each_refusal_has_its_way_around(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, link_code: int | None
) -> None:
    """FUSE says EINVAL to RENAME_NOREPLACE, FAT says EPERM to links."""
    _no_renameat2(monkeypatch, code)
    if link_code is not None:
        monkeypatch.setattr(os, "link", _refuse(link_code))
    (tmp_path / "a").write_text("mine")
    move(tmp_path / "a", tmp_path / "b")
    assert files_in(tmp_path) == {"b": b"mine"}


def test_a_system_without_the_call_has_its_way_around(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """macOS, and C libraries that are older than the call."""
    monkeypatch.setattr(spool_module, "_C_RENAMEAT2", None)
    (tmp_path / "a").write_text("mine")
    move(tmp_path / "a", tmp_path / "b")
    assert files_in(tmp_path) == {"b": b"mine"}


@pytest.mark.parametrize("code", [errno.EACCES, errno.ENOSPC, errno.EROFS, errno.EIO])
def test_a_refusal_that_means_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """No other way is tried, and the source stays."""
    _no_renameat2(monkeypatch, code)
    (tmp_path / "a").write_text("mine")
    with pytest.raises(OSError, match=os.strerror(code)):
        move(tmp_path / "a", tmp_path / "b")
    assert files_in(tmp_path) == {"a": b"mine"}


def test_a_move_that_stopped_between_link_and_unlink_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both names are the one file."""
    _no_renameat2(monkeypatch)
    (tmp_path / "a").write_text("mine")
    (tmp_path / "b").hardlink_to(tmp_path / "a")
    move(tmp_path / "a", tmp_path / "b")
    assert files_in(tmp_path) == {"b": b"mine"}


def test_a_placeholder_is_taken_away_when_the_rename_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty file under a good name would be a lie."""
    _no_link(monkeypatch)
    (tmp_path / "a").write_text("mine")
    monkeypatch.setattr(Path, "replace", _refuse(errno.EIO))
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        move(tmp_path / "a", tmp_path / "b")
    assert files_in(tmp_path) == {"a": b"mine"}


def test_a_link_is_moved_as_a_link(tmp_path: Path, way: str) -> None:
    """What it leads to is never read."""
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "a").symlink_to("secret")
    move(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").is_symlink(), way
    assert (tmp_path / "secret").read_text() == "secret"


def test_across_file_systems_it_is_a_copy_that_appears_whole(tmp_path: Path, other_disk: Path) -> None:
    """Never over anything, and nothing is left on the way."""
    source, target = tmp_path / "a", other_disk / "b"
    source.write_bytes(b"mine" * 1_000_000)
    target.write_text("theirs")
    with pytest.raises(FileExistsError):
        move(source, target)
    assert files_in(other_disk) == {"b": b"theirs"}
    target.unlink()
    move(source, target)
    assert files_in(tmp_path) == {}
    assert files_in(other_disk) == {"b": b"mine" * 1_000_000}


def test_across_file_systems_only_files_go(tmp_path: Path, other_disk: Path) -> None:
    """A link is not followed, a pipe is not opened; both stay where they are."""
    (tmp_path / "link").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe"):
        with pytest.raises(OSError, match=r"not a regular file|symbolic links"):
            move(tmp_path / name, other_disk / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "pipe"]
    assert list(other_disk.iterdir()) == []


def test_a_copy_that_fails_leaves_nothing(tmp_path: Path, other_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here the disk fills up while it is synced."""
    (tmp_path / "a").write_text("mine")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda _fd: _refuse(errno.ENOSPC)("a"))
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            move(tmp_path / "a", other_disk / "b")
    assert files_in(tmp_path) == {"a": b"mine"}
    assert files_in(other_disk) == {}


# --- the root -------------------------------------------------------------------------------------


def test_a_new_root_is_prepared_and_marked(root: Path) -> None:
    """With the folders, and the name of the ledger; nothing else stays."""
    spool = Spool(places_in(root), ledger_id=LEDGER, was_seen=False)
    spool.check_root()
    assert spool.was_seen
    assert json.loads((root / MARKER).read_text())["ledger"] == LEDGER
    assert sorted(path.name for path in root.iterdir()) == [
        MARKER, "done", "failed", "inbox", "processing", "videos",
    ]  # fmt: skip
    assert files_in(root) == {MARKER: (root / MARKER).read_bytes()}


def test_a_marked_root_is_taken_up(spool: Spool, root: Path) -> None:
    """A second daemon life with the same ledger finds it its own, whether or not it remembers."""
    dropped(spool)
    for was_seen in (True, False):
        again = Spool(places_in(root), ledger_id=LEDGER, was_seen=was_seen)
        again.check_root()
        assert again.was_seen
    assert files_in(root / "inbox") == {"x.yaml": CONTENT}


@pytest.mark.parametrize("is_durable", [True, False])
def test_a_page_of_ours_is_replaced_and_taken_away(spool: Spool, root: Path, *, is_durable: bool) -> None:
    """Whole each time, and nothing of ours is left; also where a power cut left the name alone of one."""
    page = root / "status.html"
    for before in (None, spool_module.PAGE_MARK + b"old", b"", bytes(4096)):
        if before is not None:
            page.write_bytes(before)
        spool.put_page("status.html", spool_module.PAGE_MARK + b"new", is_durable=is_durable)
        assert page.read_bytes() == spool_module.PAGE_MARK + b"new"
    spool.remove_page("status.html")
    spool.remove_page("status.html")
    assert [name.name for name in root.iterdir() if "status" in name.name] == []


def test_anothers_page_is_left_alone(spool: Spool, root: Path) -> None:
    """Whatever somebody keeps under that name is neither replaced nor taken away."""
    page = root / "status.html"
    page.write_text("<h1>my own</h1>")
    with pytest.raises(FilingDeferred, match="move it away"):
        spool.put_page("status.html", spool_module.PAGE_MARK, is_durable=False)
    spool.remove_page("status.html")
    assert page.read_text() == "<h1>my own</h1>"


@pytest.mark.parametrize("text", ['{"ledger": "another"}', "", "not json", "[]", "null", '{"ledger": null}'])
def test_the_root_of_another_ledger_is_refused(root: Path, text: str) -> None:
    """Two ledgers would pay twice; what cannot be understood counts as another's."""
    (root / MARKER).write_text(text)
    with pytest.raises(LedgerRefused, match="belongs to another ledger"):
        Spool(places_in(root), ledger_id=LEDGER, was_seen=False).check_root()
    assert [path.name for path in root.iterdir()] == [MARKER]


def test_a_marker_that_is_not_text_is_anothers(root: Path) -> None:
    """Not a crash."""
    (root / MARKER).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(LedgerRefused):
        Spool(places_in(root), ledger_id=LEDGER, was_seen=False).check_root()


def test_a_root_whose_marker_is_missing_is_not_mounted(root: Path) -> None:
    """The bare mount point stays bare."""
    spool = Spool(places_in(root), ledger_id=LEDGER, was_seen=True)
    with pytest.raises(RootUnavailable, match="is the share not mounted"):
        spool.check_root()
    assert list(root.iterdir()) == []


def test_a_root_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    """A mistyped path stays a mistyped path."""
    for was_seen in (True, False):
        with pytest.raises(RootUnavailable, match="is not there"):
            Spool(places_in(tmp_path / "root"), ledger_id=LEDGER, was_seen=was_seen).check_root()
    assert list(tmp_path.iterdir()) == []


def test_a_root_that_is_a_file_is_unavailable(tmp_path: Path) -> None:
    """Whatever stands there, it is no root."""
    (tmp_path / "root").write_text("")
    with pytest.raises(RootUnavailable):
        Spool(places_in(tmp_path / "root"), ledger_id=LEDGER, was_seen=False).check_root()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_root_is_unavailable(spool: Spool, root: Path) -> None:
    """Unavailable, never empty."""
    root.chmod(0)
    try:
        with pytest.raises(RootUnavailable):
            spool.check_root()
    finally:
        root.chmod(0o755)
    spool.check_root()


@pytest.mark.parametrize("code", [errno.EACCES, errno.ESTALE, errno.EIO, errno.EHOSTDOWN])
def test_a_share_that_answers_with_errors_is_unavailable(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """And is back as soon as it answers again."""
    with monkeypatch.context() as patch:
        patch.setattr(spool_module, "_opened_plain", _refuse(code))
        with pytest.raises(RootUnavailable):
            spool.check_root()
    spool.check_root()


@pytest.mark.parametrize("content", ['{"ledger": "other"}', "", "{", None])
def test_a_marker_that_was_ours_is_read_again_each_time(spool: Spool, root: Path, content: str | None) -> None:
    """Another share may have been mounted in the place of ours, or taken away, and ours may come back."""
    ours = (root / MARKER).read_text()
    spool.part(1).write_bytes(CLIP)
    (root / MARKER).unlink()
    if content is not None:
        (root / MARKER).write_text(content)
    for look in (spool.check_root, lambda: spool.publish(1, "", "x.mp4", size=len(CLIP), sha256=CLIP_DIGEST)):
        with pytest.raises((LedgerRefused, RootUnavailable)):
            look()
    assert list((root / "videos").iterdir()) == []
    (root / MARKER).write_text(ours)
    spool.publish(1, "", "x.mp4", size=len(CLIP), sha256=CLIP_DIGEST)


def test_a_part_needs_no_look_at_the_root_where_its_folder_is_there(spool: Spool, root: Path) -> None:
    """But where it is not, as in a root that was unmounted, nothing is made in the root's place."""
    spool.part(1)
    (root / "processing" / ".downloads").rmdir()
    (root / MARKER).rename(root / "elsewhere")
    with pytest.raises(RootUnavailable):
        spool.part(1)
    assert not (root / "processing" / ".downloads").exists()
    (root / "elsewhere").rename(root / MARKER)
    assert spool.part(1).parent.is_dir()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give a link to another user")
def test_a_part_is_put_into_no_folder_behind_a_link(spool: Spool, root: Path, tmp_path: Path) -> None:
    """Though the folder for downloads that lies there is private, and ours."""
    spool.part(1)
    (root / "processing").rename(tmp_path / "moved")
    (root / "processing").symlink_to(tmp_path / "moved")
    os.lchown(root / "processing", 12345, 12345)
    with pytest.raises(RootUnavailable):
        spool.part(1)


@pytest.mark.parametrize("failed", ["failed", "a/b", "."])
@pytest.mark.parametrize("name", ["x.yaml", "sub/x (2).yaml", "\udcff.yaml", " .yaml"])
def test_where_a_drop_would_lie_had_it_failed(root: Path, failed: str, name: str) -> None:
    """As a filed job file is called, whatever the folders are called, on this disk or on another one."""
    for base in (root / failed, Path("/elsewhere") / failed):
        spool = Spool(replace(places_in(root), failed=base), ledger_id=LEDGER, was_seen=False)
        assert spool.failed_as(name) == spool.relative(base / name)


DEEDS: dict[str, Callable[[Spool], object]] = {
    "claim": lambda spool: spool.claim("x.yaml", "x.yaml", Fingerprint(1, 2, 3, 4, 5), ""),
    "file_away": lambda spool: spool.file_away(filing()),
    "clear": lambda spool: spool.clear("L-1", "failed/x.yaml"),
    "part": lambda spool: spool.part(1),
    "publish": lambda spool: spool.publish(1, "", "x.mp4", size=1, sha256=""),
}


@pytest.mark.parametrize("deed", sorted(DEEDS))
@pytest.mark.parametrize("is_mount_point_there", [True, False])
def test_while_the_share_is_away_nothing_is_made(
    spool: Spool, root: Path, deed: str, is_mount_point_there: bool
) -> None:
    """Each deed says so and leaves the bare mount point bare."""
    root.rename(root.with_name("elsewhere"))
    if is_mount_point_there:
        root.mkdir()
    with pytest.raises(RootUnavailable):
        DEEDS[deed](spool)
    assert not root.exists() or list(root.iterdir()) == []


def test_what_does_not_matter_never_raises_while_the_share_is_away(spool: Spool, root: Path) -> None:
    """Cleaning up waits for another day."""
    root.rename(root.with_name("elsewhere"))
    spool.discard(1)
    spool.discard_all_but(frozenset())
    assert spool.strays(frozenset()) == []


def test_folders_that_were_removed_are_made_again(spool: Spool, root: Path) -> None:
    """Somebody tidied up; the root itself is there."""
    drop = dropped(spool)
    shutil.rmtree(root / "processing")
    shutil.rmtree(root / "failed")
    claim(spool, drop)
    assert spool.file_away(filing()) == "failed/x.yaml"


def test_processing_on_another_file_system_is_refused(root: Path, other_disk: Path) -> None:
    """A claim is one step, or two daemons could both have it."""
    places = replace(places_in(root), processing=other_disk / "processing")
    with pytest.raises(LedgerRefused, match="different file systems"):
        Spool(places, ledger_id=LEDGER, was_seen=False).check_root()
    assert files_in(root) == {}
    assert files_in(other_disk) == {}


def test_downloads_lie_on_the_file_system_of_the_videos(root: Path, other_disk: Path) -> None:
    """So that the last step is a rename."""
    spool = Spool(replace(places_in(root), videos=other_disk / "videos"), ledger_id=LEDGER, was_seen=False)
    spool.check_root()
    part = spool.part(1)
    part.write_bytes(b"video")
    assert part.stat().st_dev == other_disk.stat().st_dev
    assert spool.publish(1, "", "x.mp4", size=5, sha256="").path == str(other_disk / "videos/x.mp4")
    spool.discard(1)
    assert files_in(other_disk) == {"videos/x.mp4": b"video"}


# --- claim ----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("way")
def test_a_claim_moves_the_drop(spool: Spool) -> None:
    """It is in processing/, and not in inbox/ any more; the same call again finds it there."""
    drop = dropped(spool, "sub/x.yaml")
    for _ in range(3):
        claim(spool, drop)
        assert files_in(spool.places.inbox) == {}
        assert files_in(spool.places.processing) == {"sub/x.yaml": CONTENT}


@pytest.mark.parametrize("name", ODD_NAMES)
def test_any_name_can_be_claimed_and_filed_away(spool: Spool, name: str, way: str) -> None:
    """Newlines, ESC, a leading dash, bytes that are not UTF-8, 255 bytes long (then it is shortened)."""
    drop = dropped(spool, name)
    claim(spool, drop)
    filed = [
        spool.file_away(filing(name, marker="L-1")),
        in_processing(spool, name) and spool.file_away(filing(name, marker="L-2", is_done=True)),
        in_processing(spool, name) and spool.file_away(filing(name, marker="L-3")),
    ]
    assert len(set(filed)) == 3, way
    for path in filed:
        assert (spool.places.root / str(path)).read_bytes() == CONTENT
        assert (spool.places.root / f"{path}{RESULT}").exists()
    assert (spool.places.root / f"{filed[2]}{ERROR}").exists()
    assert files_in(spool.places.processing) == {}


def test_a_drop_that_is_gone_has_vanished(spool: Spool) -> None:
    """Deleted between scan and claim."""
    drop = dropped(spool)
    drop.path.unlink()
    with pytest.raises(DropVanished, match=r"x\.yaml is not in inbox/"):
        claim(spool, drop)
    assert files_in(spool.places.processing) == {}


@pytest.mark.usefixtures("way")
def test_a_drop_that_was_replaced_goes_back(spool: Spool) -> None:
    """Replaced between read and claim: it settles again as what it is now."""
    drop = dropped(spool)
    (spool.places.inbox / "new").write_bytes(b"something else")
    (spool.places.inbox / "new").rename(drop.path)
    with pytest.raises(DropChanged):
        claim(spool, drop)
    assert files_in(spool.places.inbox) == {"x.yaml": b"something else"}
    assert files_in(spool.places.processing) == {}


def test_a_drop_that_grew_goes_back(spool: Spool) -> None:
    """The same file with another content is not what was read."""
    drop = dropped(spool)
    with drop.path.open("ab") as opened:
        opened.write(b"model: ysy\n")
    with pytest.raises(DropChanged):
        claim(spool, drop)
    assert files_in(spool.places.inbox) == {"x.yaml": CONTENT + b"model: ysy\n"}


def test_a_link_in_place_of_the_drop_goes_back(spool: Spool, root: Path) -> None:
    """What it leads to is never read, however long its name."""
    drop = dropped(spool)
    drop.path.unlink()
    (root / "secret").write_bytes(CONTENT)
    drop.path.symlink_to("s" * len(CONTENT))
    with pytest.raises(DropChanged):
        claim(spool, drop)
    assert drop.path.is_symlink()


def test_going_back_overwrites_nothing(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A third file of that name may have been dropped meanwhile."""
    drop = dropped(spool)
    drop.path.unlink()
    drop.path.write_bytes(b"the second")
    real = spool_module.move

    def third_comes(source: Path, target: Path) -> None:
        real(source, target)
        if source == drop.path:
            drop.path.write_bytes(b"the third")

    monkeypatch.setattr(spool_module, "move", third_comes)
    with pytest.raises(DropChanged):
        claim(spool, drop)
    assert files_in(spool.places.inbox) == {"x.yaml": b"the third", "x (2).yaml": b"the second"}


def test_a_remounted_share_changes_numbers_not_content(spool: Spool) -> None:
    """Inode and device are others, the bytes are the same: it is ours."""
    drop = dropped(spool)
    drop.fingerprint = replace(drop.fingerprint, inode=1, device=1, mtime_ns=1)
    claim(spool, drop)
    claim(spool, drop)
    assert files_in(spool.places.processing) == {"x.yaml": CONTENT}


def test_a_drop_too_large_to_be_read_is_known_by_its_numbers(spool: Spool) -> None:
    """It has no digest; another file of its size is another file."""
    drop = dropped(spool)
    drop.digest = ""
    claim(spool, drop)
    claim(spool, drop)
    other = dropped(spool, "y.yaml")
    other.digest, other.fingerprint = "", replace(other.fingerprint, inode=1)
    with pytest.raises(DropChanged):
        claim(spool, other)
    assert files_in(spool.places.inbox) == {"y.yaml": CONTENT}


def test_a_stray_of_the_same_name_is_left_alone(spool: Spool) -> None:
    """Another name in processing/ must be taken."""
    stray = in_processing(spool, content=b"may have been paid")
    drop = dropped(spool)
    with pytest.raises(NameTaken, match=r"processing/x\.yaml is taken"):
        claim(spool, drop)
    assert stray.read_bytes() == b"may have been paid"
    assert drop.path.read_bytes() == CONTENT
    claim(spool, drop, "x (2).yaml")
    assert files_in(spool.places.processing) == {"x.yaml": b"may have been paid", "x (2).yaml": CONTENT}


@pytest.mark.usefixtures("way")
def test_a_stray_with_the_same_content_is_not_our_claim(spool: Spool) -> None:
    """As long as the drop itself lies in inbox/: or the file would be filed away and rendered again."""
    in_processing(spool)
    drop = dropped(spool)
    with pytest.raises(NameTaken):
        claim(spool, drop)
    assert drop.path.read_bytes() == CONTENT


def test_a_stray_does_not_stand_in_for_a_drop_that_vanished(spool: Spool) -> None:
    """It has another content, so it is not what was read."""
    in_processing(spool, content=b"may have been paid")
    drop = dropped(spool)
    drop.path.unlink()
    with pytest.raises(DropVanished):
        claim(spool, drop)
    assert files_in(spool.places.processing) == {"x.yaml": b"may have been paid"}


def test_what_a_killed_claim_took_by_mistake_goes_back(spool: Spool) -> None:
    """Killed after the move, before it was seen that the drop had been replaced: nobody would ever look at it."""
    drop = dropped(spool)
    drop.path.unlink()
    in_processing(spool, content=b"the second")
    with pytest.raises(DropChanged):
        claim(spool, drop, is_retry=True)
    assert files_in(spool.places.inbox) == {"x.yaml": b"the second"}
    assert files_in(spool.places.processing) == {}


def test_a_file_saved_again_after_the_claim_is_another_drop(spool: Spool) -> None:
    """The claim is made again after a crash: the new file stays, even with the same content."""
    drop = dropped(spool)
    claim(spool, drop)
    again = dropped(spool)
    claim(spool, drop)
    assert again.path.read_bytes() == CONTENT
    with pytest.raises(NameTaken):
        claim(spool, again)


def test_a_claim_that_stopped_between_link_and_unlink_is_ended(spool: Spool) -> None:
    """The file is in exactly one place afterwards."""
    drop = dropped(spool)
    (spool.places.processing / "x.yaml").hardlink_to(drop.path)
    claim(spool, drop)
    assert files_in(spool.places.inbox) == {}
    assert files_in(spool.places.processing) == {"x.yaml": CONTENT}


def test_a_half_claimed_file_that_was_changed_meanwhile_goes_back(spool: Spool) -> None:
    """Written to through its name in inbox/, after the daemon was killed between link and unlink."""
    drop = dropped(spool)
    (spool.places.processing / "x.yaml").hardlink_to(drop.path)
    drop.path.write_bytes(b"something else")
    with pytest.raises(DropChanged):
        claim(spool, drop)
    assert files_in(spool.places.inbox) == {"x.yaml": b"something else"}
    assert files_in(spool.places.processing) == {}


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EIO])
def test_a_claim_that_the_file_system_refuses_is_tried_again(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """The text says what and why, with the name escaped; the drop stays where it is."""
    drop = dropped(spool, "a\nb.yaml")
    with monkeypatch.context() as patch:
        _no_renameat2(patch, code)
        with pytest.raises(FilingDeferred) as raised:
            claim(spool, drop)
    assert str(raised.value) == f"cannot move a\\nb.yaml to processing/: {os.strerror(code)}"
    assert drop.path.read_bytes() == CONTENT
    claim(spool, drop)


# --- file away ------------------------------------------------------------------------------------


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("is_done", [True, False])
def test_a_settled_file_is_filed_with_what_belongs_to_it(spool: Spool, is_done: bool) -> None:
    """A result always, an explanation where something failed; nothing is left in processing/."""
    in_processing(spool, "sub/deep/x.yaml")
    filed = spool.file_away(filing("sub/deep/x.yaml", is_done=is_done))
    assert filed == ("done" if is_done else "failed") + "/sub/deep/x.yaml"
    wanted = {f"{filed}": CONTENT, f"{filed}{RESULT}": result_of("L-1")}
    if not is_done:
        wanted[f"{filed}{ERROR}"] = b"sub/deep/x.yaml: L-1"
    assert {name: text for name, text in files_in(spool.places.root).items() if name != MARKER} == wanted
    assert [path.name for path in spool.places.processing.iterdir()] == [".downloads"], "empty subfolders are tidied"


def test_subfolders_that_are_in_use_stay(spool: Spool) -> None:
    """Tidying takes only what is empty."""
    in_processing(spool, "sub/deep/x.yaml")
    in_processing(spool, "sub/y.yaml")
    spool.file_away(filing("sub/deep/x.yaml"))
    assert files_in(spool.places.processing) == {"sub/y.yaml": CONTENT}
    assert not (spool.places.processing / "sub/deep").exists()


def test_the_result_is_there_before_the_job_file(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits for the job file finds all the rest."""
    in_processing(spool)
    seen = []
    real = spool_module.move

    def look(source: Path, target: Path, **how: Any) -> None:
        seen.append((target.name, sorted(files_in(spool.places.failed))))
        real(source, target, **how)

    monkeypatch.setattr(spool_module, "move", look)
    spool.file_away(filing())
    assert seen[-1] == ("x.yaml", ["x.yaml.error.txt", "x.yaml.result.json"])


@pytest.mark.usefixtures("way")
def test_nothing_is_ever_overwritten(spool: Spool) -> None:
    """A taken name gets (2), then (3); what names go together stay together."""
    filed = []
    for number in (1, 2, 3):
        in_processing(spool, content=str(number).encode())
        filed.append(spool.file_away(filing(marker=f"L-{number}")))
    assert filed == ["failed/x.yaml", "failed/x (2).yaml", "failed/x (3).yaml"]
    for number, name in enumerate(filed, start=1):
        path = spool.places.root / name
        assert path.read_bytes() == str(number).encode()
        assert path.with_name(path.name + RESULT).read_bytes() == result_of(f"L-{number}")
        assert path.with_name(path.name + ERROR).read_bytes() == f"{path.name}: L-{number}".encode()


@pytest.mark.parametrize("taken", ["x.yaml", f"x.yaml{RESULT}", f"x.yaml{ERROR}"])
def test_a_name_is_free_only_with_all_that_goes_with_it(spool: Spool, taken: str) -> None:
    """People's own files in failed/ are theirs."""
    (spool.places.failed / taken).write_text("theirs")
    in_processing(spool)
    assert spool.file_away(filing()) == "failed/x (2).yaml"
    assert (spool.places.failed / taken).read_text() == "theirs"


@pytest.mark.usefixtures("way")
def test_a_name_that_is_taken_at_the_last_moment_is_left_alone(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the job file's name, after the result was written: everything takes the next number."""
    in_processing(spool)
    real = spool_module._rename_no_replace

    def sudden(source: Path, target: Path) -> None:
        if target == spool.places.failed / "x.yaml":
            target.write_text("theirs")
        real(source, target)

    monkeypatch.setattr(spool_module, "_rename_no_replace", sudden)
    assert spool.file_away(filing()) == "failed/x (2).yaml"
    assert files_in(spool.places.failed) == {
        "x.yaml": b"theirs",
        "x (2).yaml": CONTENT,
        f"x (2).yaml{RESULT}": result_of("L-1"),
        f"x (2).yaml{ERROR}": b"x (2).yaml: L-1",
    }


def test_a_result_name_that_is_taken_at_the_last_moment_is_left_alone(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of ours stays beside somebody's file."""
    in_processing(spool)
    real = spool_module._rename_no_replace

    def sudden(source: Path, target: Path) -> None:
        if target.name == f"x.yaml{RESULT}":
            target.write_text("theirs")
        real(source, target)

    monkeypatch.setattr(spool_module, "_rename_no_replace", sudden)
    assert spool.file_away(filing(is_done=True)) == "done/x (2).yaml"
    assert files_in(spool.places.done) == {
        f"x.yaml{RESULT}": b"theirs",
        "x (2).yaml": CONTENT,
        f"x (2).yaml{RESULT}": result_of("L-1"),
    }


@pytest.mark.parametrize(("code", "is_fatal"), [(errno.EINVAL, False), (errno.ENOTSUP, False), (errno.EIO, True)])
def test_a_folder_that_cannot_be_synced_is_no_reason_to_stop(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, code: int, is_fatal: bool
) -> None:
    """Where a network file system does not know how; one that tried and failed is believed."""
    in_processing(spool)
    real = os.fsync

    def sync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            _refuse(code)("folder")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", sync)
    if is_fatal:
        with pytest.raises(FilingDeferred, match=os.strerror(code)):
            spool.file_away(filing())
    else:
        assert spool.file_away(filing()) == "failed/x.yaml"


@pytest.mark.parametrize("is_retry", [True, False])
def test_a_job_file_that_somebody_deleted_is_made_again(spool: Spool, is_retry: bool) -> None:
    """From what the ledger kept."""
    assert spool.file_away(filing(is_retry=is_retry)) == "failed/x.yaml"
    assert (spool.places.failed / "x.yaml").read_bytes() == CONTENT


def test_filing_again_finds_that_all_is_done(spool: Spool) -> None:
    """Killed after the move and before the ledger knew: the same call changes nothing."""
    in_processing(spool)
    filed = spool.file_away(filing())
    before = files_in(spool.places.root)
    for _ in range(2):
        assert spool.file_away(filing(is_retry=True)) == filed
        assert files_in(spool.places.root) == before


@pytest.mark.parametrize("is_done", [True, False])
def test_a_table_lies_beside_its_result(spool: Spool, is_done: bool) -> None:
    """Written before the job file moves, found by a second attempt, taken away with the rest."""
    for is_retry in (False, True, True):
        if not is_retry:
            in_processing(spool, "x.csv")
        again = replace(filing("x.csv", is_done=is_done, is_retry=is_retry), table=b"a table")
        filed = spool.file_away(again)
    beside = {f"x.csv{RESULT}", f"x.csv{RESULT_TABLE}", *([] if is_done else [f"x.csv{ERROR}"])}
    assert files_in((spool.places.root / filed).parent).keys() == {"x.csv", *beside}
    assert (spool.places.root / f"{filed}{RESULT_TABLE}").read_bytes() == b"a table"
    spool.clear("L-1", filed)
    assert files_in((spool.places.root / filed).parent).keys() == {"x.csv"}


@pytest.mark.parametrize("calls", [0, 1])
def test_a_table_that_could_not_be_written_is_written_later(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, calls: int
) -> None:
    """The disk is full after so many of the files beside; the next attempt makes up for it, under the same name."""
    in_processing(spool, "x.csv")
    asked = replace(filing("x.csv"), table=b"a table")
    real, left = Path.replace, iter([*range(calls)])

    def fails_later(path: Path, target: Path) -> Path:
        if next(left, None) is None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", fails_later)
        with pytest.raises(FilingDeferred):
            spool.file_away(asked)
    assert spool.file_away(replace(asked, is_retry=True)) == "failed/x.csv"
    assert files_in(spool.places.failed).keys() == {"x.csv", f"x.csv{RESULT}", f"x.csv{ERROR}", f"x.csv{RESULT_TABLE}"}


def test_filing_again_does_not_make_what_somebody_has_taken_since(spool: Spool) -> None:
    """Killed after the move; a person has moved the job file back into inbox/ before the next start."""
    in_processing(spool)
    filed = spool.file_away(filing())
    (spool.places.root / filed).rename(spool.places.inbox / "x.yaml")
    assert spool.file_away(filing(is_retry=True)) == filed
    assert files_in(spool.places.failed).keys() == {f"x.yaml{RESULT}", f"x.yaml{ERROR}"}


def test_filing_again_finds_its_number_whatever_is_missing_before_it(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """People move failed files back into inbox/, so numbers are missing in between."""
    for number in (1, 2, 4, 5):
        (spool.places.failed / spool_module._numbered_path(Path("x.yaml"), number)).write_text("theirs")
    in_processing(spool)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", _refuse(errno.ENOSPC))
        with pytest.raises(FilingDeferred):
            spool.file_away(filing())
    (result,) = spool.places.failed.glob(f"*{RESULT}")
    (spool.places.failed / "x (2).yaml").unlink()
    filed = spool.file_away(filing(is_retry=True))
    assert f"{filed}{RESULT}" == f"failed/{result.name}"
    assert list(spool.places.failed.glob(f"*{RESULT}")) == [result]


@pytest.mark.parametrize("text", [b"", b"not json", b"[" * 100_000, b'{"id": "L-2"}', b"\xff", b"[1]"])
def test_a_result_that_is_not_ours_is_never_taken_for_ours(spool: Spool, text: bytes) -> None:
    """Whatever it holds."""
    (spool.places.failed / f"x.yaml{RESULT}").write_bytes(text)
    in_processing(spool)
    assert spool.file_away(filing(is_retry=True)) == "failed/x (2).yaml"
    assert (spool.places.failed / f"x.yaml{RESULT}").read_bytes() == text


def test_a_result_that_is_half_moved_is_never_written_into(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between link and unlink, the scratch file is the result's second name."""
    _no_renameat2(monkeypatch)
    in_processing(spool)
    result, scratch = spool.places.failed / f"x.yaml{RESULT}", spool.places.failed / ".L-1.part"
    result.write_bytes(result_of("L-1"))
    scratch.hardlink_to(result)
    assert spool.file_away(filing(is_retry=True)) == "failed/x.yaml"
    assert files_in(spool.places.failed) == {
        "x.yaml": CONTENT,
        f"x.yaml{RESULT}": result_of("L-1"),
        f"x.yaml{ERROR}": b"x.yaml: L-1",
    }


def test_filing_across_file_systems(root: Path, other_disk: Path) -> None:
    """done/ and failed/ may lie elsewhere; killed after the copy, there is still one job file in the end."""
    places = replace(places_in(root), failed=other_disk / "failed")
    spool = Spool(places, ledger_id=LEDGER, was_seen=False)
    spool.check_root()
    source = in_processing(spool)
    filed = spool.file_away(filing())
    assert filed == str(other_disk / "failed/x.yaml")
    source.write_bytes(CONTENT)  # as if it had not been unlinked
    assert spool.file_away(filing(is_retry=True)) == filed
    assert files_in(places.failed) == {
        "x.yaml": CONTENT,
        f"x.yaml{RESULT}": result_of("L-1"),
        f"x.yaml{ERROR}": b"x.yaml: L-1",
    }
    assert files_in(places.processing) == {}


# --- whatever fails, and whenever -----------------------------------------------------------------


class Breaks:
    """Lets the n-th of the module's operations on the file system fail with ENOSPC, before or after it was done.

    Each of the operations by which the spool changes anything is counted: what it only looks at is not.
    """

    def __init__(self, patch: pytest.MonkeyPatch, nth: int, *, is_done_first: bool) -> None:
        self.nth = nth
        self.count = 0
        self.names: Counter[str] = Counter()
        self._is_done_first = is_done_first
        for owner, name in (
            (spool_module, "_renameat2"),
            (os, "link"),
            (os, "open"),
            (os, "fsync"),
            (Path, "unlink"),
            (Path, "replace"),
            (Path, "rename"),
            (Path, "rmdir"),
            (Path, "mkdir"),
        ):
            self._wrap(patch, owner, name)

    def _wrap(self, patch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def wrapped(*args: Any, **how: Any) -> Any:
            self.count += 1
            self.names[name] += 1
            if self.count == self.nth:
                if self._is_done_first and name != "open":
                    real(*args, **how)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(*args, **how)

        patch.setattr(owner, name, wrapped)

    @property
    def has_broken(self) -> bool:
        return self.count >= self.nth


def _places_and_disk(base: Path, other: Path | None) -> Places:
    root = base / "root"
    root.mkdir(parents=True)
    return places_in(root) if other is None else replace(places_in(root), done=other / "done", failed=other / "failed")


@contextlib.contextmanager
def _fresh(tmp_path: Path, other: Path | None, number: int) -> Iterator[Spool]:
    base = tmp_path / f"run {number}"
    disk = None if other is None else other / str(number)
    if disk is not None:
        disk.mkdir()
    spool = Spool(_places_and_disk(base, disk), ledger_id=LEDGER, was_seen=False)
    spool.check_root()
    yield spool
    shutil.rmtree(base)


@pytest.mark.parametrize("is_done_first", [False, True], ids=["refused", "done but said to have failed"])
@pytest.mark.parametrize("way_name", [*sorted(WAYS), "another disk"])
@pytest.mark.parametrize("is_done", [True, False])
def test_filing_finds_its_way_whatever_fails(
    tmp_path: Path, request: pytest.FixtureRequest, way_name: str, is_done: bool, is_done_first: bool
) -> None:
    """One job file, one result with our id, one explanation, nothing else; wherever the first attempt stopped."""
    other = request.getfixturevalue("other_disk") if way_name == "another disk" else None
    nth = 0
    while True:
        nth += 1
        with _fresh(tmp_path, other, nth) as spool, pytest.MonkeyPatch.context() as patch:
            base = spool.places.done if is_done else spool.places.failed
            base.joinpath("sub").mkdir()
            base.joinpath("sub/x.yaml").write_text("theirs")
            in_processing(spool, "sub/x.yaml")
            if way_name in WAYS:
                WAYS[way_name](patch)
            with pytest.MonkeyPatch.context() as breaking:
                breaks = Breaks(breaking, nth, is_done_first=is_done_first)
                attempt = filing("sub/x.yaml", is_done=is_done)
                with contextlib.suppress(FilingDeferred, RootUnavailable):
                    spool.file_away(attempt)
            filed = spool.file_away(replace(attempt, is_retry=True))
            path = base / "sub" / filed.rpartition("/")[2]
            wanted = {"sub/x.yaml": b"theirs", f"sub/{path.name}": CONTENT, f"sub/{path.name}{RESULT}": attempt.result}
            if not is_done:
                wanted[f"sub/{path.name}{ERROR}"] = f"sub/{path.name}: L-1".encode()
            assert files_in(base) == wanted, (nth, breaks.names)
            assert files_in(spool.places.processing) == {}, (nth, breaks.names)
        if not breaks.has_broken:
            break
    assert nth > 10, "each of its steps was broken once"


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("is_done_first", [False, True], ids=["refused", "done but said to have failed"])
def test_a_claim_finds_its_way_whatever_fails(tmp_path: Path, is_done_first: bool) -> None:
    """The file is in exactly one place, and the same call again claims it."""
    nth = 0
    while True:
        nth += 1
        with _fresh(tmp_path, None, nth) as spool:
            drop = dropped(spool, "sub/x.yaml")
            with pytest.MonkeyPatch.context() as breaking:
                breaks = Breaks(breaking, nth, is_done_first=is_done_first)
                with contextlib.suppress(FilingDeferred, RootUnavailable):
                    claim(spool, drop)
            claim(spool, drop, is_retry=True)
            assert files_in(spool.places.inbox) == {}, (nth, breaks.names)
            assert files_in(spool.places.processing) == {"sub/x.yaml": CONTENT}, (nth, breaks.names)
        if not breaks.has_broken:
            break
    assert nth > 3


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("is_done_first", [False, True], ids=["refused", "done but said to have failed"])
def test_a_video_is_published_once_whatever_fails(tmp_path: Path, is_done_first: bool) -> None:
    """The next attempt finds it published, or publishes it; there is never a second one, nor half of one."""
    content, nth = b"a whole video", 0
    digest = hashlib.sha256(content).hexdigest()
    while True:
        nth += 1
        with _fresh(tmp_path, None, nth) as spool:
            spool.part(5).write_bytes(content)
            with pytest.MonkeyPatch.context() as breaking:
                breaks = Breaks(breaking, nth, is_done_first=is_done_first)
                with contextlib.suppress(FilingDeferred, RootUnavailable):
                    spool.publish(5, "sub", "x.mp4", size=len(content), sha256=digest)
            found = spool.published(5, spool.part(5))
            if found is None:
                assert spool.part(5).read_bytes() == content, "it need not be downloaded again"
                found = spool.publish(5, "sub", "x.mp4", size=len(content), sha256=digest)
            assert (spool.places.root / found.path).read_bytes() == content
            assert spool.published(5, spool.part(5)) == found
            spool.discard(5)
            assert files_in(spool.places.videos) == {"sub/x.mp4": content}, (nth, breaks.names)
            assert files_in(spool.places.processing) == {}, (nth, breaks.names)
        if not breaks.has_broken:
            break
    assert nth > 3


@pytest.mark.parametrize("is_done_first", [False, True], ids=["refused", "done but said to have failed"])
def test_a_root_is_prepared_whatever_fails(tmp_path: Path, is_done_first: bool) -> None:
    """The next look prepares it, and nothing strange stays in the folders."""
    nth = 0
    while True:
        nth += 1
        root = tmp_path / str(nth)
        root.mkdir()
        spool = Spool(places_in(root), ledger_id=LEDGER, was_seen=False)
        with pytest.MonkeyPatch.context() as breaking:
            breaks = Breaks(breaking, nth, is_done_first=is_done_first)
            with contextlib.suppress(RootUnavailable):
                spool.check_root()
        spool.check_root()
        assert list(files_in(root)) == [MARKER], (nth, breaks.names)
        if not breaks.has_broken:
            break
    assert nth > 10


# --- clear ----------------------------------------------------------------------------------------


def test_a_failed_files_result_and_error_are_taken_away(spool: Spool) -> None:
    """When it was dropped again; the same call again does nothing."""
    in_processing(spool)
    filed = spool.file_away(filing())
    (spool.places.root / filed).rename(spool.places.inbox / "x.yaml")
    for _ in range(2):
        spool.clear("L-1", filed)
        assert files_in(spool.places.failed) == {}


def test_only_files_of_that_batch_are_taken_away(spool: Spool) -> None:
    """A later batch of the same name keeps its own, and a job file is never touched."""
    in_processing(spool)
    filed = spool.file_away(filing(marker="L-2"))
    before = files_in(spool.places.failed)
    spool.clear("L-1", filed)
    assert files_in(spool.places.failed) == before
    spool.clear("L-2", filed)
    assert files_in(spool.places.failed) == {"x.yaml": CONTENT}


def test_a_file_that_only_has_the_name_of_one_in_failed_takes_nothing_from_it(spool: Spool) -> None:
    """Nothing of it goes on and it still lies there: its explanation may be the only word that something was paid."""
    in_processing(spool)
    filed = spool.file_away(filing())
    before = files_in(spool.places.failed)
    spool.clear("L-1", filed, is_continued=False)
    assert files_in(spool.places.failed) == before
    (spool.places.root / filed).unlink()
    spool.clear("L-1", filed, is_continued=False)
    assert files_in(spool.places.failed) == {}


def test_an_error_file_without_our_result_is_somebodys(spool: Spool) -> None:
    """Nothing tells that it is ours."""
    (spool.places.failed / f"x.yaml{ERROR}").write_text("theirs")
    spool.clear("L-1", "failed/x.yaml")
    spool.clear("L-1", "failed/nowhere/x.yaml")
    assert (spool.places.failed / f"x.yaml{ERROR}").read_text() == "theirs"


def test_clearing_that_stopped_half_way_goes_on(spool: Spool) -> None:
    """The result, which tells whose they are, goes last."""
    in_processing(spool)
    filed = spool.file_away(filing())
    with pytest.MonkeyPatch.context() as patch:
        Breaks(patch, 3, is_done_first=False)
        with pytest.raises(FilingDeferred):
            spool.clear("L-1", filed)
    assert (spool.places.failed / f"x.yaml{RESULT}").exists()
    spool.clear("L-1", filed)
    assert files_in(spool.places.failed) == {"x.yaml": CONTENT}


# --- videos ---------------------------------------------------------------------------------------

CLIP = b"a whole video"
CLIP_DIGEST = hashlib.sha256(CLIP).hexdigest()


def publish(spool: Spool, job_id: int = 5, folder: str = "", name: str = "x.mp4") -> Video:
    spool.part(job_id).write_bytes(CLIP)
    return spool.publish(job_id, folder, name, size=len(CLIP), sha256=CLIP_DIGEST)


@pytest.mark.usefixtures("way")
def test_a_published_video_is_never_over_another(spool: Spool) -> None:
    """Nor over somebody's own file; its path is relative to the root."""
    (spool.places.videos / "x.mp4").write_text("theirs")
    assert publish(spool, 1) == Video("videos/x (2).mp4", len(CLIP), CLIP_DIGEST)
    assert publish(spool, 2).path == "videos/x (3).mp4"
    assert publish(spool, 3, "sub/deep").path == "videos/sub/deep/x.mp4"
    assert (spool.places.videos / "x.mp4").read_text() == "theirs"


@pytest.mark.usefixtures("way")
def test_a_name_taken_at_the_last_moment_is_left_alone(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the note names where the video really is."""
    real = spool_module._rename_no_replace

    def sudden(source: Path, target: Path) -> None:
        if target.name == "x.mp4":
            target.write_text("theirs")
        real(source, target)

    monkeypatch.setattr(spool_module, "_rename_no_replace", sudden)
    video = publish(spool)
    assert video.path == "videos/x (2).mp4"
    assert spool.published(5, spool.part(5)) == video


def test_a_video_is_found_published_after_a_kill(spool: Spool) -> None:
    """Between the rename and the ledger's line: it is not downloaded a second time under a second name."""
    assert spool.published(5, spool.part(5)) is None
    video = publish(spool)
    again = Spool(spool.places, ledger_id=LEDGER, was_seen=True)
    assert again.published(5, again.part(5)) == video
    again.discard(5)
    assert again.published(5, again.part(5)) is None
    assert files_in(spool.places.videos) == {"x.mp4": CLIP}


def test_a_note_without_its_rename_means_nothing(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between note and rename: the part is still there, and so is perhaps another's file of that name."""
    with monkeypatch.context() as patch:
        patch.setattr(spool_module, "_moved", _refuse(errno.EIO))
        with pytest.raises(FilingDeferred):
            publish(spool)
    (spool.places.videos / "x.mp4").write_bytes(CLIP)
    assert spool.published(5, spool.part(5)) is None
    assert spool.publish(5, "", "x.mp4", size=len(CLIP), sha256=CLIP_DIGEST).path == "videos/x (2).mp4"


def test_a_video_between_link_and_unlink_is_published(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the download would go on in a file that people can see already."""
    part = spool.part(5)
    with monkeypatch.context() as patch:
        patch.setattr(spool_module, "_moved", _refuse(errno.EIO))
        with pytest.raises(FilingDeferred):
            publish(spool)
    (spool.places.videos / "x.mp4").hardlink_to(part)
    assert spool.published(5, spool.part(5)) == Video("videos/x.mp4", len(CLIP), CLIP_DIGEST)
    assert not part.exists()


@pytest.mark.parametrize("damage", [b"", b"a whole vIdeo", b"a whole video and more"])
def test_a_video_that_is_not_what_was_published_is_not_taken(spool: Spool, damage: bytes) -> None:
    """It is downloaded again, beside it."""
    publish(spool)
    (spool.places.videos / "x.mp4").write_bytes(damage)
    assert spool.published(5, spool.part(5)) is None


@pytest.mark.parametrize(
    "note", [b"", b"[]", b"{}", b'{"path": 1}', b'{"path": "x", "bytes": "many"}', b"\xff", b"null"]
)
def test_a_broken_note_means_nothing(spool: Spool, note: bytes) -> None:
    """A power cut may leave anything."""
    spool.part(5).with_suffix(".note").write_bytes(note)
    assert spool.published(5, spool.part(5)) is None


@pytest.mark.parametrize("name", ["v" * 251 + ".mp4", "\u00e4" * 125 + ".mp4"])
def test_a_long_video_name_is_shortened(spool: Spool, name: str) -> None:
    """So that it can be numbered; the extension stays."""
    paths = {publish(spool, number, name=name).path for number in (1, 2, 3)}
    assert len(paths) == 3
    assert all(path.endswith(".mp4") and len(os.fsencode(Path(path).name)) <= 255 for path in paths)


def test_only_the_downloads_of_ended_jobs_are_removed(spool: Spool) -> None:
    """Another machine's, and what is not ours, stays."""
    for name in (
        f"{LEDGER}-1.part", f"{LEDGER}-1.json", f"{LEDGER}-1.note",
        f"{LEDGER}-2.part", f"{LEDGER}-2.json",
        "another-1.part", f"{LEDGER}-x.part", "readme",
    ):  # fmt: skip
        (spool.part(1).parent / name).write_text("")
    spool.discard_all_but(frozenset({2}))
    assert sorted(path.name for path in spool.part(1).parent.iterdir()) == [
        f"{LEDGER}-2.json", f"{LEDGER}-2.part", f"{LEDGER}-x.part", "another-1.part", "readme",
    ]  # fmt: skip


def test_strays_are_named_and_left_alone(spool: Spool) -> None:
    """What the ledger does not know may have been paid; hidden files and downloads are no strays."""
    for name in ("known.yaml", "sub/known.yaml", "b.yaml", "sub/a.yaml", ".hidden", "sub/.hidden"):
        in_processing(spool, name)
    spool.part(1).write_text("")
    before = files_in(spool.places.processing)
    assert spool.strays(frozenset({"known.yaml", "sub/known.yaml"})) == ["b.yaml", "sub/a.yaml"]
    assert files_in(spool.places.processing) == before


def test_paths_are_told_relative_to_the_root(spool: Spool) -> None:
    """Or whole, where a folder lies elsewhere."""
    assert spool.relative(spool.places.done / "sub/x.yaml") == "done/sub/x.yaml"
    assert spool.relative(Path("/elsewhere/x.yaml")) == "/elsewhere/x.yaml"


# --- numbers --------------------------------------------------------------------------------------


@given(st.sets(st.integers(1, 300)))
def test_a_free_number_is_free(taken: set[int]) -> None:
    """Whatever is missing in between."""
    assert first_free(lambda number: number in taken) not in taken


@given(st.integers(0, 10**6))
def test_a_free_number_is_found_quickly_and_is_the_lowest(count: int) -> None:
    """Of so many in a row; a name that is dropped for ever must not cost ever more."""
    looks = []

    def is_taken(number: int) -> bool:
        looks.append(number)
        return number <= count

    assert first_free(is_taken) == count + 1
    assert len(looks) <= 2 * (count + 1).bit_length() + 2


# --- modes and groups -----------------------------------------------------------------------------

GIVEN = 61010
"""A group that only root can give to."""
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give files to other users and groups")
OPEN = Sharing(0o664, 0o2775)


@contextlib.contextmanager
def masked(bits: int) -> Iterator[None]:
    """With this umask."""
    before = os.umask(bits)
    try:
        yield
    finally:
        os.umask(before)


def _refuse_change(code: int) -> Callable[..., None]:
    """As fchmod(2) and fchown(2) may."""

    def refuse(*_: int) -> None:
        raise OSError(code, os.strerror(code))

    return refuse


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    """The process's, for one test."""
    with masked(request.param):
        yield request.param


def share(root: Path, sharing: Sharing) -> tuple[Spool, LogCapture]:
    """A prepared root whose files are shared so, and what is logged of it."""
    said = LogCapture()
    log = structlog.wrap_logger(None, processors=[said])
    found = Spool(places_in(root), ledger_id=LEDGER, was_seen=False, sharing=sharing, log=log)
    found.check_root()
    return found, said


def make_all(spool: Spool) -> dict[str, Path]:
    """One of everything that the daemon makes for people, by what it is."""
    in_processing(spool, "sub/x.yaml")
    spool.file_away(filing("sub/x.yaml"))
    publish(spool, folder="sub")
    spool.put_page("models.html", spool_module.PAGE_MARK)
    failed = spool.places.failed / "sub"
    return {
        "video": spool.places.videos / "sub/x.mp4",
        "job file": failed / "x.yaml",
        "result": failed / f"x.yaml{RESULT}",
        "error": failed / f"x.yaml{ERROR}",
        "page": spool.places.root / "models.html",
        "inbox": spool.places.inbox,
        "mirrored": failed,
        "beside videos": spool.places.videos / "sub",
    }


def modes_of(paths: dict[str, Path]) -> dict[str, int]:
    return {what: stat.S_IMODE(path.stat().st_mode) for what, path in paths.items()}


def test_without_modes_the_umask_decides(root: Path, umask: int) -> None:
    """Files and folders are what any program would make there."""
    spool, _ = share(root, Sharing())
    for path in make_all(spool).values():
        assert stat.S_IMODE(path.stat().st_mode) == (0o777 if path.is_dir() else 0o666) & ~umask


@pytest.mark.usefixtures("umask")
@pytest.mark.parametrize("mode", [0o664, 0o640, 0o755, 0o400])
def test_what_is_made_has_its_mode_whatever_the_umask(root: Path, mode: int) -> None:
    """Videos have all of it, what lies beside job files the read and write bits."""
    spool, said = share(root, Sharing(mode, 0o2775))
    found = modes_of(make_all(spool))
    assert {found[what] for what in ("inbox", "mirrored", "beside videos")} == {0o2775}
    assert found["video"] == mode
    assert {found[what] for what in ("job file", "result", "error", "page")} == {mode & 0o666}
    assert said.entries == []


@pytest.mark.usefixtures("umask", "way")
def test_a_mode_is_there_before_the_name_is(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody ever sees a video, a result, or a folder under its name with another mode than it keeps."""
    seen: dict[str, int] = {}
    move_real, replace_real, rename_real = spool_module._rename_no_replace, Path.replace, Path.rename

    def look(source: Path, target: Path) -> None:
        seen[Path(target).name] = stat.S_IMODE(source.stat().st_mode)

    def move_looking(source: Path, target: Path) -> None:
        look(source, target)
        move_real(source, target)

    def replace_looking(source: Path, target: Path) -> Path:
        look(source, target)
        return replace_real(source, target)

    def rename_looking(source: Path, target: Path) -> Path:
        look(source, target)
        return rename_real(source, target)

    monkeypatch.setattr(spool_module, "_rename_no_replace", move_looking)
    monkeypatch.setattr(Path, "replace", replace_looking)
    monkeypatch.setattr(Path, "rename", rename_looking)
    spool, _ = share(root, Sharing(0o640, 0o2750))
    for path in make_all(spool).values():
        assert seen[path.name] == stat.S_IMODE(path.stat().st_mode)


def test_nothing_is_ever_too_open(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the widest umask, what is made never has a bit too many; parts lie where nobody can look."""
    made: dict[str, int] = {}
    real = os.fchmod

    def look(descriptor: int, mode: int) -> None:
        name = Path(f"/proc/self/fd/{descriptor}").readlink().name
        made[name] = stat.S_IMODE(os.fstat(descriptor).st_mode) & ~mode
        real(descriptor, mode)

    monkeypatch.setattr(os, "fchmod", look)
    with masked(0):
        spool, _ = share(root, Sharing(0o600, 0o700))
        make_all(spool)
    assert {name for name, excess in made.items() if excess} <= {"x.yaml", f"{LEDGER}-5.part"}
    assert stat.S_IMODE((spool.places.processing / ".downloads").stat().st_mode) == 0o700


@pytest.mark.usefixtures("umask")
def test_the_folder_for_parts_is_closed_where_it_was_open(root: Path) -> None:
    """One that an earlier release left behind; its setgid bit stays, for parts take their group from it."""
    parts = root / "processing/.downloads"
    parts.mkdir(parents=True)
    parts.chmod(0o2775)
    share(root, OPEN)
    assert stat.S_IMODE(parts.stat().st_mode) == 0o2700


def test_a_setgid_bit_is_never_taken_away(root: Path) -> None:
    """A folder that hands its group on makes folders that do, whatever folders.mode says."""
    for name in ("failed", "videos"):
        (root / name).mkdir()
        (root / name).chmod(0o2775)
    spool, _ = share(root, Sharing(None, 0o750))
    found = modes_of(make_all(spool))
    assert (found["mirrored"], found["beside videos"], found["inbox"]) == (0o2750, 0o2750, 0o750)


def test_folders_that_are_there_keep_their_mode(root: Path) -> None:
    """They are the operator's, and so are their groups."""
    (root / "videos").mkdir()
    (root / "videos").chmod(0o711)
    spool, _ = share(root, OPEN)
    assert stat.S_IMODE(spool.places.videos.stat().st_mode) == 0o711


def test_a_folder_that_was_left_half_made_is_finished(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed before it had its mode, it has no name yet; the next attempt takes it up and leaves nothing behind."""
    spool, _ = share(root, OPEN)
    in_processing(spool, "sub/x.yaml")
    with monkeypatch.context() as patch, masked(0o077):
        patch.setattr(os, "fchmod", _refuse_change(errno.EIO))
        with pytest.raises(FilingDeferred):
            spool.file_away(filing("sub/x.yaml"))
    assert not (spool.places.failed / "sub").exists()
    spool.file_away(filing("sub/x.yaml", is_retry=True))
    assert [path.name for path in spool.places.failed.iterdir()] == ["sub"]
    assert stat.S_IMODE((spool.places.failed / "sub").stat().st_mode) == 0o2775


def test_a_folder_that_another_was_quicker_to_make_is_taken(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what lies in it; ours is removed."""
    spool, _ = share(root, OPEN)
    in_processing(spool, "sub/x.yaml")
    real = Path.rename

    def late(source: Path, target: Path) -> Path:
        target.mkdir()
        (target / "theirs").write_text("theirs")
        return real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", late)
        spool.file_away(filing("sub/x.yaml"))
    assert [path.name for path in spool.places.failed.iterdir()] == ["sub"]
    assert (spool.places.failed / "sub/theirs").read_text() == "theirs"


@needs_root
@pytest.mark.parametrize("mode", [None, 0o660])
def test_what_is_made_has_the_group(root: Path, mode: int | None) -> None:
    """By name or by number; a job file that is ours, too."""
    spool, said = share(root, Sharing(mode, None, str(GIVEN)))
    assert {path.stat().st_gid for path in make_all(spool).values()} == {GIVEN}
    assert said.entries == []


@needs_root
def test_a_file_that_comes_into_a_setgid_folder_takes_its_group(root: Path) -> None:
    """As if it had been made there, although it is moved there (inode(7), S_ISGID)."""
    for name in ("failed", "videos"):
        (root / name).mkdir()
        os.chown(root / name, -1, GIVEN)
        (root / name).chmod(0o2775)
    spool, _ = share(root, Sharing())
    made = make_all(spool)
    assert {made[what].stat().st_gid for what in ("video", "job file", "result", "error", "mirrored")} == {GIVEN}


@needs_root
def test_another_users_job_file_stays_as_it_is(root: Path) -> None:
    """Mode, group, and owner are the producer's own."""
    spool, said = share(root, Sharing(0o664, 0o2775, str(GIVEN)))
    path = in_processing(spool)
    path.chmod(0o640)
    os.chown(path, 61002, 61003)
    spool.file_away(filing())
    found = (spool.places.failed / "x.yaml").stat()
    assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == (0o640, 61002, 61003)
    assert said.entries == []


def test_a_copy_to_another_disk_has_the_mode(root: Path, other_disk: Path) -> None:
    """It is ours then, and has its mode before anything is written to it."""
    places = replace(places_in(root), failed=other_disk / "failed")
    spool = Spool(places, ledger_id=LEDGER, was_seen=False, sharing=Sharing(0o640))
    in_processing(spool).chmod(0o600)
    spool.file_away(filing())
    assert stat.S_IMODE((places.failed / "x.yaml").stat().st_mode) == 0o640


@pytest.mark.parametrize("code", [errno.EPERM, errno.EINVAL, errno.ENOTSUP])
def test_a_file_system_without_permissions_is_told_once(root: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """exFAT, CIFS, a service that may not: the work goes on."""
    monkeypatch.setattr(os, "fchmod", _refuse_change(code))
    monkeypatch.setattr(os, "fchown", _refuse_change(code))
    with masked(0o077):
        spool, said = share(root, Sharing(0o664, 0o2775, str(GIVEN)))
        make_all(spool)
        publish(spool, 6)
    reasons = [entry["reason"] for entry in said.entries]
    assert {entry["event"] for entry in said.entries} == {"spool.permissions_refused"}
    assert len(reasons) == len(set(reasons))
    assert f"the group {GIVEN} cannot be given: {os.strerror(code)}" in reasons
    assert f"the mode 0664 cannot be set: {os.strerror(code)}" in reasons


def test_a_file_system_that_only_seems_to_obey_is_told(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CIFS and vfat may say yes and change nothing."""
    monkeypatch.setattr(os, "fchmod", lambda *_: None)
    with masked(0o077):
        spool, said = share(root, Sharing(0o664))
        publish(spool)
    assert [entry["reason"] for entry in said.entries] == ["the mode 0664 was set, and 0600 came of it"]


def test_any_other_trouble_with_a_mode_defers(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fails is no refusal."""
    spool, _ = share(root, Sharing(0o640))
    spool.part(5).write_bytes(CLIP)
    monkeypatch.setattr(os, "fchmod", _refuse_change(errno.EIO))
    with pytest.raises(FilingDeferred):
        spool.publish(5, "", "x.mp4", size=len(CLIP), sha256=CLIP_DIGEST)
    assert files_in(spool.places.videos) == {}


def test_a_group_that_is_not_there_yet_is_told_and_taken_when_it_comes(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Groups may come from a network, later than the daemon."""
    spool, said = share(root, Sharing(group="no-such-group-here"))
    publish(spool, 1)
    publish(spool, 2)
    (entry,) = said.entries
    assert "there is no group no-such-group-here on this machine" in entry["reason"]
    given: list[int] = []
    monkeypatch.setattr(spool_module, "group_number", lambda _: GIVEN)
    monkeypatch.setattr(os, "fchown", lambda _descriptor, _user, group: given.append(group))
    publish(spool, 3)
    assert given == [GIVEN]


def test_groups_are_known_by_name_and_number() -> None:
    """A number need not have a name."""
    own = grp.getgrgid(0)
    assert group_number(own.gr_name) == 0
    assert group_number("61010") == 61010
    assert group_number("no-such-group-here") is None


def test_other_modes_hold_from_then_on(root: Path) -> None:
    """What was made keeps its own."""
    spool, _ = share(root, Sharing(0o640))
    publish(spool, 1, name="a.mp4")
    spool.share_as(Sharing(0o604))
    publish(spool, 2, name="b.mp4")
    assert [stat.S_IMODE((spool.places.videos / name).stat().st_mode) for name in ("a.mp4", "b.mp4")] == [0o640, 0o604]


# --- what other users put in our way --------------------------------------------------------------

STRANGER = 61002
FOLDERS = ("inbox", "processing", "done", "failed", "videos")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Something of the daemon's outside the root that must never be touched."""
    folder = tmp_path / "state"
    folder.mkdir()
    (folder / "lock").write_bytes(b"")
    (folder / "ledger.sqlite3").write_bytes(b"what was paid")
    return folder


def link(path: Path, target: Path, owner: int = STRANGER) -> None:
    path.symlink_to(target)
    os.chown(path, owner, -1, follow_symlinks=False)


@needs_root
@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_that_another_user_has_made_a_link_is_not_entered(root: Path, state: Path, name: str) -> None:
    """Whoever may rename in the root could have the daemon write where he may not; it says what to do."""
    before = files_in(state)
    link(root / name, state)
    fresh = Spool(places_in(root), ledger_id=LEDGER, was_seen=False)
    with pytest.raises(RootUnavailable, match=f"root/{name} is a link that another user has made.*remove it"):
        fresh.check_root()
    assert files_in(state) == before
    (root / name).unlink()
    fresh.check_root()
    if name == "videos":
        (root / name).rename(root / "away")
        link(root / name, state)
        with pytest.raises(RootUnavailable):
            publish(fresh)
        assert files_in(state) == before


@pytest.mark.parametrize("name", FOLDERS[2:])
def test_a_link_of_our_own_is_followed(root: Path, tmp_path: Path, name: str) -> None:
    """An operator may have a folder elsewhere, say on another disk."""
    (tmp_path / "disk").mkdir()
    (root / name).symlink_to(tmp_path / "disk")
    fresh = Spool(places_in(root), ledger_id=LEDGER, was_seen=False)
    fresh.check_root()
    assert publish(fresh).path == "videos/x.mp4"
    assert (root / name).is_symlink()


@pytest.mark.parametrize("name", FOLDERS)
def test_a_file_in_the_place_of_a_folder_is_told(root: Path, name: str) -> None:
    """It is somebody's, and left alone."""
    (root / name).write_text("theirs")
    fresh = Spool(places_in(root), ledger_id=LEDGER, was_seen=False)
    with pytest.raises(RootUnavailable, match="is not a folder: move it away"):
        fresh.check_root()
    assert (root / name).read_text() == "theirs"


@needs_root
def test_nothing_goes_through_another_users_link_in_a_subfolder(spool: Spool, state: Path) -> None:
    """Videos, results, and claims of a mirrored subfolder wait until the link is gone."""
    places, before = spool.places, files_in(state)
    for base in (places.videos, places.failed):
        link(base / "sub", state)
    path = in_processing(spool, "sub/x.yaml")
    with pytest.raises(FilingDeferred, match="remove it"):
        publish(spool, folder="sub/deep")
    with pytest.raises(FilingDeferred, match="remove it"):
        spool.file_away(filing("sub/x.yaml"))
    with pytest.raises(FilingDeferred, match="remove it"):
        spool.clear("L-1", "failed/sub/x.yaml")
    drop = dropped(spool, "new.yaml")
    link(places.inbox / "sub", state)
    with pytest.raises(FilingDeferred, match="remove it"):
        spool.claim("sub/new.yaml", "new.yaml", drop.fingerprint, drop.digest)
    assert files_in(state) == before
    assert path.read_bytes() == CONTENT
    (places.failed / "sub").unlink()
    assert spool.file_away(filing("sub/x.yaml")) == "failed/sub/x.yaml"


@pytest.mark.parametrize(
    "name", ["lock", "../state/lock", "videos/../../state/lock", "processing/x", "videos/sub/lock"]
)
def test_a_note_of_a_place_outside_videos_counts_for_nothing(spool: Spool, state: Path, name: str) -> None:
    """An empty file, such as a lock, would be taken for our placeholder and removed."""
    (spool.places.processing / "x").write_bytes(b"")
    if name == "videos/sub/lock":
        if os.geteuid() != 0:
            pytest.skip("needs root, to give a link to another user")
        link(spool.places.videos / "sub", state)
    place = str(state / "lock") if name == "lock" else name
    note = json.dumps({"path": place, "bytes": 0, "sha256": hashlib.sha256().hexdigest()})
    spool.part(5).with_suffix(".note").write_text(note)
    assert spool.published(5, spool.part(5)) is None
    publish(spool)
    assert (state / "lock").exists()
    assert (spool.places.processing / "x").exists()


@needs_root
def test_another_users_note_counts_for_nothing(spool: Spool) -> None:
    """Nor is it written into, or waited for."""
    video = publish(spool)
    note = spool.part(5).with_suffix(".note")
    assert spool.published(5, spool.part(5)) == video
    os.chown(note, STRANGER, -1)
    assert spool.published(5, spool.part(5)) is None
    note.unlink()
    os.mkfifo(note)
    assert spool.published(5, spool.part(5)) is None
    assert publish(spool).path == "videos/x (2).mp4"


@needs_root
@pytest.mark.parametrize("kind", ["folder", "link", "link to a folder of ours", "file"])
def test_a_folder_for_downloads_that_is_not_ours_is_refused(spool: Spool, state: Path, kind: str) -> None:
    """Who owns it can put anything in the place of a download; what to do is said, and then all is well again."""
    downloads = spool.part(5).parent
    downloads.rename(state / "away")
    if kind == "folder":
        downloads.mkdir()
        os.chown(downloads, STRANGER, -1)
        downloads.chmod(0o777)
    elif kind == "file":
        downloads.write_text("theirs")
    else:
        link(downloads, state, STRANGER if kind == "link" else os.geteuid())
    with pytest.raises(FilingDeferred, match=r"is not a folder of the daemon's own.*remove it"):
        spool.part(5)
    with pytest.raises(RootUnavailable, match="is not a folder of the daemon's own"):
        Spool(spool.places, ledger_id=LEDGER, was_seen=True).check_root()
    assert sorted(path.name for path in state.iterdir()) == ["away", "ledger.sqlite3", "lock"]
    if kind == "folder":
        downloads.rmdir()
    else:
        downloads.unlink()
    assert spool.part(5).parent.is_dir()


@pytest.mark.parametrize("place", ["inbox/.chromadrop-probe-{pid}", "processing/.downloads/probe-{pid}"])
def test_a_probe_is_written_through_no_link(root: Path, state: Path, place: str) -> None:
    """The number of a process is easily guessed."""
    before = files_in(state)
    probe = root / place.format(pid=os.getpid())
    probe.parent.mkdir(parents=True)
    probe.symlink_to(state / "ledger.sqlite3")
    Spool(places_in(root), ledger_id=LEDGER, was_seen=False).check_root()
    assert files_in(state) == before


@pytest.mark.usefixtures("umask")
@pytest.mark.parametrize("sharing", [Sharing(), OPEN, Sharing(0o664, 0o2777, str(os.getegid()))])
def test_processing_is_never_for_others_to_write(root: Path, sharing: Sharing) -> None:
    """Whatever the umask and folders.mode say, and in its mirrored subfolders; its group is handed on all the same."""
    root.chmod(0o2770)
    spool, said = share(root, sharing)
    drop = dropped(spool, "sub/x.yaml")
    claim(spool, drop)
    for folder in (spool.places.processing, spool.places.processing / "sub", spool.part(5).parent):
        assert stat.S_IMODE(folder.stat().st_mode) & 0o2022 == stat.S_ISGID
    assert said.entries == []


def test_a_processing_folder_that_others_may_write_in_is_told_and_used(root: Path) -> None:
    """Once; folders that are there are the operator's."""
    (root / "processing").mkdir()
    (root / "processing").chmod(0o2770)
    spool, said = share(root, Sharing())
    spool.check_root()
    assert publish(spool).path == "videos/x.mp4"
    (entry,) = said.entries
    assert (entry["event"], entry["log_level"]) == ("spool.exposed", "warning")
    assert "chmod g-w,o-w" in entry["reason"]


def test_an_open_folder_for_downloads_that_cannot_be_closed_is_replaced(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hardened service may not chmod a folder with a setgid bit (RestrictSUIDSGID=); a new one is closed at once."""
    parts = root / "processing/.downloads"
    parts.mkdir(parents=True)
    (root / "processing").chmod(0o2750)
    parts.chmod(0o2770)
    monkeypatch.setattr(os, "fchmod", _refuse_change(errno.EPERM))
    share(root, Sharing())
    assert stat.S_IMODE(parts.stat().st_mode) == 0o2700
    parts.chmod(0o2770)
    (parts / f"{LEDGER}-5.part").write_bytes(CLIP)
    spool, _ = share(root, Sharing())
    assert spool.part(5).read_bytes() == CLIP, "what was downloaded is kept"


def test_a_marker_that_is_a_fifo_is_not_waited_for(root: Path) -> None:
    """Nor is one that is a link taken for ours."""
    os.mkfifo(root / MARKER)
    with pytest.raises(RootUnavailable):
        Spool(places_in(root), ledger_id=LEDGER, was_seen=False).check_root()
