r"""How lines are laid out: on a narrow terminal no word is cut where the terminal ends, not even in a table of --help.

click leaves the lines of such a paragraph alone (it begins with ``\b``), however long they are
(https://click.palletsprojects.com/en/stable/documentation/#escaping-click-s-wrapping).
"""

from __future__ import annotations

import re
import textwrap
from typing import Final

import click

_LITERAL: Final = "\b"
_LEAST_COLUMNS: Final = 40
_COLUMNS: Final = re.compile(r"\s+\S+(?: \S+)*\s{2,}(?=\S)")
"""An indented example, or an exit code, and the space before what it means."""


class HelpFormatter(click.HelpFormatter):
    """click's own, but for lines whose breaks are meant and that are too long."""

    def write_text(self, text: str) -> None:
        """Paragraphs, each filled, or with the line breaks that it has."""
        width = max(self.width - self.current_indent, _LEAST_COLUMNS)
        super().write_text(
            "\n\n".join(
                "\n".join(short for line in paragraph.split("\n") for short in folded(line, width))
                if paragraph.lstrip(" ").startswith(_LITERAL)
                else paragraph
                for paragraph in text.split("\n\n")
            )
        )


class HelpContext(click.Context):
    """A context whose help is laid out like this."""

    formatter_class = HelpFormatter


class HelpCommand(click.Command):
    """A command whose help is laid out like this."""

    context_class = HelpContext


def folded(line: str, width: int) -> list[str]:
    """What a line means goes on below where it began, or below the example where there is no room beside it."""
    columns = _COLUMNS.match(line)
    if len(line) <= width or (columns is None and line.startswith(" ")):
        return [line]  # a command stays in one piece, to be copied
    begins = columns.end() if columns is not None else 0
    if begins <= width * 2 // 3:
        return wrapped(line, width, below=" " * begins)
    below = " " * (len(line) - len(line.lstrip()) + 4)
    return [line[:begins].rstrip(), *wrapped(below + line[begins:], width, below=below)]


def wrapped(line: str, width: int, *, below: str) -> list[str]:
    """A line, and what of it has no room, below; with that before each of these."""
    return textwrap.wrap(line, width, subsequent_indent=below, break_long_words=False, break_on_hyphens=False)
