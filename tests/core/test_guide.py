"""The files for people who are new to a root: they are true, and shown rightly by whatever opens them."""

from __future__ import annotations

import json
import posixpath
import re

import pytest

from daemon.core.batch import RESOLUTIONS, job_schema, parse_batch
from daemon.core.drop_name import PAUSE_NAME, Kind, kind
from daemon.core.guide import EXAMPLE, HOWTO, SCHEMA, SCHEMA_MARK, Names, make_guide

VERSIONS = ("v2", "v3")
OTHERS = Names("in", "work", "good", "bad", "films", "../job.schema.json", "", "models.html")


def text(name: str, version: str = "v2", names: Names | None = None) -> str:
    return dict(make_guide(version, names or Names()).texts)[name].decode("utf-8-sig")


@pytest.mark.parametrize("version", VERSIONS)
def test_the_example_is_a_job(version: str) -> None:
    """As it lies there: whoever copies and renames it has ordered a video."""
    content = dict(make_guide(version, Names()).texts)[EXAMPLE]
    [request] = parse_batch(content, version).requests
    assert request.body.keys() == {"language", "text", "model", "clothes"}
    assert request.name is None
    assert not request.may_pay_again


@pytest.mark.parametrize("version", VERSIONS)
def test_what_the_example_only_mentions_is_valid_too(version: str) -> None:
    """A reader takes the hash away, or writes a second job behind the three hyphens."""
    found = text(EXAMPLE, version)
    named = found.replace("# name:", "name:")
    several = found.replace("text: Hello, this is my first work.", "text: |\r\n    The first line.\r\n    The second.")
    assert parse_batch(named.encode(), version).requests[0].name == "my-first-video"
    assert "The first line." in str(parse_batch(several.encode(), version).requests[0].body["text"])
    assert len(parse_batch(f"{found}---\r\n{found}".encode(), version).requests) == 2


@pytest.mark.parametrize("name", [EXAMPLE, HOWTO])
def test_any_editor_shows_the_texts(name: str) -> None:
    """Notepad of an older Windows wants CRLF, and takes what has no mark for the local encoding."""
    content = dict(make_guide("v2", Names()).texts)[name]
    assert content.startswith(b"\xef\xbb\xbf")
    assert content.count(b"\n") == content.count(b"\r\n") > 10
    assert max(map(len, content.decode().splitlines())) <= 120
    assert re.search("[가-힣]", content.decode())


def test_the_howto_is_one_page_for_each_language() -> None:
    """What is longer is not read."""
    found = text(HOWTO).splitlines()
    begins = found.index("영상을 만드는 방법")
    assert len(found[:begins]) <= 40
    assert len(found[begins:]) <= 40


@pytest.mark.parametrize("name", [EXAMPLE, HOWTO])
def test_neither_text_is_a_job_in_inbox(name: str) -> None:
    """Somebody will put them there."""
    assert kind(name) is Kind.IGNORED


def test_the_howto_names_what_there_is() -> None:
    """The folders as they are called here; pages only where there are any."""
    found = text(HOWTO, names=OTHERS)
    for name in ("in/", "work/", "good/", "bad/", "films/", "models.html", PAUSE_NAME, "pay_again: true", EXAMPLE):
        assert found.count(name) >= 2, name
    for name in ("inbox/", "failed/", "videos/", "status.html"):
        assert name not in found
    assert "status.html" in text(HOWTO)
    assert "models.html" not in text(HOWTO) + text(EXAMPLE)


@pytest.mark.parametrize("language", [0, 1])
def test_both_languages_tell_the_same(language: int) -> None:
    """Every name that a reader has to find or write stands in both halves."""
    half = text(HOWTO, names=Names(models_page="models.html")).split("영상을 만드는 방법")[language]
    for name in (
        *("inbox/", "processing/", "done/", "failed/", "videos/", "status.html", "models.html", EXAMPLE),
        *(".error.txt", ".result.csv", "_defaults.yaml", ".csv", ".txt", "Paid: unknown", "pay_again: true", "PAUSE"),
        *("language", "text", "model", "clothes"),
    ):
        assert name in half, name


@pytest.mark.parametrize("version", VERSIONS)
def test_the_schema_is_that_of_the_version(version: str) -> None:
    """And can be told from other people's."""
    content = make_guide(version, Names()).schema
    found = json.loads(content)
    assert SCHEMA_MARK.decode() in found.pop("$comment")
    assert found == job_schema(version)
    assert (RESOLUTIONS[0].encode() in content) is (version == "v3")


@pytest.mark.parametrize(("folder", "is_there"), [("inbox", True), ("inbox/spring", False)])
def test_the_reference_to_the_schema_leads_there_from_inbox(folder: str, *, is_there: bool) -> None:
    """An editor resolves it against the job file's own folder; one folder deeper it takes one ../ more, as it says."""
    first = text(EXAMPLE).splitlines()[0]
    match = re.fullmatch(r"# yaml-language-server: \$schema=(\S+)", first)
    assert match is not None
    reached = posixpath.normpath(posixpath.join(folder, match[1]))
    assert (reached == SCHEMA) is is_there
    if not is_there:
        assert posixpath.normpath(posixpath.join(folder, "..", match[1])) == SCHEMA
        assert "write ../ once more" in text(EXAMPLE)
