"""Shell completion: click's own scripts, and the names of failed files, which click cannot know.

The script that a shell reads once asks ``chromadrop`` itself whenever somebody presses Tab, with the line so far in the
environment (https://click.palletsprojects.com/en/stable/shell-completion/).
"""

from __future__ import annotations

import os
import re
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    add_completion_class,
)

from daemon.config import load
from daemon.core.drop_name import Kind, kind
from daemon.core.errors import ConfigInvalid

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import click

MOST_NAMES: Final = 500
_PLAIN: Final = re.compile(r"([^\w@%+=:,./-])")


class _Bash(BashComplete):
    """Names with blanks and the like come as one would have to type them; zsh and fish do that by themselves."""

    def format_completion(self, item: CompletionItem[str]) -> str:
        # Two, for click's script reads the line with `read`, which takes one away.
        value = _PLAIN.sub(r"\\\\\1", item.value) if item.type == "plain" else item.value
        return super().format_completion(CompletionItem(value, item.type, item.help))


class _Fish(FishComplete):
    """click's script for fish takes a comma for the end of a name; better none than half a name."""

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem[str]]:
        return [item for item in super().get_completions(args, incomplete) if "," not in item.value]


_CLASSES: Final[dict[str, type[ShellComplete]]] = {"bash": _Bash, "zsh": ZshComplete, "fish": _Fish}


def prepare() -> None:
    """Make ready to answer a shell; before click looks at the command line."""
    for shell, found in _CLASSES.items():
        add_completion_class(found, shell)


def script(shell: str, commands: click.Command, variable: str) -> str:
    """What a shell has to read, so that it completes ``chromadrop``.

    Args:
        shell: ``bash``, ``zsh``, or ``fish``.
        commands: the command line.
        variable: of the environment, by which the shell asks.
    """
    return _CLASSES[shell](commands, {}, "chromadrop", variable).source()


def failed_names(config_path: Path | None, environ: Mapping[str, str], cwd: Path, begin: str) -> list[str]:
    """The job files in failed/ whose names begin so, sorted, `MOST_NAMES` at most; none where anything is wrong.

    Args:
        config_path: as written on the command line.
        environ: of the process.
        cwd: the current folder, absolute.
        begin: the word so far; also with ``failed/`` before it, which the names then have too.
    """
    try:
        paths = load(config_path, environ, cwd).paths(environ, cwd)
    except (ConfigInvalid, OSError):
        return []  # whoever presses Tab wants no error text
    prefix = f"{paths.failed.name}/"
    prefix = prefix if begin.startswith(prefix) else ""
    names = (prefix + name for name in _job_files(paths.failed))
    return sorted(islice((name for name in names if name.startswith(begin) and name.isprintable()), MOST_NAMES))


def _job_files(failed: Path) -> Iterator[str]:
    for folder, _folders, files in os.walk(failed):
        inside = Path(folder).relative_to(failed)
        yield from ((inside / name).as_posix() for name in files if kind(name) is Kind.DROP)
