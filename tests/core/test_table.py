"""Tables as batches, and the tables that go back."""

from __future__ import annotations

import codecs
import csv
import io
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.core.batch import Batch
from daemon.core.defaults import NO_DEFAULTS, Defaults
from daemon.core.errors import BatchInvalid
from daemon.core.job_content import Grammar
from daemon.core.problem import Problem
from daemon.core.table import MAX_CELLS, OURS, Fate, result_table, words_by_row

if TYPE_CHECKING:
    from collections.abc import Sequence

HEADER = ["language", "text", "model", "clothes"]
ROWS = [["ko", "안녕하세요, 여러분", "M000004017", "BG00006160"], ["en", 'She said: "hi"\nand left', "0012", "1"]]
DONE = Fate("done", "videos/a.mp4", "", "yes")
REFUSED = Fate("failed", "", "no such model", "no")


def parse(
    content: str | bytes, *, encoding: str | None = None, version: str = "v2", defaults: Defaults = NO_DEFAULTS
) -> Batch:
    written = content if isinstance(content, bytes) else content.encode()
    return Grammar(version, encoding).batch("works.csv", written, defaults)


def bodies(content: str | bytes, **options: Any) -> list[dict[str, object]]:
    return [dict(request.body) for request in parse(content, **options).requests]


def problems(content: str | bytes, **options: Any) -> list[str]:
    with pytest.raises(BatchInvalid) as raised:
        parse(content, **options)
    return [str(problem) for problem in raised.value.problems]


def written(rows: Sequence[Sequence[str]], delimiter: str = ",", ending: str = "\r\n") -> str:
    """As a spreadsheet writes it."""
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator=ending).writerows(rows)
    return text.getvalue()


def read(content: bytes, delimiter: str = ",", encoding: str = "utf-8-sig") -> list[list[str]]:
    """As a spreadsheet reads it."""
    return list(csv.reader(io.StringIO(content.decode(encoding), newline=""), delimiter=delimiter, strict=True))


EXPECTED = [dict(zip(HEADER, row, strict=True)) for row in ROWS]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("ending", ["\r\n", "\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp949"])
def test_a_table_is_read_as_programs_write_it(delimiter: str, ending: str, encoding: str) -> None:
    """Every delimiter, line break, and encoding leads to the same jobs."""
    content = written([HEADER, *ROWS], delimiter, ending).encode(encoding)
    assert bodies(content, encoding="cp949") == EXPECTED


def test_utf_16_of_the_other_order_is_read() -> None:
    """By its byte-order mark."""
    content = codecs.BOM_UTF16_BE + written([HEADER, *ROWS], "\t").encode("utf-16-be")
    assert bodies(content) == EXPECTED


def test_names_of_columns_are_found_in_any_case_and_order() -> None:
    """Trimmed, in any case of letters, with columns that have no name and hold nothing."""
    assert bodies(" Clothes ;TEXT;Model; language;;\n1;hi;M1;en;;\n") == [
        {"clothes": "1", "text": "hi", "model": "M1", "language": "en"}
    ]


def test_a_cell_is_the_text_that_was_written() -> None:
    """But for blanks around it; numbers and words stay what they are."""
    table = written([HEADER, ["no", " 12:30 ", "0012", "1.0"]])
    assert bodies(table) == [{"language": "no", "text": "12:30", "model": "0012", "clothes": "1.0"}]


def test_quotes_in_pairs_may_stand_within_a_cell() -> None:
    """With quotes around the cell or without; one that belongs to an inch needs the quotes around."""
    table = 'language,text,model,clothes\nko,She said "hi" to me,M1,1\nko,"A 5"" screen, new",M1,1\n'
    assert [body["text"] for body in bodies(table)] == ['She said "hi" to me', 'A 5" screen, new']


def test_every_field_of_the_version_is_a_column() -> None:
    """Those of v2 and of v3, name and pay_again too; an empty cell says nothing."""
    two = "language,text,model,clothes,uppercut,name,pay_again\nko,hi,M1,1,20,the first,yes\nko,ho,M1,1,,,\n"
    first, second = parse(two).requests
    assert (first.body["uppercut"], first.name, first.may_pay_again) == (20, "the first", True)
    assert ("uppercut" in second.body, second.name, second.may_pay_again) == (False, None, False)
    three = "language,text,model,clothes,WORKSPACEID,resolution\nko,hi,M1,1,w,4K\n"
    assert bodies(three, version="v3")[0] | {"text": ""} == {
        "language": "ko", "text": "", "model": "M1", "clothes": "1", "workspaceId": "w", "resolution": "4k"
    }  # fmt: skip


def test_blank_rows_are_passed_over_and_counted() -> None:
    """A row's number is the one that the spreadsheet shows."""
    table = "\n,,,\nlanguage,text,model,clothes\n\n ,,,\nko,a,M1,1\n,,,\nko,b,M1,1\n"
    places = [request.place for request in parse(table).requests]
    assert [place.path for place in places if place is not None] == ["row 6", "row 8"]


def test_excels_own_first_line_names_the_delimiter() -> None:
    """``sep=;`` is no row."""
    [request] = parse("sep=;\r\nlanguage;text;model;clothes\r\nko;a,b;M1;1\r\n").requests
    assert request.body["text"] == "a,b"
    assert request.place is not None
    assert (request.place.path, request.place.fields["text"]) == ("row 2", (3, 4))


def test_places_are_lines_and_columns_of_the_file() -> None:
    """A cell behind one that leads over several lines lies on another line than its row begins."""
    table = 'text,language,model,clothes,uppercut\n"one\r\ntwo",ko,M1,1,much\n'
    assert problems(table) == [
        "line 3, column 14 (row 2, uppercut): 'uppercut' must be a number such as 20 or 0.5, not 'much'"
    ]


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        pytest.param("", ["line 1, column 1: the table is empty"], id="nothing"),
        pytest.param(",,\n\n", ["line 1, column 1: the table is empty"], id="blank"),
        pytest.param("language,text,model,clothes\n", ["line 1, column 1: there is no row below"], id="no row"),
        pytest.param(
            "language,txt,model,clothes\nko,a,M1,1\n",
            [
                "line 1, column 1 (row 1): the column 'text' is missing",
                "line 1, column 10 (row 1, txt): the column 'txt' is not known. Did you mean 'text'?",
            ],
            id="unknown column",
        ),
        pytest.param(
            "language,text,model,clothes,resolution\nko,a,M1,1,\n",
            ["(row 1, resolution): the column 'resolution' is not known. It is for the API's v3"],
            id="another version's",
        ),
        pytest.param(
            "language,text,Text,model,clothes\nko,a,b,M1,1\n",
            ["line 1, column 15 (row 1, Text): the column 'text' is here twice"],
            id="twice",
        ),
        pytest.param(
            "language,text,model,clothes\nko,Hello, you,M1,1\nko,,M1,1\n",
            [
                "line 2, column 18 (row 2): there is something in column 5, which has no name in the header; put",
                "line 3, column 1 (row 3): 'text' is missing",
            ],
            id="a comma too much, and an empty cell",
        ),
        pytest.param(
            'language,text,model,clothes\nko,a,M1,1\n"ko,a,M1,1\nko,a,M1,1\n',
            ["line 3, column 1 (row 3): a quote that opens in this row is never closed"],
            id="open quote",
        ),
        pytest.param(
            'language,text,model,clothes\nko,"a"b,M1,1\n',
            ["line 2, column 1 (row 2): text stands behind a closing quote"],
            id="text behind a quote",
        ),
        pytest.param(
            'language,model,clothes,text,name\nko,M1,1, "Hello, world"\n\nko,M1,1,"fine, so",\nko,M1,1, "Hello",\n',
            [
                "line 2, column 9 (row 2): a blank stands before the quote that opens this cell; take the blank",
                "line 5, column 9 (row 5): a blank stands before the quote that opens this cell; take the blank",
            ],
            id="blank before a quote",
        ),
        pytest.param(
            'language, "text",model,clothes\nko,a,M1,1\n',
            ["line 1, column 10 (row 1): a blank stands before the quote"],
            id="blank before a quote in the header",
        ),
        pytest.param(
            'language,text,model,clothes\nko,a,M1,1\nko,Say "hi, you",M1,1\n',
            ["line 3, column 4 (row 3): a quote in this cell has no partner; put the whole cell in quotes"],
            id="quote cut off its partner",
        ),
        pytest.param(
            "language,text,model,clothes\nko,a\x07b,M1,1\n",
            ["line 2, column 5: an invisible control character (U+0007) is here; delete it"],
            id="control character",
        ),
        pytest.param(
            "language,text,model,clothes\nko," + "a" * 140_000 + ",M1,1\n",
            ["line 2, column 1 (row 2): a cell of this row is longer than 131,072 characters"],
            id="cell without end",
        ),
        pytest.param(
            "text;model\na;M1\n", ["the columns 'language' and 'clothes' are missing"], id="two columns are missing"
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_place(table: str, expected: list[str]) -> None:
    """All of it, with line, column, and the row and column as a spreadsheet has them."""
    found = problems(table)
    assert len(found) == len(expected)
    assert [words for words, line in zip(expected, found, strict=True) if words not in line] == [], found


def test_a_table_in_no_known_encoding_is_never_guessed() -> None:
    """What Excel in Korea writes is refused unless the configuration names it, and then says what to do."""
    content = written([HEADER, ROWS[0]]).encode("cp949")
    [problem] = problems(content)
    assert "line 2, column 5" in problem
    assert "CSV UTF-8" in problem
    assert "jobs.csv_encoding" in problem
    assert bodies(content, encoding="cp949") == EXPECTED[:1]


def test_what_is_not_even_cp949_is_refused() -> None:
    """With its place."""
    [problem] = problems(b"language,text\nko,\xff\xff\n", encoding="cp949")
    assert "neither UTF-8 nor CP949" in problem
    assert "line 2, column 4" in problem


def test_utf_8_is_utf_8_also_where_cp949_is_set() -> None:
    """The setting is for files that are nothing else."""
    assert bodies(written([HEADER, *ROWS]), encoding="cp949") == EXPECTED


@pytest.mark.parametrize("content", [b"language,text\nko,\0\0\0\0", b"\xff\xfel\0a", codecs.BOM_UTF16_LE + b"a\0\0\0"])
def test_a_half_copied_table_says_so(content: bytes) -> None:
    """NUL bytes, or half a character."""
    assert any("half copied" in problem or "column" in problem for problem in problems(content, encoding="cp949"))


def test_a_table_has_limits() -> None:
    """As a YAML file has: a megabyte, and so many cells."""
    assert "too large" in problems("text\n" + "a" * (1 << 20))[0]
    many = "text\n" + "a\n" * (MAX_CELLS + 1)
    assert any("more than 100,000 cells" in problem for problem in problems(many))


def test_a_result_table_is_read_without_what_was_added() -> None:
    """Its four columns are no fields; a row that says it is done or paid is marked."""
    table = (
        "language,text,state,model,clothes,video,error,paid\n"
        "ko,a,done,M1,1,videos/a.mp4,,yes\nko,b,failed,M1,1,,,no\nko,c,failed,M1,1,,,unknown\nko,d,,M1,1,,,\n"
    )
    requests = parse(table).requests
    assert [request.body["text"] for request in requests] == ["a", "b", "c", "d"]
    assert [request.is_marked_paid for request in requests] == [True, False, True, False]


# --- what goes back -------------------------------------------------------------------------------


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp949"])
def test_the_same_table_goes_back(delimiter: str, encoding: str) -> None:
    """In its delimiter, encoding, and line breaks, with four columns added."""
    text = written([HEADER, ROWS[0], [], ["", "", "", ""], ROWS[1]], delimiter)
    content = text.encode(encoding)
    back = result_table(content, [DONE, REFUSED], {})
    assert back is not None
    mark = content[: content.index("language"[0].encode())]
    assert back.startswith(mark)
    assert back.decode(encoding).count("\r\n") == text.count("\r\n")
    assert read(back, delimiter, encoding) == [
        [*HEADER, *OURS],
        [*ROWS[0], "done", "videos/a.mp4", "", "yes"],
        [],
        ["", "", "", ""],
        [*ROWS[1], "failed", "", "no such model", "no"],
    ]


def test_the_producers_cells_go_back_as_they_were_written() -> None:
    """To the byte, quotes and formulas and all; only ours are made harmless."""
    content = b'sep=,\ntext , model,"language",clothes,\n"=1+1",  M1,ko,1\n+2," a ""b"" ",ko,1,,,'
    back = result_table(content, [Fate("done", "a.mp4", "", "yes"), Fate("failed", "", '=cmd|"/c calc"!A1', "no")], {})
    assert back == (
        b'sep=,\ntext , model,"language",clothes,,,,state,video,error,paid\n"=1+1",  M1,ko,1,,,,done,a.mp4,,yes\n'
        b'+2," a ""b"" ",ko,1,,,,failed,,"\'=cmd|""/c calc""!A1",no\n'
    )


@pytest.mark.parametrize("begin", ["=", "+", "-", "@", "\t=", "\r\n@", " -", "\uff1d", "\uff0b", "\uff0d", "\uff20"])
def test_the_clouds_words_are_never_a_formula(begin: str) -> None:
    """A cell of ours that a spreadsheet would run begins with an apostrophe."""
    back = result_table(written([HEADER, *ROWS[:1]]).encode(), [Fate("failed", "", f"{begin}1+1", "no")], {})
    assert back is not None
    assert read(back)[1][6].startswith("'")


def test_a_table_that_has_come_back_has_its_columns_once() -> None:
    """They say what has become of it this time."""
    content = written([HEADER, *ROWS]).encode()
    first = result_table(content, [DONE, REFUSED], {})
    assert first is not None
    second = result_table(first, [DONE, DONE], {})
    assert second == result_table(content, [DONE, DONE], {})


def test_a_table_that_was_not_valid_says_what_is_wrong_in_its_rows() -> None:
    """And keeps what it said before; where it said nothing, nothing is made up: it may have been paid before."""
    table = "text,state,paid,model\na,done,yes,M1\nb,failed,no,M1\nc,,,M1\n"
    wrong = words_by_row([Problem("is bad", 3, 1, "row 3, text"), Problem("all", 1, 1, "row 1"), Problem("elsewhere")])
    back = result_table(table.encode(), [], wrong)
    assert back is not None
    assert read(back)[1:] == [
        ["a", "M1", "done", "", "", "yes"],
        ["b", "M1", "failed", "", "is bad", "no"],
        ["c", "M1", "", "", "", ""],
    ]


@pytest.mark.parametrize("content", [b"", b'text\n"open', b"\xff\xff", "한국".encode("cp949")])
def test_what_is_no_table_has_no_result(content: bytes) -> None:
    """The error file says it all."""
    assert result_table(content, [], {}) is None


def test_words_that_cp949_does_not_have_become_question_marks() -> None:
    """Ours only: what the producer wrote came from there."""
    back = result_table(written([HEADER, *ROWS[:1]]).encode("cp949"), [Fate("failed", "", "ไม่ 안녕", "no")], {})
    assert back is not None
    assert read(back, encoding="cp949")[1][6] == "??? 안녕"


def test_cp949_comes_round() -> None:
    """Every character of two bytes that can be read is written as the same two bytes."""
    for lead in range(0x81, 0xFF):
        for trail in range(0x41, 0xFF):
            pair = bytes([lead, trail])
            with suppress(UnicodeDecodeError):
                assert pair.decode("cp949").encode("cp949") == pair


# --- anything at all ------------------------------------------------------------------------------

CELLS = st.text(st.characters(blacklist_categories=("Cs", "Cc")) | st.sampled_from(' ,;\t"\n=+-@'), max_size=12)
TABLES = st.lists(st.lists(CELLS, max_size=6), max_size=6)
PIECES = st.sampled_from(
    ["language", "text", "model", "clothes", "state", "paid", "done", "ko", ",", ";", "\t", '"', '""', "\n", "\r\n",
     "\r", " ", "sep=;\n", "=1", "안녕", "\ufeff", "\0", "\x85", "\u2028", "a" * 50]
)  # fmt: skip


def ended(content: bytes, encoding: str | None) -> Batch | tuple[Problem, ...]:
    """What comes of it; anything else that is raised fails the test."""
    try:
        return parse(content, encoding=encoding)
    except BatchInvalid as invalid:
        return invalid.problems


@given(st.lists(PIECES, max_size=60).map("".join), st.sampled_from(["utf-8", "utf-16", "cp949"]))
def test_any_text_is_a_batch_or_problems(text: str, encoding: str) -> None:
    """Nothing else is ever raised, and every problem that has a line has one that is there."""
    content = text.encode(encoding, "replace")
    found = ended(content, "cp949")
    if isinstance(found, Batch):
        assert result_table(content, [DONE] * len(found.requests), {}) is not None
    else:
        assert found
        assert all(problem.line is None or problem.line >= 1 for problem in found)
        result_table(content, [], words_by_row(found))


@given(st.binary(max_size=200), st.sampled_from([None, "cp949"]))
def test_any_bytes_are_a_batch_or_problems(content: bytes, encoding: str | None) -> None:
    """Nothing else is ever raised."""
    found = ended(content, encoding)
    assert found.requests if isinstance(found, Batch) else found
    result_table(content, [], {})
    result_table(content, [DONE], {})


@given(TABLES, st.sampled_from([",", ";", "\t"]), st.sampled_from(["\n", "\r\n"]))
def test_any_table_comes_back_with_four_columns_more(rows: list[list[str]], delimiter: str, ending: str) -> None:
    """Each row as it was, whatever is in its cells; and read again the table orders the same."""
    table = [HEADER, *([*row, "", "", "", ""] for row in rows)]
    content = written(table, delimiter, ending).encode()
    filled = [row for row in table[1:] if any(cell.strip() for cell in row)]
    back = result_table(content, [REFUSED] * len(filled), {})
    assert back is not None
    found = read(back, delimiter)
    assert found[0][:4] == HEADER
    assert found[0][-4:] == list(OURS)
    assert [row[: len(cells)] for row, cells in zip(found, table, strict=True)] == table
    assert [row[-4:] for row in found if row[-4:] == ["failed", "", "no such model", "no"]] == [
        ["failed", "", "no such model", "no"]
    ] * len(filled)
    before, after = ended(content, None), ended(back, None)
    assert after == before if isinstance(before, Batch) else messages(after) == messages(before)


def messages(found: Batch | tuple[Problem, ...]) -> list[str]:
    return [] if isinstance(found, Batch) else sorted(problem.message for problem in found)
