"""Files that people's programs write without YAML: their encoding, and a text that is one job.

Excel in Korea writes CSV files as CP949, which nothing in the file tells. It is never guessed: a file that is neither
UTF-8 nor UTF-16 is read as CP949 only where the configuration says so.
"""

from __future__ import annotations

import codecs
import re
from typing import TYPE_CHECKING, Final

from daemon.core import yaml_text
from daemon.core.batch import Batch, JobReader, all_fields
from daemon.core.errors import BatchInvalid
from daemon.core.problem import Problem
from daemon.core.record import dataclass
from daemon.core.yaml_text import MAX_BYTES, Mapping, Problems, Scalar, find_unprintable, is_half_copied, position

if TYPE_CHECKING:
    from daemon.core.defaults import Defaults

DELETE: Final = "delete it"
_CP949: Final = "cp949"
_MARKS: Final = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_BREAK: Final = re.compile(r"\r\n?")
_KEY: Final = re.compile(r"[-\s]*([A-Za-z_]{4,12})[ \t]*:(?:\s|$)")
_FEW_LINES: Final = 30
_ENOUGH: Final = 2


@dataclass(frozen=True, slots=True)
class Decoded:
    """A file's text, and how it was written.

    Attributes:
        text: without a byte-order mark.
        codec: Python's name of the encoding.
        mark: the byte-order mark, empty where there is none.
    """

    text: str
    codec: str
    mark: bytes = b""

    def encode(self, text: str) -> bytes:
        """Another text, written in the same way; what the encoding does not have becomes a question mark."""
        return self.mark + text.encode(self.codec, "replace")


def decode(content: bytes, legacy: str | None, cure: str) -> Decoded:
    """The text of a file: UTF-8, UTF-16 with a byte-order mark, else the encoding that the configuration names.

    Args:
        content: the file's bytes.
        legacy: ``cp949``, or None.
        cure: what to do about another encoding.

    Raises:
        BatchInvalid: too large, half copied, or in another encoding; says where and what to do.
    """
    mark, codec = next(((mark, codec) for mark, codec in _MARKS if content.startswith(mark)), (b"", "utf-8"))
    flaw = None if mark or len(content) > MAX_BYTES else _first_flaw(content, codec)
    if flaw is None or is_half_copied(content):
        return Decoded(yaml_text.decode(content), codec, mark)
    if legacy is not None:
        codec, flaw = legacy, _first_flaw(content, legacy)
    if flaw is None:
        return Decoded(content.decode(codec), codec)
    before = content[:flaw].decode(codec, errors="ignore")
    words = f"byte {flaw:,} of the file (0x{content[flaw]:02x}) is {_neither(legacy)}; {cure}"
    raise BatchInvalid([Problem(words, *position(before, len(before)))])


def _first_flaw(content: bytes, codec: str) -> int | None:
    try:
        content.decode(codec)
    except UnicodeDecodeError as error:
        return error.start
    return None


def _neither(legacy: str | None) -> str:
    return "not UTF-8" if legacy is None else f"neither UTF-8 nor {legacy.upper()}"


def unbroken(text: str) -> str:
    """The text with every line break as a single line feed, and nothing blank around it."""
    return _BREAK.sub("\n", text).strip()


_SAVE_TEXT: Final = (
    "save it as UTF-8 in your editor and drop it again (or have the operator set jobs.csv_encoding to cp949, where "
    "that is how texts are written here)"
)


def parse_text(content: bytes, version: str, defaults: Defaults, legacy: str | None = None) -> Batch:
    """The one job that a text is: what is said is the whole file, the rest is given by the folder's defaults.

    Args:
        content: the file's bytes.
        version: of the API.
        defaults: what the file's folder gives.
        legacy: see `decode`.

    Raises:
        BatchInvalid: with everything that is wrong.
    """
    text = decode(content, legacy, _SAVE_TEXT).text
    problems = Problems()
    find_unprintable(text, problems, DELETE)
    said = unbroken(text)
    if not said:
        problems.add("there is no text in this file", (1, 1))
    else:
        _refuse_another_form(said, problems)
    key, value = (Scalar(words, is_plain=False, line=1, column=1) for words in ("text", said or "-"))
    request = JobReader(version, problems, defaults).request(Mapping(((key, value),), 1, 1), "")
    if problems or request is None:
        raise BatchInvalid(problems.listed())
    return Batch((request,))


def _refuse_another_form(said: str, problems: Problems) -> None:
    """A job file or a table that was saved as a text would be read out as it is, and paid."""
    lines = said.split("\n", _FEW_LINES)[:_FEW_LINES]
    known = {name.casefold() for name in all_fields()}
    keys = {match[1].casefold() for line in lines if (match := _KEY.match(line))}
    cells = {cell.strip(' "').casefold() for cell in re.split("[,;\t]", lines[0])}
    if len(keys & known) >= _ENOUGH or lines[0].rstrip() in {"jobs:", "defaults:"}:
        problems.add("this looks like a job file in YAML; give it a name that ends in .yaml", (1, 1), kind="value")
    elif len(cells & known) >= _ENOUGH:
        problems.add("this looks like a table; give it a name that ends in .csv", (1, 1), kind="value")
