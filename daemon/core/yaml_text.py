"""The one YAML reader, for job files and for the configuration: every scalar is the text that was written.

It stands on PyYAML's events, not on its values: ``no`` stays ``no``, ``12:30`` stays ``12:30``, ``0012``
stays ``0012``. Nothing recurses and everything is bounded: no file, however made, costs more than a moment.
Everything that is wrong is collected with its line and column, which count from 1, columns in characters.
Only a syntax error or a limit ends the reading early.

YAML 1.1 with one rule of YAML 1.2: U+0085, U+2028, and U+2029, which come along with text copied from word
processors and web pages, are characters like any other and break no line, as in most editors.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import field
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Final, Literal, Protocol

import yaml

from daemon.core.errors import BatchInvalid
from daemon.core.problem import Problem, did_you_mean
from daemon.core.record import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

MAX_BYTES: Final = 1024 * 1024
# A PyYAML that was built without libyaml is slower, otherwise the same.
_Parser: Final = yaml.CBaseLoader if yaml.__with_libyaml__ else yaml.BaseLoader
_SHOWN_CHARACTERS: Final = 40
_FEW: Final = 10
_MANY_ANCHORS: Final = 200
_NUL: Final = "\0"


@dataclass(frozen=True, slots=True)
class Limits:
    """What a file may cost.

    Attributes:
        nodes: scalars, keys, lists, and mappings, once aliases are expanded.
        depth: lists and mappings within one another, once aliases are expanded.
        characters: of all scalars together, once aliases are expanded.
        problems: how many are told one by one.
    """

    nodes: int = 100_000
    depth: int = 10
    characters: int = 16 * MAX_BYTES
    problems: int = 100


LIMITS: Final = Limits()


@dataclass(frozen=True, slots=True)
class Scalar:
    """A text as it was written (unfolded by YAML's rules), and whether it stood without quotes."""

    text: str
    is_plain: bool
    line: int
    column: int

    @property
    def is_null(self) -> bool:
        """``null``, ``~``, or nothing at all, without quotes."""
        return self.is_plain and self.text in {"", "~", "null", "Null", "NULL"}


@dataclass(frozen=True, slots=True)
class Mapping:
    """Keys and values in the order of the file; no key twice; ``<<`` merges are already in."""

    entries: tuple[tuple[Scalar, Node], ...]
    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Sequence:
    """A list."""

    nodes: tuple[Node, ...]
    line: int
    column: int


Node = Scalar | Mapping | Sequence
Kind = Literal["yaml", "missing", "key", "value"]


def shown(text: str) -> str:
    """The text in quotes, shortened and without anything unprintable, for a message."""
    return repr(text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…")


class Problems:
    """What is wrong so far: the first ones in full, the rest as a number.

    One place has at most one problem of a kind: a mistake behind an anchor is told once, not per alias.
    """

    def __init__(self, limit: int = LIMITS.problems) -> None:
        self._limit = limit
        self._kept: list[Problem] = []
        self._places: set[tuple[int | None, int | None, Kind]] = set()
        self._more = 0

    def __bool__(self) -> bool:
        """Whether anything is wrong."""
        return bool(self._kept)

    @property
    def is_full(self) -> bool:
        """Whether further problems are only counted."""
        return len(self._kept) >= self._limit

    def add(
        self,
        message: str | Callable[[], str],
        at: Node | tuple[int, int] | None,
        *,
        path: str = "",
        kind: Kind = "yaml",
    ) -> None:
        """Note one problem; the message is only made when it will be told."""
        line, column = (None, None) if at is None else at if isinstance(at, tuple) else (at.line, at.column)
        if (line, column, kind) in self._places or (kind == "value" and (line, column, "yaml") in self._places):
            return
        if self.is_full:
            self._more += 1
            return
        self._places.add((line, column, kind))
        words = message if isinstance(message, str) else message()
        self._kept.append(Problem(words, line=line, column=column, path=path))

    def count(self, more: int) -> None:
        """Note further problems by their number alone; only where `is_full`."""
        self._more += more

    def listed(self) -> tuple[Problem, ...]:
        """All of them in the order of the file, the last one saying how many more there are."""
        kept = sorted(self._kept, key=lambda problem: (problem.line or 0, problem.column or 0))
        if self._more:
            kept.append(Problem(f"... and {self._more:,} more"))
        return tuple(kept)


@dataclass(frozen=True, slots=True)
class Reading:
    """What a text holds and what is wrong with it.

    Attributes:
        documents: one node each, also where there are problems, as far as they could be made out.
        problems: to be added to by whoever knows what the documents should say.
        is_whole: False where a syntax error or a limit ended the reading early: documents are missing then.
    """

    documents: tuple[Node, ...]
    problems: Problems
    is_whole: bool


def read_documents(text: str, limits: Limits = LIMITS) -> list[Node]:
    """The documents of a text.

    Raises:
        BatchInvalid: with everything that is wrong as YAML.
    """
    reading = read(text, limits)
    if reading.problems:
        raise BatchInvalid(reading.problems.listed())
    return list(reading.documents)


def read(text: str, limits: Limits = LIMITS) -> Reading:
    """The documents of a text, together with everything that is wrong as YAML."""
    problems = Problems(limits.problems)
    find_unprintable(text, problems)
    if problems:
        return Reading((), problems, is_whole=False)
    reader = _Reader(text, limits, problems)
    is_whole = reader.run()
    return Reading(tuple(reader.documents), problems, is_whole)


# --- bytes to text ------------------------------------------------------------------------------------------

_HALF_COPIED: Final = "the file looks half copied (NUL bytes); copy it again"
_SAVE_AS: Final = "save the file as UTF-8 in your editor and drop it again"


def is_half_copied(content: bytes) -> bool:
    """Whether this looks like a copy that was cut: NUL where text should be, or half a UTF-16 character."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return len(content) % 2 == 1 or _NUL in content.decode("utf-16", errors="replace")
    return b"\0" in content


def decode(content: bytes) -> str:
    """The text of a file: UTF-8, with or without a byte-order mark, or UTF-16 with one.

    Raises:
        BatchInvalid: too large, half copied, or in another encoding; says where and what to do.
    """
    if len(content) > MAX_BYTES:
        raise BatchInvalid([Problem(f"the file is too large: {len(content):,} bytes, {MAX_BYTES:,} at most; split it")])
    if content.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)) and _is_utf_32(content):
        raise BatchInvalid([Problem(f"the file is UTF-32; {_SAVE_AS}", line=1)])
    is_utf_16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    text = _decode_as("utf-16" if is_utf_16 else "utf-8-sig", content)
    if _NUL in text:
        line, column = position(text, text.index(_NUL))
        is_unmarked = not is_utf_16 and _looks_like_utf_16(content)
        words = f"the file is UTF-16 without its mark; {_SAVE_AS}" if is_unmarked else _HALF_COPIED
        raise BatchInvalid([Problem(words, line=line, column=column)])
    return text


def _decode_as(encoding: str, content: bytes) -> str:
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        # Not error.start: the codecs that skip a byte-order mark count without it.
        offset = error.start + len(content) - len(error.object)
        before = content[:offset].decode(encoding, errors="ignore")
        line, column = position(before, len(before))
        raise BatchInvalid([Problem(_undecodable(content, offset, encoding), line, column)]) from None


def _undecodable(content: bytes, offset: int, encoding: str) -> str:
    if is_half_copied(content):
        return _HALF_COPIED
    name = "UTF-16" if encoding == "utf-16" else "UTF-8"
    return f"byte {offset:,} of the file (0x{content[offset]:02x}) is not {name}; {_SAVE_AS}"


def _is_utf_32(content: bytes) -> bool:
    try:
        return _NUL not in content.decode("utf-32")
    except UnicodeDecodeError:
        return False


def _looks_like_utf_16(content: bytes) -> bool:
    odd, even = content[1::2].count(0), content[0::2].count(0)
    return min(odd, even) == 0 and 4 * max(odd, even) >= len(content)


# --- places in a text ---------------------------------------------------------------------------------------

_BREAKS: Final = ("\x85", "\u2028", "\u2029")
# Escapes can still make these: NUL, which databases refuse, and (without libyaml) lone surrogates.
_UNSENDABLE: Final = re.compile("[\0\ud800-\udfff]")
_ESCAPE: Final = 'delete it, or write it as an escape within "double quotes"'
_UNPRINTABLE: Final = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def position(text: str, index: int) -> tuple[int, int]:
    """Line and column of a character: line breaks are LF, CR LF, and CR alone."""
    before = text[:index].replace("\r\n", "\n").replace("\r", "\n")
    return before.count("\n") + 1, len(before) - before.rfind("\n")


def find_unprintable(text: str, problems: Problems, cure: str = _ESCAPE) -> None:
    """Note control characters, which nobody means: the first ones, and what to do about them."""
    for number, match in enumerate(_UNPRINTABLE.finditer(text)):
        if number == _FEW:
            problems.add("there are more such characters behind this one", position(text, match.start()))
            return
        problems.add(
            f"an invisible control character (U+{ord(match[0]):04X}) is here; {cure}",
            position(text, match.start()),
        )


# --- events to nodes ----------------------------------------------------------------------------------------


_EXPANDED: Final = ", counting each alias (*) as what it stands for; split it"
_BRACKETS_HINT: Final = "put a text that begins with [ or { in quotes"


class _Mark(Protocol):
    """Where PyYAML's and libyaml's parser say that something is, from 0."""

    @property
    def index(self) -> int: ...
    @property
    def line(self) -> int: ...
    @property
    def column(self) -> int: ...


class _Stopped(Exception):
    """A limit was met: read no further."""


@dataclass(slots=True)
class _Open:
    """A list or mapping whose end has not been read yet, and what it weighs so far."""

    is_mapping: bool
    line: int
    column: int
    anchor: str | None
    nodes: int = 1
    characters: int = 0
    height: int = 1
    children: list[Node] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Anchored:
    """What an alias stands for, and what it weighs once expanded."""

    node: Node
    nodes: int
    characters: int
    height: int


class _Reader:
    """One reading of one text; a stack instead of recursion."""

    def __init__(self, text: str, limits: Limits, problems: Problems) -> None:
        self.documents: list[Node] = []
        self._problems = problems
        self._limits = limits
        self._stack: list[_Open] = []
        self._anchors: dict[str, _Anchored | _Open] = {}
        self._nodes = 0
        self._characters = 0
        self._text, self._restored = _without_breaks(text)
        self._end = position(text, len(text))

    def run(self) -> bool:
        """Read to the end; False where that was not possible."""
        try:
            for event in yaml.parse(self._text, Loader=_Parser):
                self._take(event)
        except _Stopped:
            return False
        except yaml.MarkedYAMLError as error:
            self._problems.add(*_explain(error, self._text, self._place))
            return False
        return True

    def _take(self, event: yaml.Event) -> None:
        match event:
            case yaml.ScalarEvent():
                self._take_scalar(event)
            case yaml.SequenceStartEvent() | yaml.MappingStartEvent():
                self._open(event)
            case yaml.SequenceEndEvent() | yaml.MappingEndEvent():
                self._close()
            case yaml.AliasEvent():
                self._take_alias(event)
            case yaml.DocumentStartEvent():
                self._anchors = {}
            case _:
                pass

    def _place(self, mark: _Mark | None) -> tuple[int, int]:
        """PyYAML's mark as line and column; it may lie a line behind the end of the text."""
        if mark is None or mark.line >= self._end[0]:
            return self._end
        return mark.line + 1, mark.column + 1

    def _take_scalar(self, event: yaml.ScalarEvent) -> None:
        line, column = self._place(event.start_mark)
        self._refuse_tag(event.tag, line, column)
        text = event.value if self._restored is None else event.value.translate(self._restored)
        if _UNSENDABLE.search(text):
            self._problems.add(
                "a NUL character (\\0) or half a character cannot be part of a text; take it out", (line, column)
            )
        node = Scalar(text, not event.style, line, column)
        self._count(1, len(text), node)
        self._attach(node, 1, len(text), 0)
        if event.anchor is not None:
            self._anchors[event.anchor] = _Anchored(node, 1, len(text), 0)

    def _open(self, event: yaml.SequenceStartEvent | yaml.MappingStartEvent) -> None:
        line, column = self._place(event.start_mark)
        self._refuse_tag(event.tag, line, column)
        started = _Open(isinstance(event, yaml.MappingStartEvent), line, column, event.anchor)
        self._count(1, 0, (line, column))
        self._stack.append(started)
        if event.anchor is not None:
            self._anchors[event.anchor] = started
        self._check_depth(len(self._stack), (line, column))

    def _close(self) -> None:
        ended = self._stack.pop()
        node = self._mapping(ended) if ended.is_mapping else _sequence(ended)
        self._attach(node, ended.nodes, ended.characters, ended.height)
        # An inner anchor of the same name has the later word.
        if ended.anchor is not None and self._anchors.get(ended.anchor) is ended:
            self._anchors[ended.anchor] = _Anchored(node, ended.nodes, ended.characters, ended.height)

    def _take_alias(self, event: yaml.AliasEvent) -> None:
        line, column = self._place(event.start_mark)
        name = event.anchor or ""
        target = self._anchors.get(name)
        if not isinstance(target, _Anchored):
            self._problems.add(partial(self._dangling, name, is_open=target is not None), (line, column))
            # Something must stand here, or keys and values would no longer come in pairs.
            target = _Anchored(Scalar(f"*{name}", is_plain=False, line=line, column=column), 1, 0, 0)
        node = target.node
        if isinstance(node, Scalar):
            node = Scalar(node.text, node.is_plain, line, column)
        self._count(target.nodes, target.characters, (line, column))
        self._check_depth(len(self._stack) + target.height, (line, column))
        self._attach(node, target.nodes, target.characters, target.height)

    def _dangling(self, name: str, *, is_open: bool) -> str:
        if is_open:
            return f"{shown('*' + name)} stands within its own anchor &: it would never end"
        known = self._anchors if len(self._anchors) <= _MANY_ANCHORS else ()
        hint = did_you_mean(name[:_SHOWN_CHARACTERS], known)
        return (
            f"{shown('*' + name)} refers to an anchor that is not there: put & and the name before the value "
            "it stands for, earlier in the same document, or put a text that begins with * in quotes."
            f"{hint}"
        )

    def _attach(self, node: Node, nodes: int, characters: int, height: int) -> None:
        if not self._stack:
            self.documents.append(node)
            return
        parent = self._stack[-1]
        # What is merged comes to lie beside the keys, not below them.
        levels = 0 if not _is_merged(parent) else 1 if isinstance(node, Mapping) else 2
        parent.children.append(node)
        parent.nodes += nodes
        parent.characters += characters
        parent.height = max(parent.height, height + 1 - levels)

    def _count(self, nodes: int, characters: int, at: Node | tuple[int, int]) -> None:
        self._nodes += nodes
        self._characters += characters
        if self._nodes > self._limits.nodes:
            self._stop(f"the file holds more than {self._limits.nodes:,} keys and values{_EXPANDED}", at)
        if self._characters > self._limits.characters:
            self._stop(f"the file holds more than {self._limits.characters:,} characters{_EXPANDED}", at)

    def _check_depth(self, depth: int, at: tuple[int, int]) -> None:
        if depth > self._limits.depth:
            self._stop(
                f"lists and mappings are nested more than {self._limits.depth} deep; {_BRACKETS_HINT}",
                at,
            )

    def _stop(self, message: str, at: Node | tuple[int, int]) -> None:
        self._problems.add(message, at)
        raise _Stopped

    def _refuse_tag(self, tag: str | None, line: int, column: int) -> None:
        if tag is None:
            return
        written = re.sub("^tag:yaml.org,2002:", "!!", tag)
        self._problems.add(
            f"the tag {shown(written)} is not allowed; take it away, or put a text with ! in quotes",
            (line, column),
        )

    def _mapping(self, ended: _Open) -> Mapping:
        entries: dict[str, tuple[Scalar, Node]] = {}
        merge: tuple[Scalar, Node] | None = None
        for key, value in zip(ended.children[::2], ended.children[1::2], strict=True):
            if not isinstance(key, Scalar):
                self._problems.add(
                    f"a key must be a text, not {kind_of(key)}; {_BRACKETS_HINT}",
                    key,
                )
            elif _is_merge(key):
                if merge:
                    self._problems.add(_twice(key, merge[0]) + " as '<<: [*a, *b]'", key)
                merge = merge or (key, value)
            elif key.text in entries:
                self._problems.add(_twice(key, entries[key.text][0]), key)
            else:
                entries[key.text] = (key, value)
        if merge:
            self._merge(entries, merge[1])
        return Mapping(tuple(entries.values()), ended.line, ended.column)

    def _merge(self, entries: dict[str, tuple[Scalar, Node]], value: Node) -> None:
        """https://yaml.org/type/merge.html: explicit keys win, then what is earlier in the list."""
        for source in value.nodes if isinstance(value, Sequence) else (value,):
            if not isinstance(source, Mapping):
                self._problems.add("'<<' needs a mapping, or a list of mappings, such as '<<: *name'", source)
                continue
            for key, node in source.entries:
                entries.setdefault(key.text, (key, node))


def _is_merge(node: Node) -> bool:
    return isinstance(node, Scalar) and node.text == "<<" and node.is_plain


def _is_merged(parent: _Open) -> bool:
    """Whether the next child is the value of a ``<<``."""
    return parent.is_mapping and len(parent.children) % 2 == 1 and _is_merge(parent.children[-1])


def _sequence(ended: _Open) -> Sequence:
    return Sequence(tuple(ended.children), ended.line, ended.column)


def _twice(key: Scalar, first: Scalar) -> str:
    return f"the key {shown(key.text)} is here twice, first on line {first.line}; keep one of them"


def _without_breaks(text: str) -> tuple[str, dict[int, str] | None]:
    """The text with stand-ins for what YAML 1.1 alone takes for line breaks, and the way back."""
    present = [character for character in _BREAKS if character in text]
    if not present:
        return text, None
    used = set(text)
    private = chain(range(0xE000, 0xF900), range(0xF0000, 0xFFFFE), range(0x100000, 0x10FFFE))
    free = (chr(code) for code in private if chr(code) not in used)
    stand_ins = dict(zip(present, free, strict=False))
    there = {ord(character): stand_in for character, stand_in in stand_ins.items()}
    back = {ord(stand_in): character for character, stand_in in stand_ins.items()}
    return text.translate(there), back


# --- libyaml's words, in plain ones -------------------------------------------------------------------------

_QUOTES_HINT: Final = "put the value in quotes"
_TABS: Final = "tabs cannot indent YAML; use spaces"

_PLAIN_WORDS: Final[dict[str, str]] = {
    "found a tab character": _TABS,
    "mapping values are not allowed": (
        "a colon is not expected here: put a value that contains ': ' in quotes, or indent this line like the others"
    ),
    "sequence entries are not allowed": f"'- ' must begin a line of its own; {_QUOTES_HINT} otherwise",
    "mapping keys are not allowed": f"'? ' is not expected here; {_QUOTES_HINT}",
    "could not find expected ':'": (
        "this line is neither 'key: value' nor part of the text above: indent it further, or look for a "
        "missing colon, or a missing space behind the colon"
    ),
    "unknown escape": "this \\ escape is not known: write \\\\ for a backslash, or use 'single quotes'",
    "hexdecimal": "this \\ escape lacks its digits: write \\\\ for a backslash, or use 'single quotes'",
    "Unicode character escape": "this \\ escape is no whole character; write the character itself",
    "tag": f"tags (!) are not allowed; {_QUOTES_HINT} if it begins with !",
    "alphabetic or numeric character": "a value that begins with * or & must be in quotes",
    "line break": "behind | or > the text must begin on the next line",
    "incompatible YAML": "this version of YAML is not known; take the %YAML line away",
    "directive": "lines that begin with % are not needed here; take this one away",
    "<document start>": (
        "this does not fit under the lines above: indent it like them, or begin a new document with ---"
    ),
    "expected '-' indicator": "this does not fit into the list above: begin it with '- ', or indent it",
    "did not find expected key": (
        "this does not fit: its indentation differs from the lines above, or a quote is closed too early"
    ),
    "node content": f"a value is missing here; {_QUOTES_HINT} if it begins with ] }} or a comma",
}


_BEHIND_QUOTE: Final = (
    "text stands behind the closing quote: within 'single quotes' write a quote twice (''), within "
    '"double quotes" write \\"'
)


def _explain(
    error: yaml.MarkedYAMLError, text: str, place: Callable[[_Mark | None], tuple[int, int]]
) -> tuple[str, tuple[int, int]]:
    """A syntax error in words for people, at the place where it can be mended."""
    words, context = error.problem or "", error.context or ""
    mark = error.problem_mark or error.context_mark
    opening = _unclosed(words, context)
    if opening:
        return _explain_unclosed(opening, error, text, place)
    if "could not find expected ':'" in words:
        mark = error.context_mark or mark
    if "cannot start any token" in words:
        return _explain_character(text[mark.index] if mark and mark.index < len(text) else ""), place(mark)
    if "did not find expected key" in words and mark and _is_behind_quote(text, mark.index):
        return _BEHIND_QUOTE, place(mark)
    return _plain_words(words), place(mark)


def _plain_words(words: str) -> str:
    matches: Iterator[str] = (plain for part, plain in _PLAIN_WORDS.items() if part in words)
    return next(matches, f"this is not YAML ({words}); {_QUOTES_HINT}, or look at the indentation")


def _unclosed(words: str, context: str) -> str:
    if "quoted scalar" in context and words.startswith("found unexpected"):
        return "quote"
    if "',' or ']'" in words:
        return "["
    return "{" if "',' or '}'" in words else ""


def _explain_unclosed(
    opening: str,
    error: yaml.MarkedYAMLError,
    text: str,
    place: Callable[[_Mark | None], tuple[int, int]],
) -> tuple[str, tuple[int, int]]:
    start = place(error.context_mark)
    if opening == "quote":
        return "the quote that opens here is never closed; close it, or leave both quotes out", start
    if error.problem_mark is None or error.problem_mark.index >= len(text):
        return f"the {opening} that opens here is never closed; close it, or put the text in quotes", start
    closing = "]" if opening == "[" else "}"
    return (
        f"a comma or {closing} is missing before this; the {opening} opens on line {start[0]}",
        place(error.problem_mark),
    )


def _explain_character(character: str) -> str:
    if character == "\t":
        return _TABS
    return f"a value that begins with {shown(character)} must be in quotes"


def _is_behind_quote(text: str, index: int) -> bool:
    return text[max(0, index - _SHOWN_CHARACTERS) : index].rstrip(" ").endswith(("'", '"'))


def kind_of(node: Node) -> str:
    """What a person would call it: ``a text``, ``a list``, or ``a mapping``."""
    match node:
        case Scalar():
            return "a text"
        case Sequence():
            return "a list"
        case Mapping():
            return "a mapping (key: value)"


def words_of(names: Iterable[str]) -> str:
    """``'a', 'b', and 'c'``."""
    quoted = [f"'{name}'" for name in names]
    if len(quoted) <= 1:
        return "".join(quoted)
    return f"{', '.join(quoted[:-1])} and {quoted[-1]}"
