"""The Tab key, in real shells."""

from __future__ import annotations

import os
import pty
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from daemon.cli import commands

if TYPE_CHECKING:
    from collections.abc import Mapping

CHECKOUT = Path(__file__).parent.parent
SHELLS = ("bash", "zsh", "fish")
FAILED = ("greeting.yaml", "my film, (2).yaml", "spring/batch.yml")


def needs(shell: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(shell) is None, reason=f"needs {shell}")


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """A folder where three job files have failed, as the current one, and chromadrop in the PATH."""
    for name in FAILED:
        path = tmp_path / "root/failed" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("no job file")
        path.with_name(f"{path.name}.error.txt").write_text("why")
    program = tmp_path / "bin/chromadrop"
    program.parent.mkdir()
    program.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(CHECKOUT)!r})\nfrom daemon.cli import main\nmain()\n"
    )
    program.chmod(0o755)
    return {
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "PWD": str(tmp_path / "root"),
        "LANG": "C.UTF-8",
        "TERM": "dumb",
    }


def script(shell: str) -> str:
    result = CliRunner().invoke(commands, ["completion", shell])
    assert result.exit_code == 0
    return result.output


def told(environ: Mapping[str, str], *command: str) -> list[str]:
    """The lines that it prints, in the folder; it must end well, and say nothing on standard error."""
    ended = subprocess.run(
        command, cwd=environ["PWD"], env=environ, capture_output=True, text=True, timeout=60, check=True
    )
    assert ended.stderr == ""
    return ended.stdout.splitlines()


def in_bash(environ: Mapping[str, str], *words: str) -> list[str]:
    """What bash would offer for the last word."""
    code = f"""{script("bash")}
        compopt() {{ :; }}  # bash has it within a completion only
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
        _chromadrop_completion chromadrop
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    return [line for line in told(environ, "bash", "--norc", "-c", code, "bash", "chromadrop", *words) if line]


# --- what is offered ------------------------------------------------------------------------------


@needs("bash")
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["sta"], ["status"]),
        (["status", "--"], ["--watch", "--json", "--config", "--help"]),
        (["schema", ""], ["job", "config"]),
        (["completion", "f"], ["fish"]),
        (["retry", "g"], ["greeting.yaml"]),
        (["retry", "failed/s"], ["failed/spring/batch.yml"]),
        (["retry", "--pay-again", "greeting.yaml", "g"], []),
        (["retry", "my"], [r"my\ film,\ \(2\).yaml"]),
        (["retry", "my\\ f"], [r"my\ film,\ \(2\).yaml"]),
    ],
)
def test_bash_is_offered_what_fits(environ: dict[str, str], words: list[str], offered: list[str]) -> None:
    """Commands, options, choices, and failed files that are not on the line yet, as they have to be typed."""
    found = in_bash(environ, *words)
    assert [word for word in found if word in offered] == offered
    assert len(found) == len(offered) or words[-1] == "--"


@needs("bash")
def test_what_bash_is_offered_names_the_file(environ: dict[str, str]) -> None:
    """The offered text, read by bash as a word, is the file's own name."""
    offered = in_bash(environ, "retry", "my")[0]
    assert told(environ, "bash", "--norc", "-c", f"printf '%s' {offered}") == ["my film, (2).yaml"]


@needs("fish")
def test_fish_is_offered_what_fits(environ: dict[str, str]) -> None:
    """As fish itself says what it would offer (complete -C); no half names, which click's script makes of commas."""
    failed = Path(environ["PWD"]) / "failed"
    (failed / "my film (2).yaml").touch()

    def offered(line: str) -> list[str]:
        return told(environ, "fish", "--no-config", "-c", f"{script('fish')}\ncomplete -C '{line}'")

    assert offered("chromadrop retr") == ["retry\tPut failed job files back."]
    assert offered("chromadrop retry ") == ["greeting.yaml", "my film (2).yaml", "spring/batch.yml"]
    assert offered("chromadrop completion z") == ["zsh"]


def typed_into_zsh(environ: Mapping[str, str], line: str) -> str:
    """What stands on the line of an interactive zsh after the Tab key, without terminal codes."""
    (Path(environ["HOME"]) / "completion.zsh").write_text(script("zsh"))
    setup = "PS1= PS2=; unsetopt zle; autoload -U compinit; compinit -u -D; source ~/completion.zsh; setopt zle"
    # The line is shown by a widget of our own once the completion is through; the word before it is what we wait for.
    setup += "; show() { print -r -- \"<<$BUFFER>>\"; exit }; zle -N show; bindkey '^G' show; print re''ady"
    pid, terminal = pty.fork()
    if pid == 0:  # pragma: no cover - becomes zsh
        os.chdir(environ["PWD"])
        os.execvpe("zsh", ["zsh", "-f", "-i"], dict(environ))
    try:
        seen = b""
        os.write(terminal, f"{setup}\n".encode())
        while b"ready\r\n" not in seen:
            seen += os.read(terminal, 4096)
        os.write(terminal, f"{line}\t\a".encode())
        while not (found := re.search(rb"<<(.*?)>>", seen.partition(b"ready\r\n")[2], re.DOTALL)):
            seen += os.read(terminal, 4096)
    finally:
        os.close(terminal)
        os.waitpid(pid, 0)
    return found[1].decode()


@needs("zsh")
@pytest.mark.parametrize(
    ("line", "completed"),
    [
        ("chromadrop stat", "chromadrop status "),
        ("chromadrop retry gr", "chromadrop retry greeting.yaml "),
        ("chromadrop retry my", r"chromadrop retry my\ film,\ \(2\).yaml "),
        ("chromadrop schema j", "chromadrop schema job "),
    ],
)
def test_zsh_completes_the_line(environ: dict[str, str], line: str, completed: str) -> None:
    """On a terminal, with the Tab key."""
    assert typed_into_zsh(environ, line) == completed


# --- and where there is nothing to offer ----------------------------------------------------------


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("trouble", ["no folder", "not valid", "not YAML"])
def test_trouble_is_not_spoken_of_while_somebody_types(environ: dict[str, str], shell: str, trouble: str) -> None:
    """No failed/, or a configuration that cannot be used: nothing but the shell's own files is offered."""
    config = {"no folder": "folders: {root: nowhere}", "not valid": "folders: {rot: x}", "not YAML": "{"}[trouble]
    (Path(environ["PWD"]) / "config.yaml").write_text(config)
    asked = {"_CHROMADROP_COMPLETE": f"{shell}_complete", "COMP_WORDS": "chromadrop retry g", "COMP_CWORD": "2"}
    if shell == "fish":
        asked["COMP_CWORD"] = "g"
    lines = told(environ | asked, "chromadrop")
    assert lines[0].partition(",")[0] == "file"
    assert "greeting.yaml" not in "\n".join(lines)


def test_the_configuration_on_the_line_counts(environ: dict[str, str], tmp_path: Path) -> None:
    """After ``retry --config X`` that inbox's failed files are offered."""
    (tmp_path / "other/failed").mkdir(parents=True)
    (tmp_path / "other/failed/elsewhere.yaml").touch()
    (tmp_path / "other.yaml").write_text(f"folders: {{root: {tmp_path}/other}}")
    words = f"chromadrop retry --config {tmp_path}/other.yaml e"
    asked = {"_CHROMADROP_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": "4"}
    assert told(environ | asked, "chromadrop") == ["plain,elsewhere.yaml"]


def test_files_are_offered_where_files_are_meant(environ: dict[str, str]) -> None:
    """The arguments of lint take any file, which the shell knows best."""
    asked = {"_CHROMADROP_COMPLETE": "bash_complete", "COMP_WORDS": "chromadrop lint x", "COMP_CWORD": "2"}
    assert told(environ | asked, "chromadrop") == ["file,x"]
