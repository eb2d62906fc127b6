"""The README is true: its tables are compared with the code."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from daemon.config import KEY_PATHS, Config
from daemon.core.notice import VARIABLES
from daemon.edges.logs import EVENTS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
FAMILIES = (
    "account batch cloud config credential daemon defaults drop http job ledger library lifeline models notice page "
    "peer queue root scan spool watch"
)
EVENT = re.compile(rf"(?:{FAMILIES.replace(' ', '|')})\.[a-z_]+")
# Names of attributes and keys that look like events and are none.
OTHERS = {"config.yaml", "ledger.url", "daemon.core", "daemon.edges"}


def section(title: str) -> str:
    """The text below a heading, up to the next one of its rank."""
    return README.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def first_cells(title: str) -> list[str]:
    """The code in the first column of every row of a section's tables."""
    return re.findall(r"^\| `([^`]+)` \|", section(title), re.MULTILINE)


def logged() -> set[str]:
    """Every event name that the code can write: the plain strings that are exactly one."""
    found = set()
    for path in (ROOT / "daemon").rglob("*.py"):
        if path.name == "logs.py" or "simulator" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call):
                for argument in node.args[:2]:
                    if isinstance(argument, ast.Constant) and EVENT.fullmatch(str(argument.value)):
                        found.add(str(argument.value))
    return found


def test_the_table_of_events_is_what_the_code_writes() -> None:
    """README, the table in the code, and the calls in the code name the same events, with the same meanings."""
    rows = dict(re.findall(r"^\| `([^`]+)` \| (.+) \|$", section("Log events"), re.MULTILINE))
    assert rows == EVENTS
    ours = {"library.message", "daemon.crashed"}  # written by logs.py itself
    assert logged() - OTHERS == set(EVENTS) - ours


def test_the_table_of_keys_is_the_configuration() -> None:
    """Every key with its default."""
    rows = re.findall(r"^\| `([a-z_.]+)` \| `([^`]+)` \|", section("Configuration"), re.MULTILINE)
    defaults = {}
    for path in KEY_PATHS:
        value: object = Config()
        for name in path:
            value = getattr(value, name)
        text = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
        text = f"[{', '.join(value)}]" if isinstance(value, tuple) else text
        defaults[".".join(path)] = text.removesuffix(".0")
    assert dict(rows) == defaults


def test_all_that_a_notice_says_in_the_environment_is_named() -> None:
    """A program of the operator's relies on it."""
    named = set(re.findall(r"`(CHROMADROP_[A-Z_]+)`", section("Notices")))
    assert named == set(VARIABLES.values())


def test_the_table_of_commands_is_the_command_line() -> None:
    """Every command, and no other."""
    from daemon.cli import commands

    named = [cell.split()[0] for cell in first_cells("Commands") if not cell.isdigit()]
    assert sorted(named) == sorted(commands.commands)
