"""What folders give for what jobs do not say; and texts, which need it."""

from __future__ import annotations

import pytest

from daemon.core.batch import parse_batch, parse_defaults
from daemon.core.catalogue import operator_catalogue, problems_of
from daemon.core.defaults import NO_DEFAULTS, Defaults
from daemon.core.errors import BatchInvalid
from daemon.core.job_content import Grammar, is_note

WHOLE = "language: ko\nmodel: M000004017\nclothes: 1\n"
BODY = {"language": "ko", "model": "M000004017", "clothes": "1"}


def defaults(text: str, version: str = "v2", where: str = "inbox/_defaults.yaml") -> Defaults:
    return parse_defaults(text.encode(), version, where)


def problems(text: str, version: str = "v2") -> list[str]:
    with pytest.raises(BatchInvalid) as raised:
        defaults(text, version)
    return [str(problem) for problem in raised.value.problems]


def body(name: str, content: str, given: Defaults, encoding: str | None = None) -> dict[str, object]:
    [request] = Grammar("v2", encoding).batch(name, content.encode(encoding or "utf-8"), given).requests
    return dict(request.body)


def refused(name: str, content: bytes, given: Defaults) -> list[str]:
    with pytest.raises(BatchInvalid) as raised:
        Grammar("v2").batch(name, content, given)
    return [str(problem) for problem in raised.value.problems]


# --- the file -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.yaml", "text: hi"),
        ("a.yaml", "- text: hi"),
        ("a.yaml", "defaults: {}\njobs: [{text: hi}]"),
        ("a.csv", "text\nhi\n"),
        ("a.txt", "hi\n"),
    ],
)
def test_a_folder_gives_what_a_job_does_not_say(name: str, content: str) -> None:
    """Whatever the form of the job file."""
    assert body(name, content, defaults(WHOLE)) == BODY | {"text": "hi"}


def test_the_nearest_word_counts() -> None:
    """The job beats its file's defaults, these the nearest folder's, these the outer folder's, these the base."""
    base = defaults("language: base\nmodel: base\nclothes: base\nlocale: base\nuppercut: 1")
    outer = defaults("model: outer\nclothes: outer\nlocale: outer\nuppercut: 2")
    inner = defaults("clothes: inner\nlocale: inner\nuppercut: 3")
    given = inner.over(outer.over(base))
    content = "defaults: {locale: file, uppercut: 4}\njobs: [{text: hi, uppercut: 5}]"
    assert body("a.yaml", content, given) == {
        "text": "hi", "language": "base", "model": "outer", "clothes": "inner", "locale": "file", "uppercut": 5
    }  # fmt: skip


def test_a_null_takes_back_what_is_said_farther_out() -> None:
    """For what need not be said, in a job and in a nearer folder."""
    outer = defaults(WHOLE + "locale: zh\nvideo_name: '{n}'")
    assert "locale" not in body("a.yaml", "text: hi\nlocale: null", outer)
    inner = defaults("locale: null\nvideo_name: null").over(outer)
    assert "locale" not in body("a.yaml", "text: hi", inner)
    assert inner.video_name is None
    assert outer.video_name == "{n}"


def test_the_template_of_a_folder_names_its_videos() -> None:
    """A job's own name beats it; it is no part of what is asked for."""
    given = defaults(WHOLE + "video_name: '{model}-{n}'")
    plain, named = parse_batch(b"- text: a\n- {text: a, name: mine}", "v2", given).requests
    assert (plain.template, named.template) == ("{model}-{n}", None)
    assert plain.digest == named.digest == parse_batch(b"text: a", "v2", defaults(WHOLE)).requests[0].digest


def test_other_defaults_make_another_request() -> None:
    """What is asked for is the whole job, wherever it was written."""
    here = parse_batch(b"text: a", "v2", defaults(WHOLE)).requests[0]
    there = parse_batch(b"text: a", "v2", defaults(WHOLE.replace("ko", "en"))).requests[0]
    itself = parse_batch(b"text: a\n" + WHOLE.encode()).requests[0]
    assert here.digest == itself.digest != there.digest


@pytest.mark.parametrize("text", ["# nothing yet\n", "---\n", "null\n", "\ufeff# nothing\n"])
def test_defaults_may_say_nothing(text: str) -> None:
    """All of it may be a comment."""
    assert defaults(text) == NO_DEFAULTS


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("langauge: ko", "line 1, column 1 (langauge): the key 'langauge' is not known. Did you mean 'language'?"),
        ("model: M1\ntext: hi", "line 2, column 1: 'text' belongs into each job"),
        ("pay_again: true", "'pay_again' belongs into each job"),
        ("name: x", "the template of the folder's videos is 'video_name'"),
        ("defaults: {model: M1}", "without 'defaults:' around them"),
        ("jobs: []", "without 'jobs:' around them"),
        ("- model: M1", "line 1, column 1: this is a list; write lines such as 'language: en'"),
        ("hello", "this is a text"),
        ("model: M1\n---\nmodel: M2", "line 3, column 1: a second document"),
        ("model:", "line 1, column 7 (model): 'model' is empty"),
        ("model: [M1]", "(model): 'model' must be one text, not a list"),
        ("uppercut: much", "line 1, column 11 (uppercut): 'uppercut' must be a number"),
        ("video_name: '{modle}'", "line 1, column 13 (video_name): 'video_name' {modle} is not known"),
        ("video_name: {a: b}", "'video_name' must be one text"),
        ("video_name: a/b", "must not contain /"),
        ("video_name: ''", "'video_name' is empty"),
        ("model: M1\nmodel: M2", "the key 'model' is here twice"),
        ("model: 'M1", "the quote that opens here is never closed"),
        ("resolution: 720", "It is for the API's v3"),
    ],
)
def test_broken_defaults_say_what_is_wrong(text: str, expected: str) -> None:
    """With line and column, as a job file does."""
    [problem] = problems(text)
    assert expected in problem


def test_all_that_is_wrong_is_told_at_once() -> None:
    """In the order of the file."""
    found = problems("langauge: ko\nuppercut: x\ntext: hi\nvideo_name: '{'")
    assert ["line 1" in found[0], "line 2" in found[1], "line 3" in found[2], "line 4" in found[3]] == [True] * 4


def test_a_problem_that_comes_of_a_default_lies_where_that_was_written() -> None:
    """In the defaults' own file, once for all jobs that it is taken for."""
    given = defaults("language: ko\nmodel: M000004071\nclothes: 1", where="inbox/spring/_defaults.yaml")
    requests = parse_batch(b"- text: a\n- text: b\n- {text: c, model: wrong}", "v2", given).requests
    found = [str(problem) for problem in problems_of(requests, operator_catalogue(b"M000004017: [1]"))]
    assert [problem.partition(": ")[0] for problem in found] == [
        "inbox/spring/_defaults.yaml, line 2, column 8 (model)",
        "line 3, column 20 (jobs[3].model)",
    ]


def test_two_that_say_the_same_have_the_same_mark() -> None:
    """Wherever it was written; none for nothing."""
    assert defaults(WHOLE).mark == defaults("# x\n" + WHOLE).mark != defaults(WHOLE + "locale: zh").mark
    assert NO_DEFAULTS.mark == ""
    assert defaults("locale: null").mark != defaults("locale: 'null'").mark


# --- texts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp949"])
def test_a_text_is_one_job(encoding: str) -> None:
    """All of it is said, without blank lines around it, its line breaks plain."""
    content = "\r\n안녕하세요.\r\n\r\n'둘째' 줄: \"예\"\r\n\r\n".encode(encoding)
    [request] = Grammar("v2", "cp949").batch("a.TXT", content, defaults(WHOLE)).requests
    assert request.body == BODY | {"text": "안녕하세요.\n\n'둘째' 줄: \"예\""}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"\r\n \n", "line 1, column 1: there is no text in this file"),
        ("안녕".encode("cp949"), "line 1, column 1: byte 0 of the file (0xbe) is not UTF-8"),
        (b"a\x1b[31m", "an invisible control character (U+001B) is here; delete it"),
        (b"a\0\0\0", "half copied"),
        (b"a" * (1 << 20) + b"a", "too large"),
        (b"text: hi\nmodel: M1\n", "this looks like a job file in YAML"),
        (b"- text: hi\n  model: M1\n", "this looks like a job file in YAML"),
        (b"jobs:\n- hi\n", "this looks like a job file in YAML"),
        ("text\tmodel\nhi\tM1\n".encode("utf-16"), "this looks like a table"),
        (b'"Text";"Clothes"\nhi;1\n', "this looks like a table"),
    ],
)
def test_what_is_no_text_to_be_said_is_refused(content: bytes, expected: str) -> None:
    """A job file or a table that was saved as text would be read out, and paid."""
    [problem] = refused("a.txt", content, defaults(WHOLE))
    assert expected in problem


@pytest.mark.parametrize("text", ["Jobs: I have always said so.", "Text: one, two; three", "language, text and so on"])
def test_a_text_may_look_a_little_like_one(text: str) -> None:
    """Two fields in their places are needed to call it a job file or a table, one in a sentence says nothing."""
    assert body("a.txt", text, defaults(WHOLE))["text"] == text


def test_a_text_without_the_rest_is_a_note() -> None:
    """Language, model, and clothes have to come from somewhere."""
    assert is_note("a.txt", NO_DEFAULTS)
    assert is_note("sub/a.TXT", defaults("language: ko\nmodel: M1"))
    assert not is_note("a.txt", defaults(WHOLE))
    assert not is_note("a.yaml", NO_DEFAULTS)
    assert not is_note("a.csv", NO_DEFAULTS)
