"""What a drop holds, by its name: YAML, a table, or a text."""

from __future__ import annotations

from typing import Final

from daemon.core.batch import Batch, parse_batch, parse_defaults
from daemon.core.defaults import NO_DEFAULTS, Defaults
from daemon.core.drop_name import is_table, is_text
from daemon.core.plain_text import parse_text
from daemon.core.record import dataclass
from daemon.core.table import parse_table

NEEDED: Final = ("language", "model", "clothes")
"""What a folder's defaults must give, so that a text in it is a job and not somebody's note."""


@dataclass(frozen=True, slots=True)
class Grammar:
    """How drops are read.

    Attributes:
        version: of the API.
        csv_encoding: of tables and texts that are neither UTF-8 nor UTF-16; None where they are refused.
        base: what the configuration gives where no folder does.
    """

    version: str
    csv_encoding: str | None = None
    base: Defaults = NO_DEFAULTS

    def batch(self, name: str, content: bytes, defaults: Defaults) -> Batch:
        """The requests of a drop.

        Args:
            name: of the file; its ending says what it is, YAML where it is any other.
            content: the file's bytes.
            defaults: what the file's folder gives, the base included.

        Raises:
            BatchInvalid: with everything that is wrong.
        """
        if is_table(name):
            return parse_table(content, self.version, defaults, self.csv_encoding)
        if is_text(name):
            return parse_text(content, self.version, defaults, self.csv_encoding)
        return parse_batch(content, self.version, defaults)

    def defaults(self, content: bytes, where: str) -> Defaults:
        """What a ``_defaults.yaml`` says.

        Raises:
            BatchInvalid: with everything that is wrong.
        """
        return parse_defaults(content, self.version, where)


def is_note(name: str, defaults: Defaults) -> bool:
    """Whether a drop is a text that nobody gives the rest of a job for: it is left lying."""
    return is_text(name) and not defaults.gives(NEEDED)
