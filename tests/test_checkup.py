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
from daemon.simulator.catalogue import MODELS
from daemon.simulator.faults import Fault
from daemon.simulator.server import RunningSimulator, Settings

if TYPE_CHECKING:
    from pathlib import Path

KEY = {"AISTUDIOS_API_KEY": "a-secret-key"}
PAIR = {"AISTUDIOS_APP_ID": "an-app-id", "AISTUDIOS_USER_KEY": "a-user-key"}
APP = ("an-app-id", "a-user-key")


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


@pytest.mark.parametrize(("version", "environ"), [("v2", KEY), ("v3", KEY), ("v3", PAIR)])
def test_the_redactor_knows_all_of_the_credential(version: str, environ: dict[str, str]) -> None:
    """A key, or both halves of a pair."""
    settings = config.Config(api=config.Api(version=version))  # type: ignore[arg-type]
    redact = app.redactor(config.find_credential(settings, environ))
    assert redact(f"refused: {', '.join(environ.values())}") == f"refused: {', '.join(['***'] * len(environ))}"


def test_a_key_file_that_others_may_read_is_a_warning(tmp_path: Path) -> None:
    """Not a problem: the daemon runs all the same."""
    (tmp_path / "key.txt").write_text("a-secret-key")
    (tmp_path / "key.txt").chmod(0o644)
    (tmp_path / "config.yaml").write_text("api: {key_file: key.txt}")
    findings = _check(tmp_path, {})
    assert _problems(findings) == [("credential", 0)]
    assert exit_code(findings) == 0


def test_the_key_file_is_what_others_may_read(tmp_path: Path) -> None:
    """Where half a pair lies elsewhere, only the file is named."""
    (tmp_path / "key.txt").write_text("userKey: a-user-key")
    (tmp_path / "key.txt").chmod(0o644)
    (tmp_path / "config.yaml").write_text("api: {version: v3, key_file: key.txt}")
    findings = _check(tmp_path, {"AISTUDIOS_APP_ID": "an-app-id"})
    found, exposed = (finding for finding in findings if finding.kind == "credential")
    assert "the environment variable AISTUDIOS_APP_ID and the file that api.key_file names" in found.text
    assert (exposed.is_ok, exposed.exit_code) == (False, 0)
    assert exposed.text.startswith("the file that api.key_file names may be read by others")


@pytest.mark.parametrize(
    ("line", "variables"),
    [
        ("api: {version: v3}", {}),
        ("api:\n  version: 'v3'   # here", {}),
        ('{"api": {"version": "v3"}}', {}),
        ("api: {version: v2}", {"CHROMADROP_API__VERSION": "v3"}),
    ],
)
def test_a_pair_is_not_called_missing_beside_other_problems(
    tmp_path: Path, line: str, variables: dict[str, str]
) -> None:
    """The version counts for the credential also where the configuration is not valid."""
    (tmp_path / "config.yaml").write_text(line)
    environ = {**variables, "CHROMADROP_JOBS__MAX_RENDERING": "many"}
    assert [finding.kind for finding in _check(tmp_path, environ | PAIR)] == ["configuration"]
    bare = _check(tmp_path, environ)
    assert [finding.kind for finding in bare] == ["configuration", "credential"]
    assert bare[1].text.startswith("neither app id and user key nor an API key was found")


def test_a_pair_counts_for_v3_only(tmp_path: Path) -> None:
    """With v2 a key is missing all the same."""
    (tmp_path / "config.yaml").write_text("nonsense: 1\n# version: v3\n")
    assert [finding.kind for finding in _check(tmp_path, PAIR)] == ["configuration", "credential"]


def test_a_half_pair_is_told_with_what_is_missing(tmp_path: Path) -> None:
    """The daemon would refuse to start: 78."""
    (tmp_path / "config.yaml").write_text("api: {version: v3}")
    findings = _check(tmp_path, {"AISTUDIOS_USER_KEY": "a-user-key"})
    assert _problems(findings) == [("credential", 78)]
    assert findings[-1].text.startswith("the app id is missing")


@pytest.mark.parametrize("version", ["v2", "v3"])
@pytest.mark.parametrize("is_checking", ["true", "false"])
def test_a_list_of_models_that_is_valid_is_fine(tmp_path: Path, version: str, is_checking: str) -> None:
    """Counted, with its path, in either version."""
    (tmp_path / "models.yaml").write_text("M1: [C1]\nM2: [C1, C2]\n")
    (tmp_path / "config.yaml").write_text(
        f"api: {{version: {version}}}\njobs: {{check_models: {is_checking}, models_file: models.yaml}}"
    )
    findings = _check(tmp_path)
    assert _problems(findings) == []
    texts = [finding.text for finding in findings if finding.kind == "models"]
    assert texts == [f"2 models in {tmp_path / 'models.yaml'}"]


def test_every_mistake_in_a_list_of_models_is_a_problem_with_its_line(tmp_path: Path) -> None:
    """Of the list's file, not of the configuration; the daemon runs all the same: 1."""
    (tmp_path / "models.yaml").write_text("M1: [C1]\nM2: {C1: C2}\n\nM1: [C1]\n")
    (tmp_path / "config.yaml").write_text("jobs: {models_file: models.yaml}")
    findings = _check(tmp_path)
    assert _problems(findings) == [("models", 1), ("models", 1)]
    places = [finding.text.partition(", column")[0] for finding in findings if finding.kind == "models"]
    assert places == [f"{tmp_path / 'models.yaml'}, line 2", f"{tmp_path / 'models.yaml'}, line 4"]


def test_a_list_of_models_that_cannot_be_read_is_a_problem(tmp_path: Path) -> None:
    """Told at the line of the configuration that names it."""
    (tmp_path / "config.yaml").write_text("jobs:\n  models_file: models.yaml\n")
    findings = _check(tmp_path)
    assert _problems(findings) == [("models", 1)]
    text = next(finding.text for finding in findings if finding.kind == "models")
    assert text.startswith(f"{tmp_path / 'config.yaml'}, line 2, column 16 (jobs.models_file): ")
    assert f"{tmp_path / 'models.yaml'} cannot be read (No such file or directory)" in text


def test_a_program_to_be_told_by_is_looked_for(tmp_path: Path) -> None:
    """It is not run; without it all but the telling works, so that it is a warning."""
    program = tmp_path / "tell"
    (tmp_path / "config.yaml").write_text(f"notify:\n  command: [{program}, {KEY['AISTUDIOS_API_KEY']}]\n")
    findings = _check(tmp_path)
    assert _problems(findings) == [("notify", 0)]
    (text,) = [finding.text for finding in findings if finding.kind == "notify"]
    assert f"{tmp_path}/config.yaml, line 2, column 12 (notify.command): {program} cannot be found or run" in text
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/was-run\n")
    program.chmod(0o755)
    assert _problems(_check(tmp_path)) == []
    assert not (tmp_path / "was-run").exists()


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
    assert "models" not in [finding.kind for finding in findings]


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


def _with_v3(
    tmp_path: Path, cloud: RunningSimulator, environ: dict[str, str] | None = None, jobs: str = "{}"
) -> list[Finding]:
    (tmp_path / "config.yaml").write_text(
        f"api: {{version: v3, base_url: '{cloud.base_url_v3}', connect_timeout_seconds: 2}}\njobs: {jobs}\n"
    )
    return _check(tmp_path, PAIR if environ is None else environ, is_offline=False)


@pytest.mark.parametrize("environ", [PAIR, KEY])
def test_v3_is_tried_with_its_list_of_models(tmp_path: Path, environ: dict[str, str]) -> None:
    """With a pair as with a long-lived key; nothing is left there."""
    with RunningSimulator(Settings(port=0, keys=(KEY["AISTUDIOS_API_KEY"],), apps=(APP,))) as cloud:
        findings = _with_v3(tmp_path, cloud, environ)
        assert cloud.outcomes() == ()
    assert _problems(findings) == []
    assert [finding.kind for finding in findings][-3:] == ["cloud", "models", "clock"]
    assert findings[-2].text == f"{len(MODELS)} models in the cloud's list"


def test_a_refused_pair_is_77(tmp_path: Path) -> None:
    """Said once: without a credential there is no list to be asked for. Neither half is shown."""
    with RunningSimulator(Settings(port=0, apps=(("another-app", "another-key"),))) as cloud:
        findings = _with_v3(tmp_path, cloud)
    assert _problems(findings) == [("cloud", 77)]
    assert "models" not in [finding.kind for finding in findings]
    text = " ".join(finding.text for finding in findings)
    assert not [secret for secret in PAIR.values() if secret in text]


@pytest.mark.parametrize("fault", ["models:500,times=0", "models:403,times=0"])
def test_a_list_of_models_that_cannot_be_had_is_a_warning(tmp_path: Path, fault: str) -> None:
    """The daemon goes on without it."""
    with RunningSimulator(Settings(port=0, faults=(Fault.parse(fault),))) as cloud:
        findings = _with_v3(tmp_path, cloud)
    assert _problems(findings) == [("models", 0)]
    assert exit_code(findings) == 0


@pytest.mark.parametrize("jobs", ["{check_models: false}", "{models_file: models.yaml}"])
def test_the_clouds_list_is_asked_for_only_where_it_counts(tmp_path: Path, jobs: str) -> None:
    """Not where nothing is checked, nor where a file is the list."""
    (tmp_path / "models.yaml").write_text("M1: [C1]")
    with RunningSimulator(Settings(port=0, faults=(Fault.parse("models:500,times=0"),))) as cloud:
        findings = _with_v3(tmp_path, cloud, jobs=jobs)
    assert _problems(findings) == []
    assert not [finding for finding in findings if "cloud's list" in finding.text]


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


def _sharing(root: Path, folders: str) -> list[Finding]:
    (root / "config.yaml").write_text(f"folders: {{{folders}}}\n")
    return [finding for finding in _check(root) if finding.kind == "sharing"]


def test_a_group_that_can_be_given_is_fine(tmp_path: Path) -> None:
    """By number, which need not have a name."""
    (finding,) = _sharing(tmp_path, f"group: {os.getegid()}")
    assert finding.is_ok


def test_a_group_that_is_not_there_is_a_problem(tmp_path: Path) -> None:
    """With the line, and how to make it."""
    (finding,) = _sharing(tmp_path, "group: no-such-group-here")
    assert (finding.is_ok, finding.exit_code) == (False, 1)
    assert "line 1" in finding.text
    assert "groupadd --system no-such-group-here" in finding.text


def test_a_group_that_is_not_ours_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only root can give a file to a group that he is not in (chown(2))."""
    monkeypatch.setattr(os, "geteuid", lambda: 61001)
    monkeypatch.setattr(os, "getgroups", lambda: [61011])
    (finding,) = _sharing(tmp_path, "group: 61010")
    assert (finding.is_ok, finding.exit_code) == (False, 1)
    assert "is not in the group 61010" in finding.text
    (finding,) = _sharing(tmp_path, "group: 61011")
    assert finding.is_ok


def test_a_processing_folder_that_others_may_write_in_is_a_warning(tmp_path: Path) -> None:
    """Who can write there can put anything in the place of a download; it works all the same."""
    (tmp_path / "processing").mkdir()
    (tmp_path / "processing").chmod(0o2770)
    (finding,) = _sharing(tmp_path, "done: done")
    assert (finding.is_ok, finding.exit_code) == (False, 0)
    assert "chmod g-w,o-w on it" in finding.text
    (tmp_path / "processing").chmod(0o2750)
    assert _sharing(tmp_path, "done: done") == []


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give a link to another user")
def test_a_folder_that_is_another_users_link_is_a_problem(tmp_path: Path) -> None:
    """The daemon would not enter it; nothing is tried in it."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "videos").symlink_to(tmp_path / "elsewhere")
    os.chown(tmp_path / "videos", 61002, -1, follow_symlinks=False)
    (finding,) = [finding for finding in _check(tmp_path) if "another user has made" in finding.text]
    assert (finding.kind, finding.is_ok, finding.exit_code) == ("folder", False, 1)
    assert "remove it" in finding.text


def test_a_folder_that_producers_cannot_write_in_is_a_warning(tmp_path: Path) -> None:
    """Folders that are there are never changed, so it says how; nothing is said of those that fit."""
    for name, mode in (("inbox", 0o755), ("done", 0o775), ("processing", 0o700)):
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(mode)
    (finding,) = _sharing(tmp_path, "mode: 2775")
    assert (finding.is_ok, finding.exit_code) == (False, 0)
    assert str(tmp_path / "inbox") in finding.text
    assert "chmod 2775 on it" in finding.text
    assert _sharing(tmp_path, "mode: 0755") == []


def test_a_folder_of_another_group_is_a_warning(tmp_path: Path) -> None:
    """Both cures at once, where both are wanted."""
    (tmp_path / "inbox").mkdir()
    (tmp_path / "inbox").chmod(0o755)
    group = os.getegid() + 1
    findings = [finding for finding in _sharing(tmp_path, f"mode: 2775, group: {group}") if "inbox" in finding.text]
    assert [finding.text.partition(": ")[2] for finding in findings] == [
        f"chmod 2775 and chgrp {group} on it, and on the folders in it"
    ]
