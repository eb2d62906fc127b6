"""A table (CSV, RFC 4180) as a batch, one row a job; and the same table with what became of each row.

The reading is the csv module's, strictly; beside it stands where each cell lies in the text, so that a problem has its
place and the table that goes back has every cell of its producer as it was written, to the byte.

A row's number is the one that a spreadsheet shows: the header has 1 where nothing stands above it.
"""

from __future__ import annotations

import csv
import re
from dataclasses import replace
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Final

from daemon.core.batch import Batch, JobReader, Request, all_fields, hint_for
from daemon.core.errors import BatchInvalid
from daemon.core.plain_text import DELETE, Decoded, decode, unbroken
from daemon.core.record import dataclass
from daemon.core.yaml_text import Mapping, Problems, Scalar, find_unprintable, shown, words_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from collections.abc import Mapping as MappingType

    from daemon.core.defaults import Defaults
    from daemon.core.problem import Problem

DELIMITERS: Final = {",": "comma", ";": "semicolon", "\t": "tab"}
OURS: Final = ("state", "video", "error", "paid")
"""The columns that are added; a table that has them already, having come back, is read without them."""
MAX_CELLS: Final = 100_000

_PAID: Final = {"state": frozenset({"done"}), "paid": frozenset({"yes", "unknown"})}
_NOTHING: Final = f" {''.join(DELIMITERS)}"
_LINE: Final = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
_ENDING: Final = re.compile(r"(?:\r\n|\r|\n)\Z")
_SEPARATOR_LINE: Final = re.compile(r"sep=([,;\t])(?:\r\n|\r|\n)", re.IGNORECASE)  # Excel's own
_QUOTED: Final = r'"(?:[^"]|"")*"'
_ROW_OF: Final = re.compile(r"row (\d+)(?:, |$)")
# What makes a formula of a cell (https://owasp.org/www-community/attacks/CSV_Injection).
_FORMULA: Final = tuple("=+-@\t\r\n" + "\uff1d\uff0b\uff0d\uff20")
_SAVE_TABLE: Final = (
    "save it in Excel as 'CSV UTF-8 (Comma delimited)' and drop it again (or have the operator set jobs.csv_encoding "
    "to cp949, where that is how Excel saves here)"
)


class _Broken(Exception):
    """The text is no table from here on.

    Attributes:
        words: what is wrong and what to do.
        line: of the row's beginning.
        row: its number, as a spreadsheet counts.
    """

    def __init__(self, words: str, line: int, row: int) -> None:
        super().__init__(words)
        self.words = words
        self.line = line
        self.row = row


@dataclass(frozen=True, slots=True)
class _Cell:
    """One cell.

    Attributes:
        text: without its quotes, and without blanks around it.
        raw: as it is written.
        line: 1-based.
        column: 1-based, in characters.
    """

    text: str
    raw: str
    line: int
    column: int


@dataclass(frozen=True)
class _Row:
    """One row, which a quoted cell may lead over several lines.

    Attributes:
        number: as a spreadsheet counts.
        line: 1-based, where it begins.
        raw: as it is written, without the line break behind it.
        ending: that line break, empty at the end of the text.
        texts: the cells as csv reads them.
        pattern: of a cell.
    """

    number: int
    line: int
    raw: str
    ending: str
    texts: tuple[str, ...]
    pattern: re.Pattern[str]

    @property
    def is_blank(self) -> bool:
        return not any(text.strip() for text in self.texts)

    @cached_property
    def cells(self) -> tuple[_Cell, ...]:
        cells, start, line, line_start = [], 0, self.line, 0
        for text in self.texts:
            match = self.pattern.match(self.raw, start)
            raw = match[0] if match else ""
            cells.append(_Cell(unbroken(text), raw, line, start - line_start + 1))
            for broken in re.finditer(r"\r\n|\r|\n", raw):
                line, line_start = line + 1, start + broken.end()
            start += len(raw) + 1
        return tuple(cells)


def _rows(text: str, delimiter: str, first_line: int = 1) -> Iterator[_Row]:
    """Every row, blank ones too.

    Raises:
        _Broken: in the middle, where the quotes do not fit.
    """
    lines = _LINE.findall(text)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    pattern = re.compile(rf"{_QUOTED}|[^{re.escape(delimiter)}\r\n]*")
    number = used = 0
    while True:
        number += 1
        try:
            texts = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise _Broken(_plain_words(str(error)), first_line + used, number) from None
        raw = "".join(lines[used : reader.line_num])
        ending = _ENDING.search(raw)
        body = raw[: ending.start()] if ending else raw
        yield _Row(number, first_line + used, body, ending[0] if ending else "", tuple(texts), pattern)
        used = reader.line_num


def _plain_words(words: str) -> str:
    if "end of data" in words:
        return "a quote that opens in this row is never closed; close it, or leave both quotes out"
    if "expected after" in words:
        return 'text stands behind a closing quote; within a cell in quotes write each quote twice ("")'
    if "field limit" in words:
        return f"a cell of this row is longer than {csv.field_size_limit():,} characters; is a quote never closed?"
    return f"this row cannot be read ({words})"


@dataclass(frozen=True, slots=True)
class _Sheet:
    """A table, taken apart.

    Attributes:
        preamble: what stands above the header, as it is written: blank rows, and a line ``sep=;``.
        delimiter: between the cells.
        header: None where there is nothing but blank rows.
        rows: those below the header, blank ones too.
        broken: why the rest could not be read.
    """

    preamble: str
    delimiter: str
    header: _Row | None
    rows: tuple[_Row, ...]
    broken: _Broken | None


def _take_apart(text: str) -> _Sheet:
    said = _SEPARATOR_LINE.match(text)
    preamble = said[0] if said else ""
    body = text[len(preamble) :]
    delimiter = said[1] if said else _delimiter(body)
    rows: list[_Row] = []
    broken = None
    try:
        rows.extend(_bounded(_rows(body, delimiter, 2 if said else 1)))
    except _Broken as error:
        broken = error
    above = next((index for index, row in enumerate(rows) if not row.is_blank), len(rows))
    preamble += "".join(row.raw + row.ending for row in rows[:above])
    header = rows[above] if above < len(rows) else None
    return _Sheet(preamble, delimiter, header, tuple(rows[above + 1 :]), broken)


def _bounded(rows: Iterator[_Row]) -> Iterator[_Row]:
    """The rows, as long as they are few; a blank one counts as one cell, for spreadsheets write many of these."""
    cells = 0
    for row in rows:
        cells += 1 if row.is_blank else len(row.texts)
        if cells > MAX_CELLS:
            raise _Broken(f"the table holds more than {MAX_CELLS:,} cells; split it", row.line, row.number)
        yield row


def _delimiter(text: str) -> str:
    """The one by which the header has the most known columns, then the most columns."""
    known = {name.casefold() for name in (*all_fields(), *OURS)}

    def score(delimiter: str) -> tuple[int, int]:
        try:
            rows = islice(_rows(text, delimiter), MAX_CELLS)
            row = next((row for row in rows if row.raw.strip(_NOTHING)), None)
        except _Broken:
            return 0, 0
        names = row.texts if row is not None else ()
        return sum(name.strip().casefold() in known for name in names), len(names)

    return max(DELIMITERS, key=score)


# --- reading ------------------------------------------------------------------------------------------------


def parse_table(content: bytes, version: str, defaults: Defaults, legacy: str | None = None) -> Batch:
    """The requests of a table, one for each row below the header that is not blank.

    Args:
        content: the file's bytes.
        version: of the API.
        defaults: what the file's folder gives.
        legacy: the encoding of a file that is neither UTF-8 nor UTF-16: ``cp949``, or None.

    Raises:
        BatchInvalid: with everything that is wrong.
    """
    text = decode(content, legacy, _SAVE_TABLE).text
    problems = Problems()
    find_unprintable(text, problems, DELETE)
    sheet = _take_apart(text)
    requests = _TableReader(version, problems, defaults).requests(sheet)
    if problems:
        raise BatchInvalid(problems.listed())
    return Batch(requests)


class _TableReader:
    def __init__(self, version: str, problems: Problems, defaults: Defaults) -> None:
        self._problems = problems
        self._defaults = defaults
        self._jobs = JobReader(version, problems, defaults)
        self._names = {name.casefold(): name for name in (*self._jobs.fields, *OURS)}
        self._fields: dict[int, str] = {}
        self._missing: tuple[str, ...] = ()

    def requests(self, sheet: _Sheet) -> tuple[Request, ...]:
        """The requests; meaningless where there are problems afterwards."""
        requests: list[Request | None] = []
        if sheet.header is not None and not self._is_cut(sheet.header):
            self._read_header(sheet.header)
            requests = [self._request(row, sheet) for row in sheet.rows if not row.is_blank]
        if sheet.broken is not None:
            self._problems.add(sheet.broken.words, (sheet.broken.line, 1), path=f"row {sheet.broken.row}", kind="value")
        elif sheet.header is None:
            self._problems.add("the table is empty; its first row names the columns, such as language, text", (1, 1))
        elif not requests and not self._problems:
            self._problems.add("there is no row below the header; each row is one video", (sheet.header.line, 1))
        return tuple(request for request in requests if request is not None)

    def _is_cut(self, row: _Row) -> bool:
        """Whether a quote holds no cell together, so that its comma may have cut one; the first is told."""
        for cell in row.cells:
            words = _stray_quote(cell.raw)
            if words is not None:
                self._problems.add(words, (cell.line, cell.column), path=f"row {row.number}", kind="value")
                return True
        return False

    def _read_header(self, header: _Row) -> None:
        first: dict[str, _Cell] = {}
        for index, cell in enumerate(header.cells):
            name = self._names.get(cell.text.casefold())
            path = f"row {header.number}, {shown(cell.text)[1:-1]}"
            at = cell.line, cell.column
            if name is None and cell.text:
                hint = hint_for(cell.text, self._jobs.fields)
                words = f"the column {shown(cell.text)} is not known.{hint or ' Take it out of the table.'}"
                self._problems.add(words, at, path=path, kind="key")
            elif name in first:
                self._problems.add(f"the column '{name}' is here twice; keep one of them", at, path=path, kind="key")
            elif name is not None:
                first[name] = cell
                self._fields[index] = name
        self._missing = tuple(
            name for name in self._jobs.required if name not in first and not self._defaults.gives([name])
        )
        if self._missing:
            columns = "column" if len(self._missing) == 1 else "columns"
            verb = "is" if len(self._missing) == 1 else "are"
            self._problems.add(
                f"the {columns} {words_of(self._missing)} {verb} missing, and no _defaults.yaml of the folder says it",
                (header.line, 1), path=f"row {header.number}", kind="missing",
            )  # fmt: skip

    def _request(self, row: _Row, sheet: _Sheet) -> Request | None:
        if self._is_cut(row):
            return None
        path = f"row {row.number}"
        width = len(sheet.header.texts) if sheet.header is not None else 0
        said: dict[str, _Cell] = {}
        for index, cell in enumerate(row.cells):
            name = self._fields.get(index)
            if cell.text and name is not None:
                said[name] = cell
            elif cell.text and (index >= width or not self._is_named(sheet, index)):
                self._problems.add(_beyond(index, sheet.delimiter), (cell.line, cell.column), path=path, kind="value")
        entries = [
            (Scalar(name, is_plain=False, line=cell.line, column=cell.column),
             Scalar(cell.text, is_plain=False, line=cell.line, column=cell.column))
            for name, cell in said.items() if name not in OURS
        ]  # fmt: skip
        # What the whole table lacks was said at its header, once.
        entries += [(Scalar(name, is_plain=False, line=0, column=0),) * 2 for name in self._missing]
        request = self._jobs.request(Mapping(tuple(entries), row.line, 1), path, joint=", ")
        marks = {name: cell for name, cell in said.items() if cell.text.casefold() in _PAID.get(name, ())}
        return request if request is None or not marks else _marked(request, marks)

    @staticmethod
    def _is_named(sheet: _Sheet, index: int) -> bool:
        return sheet.header is not None and bool(sheet.header.cells[index].text)


def _marked(request: Request, marks: MappingType[str, _Cell]) -> Request:
    """A row that came back as done or paid, with the places where it says so."""
    place = request.place
    if place is not None:
        at = {name: (cell.line, cell.column) for name, cell in marks.items()}
        place = replace(place, fields={**place.fields, **at})
    return replace(request, place=place, is_marked_paid=True)


def _stray_quote(raw: str) -> str | None:
    """What is wrong with the quotes of a cell, as it is written; one that begins with a quote is csv's to judge."""
    if raw.startswith('"'):
        return None
    if raw.lstrip().startswith('"'):
        return "a blank stands before the quote that opens this cell; take the blank before the quote out"
    if raw.count('"') % 2:
        return 'a quote in this cell has no partner; put the whole cell in quotes, and each quote in it twice ("")'
    return None


def _beyond(index: int, delimiter: str) -> str:
    words = f"there is something in column {index + 1}, which has no name in the header"
    return f"{words}; put a text that holds a {DELIMITERS[delimiter]} in quotes" if delimiter != "\t" else words


# --- what became of it --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of one row; texts as a person is to read them."""

    state: str
    video: str
    error: str
    paid: str


def words_by_row(problems: Sequence[Problem]) -> dict[int, str]:
    """What is wrong in a table that is not valid, by the numbers of its rows."""
    words: dict[int, list[str]] = {}
    for problem in problems:
        found = _ROW_OF.match(problem.path)
        if found and not problem.where:
            words.setdefault(int(found[1]), []).append(problem.message)
    return {number: "; ".join(messages) for number, messages in words.items()}


def result_table(content: bytes, fates: Sequence[Fate], wrong: MappingType[int, str]) -> bytes | None:
    """The table with what became of each row, in its own delimiter, encoding, and line breaks.

    Args:
        content: of the table, as it was dropped.
        fates: of the jobs, in their order; none where the table was not valid.
        wrong: what is wrong, by the number of the row, where the table was not valid. Its rows keep what they said
            of an earlier time: nothing has become of them.

    Returns:
        None where the content is no table that can be taken apart.
    """
    try:
        decoded = decode(content, "cp949" if fates else None, "")
    except BatchInvalid:
        return None
    sheet = _take_apart(decoded.text)
    if sheet.header is None or sheet.broken is not None:
        return None
    return _written(sheet, sheet.header, decoded, fates, wrong)


def _written(
    sheet: _Sheet, header: _Row, decoded: Decoded, fates: Sequence[Fate], wrong: MappingType[int, str]
) -> bytes:
    old = {index: name for index, cell in enumerate(header.cells) if (name := cell.text.casefold()) in OURS}
    rows = [header, *sheet.rows]
    kept = [[cell.raw for index, cell in enumerate(row.cells) if index not in old] for row in rows]
    width = max(len(cells) for cells in kept)
    ending = next((row.ending for row in rows if row.ending), "\n")
    left = iter(fates)
    lines = [sheet.preamble]
    for row, cells in zip(rows, kept, strict=True):
        if row is header:
            ours: Sequence[str] = OURS
        elif row.is_blank:
            lines.append(row.raw + row.ending)
            continue
        else:
            said = {name: row.cells[index].text for index, name in old.items() if index < len(row.cells)}
            fate = next(left, None) or _unmade(said, wrong.get(row.number, ""))
            ours = [_cell(text, sheet.delimiter) for text in (fate.state, fate.video, fate.error, fate.paid)]
        padding = [""] * (width - len(cells))
        lines.append(sheet.delimiter.join([*cells, *padding, *ours]) + (row.ending or ending))
    return decoded.encode("".join(lines))


def _unmade(said: MappingType[str, str], error: str) -> Fate:
    # Whether a row without a word of its own was paid under this name before is not known here: empty is no "no".
    return Fate(said.get("state", ""), said.get("video", ""), error, said.get("paid", ""))


def _cell(text: str, delimiter: str) -> str:
    """A cell of ours, on one line, which no spreadsheet takes for a formula."""
    plain = " ".join(text.split())
    plain = f"'{plain}" if plain.startswith(_FORMULA) else plain
    doubled = plain.replace('"', '""')
    return f'"{doubled}"' if delimiter in plain or doubled != plain else plain
