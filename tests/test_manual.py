"""The man page chromadrop(1)."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from daemon import config, manual
from daemon.cli import commands

DELIVERED = Path(__file__).parent.parent / "docs/chromadrop.1"
SECTIONS = (
    *("NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "COMMANDS"),
    *("EXIT STATUS", "FILES", "ENVIRONMENT", "EXAMPLES", "SEE ALSO"),
)
needs_man = pytest.mark.skipif(shutil.which("man") is None or shutil.which("groff") is None, reason="needs man, groff")


def read_by_man(page: str) -> str:
    """The page as man shows it in 100 columns, after it has found nothing to warn of."""
    shown = subprocess.run(
        ["man", "--warnings", "--local-file", "-"],
        input=page.encode(),
        env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "MANWIDTH": "100", "MANPAGER": "cat"},
        capture_output=True,
        check=True,
    )
    assert shown.stderr == b""
    return re.sub(".\b", "", shown.stdout.decode()).replace("\N{HYPHEN}", "-")


def test_the_page_in_docs_is_the_one_that_the_program_prints() -> None:
    """Mend it with: chromadrop manual > docs/chromadrop.1."""
    result = CliRunner().invoke(commands, ["manual"])
    assert result.exit_code == 0
    assert result.output == DELIVERED.read_text("utf-8")


@needs_man
def test_man_shows_every_section_and_command() -> None:
    """In the order of man-pages(7), each command with its options and its exit codes."""
    text = read_by_man(manual.page(commands))
    assert tuple(re.findall(r"^([A-Z][A-Z ]+)$", text, re.MULTILINE)) == SECTIONS
    found = re.findall(r"^   (\w+)$", text, re.MULTILINE)
    assert found == list(commands.commands)
    for name, command in commands.commands.items():
        part = re.split(r"\n(?:   )?\w", text.split(f"\n   {name}\n", 1)[1], maxsplit=1)[0]
        options = [name for one in command.params for name in one.opts if name.startswith("--")]
        assert [option for option in options if option != "--config" and option not in part] == []
        assert f"chromadrop {name}" in part


@needs_man
def test_what_help_says_the_page_says() -> None:
    """Every word of every option's help, for both are made from the same objects."""
    words = " ".join(read_by_man(manual.page(commands)).split())
    for command in commands.commands.values():
        context = click.Context(command)
        for option in command.params:
            record = option.get_help_record(context)
            if record is not None and record[1]:
                assert " ".join(record[1].split()) in words


@needs_man
def test_every_place_of_a_credential_is_in_the_environment_section() -> None:
    """Whoever reads ENVIRONMENT finds what the configuration looks for."""
    section = read_by_man(manual.page(commands)).split("\nENVIRONMENT\n")[1].split("\nEXAMPLES\n")[0]
    for name in (config.API_KEY, config.APP_ID, config.USER_KEY, "CREDENTIALS_DIRECTORY", "STATE_DIRECTORY"):
        assert name in section


@needs_man
def test_no_character_is_lost_or_taken_for_a_command() -> None:
    """What roff would read as its own, or set as another character, comes out as it was written."""

    @click.group(
        help="A title.\n\n.sp is no macro here, nor is 'this'.", epilog='\b\nExit codes:\n  0    `a\\b` ~ ^ - "é"'
    )
    def group() -> None: ...

    group.command("one")(lambda: None)
    text = read_by_man(manual.page(group))
    assert ".sp is no macro here, nor is 'this'." in text
    assert '`a\\b` ~ ^ - "é"' in text


@pytest.mark.skipif(shutil.which("mandoc") is None, reason="needs mandoc")
def test_mandoc_finds_nothing_wrong_either() -> None:
    """The manual reader of Alpine and the BSDs; a date would make another page of every build."""
    found = subprocess.run(
        ["mandoc", "-T", "lint", "-W", "warning", DELIVERED], capture_output=True, text=True, check=False
    )
    assert [line for line in found.stdout.splitlines() if "missing date" not in line] == []
