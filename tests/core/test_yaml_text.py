"""The YAML reader: every scalar as written, every problem with its place, nothing that costs more than a moment."""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from daemon.core.errors import BatchInvalid
from daemon.core.yaml_text import (
    LIMITS,
    MAX_BYTES,
    Limits,
    Mapping,
    Node,
    Problems,
    Scalar,
    Sequence,
    decode,
    is_half_copied,
    kind_of,
    read,
    read_documents,
    shown,
    words_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from daemon.core.problem import Problem

Plain = str | list["Plain"] | dict[str, "Plain"]


needs_libyaml = pytest.mark.skipif(
    not yaml.__with_libyaml__, reason="PyYAML's own parser has other words and places for syntax errors"
)


def plain(node: Node) -> Plain:
    """The node without its places."""
    match node:
        case Scalar():
            return node.text
        case Sequence():
            return [plain(child) for child in node.nodes]
        case Mapping():
            return {key.text: plain(child) for key, child in node.entries}


def value(text: str) -> Plain:
    """The one document of a text."""
    (node,) = read_documents(text)
    return plain(node)


def problems(text: str, limits: Limits = LIMITS) -> list[tuple[int | None, int | None, str]]:
    """Line, column, and message of everything that is wrong with a text."""
    with pytest.raises(BatchInvalid) as caught:
        read_documents(text, limits)
    return [(problem.line, problem.column, problem.message) for problem in caught.value.problems]


def undecodable(content: bytes) -> tuple[int | None, int | None, str]:
    """Line, column, and message of the one thing that is wrong with the bytes."""
    with pytest.raises(BatchInvalid) as caught:
        decode(content)
    (problem,) = caught.value.problems
    return problem.line, problem.column, problem.message


# --- what was written -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "written",
    ["no", "12:30", "0012", "1", "1.50", "0x1F", "2024-01-01", "true", "null", "~", "1_000", ".inf", "=", "a:b"],
)
def test_scalars_are_the_text_that_was_written(written: str) -> None:
    """YAML's types do not exist: a Norwegian stays ``no``, half past twelve stays ``12:30``."""
    assert value(f"key: {written}") == {"key": written}


def test_places_count_from_one_and_in_characters() -> None:
    """Lines and columns are those that an editor shows, also behind Korean text and emoji."""
    (document,) = read_documents("# x\n한글: '값'\n- : [😀😀, b]\n".replace("- ", "k"))
    assert document == Mapping(
        (
            (Scalar("한글", True, 2, 1), Scalar("값", False, 2, 5)),
            (
                Scalar("k", True, 3, 1),
                Sequence((Scalar("😀😀", True, 3, 5), Scalar("b", True, 3, 9)), 3, 4),
            ),
        ),
        2,
        1,
    )


def test_an_empty_value_stands_behind_its_colon() -> None:
    """What is missing is told where it should be."""
    (document,) = read_documents("a:\nb: 1\n")
    assert isinstance(document, Mapping)
    assert document.entries[0][1] == Scalar("", True, 1, 3)


@pytest.mark.parametrize("text", ["? a", "- a\n-", "a: b\n---", "{a,\n b}", "- &x"])
def test_no_place_lies_behind_the_end_of_the_text(text: str) -> None:
    """The parser tells a line too many at the end of a file; people must not be sent there."""

    def places(node: Node) -> list[int]:
        match node:
            case Scalar():
                return [node.line]
            case Sequence():
                return [node.line, *(line for child in node.nodes for line in places(child))]
            case Mapping():
                return [node.line, *(line for pair in node.entries for child in pair for line in places(child))]

    lines = text.count("\n") + 1
    assert all(line <= lines for document in read_documents(text) for line in places(document))


@pytest.mark.parametrize(
    ("written", "is_null"),
    [("", True), ("~", True), ("null", True), ("Null", True), ("'null'", False), ("''", False), ("nil", False)],
)
def test_null_is_plain(written: str, is_null: bool) -> None:
    """Only what stands without quotes can mean nothing."""
    (document,) = read_documents(f"- {written}")
    assert isinstance(document, Sequence)
    (node,) = document.nodes
    assert isinstance(node, Scalar)
    assert node.is_null is is_null


@pytest.mark.parametrize(
    ("text", "read_as"),
    [
        ("a: |\n  one\n  two\n", {"a": "one\ntwo\n"}),
        ("a: >-\n  one\n  two\n", {"a": "one two"}),
        ("a: one\n  two\n", {"a": "one two"}),
        ('a: "\\u00e9\\n"', {"a": "é\n"}),
        ("a: 'it''s'", {"a": "it's"}),
        ("? a\n: b", {"a": "b"}),
        ("{a: b, c}", {"a": "b", "c": ""}),
        ("%YAML 1.1\n---\na: b\n...\n", {"a": "b"}),
    ],
)
def test_styles(text: str, read_as: Plain) -> None:
    """Block, folded, quoted, and flow scalars are YAML's."""
    assert value(text) == read_as


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85"])
def test_separators_from_word_processors_are_characters(separator: str) -> None:
    """They break no line (YAML 1.2), so that pasted text stays whole and lines are counted as editors do."""
    text = f"a: x{separator}y \ue000 z\nb: c"
    assert value(text) == {"a": f"x{separator}y \ue000 z", "b": "c"}
    assert problems(f"a: x{separator}y\nb: *c")[0][:2] == (2, 4)


def test_several_documents() -> None:
    """Each is a node; what is empty is a null scalar."""
    documents = read_documents("a: b\n---\n---\n- c\n")
    assert [plain(document) for document in documents] == [{"a": "b"}, "", ["c"]]
    assert read_documents("") == read_documents("# nothing\n") == []


# --- anchors, aliases, merges -----------------------------------------------------------------------------------


def test_an_alias_is_what_its_anchor_holds() -> None:
    """A scalar takes the alias's place; a mapping keeps its own, where it can be mended."""
    (document,) = read_documents("- &a {x: 1}\n- &b text\n- *a\n-   *b\n")
    assert isinstance(document, Sequence)
    assert document.nodes[2] is document.nodes[0]
    assert document.nodes[3] == Scalar("text", True, 4, 5)


@pytest.mark.parametrize(
    ("text", "last"),
    [
        ("- &a {x: 1, y: 2}\n- {<<: *a, y: 3}", {"x": "1", "y": "3"}),
        ("- &a {x: 1, y: 2}\n- {y: 3, <<: *a}", {"x": "1", "y": "3"}),
        ("- &a {x: 1}\n- &b {x: 2, y: 3}\n- {<<: [*a, *b]}", {"x": "1", "y": "3"}),
        ("- &a {x: 1}\n- &b {<<: *a, y: 2}\n- {<<: *b, z: 3}", {"x": "1", "y": "2", "z": "3"}),
        ("- {<<: {x: 1}}", {"x": "1"}),
        ("- {<<: []}", {}),
        ("- {'<<': {x: 1}}", {"<<": {"x": "1"}}),
        ("- &a 1\n- &a 2\n- *a", "2"),
        ("- &a [&a x]\n- *a", "x"),
        ("- &a k\n- {*a : v}", {"k": "v"}),
    ],
)
def test_anchors_and_merges(text: str, last: Plain) -> None:
    """Explicit keys win wherever they stand, then the earlier of a list; a later anchor replaces an earlier one."""
    read_as = value(text)
    assert isinstance(read_as, list)
    assert read_as[-1] == last


def test_merges_may_follow_one_another() -> None:
    """A long chain of merges is flat, not deep."""
    chain = "".join(f"- &m{n + 1} {{<<: [*m{n}], k{n}: v}}\n" for n in range(30))
    read_as = value("- &m0 {a: b}\n" + chain)
    assert isinstance(read_as, list)
    assert len(read_as[-1]) == 31


@pytest.mark.parametrize(
    ("text", "place", "part"),
    [
        ("a: &a\n  b: [x, *a]", (2, 10), "within its own anchor"),
        ("a: *none", (1, 4), "not there"),
        ("a: &name x\nb: *nane", (2, 4), "Did you mean 'name'?"),
        ("a: &x 1\n---\nb: *x", (3, 4), "same document"),
        ("<<: text", (1, 5), "'<<' needs a mapping"),
        ("<<: [{a: b}, c]", (1, 14), "'<<' needs a mapping"),
        ("<<: {a: b}\n<<: {c: d}", (2, 1), "[*a, *b]"),
        ("<<: *none", (1, 5), "not there"),
    ],
)
def test_wrong_anchors_and_merges(text: str, place: tuple[int, int], part: str) -> None:
    """An alias to nothing, to itself, or to another document, and a merge of what is no mapping."""
    ((line, column, message),) = problems(text)
    assert (line, column) == place
    assert part in message


# --- what is refused --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "place", "part"),
    [
        ("a: 1\nb: 2\n'a': 3", (3, 1), "'a' is here twice, first on line 1"),
        ("- a: 1\n  a: 2", (2, 3), "first on line 1"),
        ("a: !!str b", (1, 4), "'!!str'"),
        ("a: !x b", (1, 4), "'!x'"),
        ("a: ! b", (1, 4), "'!'"),
        ("a: !!python/object/apply:os.system [ls]", (1, 4), "'!!python/object/apply:os.system'"),
        ("!!map\na: b", (1, 1), "'!!map'"),
        ("a: !<tag:yaml.org,2002:int> 3", (1, 4), "'!!int'"),
        ("? [a]\n: b", (1, 3), "not a list"),
        ("? {a: b}\n: b", (1, 3), "not a mapping"),
        ("text: {{ name }}", (1, 8), "in quotes"),
        ('a: "\\0"', (1, 4), "NUL"),
    ],
)
def test_refused(text: str, place: tuple[int, int], part: str) -> None:
    """Duplicate keys, tags of any kind, keys that are no text, each at its place."""
    ((line, column, message),) = problems(text)
    assert (line, column) == place
    assert part in message


@needs_libyaml
@pytest.mark.parametrize(
    ("text", "place", "part"),
    [
        ("a: 1\n\tb: 2", (2, 1), "tabs cannot indent YAML; use spaces"),
        ("a: 'x'\n\tb: 2", (2, 1), "tabs cannot indent YAML; use spaces"),
        ("\ta: b", (1, 1), "tabs cannot indent"),
        ("a: |\n\tx", (2, 1), "tabs cannot indent"),
        ("a: Hello: b", (1, 9), "contains ': ' in quotes"),
        ("a: *bold* x", (1, 9), "must be in quotes"),
        ("a: &  b", (1, 5), "must be in quotes"),
        ("a: @x", (1, 4), "begins with '@' must be in quotes"),
        ("a: `x", (1, 4), "begins with '`' must be in quotes"),
        ("a: %x", (1, 4), "begins with '%' must be in quotes"),
        ('k: v\na: "abc\nb: c\n', (2, 4), "never closed"),
        ("a: 'it's'", (1, 8), "behind the closing quote"),
        ("a: 'b\n---\nc'", (1, 4), "never closed"),
        ('a: "\\q"', (1, 5), "escape is not known"),
        ('a: "\\xzz"', (1, 7), "lacks its digits"),
        ('a: "\\ud800"', (1, 7), "write the character itself"),
        ("a: !x!y b", (1, 4), "tags (!) are not allowed"),
        ("a: [1,\n 2", (1, 4), "[ that opens here is never closed"),
        ("a: {x: 1", (1, 4), "{ that opens here is never closed"),
        ("a: [b\nc: d]", (2, 2), "the [ opens on line 1"),
        ("a: {b: c\nd: e}", (2, 2), "the { opens on line 1"),
        ("- a\nb: c", (2, 1), "begin it with '- '"),
        ("a: b\n- c", (2, 1), "indentation"),
        ("a: - b", (1, 4), "'- ' must begin a line"),
        ("a: b\nc d\ne: f", (2, 1), "neither 'key: value'"),
        ("a: | x\n y", (1, 6), "on the next line"),
        (" a: 1\nb: 2", (2, 1), "does not fit"),
        ("a: ]", (1, 4), "a value is missing"),
        ("%YAML 2.0\n---\na", (1, 1), "%YAML"),
        ("%FOO x\n---\na", (1, 5), "begin with %"),
    ],
)
def test_syntax_errors_in_plain_words(text: str, place: tuple[int, int], part: str) -> None:
    """A parser's words are turned into what to do, at the place where it is to be done."""
    line, column, message = problems(text)[-1]
    assert (line, column) == place
    assert part in message


@needs_libyaml
def test_words_that_nobody_foresaw_are_quoted() -> None:
    """An unusual syntax error still has its place and the parser's words."""
    assert problems("%TAG !a\n---\nb")[0] == (
        1,
        8,
        "this is not YAML (did not find expected '!'); put the value in quotes, or look at the indentation",
    )


def test_everything_is_told_at_once_up_to_a_syntax_error() -> None:
    """What was found before the reading ended is told with what ended it, in the order of the file."""
    text = "a: !x 1\na: 2\nb: *c\n? [d]\n: e\n"
    assert [place[:2] for place in problems(text)] == [(1, 4), (2, 1), (3, 4), (4, 3)]
    assert [place[:2] for place in problems("b: *c\na: !x 1\nd: 'e")] == [(1, 4), (2, 4), (3, 4)]


def test_a_reading_goes_on_beside_its_problems() -> None:
    """Whoever knows what the documents should say can add to what is wrong as YAML."""
    reading = read("a: !x 1\nb: 2")
    assert reading.is_whole
    assert [plain(document) for document in reading.documents] == [{"a": "1", "b": "2"}]
    assert not read("a: 'b").is_whole


def test_no_text_holds_half_a_character() -> None:
    """Neither of PyYAML's parsers gets a lone surrogate past the reader."""
    assert problems('a: "\\ud800"')[0][0] == 1


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a: b\x0bc", (1, 5)),
        ("a\r\nb\rc\nd\x07", (4, 2)),
        ("\x7f", (1, 1)),
        ("a: \x9f", (1, 4)),
        ("\ud800", (1, 1)),
        ("\uffff", (1, 1)),
    ],
)
def test_invisible_control_characters(text: str, place: tuple[int, int]) -> None:
    """They come along with pasted text; they are named by their code, for nobody can see them."""
    ((line, column, message),) = problems(text)
    assert (line, column) == place
    assert "control character" in message


def test_many_control_characters_are_not_all_told() -> None:
    """A few show what is the matter."""
    assert len(problems("\x01" * 500)) == 11


# --- limits -----------------------------------------------------------------------------------------------------

SMALL = Limits(nodes=10, depth=3, characters=50, problems=4)


@pytest.mark.parametrize(
    ("text", "place", "part"),
    [
        ("- a\n" * 10, (10, 3), "more than 10 keys and values"),
        ("- &a [x, x]\n- *a\n- *a\n- *a", (4, 3), "more than 10 keys and values"),
        ("[[[[x]]]]", (1, 4), "more than 3 deep"),
        ("- &a [[x]]\n- [*a]", (2, 4), "more than 3 deep"),
        ("- - - - x", (1, 7), "more than 3 deep"),
        (f"- {'a' * 51}", (1, 3), "more than 50 characters"),
        (f"- &a {'a' * 20}\n- *a\n- *a\n", (3, 3), "more than 50 characters"),
    ],
)
def test_limits(text: str, place: tuple[int, int], part: str) -> None:
    """What a file costs is counted with every alias expanded, without expanding any."""
    ((line, column, message),) = problems(text, SMALL)
    assert (line, column) == place
    assert part in message


def test_just_within_the_limits() -> None:
    """The limits are what is allowed."""
    assert read_documents("- a\n" * 9, SMALL)
    assert read_documents("[[[x]]]", SMALL)
    assert read_documents("- &a [[x]]\n- *a", SMALL)


def test_an_alias_bomb_is_only_counted() -> None:
    """A billion laughs end at the hundred thousandth."""
    bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9)
    )
    ((line, _, message),) = problems(bomb)
    assert line == 6
    assert "100,000" in message


@pytest.mark.parametrize("opening", ["[", "{", "- ", "? ", "{a: ", "[{"])
def test_depth_bombs_are_not_followed(opening: str) -> None:
    """A megabyte of brackets ends at the eleventh, never in a RecursionError."""
    ((line, _, message),) = problems(opening * (MAX_BYTES // len(opening)))
    assert line == 1
    assert "10 deep" in message


def test_the_rest_of_the_problems_is_a_number() -> None:
    """The first ones are told, the last line says how many more there are."""
    found = problems("[!x a, !x b, !x c, !x d, !x e, !x f]", SMALL)
    assert len(found) == 5
    assert found[-1] == (None, None, "... and 2 more")


def test_one_place_has_one_problem_of_a_kind() -> None:
    """A mistake behind an anchor is one mistake; a value that is wrong as YAML is not wrong a second time."""
    found = Problems(limit=2)
    found.add("first", (1, 1), kind="value")
    found.add("again", (1, 1), kind="value")
    found.add("as YAML", (2, 1))
    found.add("as a value", (2, 1), kind="value")
    assert [problem.message for problem in found.listed()] == ["first", "as YAML"]
    found.count(1200)
    assert found.listed()[-1].message == "... and 1,200 more"


# --- bytes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16"], ids=["UTF-8", "UTF-8 with a mark", "UTF-16 with a mark"]
)
def test_encodings(encoding: str) -> None:
    """What editors on Windows, macOS, and Linux write is read."""
    text = "a: 한글 😀 é\r\nb: c\r\n"
    assert decode(text.encode(encoding)) == text
    assert value(text) == {"a": "한글 😀 é", "b": "c"}


@pytest.mark.parametrize(("mark", "encoding"), [(codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be")])
def test_utf_16_of_both_kinds(mark: bytes, encoding: str) -> None:
    """The mark says which it is."""
    assert decode(mark + "a: é".encode(encoding)) == "a: é"


@pytest.mark.parametrize(
    ("content", "place", "part"),
    [
        (b"a: 1\nb: caf\xe9\n", (2, 7), "byte 11 of the file (0xe9) is not UTF-8; save the file as UTF-8"),
        (b"\xef\xbb\xbfa: \xff", (1, 4), "byte 6 of the file (0xff)"),
        ("é: ".encode() + b"\x80", (1, 4), "byte 4 of the file"),
        (b"a: b\r\nc: d\x00\x00\x00", (2, 5), "looks half copied (NUL bytes)"),
        (b"\x00" * 9, (1, 1), "looks half copied (NUL bytes)"),
        (b"a: \xff\x00", (1, 4), "looks half copied (NUL bytes)"),
        (codecs.BOM_UTF16_LE + "a: b\nc".encode("utf-16-le") + b"\0\0", (2, 2), "half copied"),
        (codecs.BOM_UTF16_LE + "a: b".encode("utf-16-le") + b"c", (1, 5), "half copied"),
        (codecs.BOM_UTF16_LE + b"\x00\xd8a\x00", (1, 1), "is not UTF-16"),
        ("a: b".encode("utf-16-le"), (1, 2), "UTF-16 without its mark"),
        ("a: b".encode("utf-16-be"), (1, 1), "UTF-16 without its mark"),
        (codecs.BOM_UTF32_LE + "a: b".encode("utf-32-le"), (1, None), "UTF-32"),
        (codecs.BOM_UTF32_LE + "a: b".encode("utf-32-le")[:-2], (1, 1), "half copied"),
        (b"a" * (MAX_BYTES + 1), (None, None), "too large: 1,048,577 bytes"),
    ],
)
def test_undecodable(content: bytes, place: tuple[int | None, int | None], part: str) -> None:
    """What cannot be read is told with its place and what to do."""
    line, column, message = undecodable(content)
    assert (line, column) == place
    assert part in message


@pytest.mark.parametrize(
    ("content", "is_half"),
    [
        (b"", False),
        (b"a: b", False),
        (b"a: \xff", False),
        (b"a: b\x00", True),
        ("a: b".encode("utf-16"), False),
        ("a: b".encode("utf-16")[:-1], True),
        ("a: b\0".encode("utf-16"), True),
        (codecs.BOM_UTF32_LE + b"\0" * 8, True),
    ],
)
def test_half_copied(content: bytes, is_half: bool) -> None:
    """NUL where text should be is what a cut copy leaves behind."""
    assert is_half_copied(content) is is_half


def test_a_megabyte_is_allowed() -> None:
    """The limit is what is allowed."""
    assert len(decode(b"a" * MAX_BYTES)) == MAX_BYTES


# --- words ------------------------------------------------------------------------------------------------------


def test_words_for_messages() -> None:
    """What a person wrote is quoted shortened and harmless."""
    assert shown("a" * 50) == "'" + "a" * 40 + "…'"
    assert shown("\x1b[2J\u202e") == "'\\x1b[2J\\u202e'"
    assert words_of([]) == ""
    assert words_of(["a"]) == "'a'"
    assert words_of(["a", "b", "c"]) == "'a', 'b' and 'c'"
    assert [kind_of(node) for node in read_documents("a\n---\n[]\n---\n{}")] == [
        "a text",
        "a list",
        "a mapping (key: value)",
    ]


# --- properties -------------------------------------------------------------------------------------------------

SOUP = st.text(st.sampled_from("ab:-?[]{},&*!|>'\"%@`#\\ \t\r\n\u2028é<~"), max_size=40)


def told(reader: Callable[[], object]) -> tuple[Problem, ...] | None:
    """The problems that a reading ends with; None where it ends well."""
    try:
        reader()
    except BatchInvalid as invalid:
        return invalid.problems
    return None


@given(SOUP | st.text())
def test_any_text_is_read_or_told(text: str) -> None:
    """Documents, or at least one problem, each with words and a place within the text."""
    lines = len(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"))
    found = told(lambda: read_documents(text))
    assert found != ()
    for problem in found or ():
        assert problem.message
        assert problem.line is None or 1 <= problem.line <= lines
        assert problem.column is None or problem.column >= 1


@given(st.binary() | SOUP.map(str.encode))
def test_any_bytes_are_decoded_or_told(content: bytes) -> None:
    """A text without NUL, or one problem that says what to do."""
    found = told(lambda: decode(content))
    if found is None:
        assert "\0" not in decode(content)
        assert not is_half_copied(content)
    else:
        assert len(found) == 1
        assert found[0].message


# What YAML cannot hold at all, even escaped, is left out; NUL is refused on purpose.
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30)


@given(
    st.recursive(
        TEXTS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4), max_leaves=8
    ),
    st.booleans(),
)
def test_what_pyyaml_writes_is_read_back(written: object, is_flow: bool) -> None:
    """Texts, lists, and mappings come back as they were, in either style."""
    dumped = yaml.safe_dump(written, default_flow_style=is_flow)
    reading = read(dumped)
    if any("10 deep" in problem.message for problem in reading.problems.listed()):
        return
    assert not reading.problems
    assert plain(reading.documents[0]) == written
