"""`check` finds every problem at once and leaves nothing behind."""

from __future__ import annotations

import functools
import os
import socket
import stat
import time
from typing import TYPE_CHECKING

import pytest
from story import Story

from daemon import app, config
from daemon.checkup import Finding, check, exit_code
from daemon.edges import mounts, spool
from daemon.edges.studio import Studio
from daemon.simulator.server import RunningSimulator, Settings

if TYPE_CHECKING:
    from pathlib import Path

KEY = {"AISTUDIOS_API_KEY": "a-secret-key"}


def _check(root: Path, environ: dict[str, str] | None = None, *, is_offline: bool = True) -> list[Finding]:
    return check(None, KEY if environ is None else environ, root, is_offline=is_offline)


def _problems(findings: list[Finding]) -> list[tuple[str, int]]:
    return [(finding.kind, finding.exit_code) for finding in findings if not finding.is_ok]


def _tree(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


@pytest.fixture(autouse=True)
def _no_files_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """/etc/chromadrop/config.yaml of the machine that tests is not read."""
    monkeypatch.setattr(config.load, "__kwdefaults__", {"default_files": config.DEFAULT_FILES[:1]})


def test_a_new_folder_is_fine_and_stays_empty(tmp_path: Path) -> None:
    """Nothing is made: neither folders, nor a ledger, nor what was tried with."""
    findings = _check(tmp_path)
    assert _problems(findings) == []
    assert exit_code(findings) == 0
    assert _tree(tmp_path) == []


def test_a_root_in_use_is_fine_and_stays_as_it_is(tmp_path: Path) -> None:
    """Also while a daemon is at work, which is said."""
    with Story(tmp_path) as story:
        before = _tree(tmp_path)
        running = _check(tmp_path)
        assert _tree(tmp_path) == before
        assert story.ledger.read_note("seen_root") == str(tmp_path)
    stopped = _check(tmp_path)
    assert _problems(running) == _problems(stopped) == []
    assert any(finding.text.startswith("one is running") for finding in running)
    assert any(finding.text == "none is running" for finding in stopped)


def test_all_problems_of_the_configuration_come_with_the_credentials(tmp_path: Path) -> None:
    """An invalid configuration and a missing key are told together."""
    (tmp_path / "config.yaml").write_text("jobs: {max_rendring: 3}\nlogs: {level: loud}\n")
    findings = _check(tmp_path, {})
    assert [(finding.kind, finding.exit_code) for finding in findings] == [
        ("configuration", 78),
        ("configuration", 78),
        ("credential", 78),
    ]


@pytest.mark.parametrize(
    ("line", "is_named"),
    [
        ("api: {key_file: key.txt}", True),
        ("api:\n  key_file: key.txt   # here", True),
        ("api: {key_file: null}", False),
        ("# key_file: key.txt", False),
    ],
)
def test_a_key_file_that_counts_later_is_not_called_missing(tmp_path: Path, line: str, *, is_named: bool) -> None:
    """Beside other problems, nothing is said of the key where the file may well say where it lies."""
    (tmp_path / "config.yaml").write_text(f"nonsense: 1\n{line}\n")
    kinds = [finding.kind for finding in _check(tmp_path, {})]
    assert ("credential" not in kinds) == is_named


def test_the_credential_is_never_shown(tmp_path: Path) -> None:
    """Only where it was found."""
    text = " ".join(finding.text for finding in _check(tmp_path))
    assert "AISTUDIOS_API_KEY" in text
    assert "a-secret-key" not in text


def test_a_key_file_that_others_may_read_is_a_warning(tmp_path: Path) -> None:
    """Not a problem: the daemon runs all the same."""
    (tmp_path / "key.txt").write_text("a-secret-key")
    (tmp_path / "key.txt").chmod(0o644)
    (tmp_path / "config.yaml").write_text("api: {key_file: key.txt}")
    findings = _check(tmp_path, {})
    assert _problems(findings) == [("credential", 0)]
    assert exit_code(findings) == 0


def test_a_root_that_is_not_there_is_out_of_reach(tmp_path: Path) -> None:
    """The root may be a share that is not mounted: 69, and nothing is made."""
    (tmp_path / "config.yaml").write_text("folders: {root: away}")
    findings = _check(tmp_path)
    assert _problems(findings) == [("root", 69)]
    assert exit_code(findings) == 69
    assert _tree(tmp_path) == ["config.yaml"]


def test_a_root_without_the_marker_that_was_there_is_unmounted(tmp_path: Path) -> None:
    """What lies there now are not the folders that are meant, so they are not looked at."""
    with Story(tmp_path) as story:
        marker = story.paths.root / spool.MARKER
    marker.unlink()
    findings = _check(tmp_path)
    assert _problems(findings) == [("root", 69)]
    assert "folder" not in [finding.kind for finding in findings]


@pytest.mark.parametrize("content", ['{"ledger": "another"}', "nonsense", "[]"])
def test_a_root_of_another_ledger_is_refused(tmp_path: Path, content: str) -> None:
    """As `run` would: two ledgers would pay twice."""
    (tmp_path / spool.MARKER).write_text(content)
    assert _problems(_check(tmp_path)) == [("root", 78)]


def test_a_file_in_a_folders_place_is_a_problem(tmp_path: Path) -> None:
    """One finding for each folder that cannot be used."""
    (tmp_path / "inbox").write_text("")
    (tmp_path / "done").write_text("")
    findings = _check(tmp_path)
    assert _problems(findings) == [("folder", 1), ("folder", 1)]
    assert "is not a folder" in findings[2].text
    assert exit_code(findings) == 1


def test_a_folder_that_may_not_be_written_is_a_problem(tmp_path: Path) -> None:
    """Shown by really writing: mode bits do not tell everything."""
    for name in ("inbox", "videos"):
        (tmp_path / name).mkdir(mode=stat.S_IRUSR | stat.S_IXUSR)
    if os.access(tmp_path / "inbox", os.W_OK):
        pytest.skip("root may write everywhere")
    assert _problems(_check(tmp_path)) == [("folder", 1), ("folder", 1)]


def _other_file_system(tmp_path: Path) -> Path:
    shm = "/dev/shm"
    if not os.access(shm, os.W_OK) or os.stat(shm).st_dev == tmp_path.stat().st_dev:  # noqa: PTH116 - as it is
        pytest.skip("there is no second file system to be had")
    return tmp_path.__class__(shm) / f"chromadrop-test-{os.getpid()}-{tmp_path.name}"


def test_processing_on_another_file_system_is_refused(tmp_path: Path) -> None:
    """A claim must be one rename, which is really tried."""
    other = _other_file_system(tmp_path)
    (tmp_path / "config.yaml").write_text(f"folders: {{processing: {other}/processing, done: {other}/done}}")
    findings = _check(tmp_path)
    assert ("folder", 78) in _problems(findings)
    assert not other.exists()


def test_done_and_videos_on_another_file_system_are_a_note(tmp_path: Path) -> None:
    """It works by copying, which is worth knowing and no problem."""
    other = _other_file_system(tmp_path)
    (tmp_path / "config.yaml").write_text(f"folders: {{done: {other}/done, videos: {other}/videos}}")
    findings = _check(tmp_path)
    assert _problems(findings) == []
    notes = [finding.text for finding in findings if "another file system" in finding.text]
    assert [note.partition("/")[0] for note in notes] == ["done", "videos"]


def test_a_state_on_a_network_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No network file system can be had in a test, so the mount table's word is replaced."""
    monkeypatch.setattr(mounts, "file_system", lambda _path: mounts.FileSystem("cifs", "//nas/x", "/", is_local=False))
    assert ("state", 78) in _problems(_check(tmp_path))


def test_a_ledger_that_cannot_be_read_is_a_problem(tmp_path: Path) -> None:
    """A file that is no database."""
    (tmp_path / "state").mkdir()
    (tmp_path / "state/ledger.sqlite3").write_bytes(b"no database, for sure" * 100)
    assert _problems(_check(tmp_path)) == [("ledger", 1)]


def _with_cloud(tmp_path: Path, base_url: str, environ: dict[str, str] | None = None) -> list[Finding]:
    (tmp_path / "config.yaml").write_text(f"api: {{base_url: '{base_url}', connect_timeout_seconds: 2}}")
    return _check(tmp_path, environ, is_offline=False)


def test_a_cloud_that_accepts_the_key_is_fine(tmp_path: Path) -> None:
    """One free question, which leaves nothing there, and the clock agrees."""
    with RunningSimulator(Settings(port=0, keys=(KEY["AISTUDIOS_API_KEY"],))) as cloud:
        findings = _with_cloud(tmp_path, cloud.base_url)
        assert cloud.outcomes() == ()
    assert _problems(findings) == []
    assert [finding.kind for finding in findings][-2:] == ["cloud", "clock"]


def test_a_refused_key_is_77(tmp_path: Path) -> None:
    """Whatever else is wrong, but for the configuration."""
    (tmp_path / "inbox").write_text("")
    with RunningSimulator(Settings(port=0, keys=("another-key",))) as cloud:
        findings = _with_cloud(tmp_path, cloud.base_url)
    assert _problems(findings) == [("folder", 1), ("cloud", 77)]
    assert exit_code(findings) == 77


def test_a_cloud_that_cannot_be_reached_is_69(tmp_path: Path) -> None:
    """Said once; the clock cannot be told then."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    findings = _with_cloud(tmp_path, f"http://127.0.0.1:{port}/api/odin")
    assert _problems(findings) == [("cloud", 69)]


@pytest.mark.parametrize("seconds", [-3600.0, 3600.0])
def test_a_wrong_clock_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """More than a minute away from the cloud's own Date, in either direction."""
    made = functools.partial(Studio, wall_clock=lambda: time.time() + seconds)
    monkeypatch.setattr(app, "Studio", made)
    with RunningSimulator(Settings(port=0)) as cloud:
        findings = _with_cloud(tmp_path, cloud.base_url)
    assert _problems(findings) == [("clock", 1)]
    assert ("ahead of" if seconds > 0 else "behind") in findings[-1].text


@pytest.mark.parametrize(
    ("codes", "whole"), [((), 0), ((0, 1), 1), ((1, 69), 69), ((69, 77, 1), 77), ((77, 78, 69), 78)]
)
def test_the_gravest_problem_is_the_exit_code(codes: tuple[int, ...], whole: int) -> None:
    """Configuration, credential, reach, anything else, nothing."""
    assert exit_code([Finding("x", False, "", code) for code in codes]) == whole
