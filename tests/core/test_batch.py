"""Job files: every form is read, everything that is wrong is told at once, with its place."""

from __future__ import annotations

import json
import string
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from daemon.core.batch import MAX_BYTES, Batch, Request, is_half_copied, job_schema, parse_batch
from daemon.core.errors import BatchInvalid

if TYPE_CHECKING:
    from daemon.core.problem import Problem

JOB = "language: en\ntext: Hello\nmodel: M1\nclothes: C1\n"
FLOW = "language: en, text: Hello, model: M1, clothes: C1"
BODY = {"language": "en", "text": "Hello", "model": "M1", "clothes": "C1"}

Found = list[tuple[int | None, int | None, str, str]]


def bodies(text: str, version: str = "v2") -> list[dict[str, Any]]:
    """What the cloud would be asked for."""
    return [dict(request.body) for request in parse_batch(text.encode(), version).requests]


def lone(text: str, version: str = "v2") -> Request:
    """The one request of a job file."""
    (request,) = parse_batch(text.encode(), version).requests
    return request


def found(text: str | bytes, version: str = "v2") -> Found:
    """Line, column, path, and message of everything that is wrong."""
    with pytest.raises(BatchInvalid) as caught:
        parse_batch(text.encode() if isinstance(text, str) else text, version)
    return [(problem.line, problem.column, problem.path, problem.message) for problem in caught.value.problems]


# --- forms ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        JOB,
        f"{{{FLOW}}}",
        f"- {{{FLOW}}}",
        f"---\n{JOB}...\n---\n---\n~\n",
        f"jobs:\n- {{{FLOW}}}",
        f"jobs: [{{{FLOW}}}]\ndefaults:\n",
        json.dumps([BODY]),
        "jobs: [{text: Hello}]\ndefaults: {language: en, model: M1, clothes: C1}",
        "defaults: &d {language: ko, text: x, model: M1, clothes: C1}\njobs: [{text: Hello, language: en}]",
        "- &d {language: en, text: x, model: M1, clothes: C1}\n- {<<: *d, text: Hello}",
        "- {<<: [{language: en, text: Hello}, {text: x, model: M1, clothes: C1}]}",
    ],
)
def test_every_form_says_the_same(text: str) -> None:
    """One mapping, a list, documents, jobs with defaults, anchors and merges: the last job is the same in all."""
    assert bodies(text)[-1] == BODY


def test_the_order_is_that_of_the_file() -> None:
    """Lists, documents, and jobs may be mixed; each is a job more."""
    text = f"- {{{FLOW}, locale: a}}\n- {{{FLOW}, locale: b}}\n---\n{JOB}locale: c\n---\njobs: [{{{FLOW}, locale: d}}]"
    assert [body["locale"] for body in bodies(text)] == ["a", "b", "c", "d"]


def test_defaults_hold_for_their_own_document() -> None:
    """Another document knows nothing of them."""
    text = "defaults: {language: en, model: M1, clothes: C1}\njobs: [{text: Hello}]\n---\ntext: Hello"
    assert found(text) == [(4, 1, "jobs[2]", "'language', 'model' and 'clothes' are missing; every job needs them")]


def test_a_job_beats_its_defaults_even_with_nothing() -> None:
    """``locale: null`` in a job takes the default's locale away."""
    text = f"defaults: {{locale: zh, uppercut: 3, pay_again: yes, name: x}}\njobs:\n- {{{FLOW}, locale: , name: y}}"
    request = lone(text)
    assert request.body == {**BODY, "uppercut": 3}
    assert (request.name, request.may_pay_again) == ("y", True)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_encodings(encoding: str, newline: str) -> None:
    """What editors write is read, whatever the system."""
    content = JOB.replace("Hello", "안녕 é").replace("\n", newline).encode(encoding)
    assert parse_batch(content).requests[0].body["text"] == "안녕 é"


# --- values -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("written", ["no", "12:30", "0012", "1", "null", "~", "true", "1e3", "' x '", "null # x"])
@pytest.mark.parametrize("field", ["language", "text", "model", "clothes"])
def test_required_fields_are_sent_as_written(field: str, written: str) -> None:
    """They are texts, whatever they look like; white space within quotes stays."""
    job = {"language": "a", "text": "b", "model": "c", "clothes": "d", field: written}
    text = "".join(f"{key}: {value}\n" for key, value in job.items())
    assert lone(text).body[field] == written.strip("'").removesuffix(" # x")


@pytest.mark.parametrize(
    ("empty", "column"),
    [("", 6), ("''", 7), ('"  "', 7), ('"\\n\\t"', 7), ("|\n  \n", 7), ("&a", 7), ("'\u3000'", 7)],
)
def test_required_fields_are_not_empty(empty: str, column: int) -> None:
    """Nothing, and nothing but white space, is told at its place."""
    assert found(f"language: en\nmodel: M1\nclothes: C1\ntext: {empty}") == [
        (4, column, "text", "'text' is empty; write a value behind the colon")
    ]


@pytest.mark.parametrize("null", ["", "~", "null", "NULL"])
def test_null_is_absent_in_optional_fields(null: str) -> None:
    """A line left empty is a line left out."""
    fields = ("name", "pay_again", "locale", "uppercut", "webhook")
    request = lone(JOB + "".join(f"{field}: {null}\n" for field in fields))
    assert request == Request(BODY)
    assert lone(JOB + f"isExport: {null}\nresolution: {null}\n", "v3") == Request(BODY)


@pytest.mark.parametrize(
    ("written", "flag"),
    [("true", True), ("YES", True), ("On", True), ("'true'", True), ("False", False), ("no", False), ("off", False)],
)
def test_pay_again(written: str, flag: bool) -> None:
    """A person's word, in any of the usual ways; it is no part of what the cloud is asked for."""
    request = lone(JOB + f"pay_again: {written}")
    assert request.may_pay_again is flag
    assert request.body == BODY
    assert request.digest == Request(BODY).digest


@pytest.mark.parametrize(
    ("written", "number"),
    [("20", 20), ("20.0", 20), ("-3", -3), ("+3", 3), (".5", 0.5), ("1.25e1", 12.5), ("'7'", 7), ("0012", 12)],
)
def test_uppercut_is_a_number(written: str, number: float) -> None:
    """The same number is the same request, however it was written."""
    body = lone(JOB + f"uppercut: {written}").body
    assert body["uppercut"] == number
    assert json.dumps(body["uppercut"]) == json.dumps(number)


def test_v3_has_its_own_fields() -> None:
    """They go out under the names of API.md, as the types that it gives them."""
    text = JOB + "isExport: yes\nworkspaceId: 0012\nresolution: 4K\nwebhookUrl: https://example.com/x?y=z\n"
    assert bodies(text, "v3") == [
        {
            **BODY,
            "workspaceId": "0012",
            "resolution": "4k",
            "webhookUrl": "https://example.com/x?y=z",
        }
    ]
    assert lone(JOB + "resolution: 1080", "v3").body["resolution"] == "1080"


def test_is_export_may_be_said_but_says_nothing_new() -> None:
    """Every export asks for the video at once, so a file with the line and one without ask for the same."""
    assert lone(JOB + "isExport: true", "v3") == lone(JOB, "v3")
    with pytest.raises(BatchInvalid) as caught:
        parse_batch((JOB + "isExport: off\n").encode(), "v3")
    (problem,) = caught.value.problems
    assert (problem.line, problem.path) == (5, "isExport")
    assert "no video" in problem.message


@pytest.mark.parametrize(
    ("line", "column", "part"),
    [
        ("uppercut: abc", 11, "a number such as 20 or 0.5, not 'abc'"),
        ("uppercut: .inf", 11, "a number"),
        ("uppercut: nan", 11, "a number"),
        ("uppercut: 1e999", 11, "a number"),
        ("uppercut: 1_000", 11, "a number"),
        ("uppercut: ٣", 11, "a number"),
        ("uppercut: [1]", 11, "one text, not a list"),
        ("locale: {a: b}", 9, "one text, not a mapping"),
        ("locale: ''", 9, "is empty"),
        ("webhook: ftp://x/y", 10, "a web address"),
        ("webhook: example.com", 10, "a web address"),
        ("webhook: https://", 10, "a web address"),
        ("webhook: https://[x", 10, "a web address"),
        ("webhook: https://x:99999/", 10, "a web address"),
        ("webhook: https://x/a b", 10, "a web address"),
        ("pay_again: maybe", 12, "true or false, not 'maybe'"),
        ("pay_again: 1", 12, "true or false"),
        ("name: ''", 7, "is empty"),
        (f"name: {'x' * 201}", 7, "too long: 201 characters, 200 at most"),
    ],
)
def test_wrong_values(line: str, column: int, part: str) -> None:
    """Each is told where it stands, with what is expected there."""
    key, _, _ = line.partition(":")
    ((at_line, at_column, path, message),) = found(JOB + line)
    assert (at_line, at_column, path) == (5, column, key)
    assert message.startswith(f"'{key}' ")
    assert part in message


def test_wrong_values_of_v3() -> None:
    """The nearest resolution is named."""
    ((*place, message),) = found(JOB + "resolution: 1080p", "v3")
    assert place == [5, 13, "resolution"]
    assert message == "'resolution' must be 4k, 1080, 720, or 480, not '1080p'. Did you mean '1080'?"


# --- keys -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "version", "hint"),
    [
        ("Locale", "v2", " Did you mean 'locale'?"),
        ("payagain", "v2", " Did you mean 'pay_again'?"),
        ("upercut", "v2", " Did you mean 'uppercut'?"),
        ("zzz", "v2", ""),
        ("isexport", "v3", " Did you mean 'isExport'?"),
        ("webhook", "v3", " Did you mean 'webhookUrl'?"),
        ("is_export", "v3", " Did you mean 'isExport'?"),
        ("isExport", "v2", " It is for the API's v3, which is not the one in use."),
        ("uppercut", "v3", " It is for the API's v2, which is not the one in use."),
    ],
)
def test_unknown_keys(key: str, version: str, hint: str) -> None:
    """They are told at the key, with the nearest that is known."""
    assert found(JOB + f"{key}: x", version) == [(5, 1, key, f"the key '{key}' is not known.{hint}")]


def test_strange_keys_are_shown_harmless() -> None:
    """A key may be anything; a message may not."""
    ((*_, path, message),) = found(JOB + '"\\e[2J\\u202e": x')
    assert path == "\\x1b[2J\\u202e"
    assert message == "the key '\\x1b[2J\\u202e' is not known."
    assert found(JOB + f"{'k' * 500}: x")[0][2] == "k" * 40 + "…"


def test_missing_fields_are_told_together() -> None:
    """One problem, at the job."""
    assert found("- locale: x\n-   text: y\n    model: z\n    clothes: a") == [
        (1, 3, "jobs[1]", "'language', 'text', 'model' and 'clothes' are missing; every job needs them"),
        (2, 5, "jobs[2]", "'language' is missing; every job needs it"),
    ]


def test_everything_is_told_at_once() -> None:
    """What is wrong as YAML, in the defaults, and in each job, in the order of the file."""
    text = (
        "defaults:\n  modle: x\n  uppercut: z\n  locale: !!str a\njobs:\n"
        "  - text: hi\n    text: ho\n    language: en\n    model: *none\n    clothes: c\n"
        f"  - {{{FLOW}, pay_again: [x]}}\n  - x\n  -\nextra: 1\nmodel: M1\n"
    )
    assert [place[:3] for place in found(text)] == [
        (2, 3, "defaults.modle"),
        (3, 13, "defaults.uppercut"),
        (4, 11, ""),
        (7, 5, ""),
        (9, 12, ""),
        (11, 68, "jobs[2].pay_again"),
        (12, 5, "jobs[3]"),
        (13, 4, "jobs[4]"),
        (14, 1, "extra"),
        (15, 1, ""),
    ]


def test_defaults_are_checked_even_where_no_job_takes_them() -> None:
    """A mistake in the file is a mistake."""
    assert found(f"defaults: {{uppercut: x, text: ''}}\njobs: [{{{FLOW}, uppercut: 1}}]") == [
        (1, 22, "defaults.uppercut", "'uppercut' must be a number such as 20 or 0.5, not 'x'"),
        (1, 31, "defaults.text", "'text' is empty; write a value behind the colon"),
    ]


def test_a_mistake_behind_an_anchor_is_told_once() -> None:
    """However many jobs share it."""
    text = f"- &a {{{FLOW}, zzz: 1, uppercut: x}}\n" + "- *a\n- <<: *a\n" * 5
    assert [place[:3] for place in found(text)] == [(1, 58, "jobs[1].zzz"), (1, 76, "jobs[1].uppercut")]


def test_the_rest_of_many_problems_is_a_number() -> None:
    """A hundred are told, then how many more there are."""
    wrong = found(f"- {{{FLOW}, uppercut: x}}\n" * 1000)
    assert len(wrong) == 101
    assert wrong[99][:3] == (100, 65, "jobs[100].uppercut")
    assert wrong[-1] == (None, None, "", "... and 900 more")
    assert found("- {a: b}\n" * 101)[-1][3] == "... and 102 more"
    assert found("- x\n" * 103)[-1][3] == "... and 3 more"


# --- files that hold no job -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "place", "part"),
    [
        ("", (None, None, ""), "there is no job in this file; a job has four lines"),
        ("# nothing yet\n", (None, None, ""), "no job in this file"),
        ("---\n---\n~\n", (None, None, ""), "no job in this file"),
        ("[]", (1, 1, ""), "no job in this file"),
        ("jobs:", (1, 6, "jobs"), "must be a list of jobs; a job has four lines"),
        ("jobs: []", (1, 7, "jobs"), "must be a list of jobs"),
        ("jobs: text", (1, 7, "jobs"), "must be a list of jobs"),
        ("jobs:\n  text: x", (2, 3, "jobs"), "begin each job with '- '"),
        ("defaults: {model: x}", (1, 1, ""), "'jobs' is missing"),
        ("language:en\ntext:hi", (1, 1, ""), "this is a text, not a job"),
        ("- [a]", (1, 3, "jobs[1]"), "this is a list, not a job"),
        ("-", (1, 2, "jobs[1]"), "this job is empty"),
        (f"jobs: [{{{FLOW}}}]\ndefaults: [x]", (2, 11, "defaults"), "must be a mapping"),
        (f"jobs: [{{{FLOW}}}]\ntext: x", (2, 1, ""), "'text' belongs into each job"),
        (f"jobs: [{{{FLOW}}}]\ndefalts: {{}}", (2, 1, "defalts"), "Did you mean 'defaults'?"),
    ],
)
def test_no_job(text: str, place: tuple[int | None, int | None, str], part: str) -> None:
    """What is there instead is said, and what a job looks like."""
    ((*at, message),) = found(text)
    assert tuple(at) == place
    assert part in message


def test_jobs_in_another_case_are_not_taken_for_a_job() -> None:
    """``Jobs:`` is told as what it was meant to be, without a list of missing fields."""
    assert [place[3] for place in found(f"Jobs: [{{{FLOW}}}]")] == [
        "the key 'Jobs' is not known. Did you mean 'jobs'?",
        "'jobs' is missing: a list of jobs, each begun with '- '",
    ]


@pytest.mark.parametrize(
    ("content", "line", "part"),
    [
        (JOB.encode() + b"\x00" * 100, 5, "looks half copied (NUL bytes)"),
        (JOB.encode() + b"locale: caf\xe9", 5, "save the file as UTF-8"),
        (b" " * (MAX_BYTES + 1), None, "too large"),
        (b"[" * MAX_BYTES, 1, "deep"),
        (JOB.encode() + b"\tlocale: x", 5, "use spaces"),
        (JOB.encode() + b"locale: '", 5, "never closed"),
    ],
)
def test_unreadable_files(content: bytes, line: int | None, part: str) -> None:
    """What cannot be read at all says nothing of missing fields."""
    ((at_line, *_, message),) = found(content)
    assert at_line == line
    assert part in message


def test_a_half_copied_file_is_known_by_its_bytes() -> None:
    """It gets a grace before it is called bad."""
    assert is_half_copied(JOB.encode() + b"\x00")
    assert not is_half_copied(JOB.encode())


def test_an_unknown_version_is_a_bug() -> None:
    """It is no problem of the file."""
    with pytest.raises(ValueError, match="v4"):
        parse_batch(JOB.encode(), "v4")
    with pytest.raises(ValueError, match="v4"):
        job_schema("v4")


# --- requests ---------------------------------------------------------------------------------------------------


def test_the_digest_is_of_what_is_asked_for() -> None:
    """Name, pay_again, the order of the lines, and the way of writing are no part of it; every field is."""
    digest = lone(JOB).digest
    assert lone("clothes: 'C1'\nmodel: M1\ntext: >-\n  Hello\nlanguage: en\nname: x\npay_again: on").digest == digest
    for key, value in BODY.items():
        assert lone(JOB.replace(f"{key}: {value}", f"{key}: {value}2")).digest != digest
    assert lone(JOB + "uppercut: 1").digest != digest
    assert lone(JOB + "uppercut: 1").digest == lone(JOB + "uppercut: 1.0").digest


# --- schema -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["v2", "v3"])
def test_the_schema_knows_every_form_and_field(version: str) -> None:
    """Every field has a description; nothing else is allowed; what is required is."""
    schema = job_schema(version)
    job = schema["$defs"]["job"]
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert job["required"] == ["language", "text", "model", "clothes"]
    assert all(field["description"] for field in job["properties"].values())
    assert job["properties"]["text"]["type"] == ["string", "number", "boolean"]
    assert job["properties"]["pay_again"]["type"] == ["boolean", "null"]
    assert [form.get("$ref") or form["required"] for form in schema["anyOf"]] == [
        "#/$defs/job",
        "#/$defs/jobs",
        ["jobs"],
        ["defaults", "jobs"],
    ]
    assert "required" not in schema["$defs"]["rest_of_job"]
    json.dumps(schema)


def test_the_schema_allows_nothing_else() -> None:
    """An editor marks an unknown key as the reader does."""
    schema = job_schema("v2")
    objects = [*schema["$defs"].values(), *schema["anyOf"]]
    assert all(one["additionalProperties"] is False for one in objects if one.get("type") == "object")
    assert set(schema["$defs"]["job"]["properties"]) == {
        *BODY,
        "name",
        "pay_again",
        "locale",
        "uppercut",
        "webhook",
    }
    assert "isExport" in job_schema("v3")["$defs"]["job"]["properties"]


# --- properties -------------------------------------------------------------------------------------------------

SOUP = st.lists(
    st.sampled_from(
        [*"-?:[]{}&*!|>'\"%#,~é\t\x00", " ", "\n", "\n- ", "\n  ", ": ", "---\n", "<<", "jobs:\n", "defaults:\n"]
        + [f"{key}: " for key in (*BODY, "name", "uppercut", "zzz")]
        + ["&a ", "*a", "!!str ", JOB, f"- {{{FLOW}}}\n"]
    ),
    max_size=25,
).map("".join)


def ending(content: bytes, version: str) -> Batch | tuple[Problem, ...]:
    """The batch, or the problems."""
    try:
        return parse_batch(content, version)
    except BatchInvalid as invalid:
        return invalid.problems


@given(st.binary() | SOUP.map(str.encode) | st.text().map(str.encode), st.sampled_from(["v2", "v3"]))
def test_any_bytes_are_a_batch_or_problems(content: bytes, version: str) -> None:
    """Never anything else; each problem has words, and a place within the file."""
    end = ending(content, version)
    if isinstance(end, Batch):
        assert end.requests
        return
    assert end
    for problem in end:
        assert problem.message
        assert problem.line is None or 1 <= problem.line <= content.count(b"\n") + content.count(b"\r") + 1
        assert str(problem).isprintable()


WORD = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1).filter(
    lambda text: bool(text.strip())
)
JOBS = st.lists(
    st.fixed_dictionaries(
        {"language": WORD, "text": WORD, "model": WORD, "clothes": WORD},
        optional={"name": WORD.map(lambda text: text[:200]).filter(lambda text: bool(text.strip()))},
    ),
    min_size=1,
    max_size=4,
)


@given(JOBS, st.booleans(), st.sampled_from(["utf-8", "utf-16"]))
def test_what_pyyaml_writes_is_read_back(jobs: list[dict[str, str]], is_flow: bool, encoding: str) -> None:
    """Programs write job files too; every text comes back as it was."""
    content = yaml.safe_dump(jobs, default_flow_style=is_flow).encode(encoding)
    requests = parse_batch(content).requests
    assert [{**request.body, **({"name": request.name} if request.name else {})} for request in requests] == jobs


@given(JOBS)
def test_the_forms_agree(jobs: list[dict[str, str]]) -> None:
    """A list, several documents, and ``jobs:`` hold the same requests."""
    as_list = parse_batch(yaml.safe_dump(jobs).encode())
    assert parse_batch(yaml.safe_dump_all(jobs).encode()) == as_list
    assert parse_batch(yaml.safe_dump({"jobs": jobs}).encode()) == as_list


@given(st.text(string.digits + "+-.eE_xinfa", min_size=1, max_size=8))
def test_uppercut_is_finite_or_told(written: str) -> None:
    """Whatever looks like a number is one that JSON can hold."""
    end = ending((JOB + f"uppercut: '{written}'").encode(), "v2")
    if isinstance(end, Batch):
        json.dumps(dict(end.requests[0].body), allow_nan=False)
    else:
        assert [problem.path for problem in end] == ["uppercut"]
