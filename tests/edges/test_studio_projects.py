"""Projects, models, and the probe of v3: whatever the cloud wrote, what is told of it is true, or is not told."""

from __future__ import annotations

import json
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
import responses
from hypothesis import given
from hypothesis import strategies as st
from wire_server import WireServer, header

from daemon.core.errors import AccountTroubled, CloudDeferred, StudioError
from daemon.core.project import Project
from daemon.core.redact import Redactor
from daemon.edges.studio import DIALECTS, Studio
from daemon.edges.studio.judge import Answer, Judge
from daemon.edges.studio.values import written

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wire_server import Peer

BASE = "https://cloud.example/api/odin/v3"
KEY = "s3cret/key+value"
PROJECT = f"{BASE}/editor/project/p1"
PROJECTS = f"{BASE}/editor/project"
MODELS = f"{BASE}/model"
AUTH = f"{BASE}/auth"
PROGRESS = f"{BASE}/editor/progress"
NOW = 1_700_000_000.0
SAME_DATE = {"Date": "Tue, 14 Nov 2023 22:13:20 GMT"}  # NOW


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def made(base_url: str, version: str = "v3") -> Studio:
    return Studio(
        base_url=base_url,
        credential=KEY,
        redactor=Redactor([KEY]),
        version=version,
        connect_timeout_seconds=10,
        read_timeout_seconds=10,
        max_video_bytes=1,
        wall_clock=lambda: NOW,
    )


@pytest.fixture(scope="module")
def studio() -> Iterator[Studio]:
    """A client of a v3 cloud that `responses` plays."""
    with closing(made(BASE)) as client:
        yield client


@pytest.fixture
def cloud() -> Iterator[responses.RequestsMock]:
    """Answers on the wire."""
    with responses.RequestsMock() as mock:
        yield mock


def yes(content: Any) -> bytes:
    return json.dumps({"success": True, "data": content}).encode()


DEEP_LIST = b"[" * 100_000
DEEP_MAPPING = b'{"success": true, "data": ' + b'{"a":' * 50_000
TOO_LARGE = yes("x" * (16 << 20))
BAD_ANSWERS: list[tuple[int, bytes, type[StudioError], bool, bool]] = [
    (503, b"", CloudDeferred, True, False),
    (429, b"{}", CloudDeferred, True, False),
    (200, b'{"success": false, "error": {"code": 4290}}', CloudDeferred, True, False),
    (500, b"", CloudDeferred, False, False),
    (302, b"", CloudDeferred, False, False),
    (200, b"", CloudDeferred, False, False),
    (200, b"<html>hotel wifi</html>", CloudDeferred, False, False),
    (200, b"[]", CloudDeferred, False, False),
    (200, DEEP_LIST, CloudDeferred, False, False),
    (200, DEEP_MAPPING, CloudDeferred, False, False),
    (200, b'{"success": true}', CloudDeferred, False, False),
    (200, yes(None), CloudDeferred, False, False),
    (200, yes(7), CloudDeferred, False, False),
    (200, yes("p1"), CloudDeferred, False, False),
    (200, yes({"n": 1})[:-1], CloudDeferred, False, False),
    (200, TOO_LARGE, CloudDeferred, False, False),
    (404, b"", CloudDeferred, False, True),
    (400, b"<p>", CloudDeferred, False, True),
    (200, b'{"success": false, "msg": "no such thing"}', CloudDeferred, False, True),
    (401, b"", AccountTroubled, False, False),
    (403, b"", AccountTroubled, False, False),
    (402, b"", AccountTroubled, False, False),
    (200, b'{"success": false, "error": {"code": 4010}}', AccountTroubled, False, False),
    (200, b'{"success": false, "msg": "no credits left"}', AccountTroubled, False, False),
]
ASKED: dict[str, Callable[[Studio], object]] = {
    PROJECT: lambda studio: studio.project("p1"),
    PROJECTS: lambda studio: studio.projects(),
    MODELS: lambda studio: studio.models(),
}


@pytest.mark.parametrize("url", ASKED)
@pytest.mark.parametrize(("http", "body", "kind", "is_outage", "is_bounded"), BAD_ANSWERS, ids=range(len(BAD_ANSWERS)))
def test_a_bad_answer_is_judged_as_a_look_is(
    studio: Studio,
    cloud: responses.RequestsMock,
    url: str,
    http: int,
    body: bytes,
    kind: type[StudioError],
    is_outage: bool,
    is_bounded: bool,
) -> None:
    """Account trouble, an outage, a bounded no, or nothing that makes sense."""
    cloud.get(url, body=body, status=http)
    with pytest.raises(StudioError) as caught:
        ASKED[url](studio)
    assert type(caught.value) is kind
    assert getattr(caught.value, "is_outage", False) is is_outage
    assert getattr(caught.value, "is_bounded", False) is is_bounded
    assert len(str(caught.value)) < 1000


def test_what_each_generation_has() -> None:
    """v2 describes a project, and lists nothing."""
    with closing(made(BASE, "v2")) as v2, closing(made(BASE, "v3")) as v3:
        assert (v2.has_models, v2.has_projects, v2.has_project) == (False, False, True)
        assert (v3.has_models, v3.has_projects, v3.has_project) == (True, True, True)
        for call in (v2.models, v2.projects):
            with pytest.raises(ValueError, match="no such list"):
                call()


def test_free_questions_share_a_connection() -> None:
    """Kept alive, with the bare credential, like looks."""
    content = {"id": "p1", "models": [{"id": "M1"}], "isAuthenticated": True}

    def script(peer: Peer) -> None:
        while peer.read_request():
            peer.answer(yes(content))

    with WireServer(script) as server, closing(made(server.url)) as client:
        assert client.project("p1").id == "p1"
        assert [project.id for project in client.projects()] == ["p1"]
        assert [model.id for model in client.models().models] == ["M1"]
        client.probe(None)
        assert server.connections == 1
        assert {header(request, "Authorization") for request in server.requests} == {KEY}
        paths = [request.split(b" ")[1] for request in server.requests]
    assert paths == [b"/editor/project/p1", b"/editor/project", b"/model", b"/auth"]


# --- one project ----------------------------------------------------------------------------------------------------


def test_a_project_as_the_vendor_documents_it(studio: Studio, cloud: responses.RequestsMock) -> None:
    """API.md: ``state``, ``progress``, ``creditSubstracted``, ``createdAt``, and the link, under the old name."""
    content = {
        "id": "p1",
        "name": "Hello",
        "state": "Exported",
        "progress": 100,
        "creditSubstracted": 1.5,
        "createdAt": "2023-11-14T22:00:00.000Z",
        "download_url": "https://h.example/v.mp4?Signature=abc",
        "scenes": [{"clips": [{"text": " Good \n morning "}]}],
    }
    cloud.get(PROJECT, body=yes(content), headers=SAME_DATE)
    project = studio.project("p1")
    assert project == Project(
        id="p1",
        state="exported",
        percent=100,
        url="https://h.example/v.mp4?Signature=abc",
        created_at=1_699_999_199.5,  # the Date is half a second old, by and large
        texts=frozenset({"p1", "Hello", "Exported", "2023-11-14T22:00:00.000Z", "Good morning"}),
        credit=1.5,
    )
    assert "Signature" not in repr(project)


def told(studio: Studio, cloud: responses.RequestsMock, content: dict[str, Any], **more: Any) -> Project:
    """What becomes of the content."""
    cloud.get(PROJECT, body=yes(content), **more)
    return studio.project("p1")


@pytest.mark.parametrize("content", [{}, {"project": {}}, {"id": "p1"}, {"id": "another"}, {"project": {"id": 7}}])
def test_a_project_has_the_id_that_was_asked_for(
    studio: Studio, cloud: responses.RequestsMock, content: dict[str, Any]
) -> None:
    """We know it by that one; another that stands beside it may be the editor's own."""
    assert told(studio, cloud, content).id == "p1"


@pytest.mark.parametrize("version", ["v2", "v3"])
def test_a_project_id_cannot_leave_its_segment(version: str) -> None:
    """Whatever the cloud calls a project."""
    with responses.RequestsMock() as mock, closing(made(BASE, version)) as client:
        mock.get(f"{BASE}/editor/project/..%2Fp%3F1", body=yes({}))
        assert client.project("../p?1").id == "../p?1"


@pytest.mark.parametrize(
    ("written", "state"),
    [
        ("exported", "exported"),
        (" EXPORTED ", "exported"),
        ("Failed", "failed"),
        ("in \n progress", "in progress"),
        (None, ""),
        (7, ""),
        (["failed"], ""),
        ("x" * 100, ""),
        ("a\u0000b", ""),
        ("\ud800", ""),
    ],
)
def test_a_state_is_a_short_word_in_lower_case(
    studio: Studio, cloud: responses.RequestsMock, written: object, state: str
) -> None:
    """Anything else is none."""
    assert told(studio, cloud, {"state": written}).state == state


@pytest.mark.parametrize("key", ["download_url", "downloadUrl", "videoUrl"])
def test_a_link_is_found_under_each_of_its_names(studio: Studio, cloud: responses.RequestsMock, key: str) -> None:
    """Where it can be used."""
    assert told(studio, cloud, {"download_url": "", "url": "soon", key: " https://h/v.mp4 "}).url == "https://h/v.mp4"


@pytest.mark.parametrize("url", [None, "", 7, "ftp://h/x", "/x.mp4", "https://[::1/x", "https://h/a\tb", ["https://h"]])
def test_what_cannot_be_used_is_no_link(studio: Studio, cloud: responses.RequestsMock, url: object) -> None:
    """It is left out."""
    assert told(studio, cloud, {"downloadUrl": url}).url is None


@pytest.mark.parametrize(
    ("created_at", "seconds"),
    [
        ("2023-11-14T22:00:00Z", 1_699_999_200),
        ("2023-11-14T22:00:00.123Z", 1_699_999_200.123),
        ("2023-11-14T22:00:00", 1_699_999_200),
        ("2023-11-14 22:00:00", 1_699_999_200),
        ("2023-11-15T07:00:00+09:00", 1_699_999_200),
        (" 2023-11-15T07:00:00+0900 ", 1_699_999_200),
        (1_699_999_200, 1_699_999_200),
        (1_699_999_200.5, 1_699_999_200.5),
        (1_699_999_200_500, 1_699_999_200.5),
        ("1699999200", 1_699_999_200),
        ("1699999200.5", 1_699_999_200.5),
        (" 1699999200500 ", 1_699_999_200.5),
        ("2023-11-14", None),
        ("20231114", None),
        ("yesterday at noon", None),
        ("2023-99-14T22:00:00Z", None),
        ("0001-01-01T00:00:00+23:00", None),
        ("9999-12-31T23:59:59-23:00", None),
        ("", None),
        (None, None),
        (True, None),
        (0, None),
        (-1, None),
        (float("nan"), None),
        (float("inf"), None),
        (10**400, None),
        ("9" * 400, None),
        ("nan", None),
        ("infinity and beyond", None),
        ({"seconds": 1_699_999_200}, None),
        ([], None),
    ],
)
@pytest.mark.parametrize("key", ["createdAt", "created_at"])
def test_a_moment_is_read_however_it_is_written(
    studio: Studio, cloud: responses.RequestsMock, key: str, created_at: object, seconds: float | None
) -> None:
    """ISO 8601, UTC where no zone is told; seconds or milliseconds since 1970; what is no moment is not told."""
    assert told(studio, cloud, {key: created_at}).created_at == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("date", "lead"),
    [
        ("Tue, 14 Nov 2023 22:13:20 GMT", 0),
        ("Tue, 14 Nov 2023 22:12:20 GMT", 60),
        ("Tue, 14 Nov 2023 23:13:20 GMT", -3600),
        ("garbage", 0),
    ],
)
def test_a_moment_is_told_by_our_clock(studio: Studio, cloud: responses.RequestsMock, date: str, lead: float) -> None:
    """The cloud's own clock may be wrong, or ours; its ``Date`` tells by how much, to half a second."""
    project = told(studio, cloud, {"createdAt": 1_699_999_200}, headers={"Date": date})
    assert project.created_at == pytest.approx(1_699_999_200 + lead, abs=0.5)


@pytest.mark.parametrize(
    ("content", "percent", "credit"),
    [
        ({"progress": 40, "creditSubstracted": 2}, 40, 2),
        ({"progress": "40.5", "creditSubtracted": "2.5"}, 40.5, 2.5),
        ({"progress": 400, "creditSubstracted": 0}, 100, 0),
        ({"progress": -1, "creditSubstracted": float("nan")}, None, None),
        ({"progress": float("nan"), "creditSubstracted": float("-inf")}, None, None),
        ({"progress": True, "creditSubstracted": True}, None, None),
        ({"progress": 10**400, "creditSubstracted": 10**400}, None, None),
        ({"progress": {}, "creditSubstracted": []}, None, None),
    ],
)
def test_numbers_are_finite_or_not_told(
    studio: Studio,
    cloud: responses.RequestsMock,
    content: dict[str, Any],
    percent: float | None,
    credit: float | None,
) -> None:
    """Also where they are written as strings."""
    project = told(studio, cloud, content)
    assert (project.percent, project.credit) == (percent, credit)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"message": "render failed"}, "render failed"),
        ({"msg": " render \n failed "}, "render failed"),
        ({"error": "render failed"}, "render failed"),
        ({"error": {"code": 5000, "msg": "render failed"}}, "render failed"),
        ({"error": {"code": 5000}}, '{"code": 5000}'),
        ({"errorMessage": "render failed", "message": "see errorMessage"}, "render failed"),
        ({"reason": "render failed"}, "render failed"),
        ({"failReason": {"message": "render failed"}}, "render failed"),
        ({"stateMessage": "render failed"}, "render failed"),
        ({"error": None, "message": "", "msg": "render failed"}, "render failed"),
        ({"error": True, "message": 7, "msg": []}, ""),
        ({"error": f"{KEY} may not"}, "*** may not"),
        ({"error": "see https://h/x?Signature=abc"}, "see https://h/x?***"),
        ({}, ""),
    ],
)
def test_the_words_about_a_failure_are_quoted(
    studio: Studio, cloud: responses.RequestsMock, content: dict[str, Any], words: str
) -> None:
    """In every shape that vendors write them; redacted."""
    assert told(studio, cloud, {"state": "failed", **content}).words == words


def test_words_are_bounded_and_a_key_is_not_cut_in_two(studio: Studio, cloud: responses.RequestsMock) -> None:
    """Half of a key is still a secret, and nothing would recognise it."""
    words = told(studio, cloud, {"error": "x" * 290 + " " + KEY + "y" * 1_000_000}).words
    assert len(words) <= 300
    assert "s3cret" not in words


def test_what_is_nested_too_deeply_to_be_written_is_not_quoted() -> None:
    """What could just be read need not be possible to write, further down the stack."""
    deep: object = "bottom"
    for _ in range(100_000):
        deep = {"error": [deep]}
    assert written(deep) == ""


def test_every_text_is_found_however_deep(studio: Studio, cloud: responses.RequestsMock) -> None:
    """Lists and mappings, as deep as JSON is read at all; no link that may be signed."""
    deep: object = "the\u00a0very  bottom"
    for _ in range(400):
        deep = [{"in": deep}]
    content = {"a": ["one", {"b": " two\n words "}], "c": "", "d": 7, "e": "https://h/x?sig=1", "f": "Why?", "g": deep}
    texts = told(studio, cloud, content).texts
    assert texts == {"one", "two words", "Why?", "the very bottom"}


def test_a_huge_project_is_read_within_bounds() -> None:
    """What is looked at has an end."""
    judge = Judge(DIALECTS["v3"], Redactor([]), retry_after_cap_seconds=1, wall_clock=lambda: NOW)
    many = [str(number) for number in range(300_000)]
    assert 0 < len(judge.project(Answer(200, {}, yes({"texts": many})), "p1").texts) <= 100_000


# --- the list of projects -------------------------------------------------------------------------------------------

TWO = [{"id": "p1", "state": "exported"}, {"id": "p2", "progress": 50}]


@pytest.mark.parametrize(
    ("content", "ids"),
    [
        (TWO, ["p1", "p2"]),
        ({"projects": TWO, "total": 2}, ["p1", "p2"]),
        ({"list": TWO}, ["p1", "p2"]),
        ({"items": TWO}, ["p1", "p2"]),
        ({"id": "workspace", "projects": TWO}, ["p1", "p2"]),
        ({"projects": None, "list": TWO}, ["p1", "p2"]),
        ({"id": "p1", "state": "exported"}, ["p1"]),
        ([], []),
        ({"projects": []}, []),
        ([{"_id": "a"}, {"projectId": "b"}, {"key": "c"}, {"id": 4711}], ["a", "b", "c", "4711"]),
        ([{"id": None, "_id": "a"}, {"id": "", "key": "b"}], ["a", "b"]),
        ([{"id": "a", "_id": "b", "projectId": "c", "key": "d"}], ["a"]),
        ([{"id": "a"}, None, 7, "b", [], {}, {"id": True}, {"id": "x" * 300}, {"id": "a\nb"}, {"id": ".."}], ["a"]),
    ],
)
def test_a_list_of_projects_is_read_in_every_shape(
    studio: Studio, cloud: responses.RequestsMock, content: object, ids: list[str]
) -> None:
    """An id is plainly one, or what it belongs to is left out."""
    cloud.get(PROJECTS, body=yes(content))
    assert [project.id for project in studio.projects()] == ids


@pytest.mark.parametrize(
    "content", [{}, {"total": 0}, {"projects": {}}, {"owner": {"id": "o"}}, [{}], [None, 7], {"list": [{"name": "a"}]}]
)
def test_what_is_no_list_of_projects_is_not_an_empty_one(
    studio: Studio, cloud: responses.RequestsMock, content: object
) -> None:
    """That a project is not there could be believed, so it is said only where a list was read."""
    cloud.get(PROJECTS, body=yes(content))
    with pytest.raises(CloudDeferred, match="list of projects") as caught:
        studio.projects()
    assert not caught.value.is_bounded


def test_a_list_may_be_long(studio: Studio, cloud: responses.RequestsMock) -> None:
    """Sixteen times what another answer may have."""
    entries = [{"id": f"p{number}", "text": "x" * 1000} for number in range(5000)]
    cloud.get(PROJECTS, body=yes(entries), headers=SAME_DATE)
    assert len(studio.projects()) == 5000


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["id", "key", "projects", "list", "project", "state", "createdAt", "error", "url", "progress"]
            ),
            inner,
            max_size=6,
        )
    ),
    max_leaves=20,
)


@given(JSON)
def test_whatever_json_comes_is_understood_or_deferred(content: object) -> None:
    """No answer of the cloud breaks a worker."""
    judge = Judge(DIALECTS["v3"], Redactor([]), retry_after_cap_seconds=1, wall_clock=lambda: NOW)
    answer = Answer(200, {}, yes(content))
    questions: list[Callable[[], object]] = [
        lambda: judge.project(answer, "p1"),
        lambda: judge.projects(answer),
        lambda: judge.models(answer),
        lambda: judge.look(answer),
        lambda: judge.auth(answer),
        lambda: judge.token(answer),
    ]
    for ask in questions:
        try:
            ask()
        except StudioError as error:
            assert len(str(error)) < 1000  # noqa: PT017 - either is right


# --- the list of models ---------------------------------------------------------------------------------------------


def test_models_are_the_catalogue(studio: Studio, cloud: responses.RequestsMock) -> None:
    """API.md: ``data.models[]``."""
    clothes = [{"id": "BG00002320", "label": {"en": "Suit"}, "thumbnail": "https://h/c.png"}]
    models = [{"id": "M000045058", "label": {"en": "Jonadan", "ko": "x"}, "clothes": clothes}]
    cloud.get(MODELS, body=yes({"models": models}))
    (model,) = studio.models().models
    assert (model.id, model.labels["en"], [each.id for each in model.clothes]) == (
        "M000045058",
        "Jonadan",
        ["BG00002320"],
    )


@pytest.mark.parametrize("content", [{}, {"models": None}, {"models": []}, {"models": [{}]}, {"models": {"id": "M1"}}])
def test_a_list_without_a_model_is_deferred(studio: Studio, cloud: responses.RequestsMock, content: object) -> None:
    """It says nothing about what can be ordered."""
    cloud.get(MODELS, body=yes(content))
    with pytest.raises(CloudDeferred, match="models") as caught:
        studio.models()
    assert not caught.value.is_bounded


# --- the probe ------------------------------------------------------------------------------------------------------


def test_the_probe_asks_whether_the_credential_is_good(studio: Studio, cloud: responses.RequestsMock) -> None:
    """``isAuthenticated`` decides, and no project is looked at."""
    cloud.get(AUTH, body=yes({"isAuthenticated": True}))
    studio.probe("p1")
    assert len(cloud.calls) == 1


@pytest.mark.parametrize(
    ("http", "body", "kind"),
    [
        (200, yes({"isAuthenticated": False}), AccountTroubled),
        (200, b'{"success": false, "data": {"isAuthenticated": false}}', AccountTroubled),
        (401, b"", AccountTroubled),
        (403, b"", AccountTroubled),
        (200, b'{"success": false, "msg": "unauthorized"}', AccountTroubled),
        (500, yes({"isAuthenticated": False}), CloudDeferred),
        (503, b"", CloudDeferred),
        (302, b"", CloudDeferred),
        (200, b"<html>hotel wifi</html>", CloudDeferred),
    ],
)
def test_the_probe_raises_what_is_wrong(
    studio: Studio, cloud: responses.RequestsMock, http: int, body: bytes, kind: type[StudioError]
) -> None:
    """Refused, or nothing that tells."""
    cloud.get(AUTH, body=body, status=http)
    with pytest.raises(kind) as caught:
        studio.probe("p1")
    assert getattr(caught.value, "is_credential", True)
    assert len(cloud.calls) == 1


@pytest.mark.parametrize(
    ("http", "body"),
    [
        (404, b""),
        (405, b"<p>"),
        (200, b'{"success": false, "msg": "no such thing"}'),
        (200, yes({})),
        (200, yes({"isAuthenticated": "yes"})),
    ],
)
@pytest.mark.parametrize(("project_id", "path"), [("p1", "/p1"), (None, "/chromadrop-probe")])
def test_where_nothing_tells_about_the_credential_a_project_is_looked_at(
    studio: Studio, cloud: responses.RequestsMock, http: int, body: bytes, project_id: str | None, path: str
) -> None:
    """As in v2: any answer about a project shows that the credential was accepted, and a refusal that it was not."""
    cloud.get(AUTH, body=body, status=http)
    cloud.get(PROGRESS + path, status=404)
    studio.probe(project_id)
    cloud.replace(responses.GET, PROGRESS + path, status=401)
    with pytest.raises(AccountTroubled):
        studio.probe(project_id)


# --- the clock ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["v2", "v3"])
@pytest.mark.parametrize("http", [200, 401, 404, 500])
def test_any_answer_tells_the_clouds_clock(version: str, http: int) -> None:
    """A refused credential has nothing to do with it, so none is sent."""
    with responses.RequestsMock() as mock, closing(made(BASE, version)) as client:
        mock.get(f"{PROGRESS}/p1", body=yes({"progress": 1}))
        client.look("p1")
        mock.get(f"{PROGRESS}/chromadrop-probe", status=http, headers={"Date": "Tue, 14 Nov 2023 22:12:20 GMT"})
        assert client.clock_lead_seconds() == pytest.approx(60, abs=0.5)
        assert ["Authorization" in call.request.headers for call in mock.calls] == [True, False]


def test_an_answer_without_a_date_tells_no_clock(studio: Studio, cloud: responses.RequestsMock) -> None:
    """Nothing is guessed."""
    cloud.get(f"{PROGRESS}/chromadrop-probe", status=404)
    assert studio.clock_lead_seconds() is None
