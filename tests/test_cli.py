"""The command line: exit codes, and one clear text for whatever can be foreseen."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result
from story import Story, job_yaml

from daemon import VERSION, config, demo
from daemon.cli import commands
from daemon.core.job import Exported, ExportStarted, InDoubt
from daemon.edges.spool import MARKER
from daemon.simulator.server import RunningSimulator, Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

CHECKOUT = Path(demo.__file__).parent.parent
KEY = "the-real-secret-key"
QUICK = """\
watch: {settle_seconds: 0, grace_seconds: 0}
jobs: {poll_seconds: 0.05}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, empty, and nothing of this machine's own settings."""
    monkeypatch.chdir(tmp_path)
    for name in os.environ:
        if name.startswith(("CHROMADROP_", "AISTUDIOS_", "CREDENTIALS_DIRECTORY", "STATE_DIRECTORY")):
            monkeypatch.delenv(name)
    monkeypatch.setattr(config.load, "__kwdefaults__", {"default_files": config.DEFAULT_FILES[:1]})
    return tmp_path


def _invoke(*arguments: str, text: str | bytes | None = None) -> Result:
    return CliRunner().invoke(commands, arguments, input=text)


def _environment(**own: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(CHECKOUT), **own}


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "daemon", *arguments]


def _run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        _command(*arguments), capture_output=True, text=True, env=_environment(**environ), timeout=60, check=False
    )


# --- help, version, wrong usage -------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(commands.commands))
def test_every_command_has_a_help_with_examples_and_exit_codes(name: str) -> None:
    """And takes --config after its name."""
    result = _invoke(name, "--help")
    assert result.exit_code == 0
    for text in ("Examples:", "Exit codes", "--config PATH"):
        assert text in result.output


@pytest.mark.parametrize("columns", [50, 80, 120])
@pytest.mark.parametrize("name", ["", *sorted(commands.commands)])
def test_no_line_of_a_help_is_cut_by_the_terminal(name: str, columns: int) -> None:
    """What is longer goes on below; but a command stays in one piece, to be copied."""
    lines = CliRunner().invoke(commands, [name, "--help"][not name :], terminal_width=columns).output.split("\n")
    too_long = [line for line in lines if len(line) > columns]
    assert [line for line in too_long if not re.match(r" {4}(chromadrop|cat|source|#) ?[^ ]", line)] == []
    assert [line for line in too_long if "  " in line.strip()] == []


def test_what_an_exit_code_means_goes_on_where_it_began() -> None:
    """And an example whose meaning has no room beside it has it below."""
    help_of = CliRunner().invoke(commands, ["run", "--help"], terminal_width=60).output
    assert (
        "    78   the configuration or the credential is not valid,\n         or the root belongs to another ledger\n"
    ) in help_of
    help_of = CliRunner().invoke(commands, ["completion", "--help"], terminal_width=80).output
    assert "    source <(chromadrop completion bash)\n        for this shell alone\n" in help_of


def test_version() -> None:
    """The package's own."""
    assert _invoke("--version").output == f"chromadrop {VERSION}\n"


def test_help_imports_nothing_heavy() -> None:
    """--help is quick, because commands import what they need when they run."""
    code = (
        "import sys; sys.argv[1:] = ['--help']\n"
        "from daemon.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print([n for n in ('msgspec', 'sqlalchemy', 'requests', 'rich', 'aiohttp', 'yaml') if n in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=_environment(), check=True)
    assert found.stdout.endswith("[]\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ("nothing-like-it",),
        ("run", "--twice"),
        ("lint",),
        ("retry",),
        ("schema", "everything"),
        ("status", "--watch", "--json"),
        ("models", "--json", "--html"),
        ("simulate", "--fault", "export:nonsense"),
        ("simulate", "--fault", "no colon"),
        ("simulate", "--video-bytes", "3"),
        ("simulate", "--render-seconds", "-1"),
    ],
)
def test_wrong_usage_is_2(arguments: tuple[str, ...]) -> None:
    """And says what is wrong."""
    result = _invoke(*arguments)
    assert result.exit_code == 2
    assert "Error" in result.output or "Usage" in result.output


# --- run ------------------------------------------------------------------------------------------


def test_run_tells_the_problems_of_configuration_and_credential_together(folder: Path) -> None:
    """78, every problem at once, no traceback."""
    (folder / "config.yaml").write_text("jobs: {max_rendring: 3}\nlogs: {level: loud}\n")
    ended = _run("run")
    assert ended.returncode == 78
    for text in ("3 problems", "max_rendring", "loud", "AISTUDIOS_API_KEY", "CREDENTIALS_DIRECTORY", "api.key_file"):
        assert text in ended.stderr
    assert "Traceback" not in ended.stderr


def test_run_without_a_credential_is_78() -> None:
    """It names the three places."""
    ended = _run("run", "--once")
    assert ended.returncode == 78
    for text in ("AISTUDIOS_API_KEY", "CREDENTIALS_DIRECTORY", "api.key_file"):
        assert text in ended.stderr


def test_a_second_daemon_is_75(folder: Path) -> None:
    """It refuses to start, and says what to do."""
    with Story(folder):
        ended = _run("run", "--once", AISTUDIOS_API_KEY=KEY)
    assert ended.returncode == 75
    assert "another chromadrop has this state" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_root_of_another_ledger_is_78(folder: Path) -> None:
    """Two ledgers would pay twice."""
    (folder / MARKER).write_text('{"ledger": "another"}')
    ended = _run("run", "--once", AISTUDIOS_API_KEY=KEY)
    assert ended.returncode == 78
    assert "another ledger" in ended.stderr


def test_a_root_that_is_not_there_is_69(folder: Path) -> None:
    """Where nothing else says where the state is."""
    (folder / "config.yaml").write_text("folders: {root: away}")
    ended = _run("run", AISTUDIOS_API_KEY=KEY)
    assert ended.returncode == 69
    assert "away is not there" in ended.stderr
    assert not (folder / "away").exists()


def test_a_ca_bundle_that_cannot_be_used_is_78() -> None:
    """The environment is configuration, too."""
    ended = _run("run", "--once", AISTUDIOS_API_KEY=KEY, REQUESTS_CA_BUNDLE="/nowhere/ca.pem")
    assert ended.returncode == 78
    assert "REQUESTS_CA_BUNDLE" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_job_in_doubt_is_retried_by_a_persons_word_only(folder: Path) -> None:
    """Run --once, retry, retry --pay-again, as a person would do it, on real processes."""
    settings = Settings(port=0, render_seconds=0, keys=(KEY,))
    with RunningSimulator(settings) as cloud:
        cloud.add_fault("export:close,accepted=yes")
        (folder / "config.yaml").write_text(f"{QUICK}api: {{base_url: '{cloud.base_url}'}}\n")
        (folder / "inbox").mkdir()
        (folder / "inbox/x.yaml").write_text(job_yaml("only once"))
        assert _run("run", "--once", AISTUDIOS_API_KEY=KEY).returncode == 1
        assert _invoke("retry", "x").exit_code == 0
        assert _run("run", "--once", AISTUDIOS_API_KEY=KEY).returncode == 1
        assert cloud.accepted_by_text() == {"only once": 1}
        result = _invoke("retry", "--pay-again", "x")
        assert "perhaps paid a second time" in result.output
        assert "No daemon is running" in result.output
        ended = _run("run", "--once", AISTUDIOS_API_KEY=KEY)
        assert ended.returncode == 0
        assert cloud.accepted_by_text() == {"only once": 2}
    assert (folder / "videos/x.mp4").exists()
    assert [path.name for path in (folder / "failed").iterdir()] == []
    assert KEY not in ended.stdout + ended.stderr


def test_check_of_a_refused_credential_is_77(folder: Path) -> None:
    """As a process; and no output has the credential."""
    with RunningSimulator(Settings(port=0, keys=("another-key",))) as cloud:
        (folder / "config.yaml").write_text(f"{QUICK}api: {{base_url: '{cloud.base_url}'}}\n")
        ended = _run("check", AISTUDIOS_API_KEY=KEY)
    assert ended.returncode == 77
    assert KEY not in ended.stdout + ended.stderr


# --- check ----------------------------------------------------------------------------------------


def test_check_prints_a_line_for_each_finding(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And how many problems there are; the exit code is the gravest."""
    monkeypatch.setenv("AISTUDIOS_API_KEY", KEY)
    fine = _invoke("check", "--offline")
    assert fine.exit_code == 0
    assert fine.output.splitlines()[-1] == "all is well (the cloud was not asked)"
    assert "✓ credential" in fine.output
    (folder / "inbox").write_text("")
    bad = _invoke("check", "--offline")
    assert bad.exit_code == 1
    assert "✗ folder" in bad.output
    assert bad.output.splitlines()[-1] == "1 problem"


def test_check_speaks_ascii_where_the_stream_can_do_no_more() -> None:
    """A terminal without Unicode gets words for the marks."""
    ended = _run("check", "--offline", AISTUDIOS_API_KEY=KEY, PYTHONIOENCODING="ascii")
    assert ended.returncode == 0
    assert ended.stdout.isascii()
    assert ended.stdout.startswith("ok configuration")


# --- lint -----------------------------------------------------------------------------------------


def test_lint_prints_places_and_counts(folder: Path) -> None:
    """A problem is FILE:LINE:COLUMN: PATH: text, a valid file says how many videos it has."""
    (folder / "good.yaml").write_text(job_yaml("one", "two"))
    (folder / "bad.yaml").write_text("- language: ko\n  modle: x\n")
    result = _invoke("lint", "good.yaml", "bad.yaml")
    assert result.exit_code == 1
    lines = result.output.splitlines()
    assert lines[0] == "good.yaml: ok, 2 videos, about 1 s of video"
    assert any(line.startswith("bad.yaml:2:3: jobs[1].modle: ") and "'model'" in line for line in lines)
    assert _invoke("lint", "good.yaml").exit_code == 0


def test_lint_takes_folders_and_standard_input(folder: Path) -> None:
    """The drops of a folder, as the daemon would take them; - is standard input."""
    for name in ("a.yaml", "sub/b.YML", ".hidden.yaml", "notes.txt", "@eaDir/c.yaml"):
        path = folder / "jobs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(job_yaml("one"))
    result = _invoke("lint", "jobs", "-", text=job_yaml("one"))
    assert result.output.splitlines() == [
        "jobs/a.yaml: ok, 1 video, about 1 s of video",
        "jobs/sub/b.YML: ok, 1 video, about 1 s of video",
        "<stdin>: ok, 1 video, about 1 s of video",
    ]


def test_lint_never_waits_and_never_reads_without_end(folder: Path) -> None:
    """A pipe that nobody writes to, a device without end, a file that is far too large, one that is not there."""
    os.mkfifo(folder / "pipe.yaml")
    with (folder / "huge.yaml").open("wb") as huge:
        huge.truncate(10 << 30)
    result = _invoke("lint", "pipe.yaml", "/dev/zero", "huge.yaml", "gone.yaml")
    assert result.exit_code == 1
    lines = result.output.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["pipe.yaml", "/dev/zero", "huge.yaml", "gone.yaml"]
    assert "larger" in lines[2] or "large" in lines[2]


def test_lint_shows_names_and_contents_harmlessly(folder: Path) -> None:
    """A file name or a key with control characters does not steer the terminal."""
    (folder / "\x1b[2J.yaml").write_text('"\\e[31mkey": 1\n')
    result = _invoke("lint", "\x1b[2J.yaml")
    assert result.exit_code == 1
    assert "\x1b" not in result.output


def test_lint_hints_at_a_name_that_is_never_taken(folder: Path) -> None:
    """A valid file of another extension would lie in inbox/ for ever."""
    for name in ("x.json", "x.yaml.txt", "x.csv.result.csv"):
        (folder / name).write_text(job_yaml("one"))
    result = _invoke("lint", "x.json", "x.yaml.txt", "x.csv.result.csv")
    assert result.exit_code == 0
    first, second, third = result.output.splitlines()
    assert "nothing of this name is taken" in first
    assert "a text of this name is never taken" in second
    assert "a table of results is never ordered" in third


def _lay_out(folder: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)


def test_lint_takes_what_the_folders_give(folder: Path) -> None:
    """Below inbox/ all folders up to it, elsewhere the file's own; a broken one is told in its own place."""
    (folder / "config.yaml").write_text("defaults: {language: ko}\n")
    files = {
        "_defaults.yaml": "nonsense: beyond inbox/",
        "inbox/_defaults.yaml": "model: M1\n",
        "inbox/spring/_DEFAULTS.yml": "clothes: 1\n",
        "inbox/spring/a.csv": "text\none\ntwo\n",
        "inbox/spring/b.txt": "hello",
        "inbox/notes.txt": "buy milk",
        "inbox/autumn/_defaults.yaml": "modle: M1\n",
        "inbox/autumn/c.yaml": "text: hi",
        "elsewhere/_defaults.yaml": "model: M1\nclothes: 1\n",
        "elsewhere/deep/d.txt": "hello",
        "elsewhere/e.txt": "hello",
    }
    _lay_out(folder, files)
    assert _invoke("lint", "inbox/spring", "elsewhere").output.splitlines() == [
        "inbox/spring/_DEFAULTS.yml: ok, the defaults of its folder and those below",
        "inbox/spring/a.csv: ok, 2 videos, about 1 s of video",
        "inbox/spring/b.txt: ok, 1 video, about 1 s of video",
        "elsewhere/_defaults.yaml: ok, the defaults of its folder and those below",
        "elsewhere/e.txt: ok, 1 video, about 1 s of video",
    ]
    result = _invoke("lint", "inbox/notes.txt", "inbox/autumn/c.yaml", "inbox/autumn/_defaults.yaml")
    assert result.exit_code == 1
    note, held, broken = result.output.splitlines()
    assert note.startswith("inbox/notes.txt: no job: nobody gives language, model, and clothes for it")
    assert held.endswith(f"inbox/autumn/{broken.removeprefix('inbox/autumn/')}")
    assert broken.startswith("inbox/autumn/_defaults.yaml:1:1: modle: the key 'modle' is not known.")


def test_lint_of_a_file_that_was_filed_away_takes_what_its_folder_in_inbox_gives(folder: Path) -> None:
    """That is where it came from, and goes when it is dropped again; `retry` foretells the same."""
    files = {
        "inbox/_defaults.yaml": "language: ko\n",
        "inbox/spring/_defaults.yaml": "model: M1\nclothes: 1\n",
        "failed/spring/a.yaml": "text: hi\n",
        "failed/spring/a.yaml.error.txt": "what was wrong",
        "done/spring/b.csv": "text\none\n",
        "failed/c.yaml": "text: hi\n",
    }
    _lay_out(folder, files)
    assert _invoke("lint", "failed/spring", "done").output.splitlines() == [
        "failed/spring/a.yaml: ok, 1 video, about 1 s of video",
        "done/spring/b.csv: ok, 1 video, about 1 s of video",
    ]
    result = _invoke("lint", "failed/c.yaml")
    assert (result.exit_code, "'model' and 'clothes' are missing" in result.output) == (1, True)


def test_lint_shows_rows_and_columns_of_tables(folder: Path) -> None:
    """As a spreadsheet has them, with the line and column of the file; CP949 where the configuration says so."""
    (folder / "a.csv").write_bytes("text;language;model;clothes\n안녕;ko;M1;\n".encode("cp949"))
    assert "jobs.csv_encoding" in _invoke("lint", "a.csv").output
    (folder / "config.yaml").write_text("jobs: {csv_encoding: cp949}\n")
    assert _invoke("lint", "a.csv").output == "a.csv:2:1: row 2: 'clothes' is missing; every job needs it\n"


# --- status ---------------------------------------------------------------------------------------


def test_status_counts_no_notes(folder: Path) -> None:
    """A text waits only where something makes a job of it."""
    (folder / "inbox/spring").mkdir(parents=True)
    for name in ("notes.txt", "a.csv", "a.csv.result.csv", "spring/_defaults.yaml", "spring/b.txt"):
        (folder / "inbox" / name).write_text("x")
    assert json.loads(_invoke("status", "--json").output)["inbox"]["names"] == ["a.csv", "spring/b.txt"]


def test_status_before_the_first_run_is_fine(folder: Path) -> None:
    """It says that nothing has run here yet, and makes nothing."""
    result = _invoke("status")
    assert result.exit_code == 0
    assert "has not run here yet" in result.output
    assert list(folder.iterdir()) == []


def test_status_tells_the_same_to_people_and_programs(folder: Path) -> None:
    """A table, or one JSON document."""
    with Story(folder) as story:
        _, (job,) = story.claim("x.yaml", "hello there")
        story.advance(job, ExportStarted(), Exported("P1"))
        people, programs = _invoke("status"), _invoke("status", "--json")
    assert "x.yaml" in people.output
    assert "hello there" in people.output
    found = json.loads(programs.output)
    assert found["daemon"]["running"] is True
    assert found["files"][0]["jobs"][0]["project_id"] == "P1"


def test_status_of_a_ledger_that_cannot_be_read_is_a_text(folder: Path) -> None:
    """Exit code 1, without a traceback."""
    (folder / "state").mkdir()
    (folder / "state/ledger.sqlite3").write_bytes(b"no database, for sure" * 100)
    result = _invoke("status")
    assert result.exit_code == 1
    assert result.stderr.startswith("chromadrop: the ledger cannot be used")


def test_an_invalid_configuration_is_78_for_every_command_that_reads_it(folder: Path) -> None:
    """With every problem, and without a traceback."""
    (folder / "x.yaml").write_text("nonsense: 1\n")
    for arguments in (("status",), ("retry", "x"), ("lint", "x.yaml"), ("schema", "job"), ("check",), ("run",)):
        result = _invoke(*arguments, "--config", "x.yaml")
        assert (arguments, result.exit_code) == (arguments, 78)
        assert "nonsense" in result.output


@contextmanager
def _started(*arguments: str, **environ: str) -> Iterator[subprocess.Popen[str]]:
    """A command that runs until it is told to end."""
    with subprocess.Popen(
        ["env", "--default-signal=INT", *_command(*arguments)],  # the tests themselves may run in the background
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=_environment(PYTHONUNBUFFERED="1", **environ),
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def test_watch_in_a_pipe_prints_lines_and_ends_quietly_by_ctrl_c(folder: Path) -> None:
    """130, nothing on standard error."""
    with Story(folder) as story:
        story.claim("x.yaml", "one")
        with _started("status", "--watch") as process:
            assert _line(process) == "1 queued\n"
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 130
            assert process.stderr is not None
            assert process.stderr.read() == ""


def test_watch_ends_quietly_when_nobody_reads_any_more() -> None:
    """As in `status --watch | head -1`: also while nothing changes."""
    with _started("status", "--watch") as process:
        assert _line(process) == "nothing has run here yet\n"
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(60) == 141
        assert process.stderr is not None
        assert process.stderr.read() == ""


# --- retry ----------------------------------------------------------------------------------------


def test_retry_puts_back_what_it_can_and_fails_for_the_rest(folder: Path) -> None:
    """1 when any could not be put back; the others are."""
    with Story(folder) as story:
        job_file, (job,) = story.claim("x.yaml", "one")
        story.file_away(job_file, [story.advance(job, ExportStarted(), InDoubt("no answer"))])
        result = _invoke("retry", "failed/x.yaml", "y.yaml")
    assert result.exit_code == 1
    assert "x.yaml is back in inbox/" in result.stdout
    assert "not known" in result.stdout
    assert "No daemon" not in result.stdout
    assert "y.yaml" in result.stderr
    assert (folder / "inbox/x.yaml").exists()


def test_retry_does_nothing_in_a_root_that_is_not_mounted(folder: Path) -> None:
    """69, and nothing is moved or made."""
    with Story(folder):
        (folder / "failed/x.yaml").write_text(job_yaml("one"))
    (folder / MARKER).unlink()
    result = _invoke("retry", "x")
    assert result.exit_code == 69
    assert (folder / "failed/x.yaml").exists()


# --- models ---------------------------------------------------------------------------------------


def test_lint_tells_models_that_the_list_does_not_have(folder: Path) -> None:
    """Like any other problem, with which list that was, said once."""
    (folder / "config.yaml").write_text("jobs: {models_file: models.yaml}\n")
    (folder / "models.yaml").write_text("- {id: M000004017, label: Jonadan, clothes: [BG1]}\n")
    os.utime(folder / "models.yaml", (1_763_883_600, 1_763_883_600))
    (folder / "x.yaml").write_text("- {language: ko, text: x, model: Jonadan, clothes: BG1}\n" * 2)
    result = _invoke("lint", "x.yaml")
    assert result.exit_code == 1
    first, second = result.output.splitlines()
    words = "the model 'Jonadan' is not in the list of models. Did you mean 'M000004017' (Jonadan)?"
    assert first == f"x.yaml:1:34: jobs[1].model: {words} (by the list of 2025-11-23 07:40 UTC)"
    assert second == f"x.yaml:2:34: jobs[2].model: {words}"


def test_lint_does_not_fail_for_a_list_that_is_not_there(folder: Path) -> None:
    """It says that models are not looked at, beside the result."""
    (folder / "config.yaml").write_text("jobs: {models_file: models.yaml}\n")
    (folder / "x.yaml").write_text(job_yaml("one"))
    result = _invoke("lint", "x.yaml")
    assert result.exit_code == 0
    assert result.stdout == "x.yaml: ok, 1 video, about 1 s of video\n"
    assert "models and clothes are not looked at: jobs.models_file" in result.stderr


def test_lint_takes_the_daemons_copy(folder: Path) -> None:
    """Beside the daemon that keeps it, and without the network."""
    (folder / "config.yaml").write_text("api: {version: v3, base_url: 'http://127.0.0.1:9/api/odin/v3'}\n")
    (folder / "x.yaml").write_text(job_yaml("one"))
    with Story(folder) as story:
        story.ledger.note("catalogue", {"at": time.time(), "models": [{"id": "M1", "clothes": ["2"]}]})
        result = _invoke("lint", "x.yaml")
    assert result.exit_code == 1
    assert "the model 'M1' has no clothes '1'. It wears '2'." in result.output


def test_lint_imports_nothing_heavy_where_no_list_can_be() -> None:
    """It is called by editors, again and again."""
    code = (
        "import sys; sys.argv[1:] = ['lint', '/dev/null']\n"
        "from daemon.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print([name for name in ('sqlalchemy', 'requests', 'rich', 'aiohttp') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=_environment(), check=True)
    assert found.stdout.endswith("[]\n")


def test_models_are_shown_to_people_programs_and_browsers(folder: Path) -> None:
    """A table, one JSON document, or a page; hostile names harmlessly."""
    (folder / "config.yaml").write_text("jobs: {models_file: models.yaml}\n")
    (folder / "models.yaml").write_text(
        '- {id: M1, label: {en: "\\e[2JJo<b>", ko: 조}, clothes: [{id: 7, label: Suit}]}\n'
    )
    people, programs, page = _invoke("models"), _invoke("models", "--json"), _invoke("models", "--html")
    assert [people.exit_code, programs.exit_code, page.exit_code] == [0, 0, 0]
    first, second, *rest = people.output.splitlines()
    assert first.split() == ["M1", "[2JJo<b>", "조"]
    assert second.split() == ["7", "Suit"]
    assert any(line.startswith("1 model and 1 clothes, as of ") for line in rest)
    document = json.loads(programs.output)
    assert (document["source"], document["models"][0]["clothes"][0]["id"]) == ("file", "7")
    assert page.output.startswith("<!doctype html>")
    assert "Jo&lt;b&gt;" in page.output


def test_models_come_from_the_cloud_and_else_from_the_copy(folder: Path) -> None:
    """The copy says on standard error that it is one, so that a pipe gets the list alone; without one it is 69."""
    environ = {"AISTUDIOS_API_KEY": KEY, "CHROMADROP_API__VERSION": "v3"}
    with RunningSimulator() as cloud:
        asked = CliRunner().invoke(
            commands, ("models", "--json"), env={**environ, "CHROMADROP_API__BASE_URL": cloud.base_url_v3}
        )
    assert (asked.exit_code, asked.stderr, json.loads(asked.stdout)["source"]) == (0, "", "cloud")
    environ["CHROMADROP_API__BASE_URL"] = "http://127.0.0.1:9/api/odin/v3"
    assert CliRunner().invoke(commands, ("models",), env=environ).exit_code == 69
    with Story(folder) as story:
        story.ledger.note("catalogue", {"at": time.time() - 7200, "models": json.loads(asked.stdout)["models"]})
    copied = CliRunner().invoke(commands, ("models", "--json"), env=environ)
    assert copied.exit_code == 0
    assert json.loads(copied.stdout)["models"] == json.loads(asked.stdout)["models"]
    assert "2 hours old" in copied.stderr


def test_models_without_any_list_is_1(folder: Path) -> None:
    """v2 has none; the sentence says what to set, and nothing is made."""
    result = _invoke("models")
    assert result.exit_code == 1
    assert result.stderr == (
        "chromadrop: the cloud's API v2 has no list of models: set api.version to v3, or jobs.models_file\n"
    )
    assert list(folder.iterdir()) == []


# --- simulate, schema -----------------------------------------------------------------------------


def test_simulate_says_where_it_answers_and_ends_by_ctrl_c() -> None:
    """The base URL comes first, then how to use it."""
    with _started("simulate", "--port", "0", "--key", "k1") as process:
        first = _line(process)
        assert first.startswith("The simulator answers at http://127.0.0.1:")
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        assert process.stdout is not None
        assert "AISTUDIOS_API_KEY=k1" in process.stdout.read()
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_simulate_on_a_port_that_is_taken_is_a_text() -> None:
    """1, with what to do."""
    with RunningSimulator(Settings(port=0)) as cloud:
        ended = _run("simulate", "--port", cloud.origin.rpartition(":")[2])
    assert ended.returncode == 1
    assert "Try another port" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_faults_are_listed() -> None:
    """Every kind, with its names."""
    from daemon.simulator.faults import KINDS

    result = _invoke("simulate", "--list-faults")
    assert result.exit_code == 0
    assert all(name in result.output for name in KINDS)


@pytest.mark.parametrize("which", ["job", "config"])
def test_schema_prints_json(which: str) -> None:
    """JSON Schema, for editors."""
    assert "$schema" in json.loads(_invoke("schema", which).output)


# --- demo -----------------------------------------------------------------------------------------


def test_the_demo_takes_a_free_folder_and_never_another(folder: Path) -> None:
    """`demo`, `demo (2)`, `demo (3)`; what is there stays."""
    (folder / "demo").mkdir()
    (folder / "demo/mine").touch()
    assert demo.make_folder(folder / "demo") == folder / "demo (2)"
    assert demo.make_folder(folder / "demo") == folder / "demo (3)"
    assert (folder / "demo/mine").exists()


def test_a_demo_that_has_no_room_is_a_text(folder: Path) -> None:
    """1, with what to do."""
    (folder / "file").touch()
    result = _invoke("demo", "--folder", "file/demo")
    assert result.exit_code == 1
    assert "--folder" in result.stderr


@pytest.mark.slow
def test_the_demo_comes_true(folder: Path) -> None:
    """Videos, results, and a failed file that says why; what is set for the real daemon does not count."""
    ended = _run(
        "demo", "--render-seconds", "0.5",
        CHROMADROP_FOLDERS__ROOT="/nowhere", AISTUDIOS_API_KEY=KEY, STATE_DIRECTORY="/nowhere/state",
    )  # fmt: skip
    assert ended.stderr == ""
    assert ended.returncode == 0
    assert "6 videos in" in ended.stdout
    assert "Did you mean 'model'?" in ended.stdout
    assert sorted(path.name for path in folder.iterdir()) == ["demo"]
    log = (folder / "demo/chromadrop.log").read_text()
    assert all(json.loads(line)["event"] for line in log.splitlines())
    assert (folder / "demo/done/spring/greeting.yaml.result.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_demo_that_is_ended_leaves_nothing_running(folder: Path, number: signal.Signals) -> None:
    """The daemon ends with it, whichever way it is ended."""
    with _started("demo", "--render-seconds", "600") as process:
        while "rendering" not in (line := _line(process)):
            assert line
        process.send_signal(number)
        assert process.wait(60) == 130
    events = [json.loads(line) for line in (folder / "demo/chromadrop.log").read_text().splitlines()]
    assert events[-1]["event"] == "daemon.stopped"
    [pid] = [event["pid"] for event in events if event["event"] == "daemon.started"]
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
