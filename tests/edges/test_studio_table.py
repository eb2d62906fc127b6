"""API.md's last table, row by row: what each answer of the cloud becomes, in both generations of the API."""

from __future__ import annotations

import json
import re
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
import requests
import responses
import urllib3
from hypothesis import given
from hypothesis import strategies as st

from daemon.core.errors import AccountTroubled, CloudDeferred, CloudInDoubt, CloudRefused, StudioError
from daemon.core.redact import Redactor
from daemon.edges.studio import DIALECTS, Look, Studio
from daemon.edges.studio.judge import retry_after_seconds

if TYPE_CHECKING:
    from collections.abc import Iterator

BASE = "https://cloud.example/api/odin"
KEY = "s3cret/key+value"
EXPORT = f"{BASE}/simple/video"
PROGRESS = f"{BASE}/editor/progress/p1"
BODY = {"language": "en", "text": "Hello", "model": "M000004017", "clothes": "BG00006160"}
NOW = 1_700_000_000.0


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def _made(version: str) -> Studio:
    return Studio(
        base_url=BASE + "/",
        credential=f" {KEY}\n",
        redactor=Redactor([KEY]),
        version=version,
        connect_timeout_seconds=1,
        read_timeout_seconds=1,
        max_video_bytes=1 << 20,
        wall_clock=lambda: NOW,
    )


@pytest.fixture(scope="module", params=["v2", "v3"])
def studio(request: pytest.FixtureRequest) -> Iterator[Studio]:
    """A client of a cloud that `responses` plays, of each generation of the API."""
    with closing(_made(request.param)) as made:
        yield made


@pytest.fixture(scope="module")
def v2() -> Iterator[Studio]:
    """A client of the older generation."""
    with closing(_made("v2")) as made:
        yield made


@pytest.fixture
def cloud() -> Iterator[responses.RequestsMock]:
    """Answers on the wire."""
    with responses.RequestsMock() as mock:
        yield mock


def _no(http: int = 200, **fields: Any) -> tuple[int, bytes]:
    return http, json.dumps({"success": False, **fields}).encode()


def _yes(**inner: Any) -> tuple[int, bytes]:
    return 200, json.dumps({"success": True, "data": inner}).encode()


V3_NAMES = {b'"key"': b'"projectId"', b'"url"': b'"downloadUrl"', b'"videoUrl"': b'"downloadUrl"'}


def _spoken(studio: Studio, body: bytes | Exception) -> Any:
    """A row, written for v2, as the client's generation would write it."""
    if isinstance(body, bytes) and studio._dialect is DIALECTS["v3"]:
        for name, name_in_v3 in V3_NAMES.items():
            body = body.replace(name, name_in_v3)
    return body


def _export_error(
    studio: Studio, cloud: responses.RequestsMock, http: int, body: bytes | Exception, **more: Any
) -> Any:
    cloud.post(EXPORT, body=_spoken(studio, body), status=http, **more)
    with pytest.raises(StudioError) as caught:
        studio.export(BODY)
    return caught.value


def _look_error(studio: Studio, cloud: responses.RequestsMock, http: int, body: bytes | Exception, **more: Any) -> Any:
    cloud.get(PROGRESS, body=_spoken(studio, body), status=http, **more)
    with pytest.raises(StudioError) as caught:
        studio.look("p1")
    return caught.value


# --- the export -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("key", "project_id"), [("abc", "abc"), (4711, "4711"), ("a b/ü", "a b/ü")])
@pytest.mark.parametrize("http", [200, 201, 202])
def test_an_accepted_export_gives_its_project_id(
    studio: Studio, cloud: responses.RequestsMock, key: object, project_id: str, http: int
) -> None:
    """2xx, success true, and a usable key: accepted."""
    cloud.post(EXPORT, body=_spoken(studio, _yes(key=key)[1]), status=http)
    assert studio.export(BODY) == project_id


def test_an_export_sends_the_bare_credential_and_the_fields(studio: Studio, cloud: responses.RequestsMock) -> None:
    """Authorization is the bare value, stripped; the body is JSON; nothing is accepted compressed."""
    cloud.post(EXPORT, body=_spoken(studio, _yes(key="p1")[1]))
    studio.export(BODY)
    request = cloud.calls[0].request
    assert request.headers["Authorization"] == KEY
    assert request.headers["Content-Type"] == "application/json"
    assert request.headers["Accept-Encoding"] == "identity"
    assert {name: value for name, value in json.loads(request.body or b"").items() if name in BODY} == BODY


def test_a_v2_export_has_no_more_than_the_job_says(v2: Studio, cloud: responses.RequestsMock) -> None:
    """The fields are the tutorial's."""
    cloud.post(EXPORT, body=_yes(key="p1")[1])
    v2.export(BODY)
    assert json.loads(cloud.calls[0].request.body or b"") == BODY


@pytest.mark.parametrize(("said", "sent"), [({}, True), ({"isExport": False}, False), ({"isExport": True}, True)])
def test_a_v3_export_asks_for_a_video_unless_the_job_says_otherwise(
    cloud: responses.RequestsMock, said: dict[str, bool], sent: bool
) -> None:
    """The documented default of ``isExport`` would make a project and no video."""
    cloud.post(EXPORT, json={"success": True, "data": {"projectId": "p1"}})
    with closing(_made("v3")) as studio:
        assert studio.export({**BODY, **said}) == "p1"
    assert json.loads(cloud.calls[0].request.body or b"") == {**BODY, "isExport": sent}


@pytest.mark.parametrize(
    ("http", "body"),
    [
        (500, b""),
        (502, b"<html>Bad gateway</html>"),
        (504, b"{}"),
        _no(500, error={"code": 4010, "msg": "unauthorized"}),
        _no(error={"code": 5000, "msg": "internal"}),
        (200, b""),
        (200, b"<html>welcome to the hotel wifi</html>"),
        (200, b'{"success": true, "data": {"key": "p'),
        (200, b"[]"),
        (200, b"null"),
        (200, b"\xff\xfe\x00"),
        (200, b"[" * 100_000),
        (200, b'{"success": true, "data": {"key": "p1"}, "x": "' + b"x" * (1 << 20) + b'"}'),
        (200, b'{"data": {"key": "p1"}}'),
        (200, b'{"success": "true", "data": {"key": "p1"}}'),
        (200, b'{"success": 1, "data": {"key": "p1"}}'),
        (200, b'{"success": null}'),
        (200, b'{"success": true}'),
        (200, b'{"success": true, "data": []}'),
        (200, b'{"success": true, "n": ' + b"9" * 5000 + b"}"),
        _yes(key=""),
        _yes(key=None),
        _yes(key=True),
        _yes(key={"a": 1}),
        _yes(key="."),
        _yes(key=".."),
        _yes(key="a\nb"),
        _yes(key="\ud800"),
        _yes(key="x" * 257),
        _no(data={"key": "p1"}),
        (204, b""),
        (301, b""),
        (302, b'{"success": true, "data": {"key": "p1"}}'),
        (307, b""),
    ],
)
def test_an_answer_that_makes_no_sense_leaves_an_export_in_doubt(
    studio: Studio, cloud: responses.RequestsMock, http: int, body: bytes
) -> None:
    """Sent, and no answer that can be understood: never asked again by itself."""
    error = _export_error(studio, cloud, http, body, headers={"Location": EXPORT + "/elsewhere"})
    assert isinstance(error, CloudInDoubt)
    assert len(cloud.calls) == 1


@pytest.mark.parametrize("http", [408, 425, 429, 503])
@pytest.mark.parametrize("body", [b"", b"<html>", b'{"success": false, "msg": "no credit"}'])
def test_a_busy_cloud_defers_an_export(studio: Studio, cloud: responses.RequestsMock, http: int, body: bytes) -> None:
    """408, 425, 429, 503: deferred, an outage, with Retry-After."""
    error = _export_error(studio, cloud, http, body, headers={"Retry-After": "7"})
    assert isinstance(error, CloudDeferred)
    assert (error.is_outage, error.is_bounded, error.retry_after_seconds) == (True, False, 7)


@pytest.mark.parametrize("http", [200, 400])
@pytest.mark.parametrize("code", [4290, "4290"])
def test_the_vendors_own_busy_code_defers(
    studio: Studio, cloud: responses.RequestsMock, http: int, code: object
) -> None:
    """Code 4290 is a 429 by another name."""
    error = _export_error(studio, cloud, *_no(http, error={"code": code, "msg": "slow down"}))
    assert isinstance(error, CloudDeferred)
    assert error.is_outage


ACCOUNT_ROWS = [
    (401, b"", True),
    (401, b"<html>401 Authorization Required</html>", True),
    (402, b"", False),
    (403, b"", True),
    (*_no(403, error={"code": 4030, "msg": "forbidden"}), True),
    (*_no(403, msg="Insufficient credit"), False),
    (*_no(error={"code": 4010, "msg": "no"}), True),
    (*_no(error={"code": "4030", "msg": "no"}), True),
    (*_no(error={"code": 4020, "msg": "no"}), False),
    (*_no(msg="You have no credits left"), False),
    (*_no(message="INSUFFICIENT_BALANCE"), False),
    (*_no(error="Payment required"), False),
    (*_no(error="insufficientCredit"), False),
    (*_no(400, error="Unauthorised"), True),
    (*_no(400, error={"message": "Authorization header missing"}), True),
    (*_no(400, message="bad API key"), True),
    (*_no(422, message="api-key unknown"), True),
    (*_no(message="expired token"), True),
    (*_no(message="The token is invalid"), True),
    (*_no(message="Authentication failed"), True),
]


@pytest.mark.parametrize(("http", "body", "is_credential"), ACCOUNT_ROWS)
def test_account_trouble_fails_no_job(
    studio: Studio, cloud: responses.RequestsMock, http: int, body: bytes, is_credential: bool
) -> None:
    """401, 402, 403, the vendor's codes, or words that name credit or authorization, in export and look alike."""
    asked = _export_error(studio, cloud, http, body)
    looked = _look_error(studio, cloud, http, body)
    for error in (asked, looked):
        assert isinstance(error, AccountTroubled)
        assert error.is_credential is is_credential


@pytest.mark.parametrize(
    ("http", "body", "words"),
    [
        (*_no(error={"code": 4000, "msg": "unknown model"}), "unknown model"),
        (*_no(error={"msg": "unknown model"}), "unknown model"),
        (*_no(error="unknown model"), "unknown model"),
        (*_no(msg="unknown model"), "unknown model"),
        (*_no(message="unknown model"), "unknown model"),
        (*_no(message=["unknown model"]), "unknown model"),
        (*_no(data=None), "HTTP 200"),
        (*_no(400, error={"code": 4000, "msg": "unknown model"}), "code 4000"),
        (*_no(404, error={"code": 4040, "msg": "gone"}), "gone"),
        (*_no(422, msg="x"), "HTTP 422"),
        (400, b"<html><style>p{}</style><p>Bad&nbsp;&amp; wrong</p></html>", "Bad & wrong"),
        (400, b"\xff\xfe", "HTTP 400"),
        (413, b"", "HTTP 413"),
        (400, b"{" * 5_000_000, "HTTP 400"),
        (400, b"[" * 100_000, "HTTP 400"),
    ],
)
def test_a_refusal_has_the_vendors_words(
    studio: Studio, cloud: responses.RequestsMock, http: int, body: bytes, words: str
) -> None:
    """Other 4xx, or 2xx with success false: refused, in the vendor's words, in every shape they come in."""
    error = _export_error(studio, cloud, http, body)
    assert isinstance(error, CloudRefused)
    assert words in error.reason
    assert len(error.reason) < 500
    assert "<" not in error.reason


@pytest.mark.parametrize(
    "text",
    ["Credit cards accepted, payment by phone, ask for your API key", "payment", "no authorization - no entry"],
)
def test_an_echo_of_the_request_is_not_the_vendors_word(
    studio: Studio, cloud: responses.RequestsMock, text: str
) -> None:
    """A video about credit cards whose text is quoted back, whole or cut off, is refused: no account trouble."""
    for said in (f"text is bad: '{text}'", f"text is bad: {text[:40]}..."):
        cloud.post(EXPORT, json={"success": False, "msg": said})
        with pytest.raises(CloudRefused):
            studio.export({**BODY, "text": text})


def test_the_vendors_word_counts_beside_an_echo(studio: Studio, cloud: responses.RequestsMock) -> None:
    """What the request did not say is the vendor's own."""
    cloud.post(EXPORT, json={"success": False, "msg": "insufficient credit for 'Hello'"})
    with pytest.raises(AccountTroubled):
        studio.export(BODY)


def test_the_vendors_word_counts_after_a_long_echo(studio: Studio, cloud: responses.RequestsMock) -> None:
    """What is quoted of the message is short, what is looked at is not."""
    text = "Buy now. " * 100
    cloud.post(EXPORT, json={"success": False, "msg": f"'{text}': insufficient credit"})
    with pytest.raises(AccountTroubled):
        studio.export({**BODY, "text": text})


def test_a_request_that_is_no_json_is_refused_unsent(studio: Studio, cloud: responses.RequestsMock) -> None:
    """Nothing leaves where the body cannot be written."""
    with pytest.raises(CloudRefused):
        studio.export({"uppercut": float("nan")})
    assert len(cloud.calls) == 0


def _wrapped(reason: Exception) -> requests.ConnectionError:
    return requests.ConnectionError(urllib3.exceptions.MaxRetryError(None, "/x", reason))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "is_unsent"),
    [
        (requests.ConnectTimeout("slow"), True),
        (_wrapped(urllib3.exceptions.NewConnectionError(None, "refused")), True),  # type: ignore[arg-type]
        (_wrapped(urllib3.exceptions.NameResolutionError("h", None, OSError("x"))), True),  # type: ignore[arg-type]
        (requests.exceptions.SSLError("bad certificate"), True),
        (requests.exceptions.InvalidURL("bad"), True),
        (requests.ReadTimeout("slow"), False),
        (requests.ConnectionError("reset"), False),
        (requests.exceptions.ChunkedEncodingError("cut"), False),
        (ConnectionResetError(104, "reset"), False),
        (RuntimeError("anything"), False),
    ],
)
def test_what_was_never_sent_is_deferred_and_the_rest_in_doubt(
    studio: Studio, cloud: responses.RequestsMock, error: Exception, is_unsent: bool
) -> None:
    """Where no connection of ours can tell, the kind of the error does, and doubt wins."""
    found = _export_error(studio, cloud, 200, error)
    assert isinstance(found, CloudDeferred if is_unsent else CloudInDoubt)
    assert getattr(found, "is_outage", False) is is_unsent
    assert _look_error(studio, cloud, 200, error).is_outage is is_unsent


# --- the progress ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inner", "look"),
    [
        ({"progress": 0}, Look(0, None)),
        ({"progress": 12.5, "url": "https://h/x.mp4"}, Look(12.5, None)),
        ({"progress": "40"}, Look(40, None)),
        ({"progress": 99.99, "url": "https://h/x.mp4"}, Look(99.99, None)),
        ({"progress": 100, "url": "https://h/x.mp4?s=1"}, Look(100, "https://h/x.mp4?s=1")),
        ({"progress": 100.0, "videoUrl": "http://h/x.mp4"}, Look(100, "http://h/x.mp4")),
        ({"progress": 100, "url": "", "videoUrl": " https://h/x.mp4 "}, Look(100, "https://h/x.mp4")),
        ({"progress": 250, "url": "https://h/x.mp4"}, Look(100, "https://h/x.mp4")),
        ({"progress": 100, "url": "https://h/my video.mp4?s=1"}, Look(100, "https://h/my%20video.mp4?s=1")),
    ],
)
def test_a_look_tells_how_far_the_render_is(
    studio: Studio, cloud: responses.RequestsMock, inner: dict[str, object], look: Look
) -> None:
    """Percent as a number or a written number; a URL, under either name, only once rendered."""
    cloud.get(PROGRESS, body=_spoken(studio, _yes(**inner)[1]))
    assert studio.look("p1") == look


@pytest.mark.parametrize(
    ("http", "body"),
    [
        _yes(),
        _yes(progress=None),
        _yes(progress=True),
        _yes(progress="soon"),
        _yes(progress=[1]),
        _yes(progress=-1),
        _yes(progress=float("nan")),
        _yes(progress=float("inf")),
        (200, b'{"success": true, "data": {"progress": 1e999, "url": "https://h/x"}}'),
        (200, b'{"success": true, "data": 7}'),
        (200, b'{"success": true}'),
        (200, b""),
        (200, b"<html>"),
        (200, b"[" * 100_000),
        _yes(progress=100),
        _yes(progress=100, url=""),
        _yes(progress=100, url="ftp://h/x"),
        _yes(progress=100, url="/x.mp4"),
        _yes(progress=100, url="https://[::1/x"),
        _yes(progress=100, url=7),
        (500, b""),
        (502, b""),
        (302, b""),
    ],
)
def test_a_look_that_makes_no_sense_is_deferred(
    studio: Studio, cloud: responses.RequestsMock, http: int, body: bytes
) -> None:
    """Deferred without end: 5xx, not JSON, no usable progress, 100 % without a URL."""
    error = _look_error(studio, cloud, http, body, headers={"Location": "/x"})
    assert isinstance(error, CloudDeferred)
    assert (error.is_outage, error.is_bounded) == (False, False)


@pytest.mark.parametrize(
    ("inner", "words"),
    [
        ({}, "the cloud gave no link to the video yet"),
        ({"url": "", "videoUrl": None}, "the cloud gave no link to the video yet"),
        ({"url": "/x.mp4?s=secret"}, "the cloud's link to the video is no web address: /x.mp4?***"),
        ({"url": "", "videoUrl": ["https://h/x.mp4"]}, "the cloud's link to the video is no web address: [\"https"),
    ],
)
def test_a_link_that_leads_nowhere_is_told_from_one_that_is_not_there(
    studio: Studio, cloud: responses.RequestsMock, inner: dict[str, object], words: str
) -> None:
    """Whoever reads it can tell the vendor what is wrong; its signature is not told."""
    error = _look_error(studio, cloud, *_yes(progress=100, **inner))
    assert words in str(error)
    assert "secret" not in str(error)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (
            b'{"success": "true", "data": {"key": "p17"}}',
            "does not say that it was accepted, but names the project p17",
        ),
        (b'{"success": false, "data": {"key": "p17"}}', "does not say that it was accepted, but names the project p17"),
        (b'{"success": true, "data": {}}', "has no usable project id"),
    ],
)
def test_a_project_that_an_answer_in_doubt_names_is_told(
    studio: Studio, cloud: responses.RequestsMock, body: bytes, words: str
) -> None:
    """So that a person can look for it in the account."""
    assert words in str(_export_error(studio, cloud, 200, body))


@pytest.mark.parametrize(("http", "body"), [(404, b""), (400, b"<p>"), (410, b"{}"), _no(msg="no such project")])
def test_a_no_to_a_look_is_deferred_a_bounded_number_of_times(
    studio: Studio, cloud: responses.RequestsMock, http: int, body: bytes
) -> None:
    """Other 4xx, 404 too, and success false: bounded."""
    error = _look_error(studio, cloud, http, body)
    assert isinstance(error, CloudDeferred)
    assert (error.is_outage, error.is_bounded) == (False, True)


@pytest.mark.parametrize("http", [408, 425, 429, 503])
def test_a_busy_cloud_defers_a_look(studio: Studio, cloud: responses.RequestsMock, http: int) -> None:
    """An outage never counts against a job."""
    error = _look_error(studio, cloud, http, b"")
    assert (error.is_outage, error.is_bounded) == (True, False)


@given(st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1).filter(lambda t: t not in {".", ".."}))
def test_a_project_id_cannot_leave_its_path_segment(project_id: str) -> None:
    """Whatever the cloud calls a project, one segment of the path has it, and the host stays."""
    with responses.RequestsMock() as mock:
        mock.get(re.compile(".*"), json={})
        made = _studio_for_property()
        with pytest.raises(CloudDeferred):
            made.look(project_id)
        url = str(mock.calls[0].request.url)
    assert url.startswith(f"{BASE}/editor/progress/")
    assert url.count("/") == 7


_CACHE: list[Studio] = []


def _studio_for_property() -> Studio:
    if not _CACHE:
        _CACHE.append(
            Studio(
                base_url=BASE,
                credential=KEY,
                redactor=Redactor([KEY]),
                connect_timeout_seconds=1,
                read_timeout_seconds=1,
                max_video_bytes=1,
            )
        )
    return _CACHE[0]


# --- the probe ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("http", "body"), [_yes(progress=1), (404, b""), (400, b""), _no(msg="no such project")])
def test_a_probe_passes_when_the_credential_is_accepted(
    v2: Studio, cloud: responses.RequestsMock, http: int, body: bytes
) -> None:
    """What becomes of the project does not matter."""
    cloud.get(PROGRESS, body=body, status=http)
    v2.probe("p1")


def test_a_probe_without_a_project_asks_for_one_that_never_exists(v2: Studio, cloud: responses.RequestsMock) -> None:
    """v2 has no call that only tests the key."""
    cloud.get(f"{BASE}/editor/progress/chromadrop-probe", status=404)
    v2.probe(None)


@pytest.mark.parametrize(
    ("http", "body", "kind"),
    [
        (401, b"", AccountTroubled),
        (403, b"", AccountTroubled),
        (*_no(msg="unauthorized"), AccountTroubled),
        (500, b"", CloudDeferred),
        (503, b"", CloudDeferred),
        (302, b"", CloudDeferred),
        (200, b"<html>hotel wifi</html>", CloudDeferred),
    ],
)
def test_a_probe_raises_what_is_wrong(
    v2: Studio, cloud: responses.RequestsMock, http: int, body: bytes, kind: type[StudioError]
) -> None:
    """Refused, or nothing that tells."""
    cloud.get(PROGRESS, body=body, status=http)
    with pytest.raises(kind):
        v2.probe("p1")


# --- Retry-After ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "0"}, 0),
        ({"Retry-After": " 12 "}, 12),
        ({"Retry-After": "999999"}, 300),
        ({"Retry-After": "9" * 400}, None),
        ({"Retry-After": "-5"}, None),
        ({"Retry-After": "1.5"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "Tue, 14 Nov 2023 22:13:50 GMT"}, 30),
        ({"Retry-After": "Tue, 14 Nov 2023 22:13:50 GMT", "Date": "Tue, 14 Nov 2023 22:13:40 GMT"}, 10),
        ({"Retry-After": "Tue, 14 Nov 2023 22:13:50 GMT", "Date": "garbage"}, 30),
        ({"Retry-After": "Tue, 14 Nov 2022 22:13:50 GMT"}, 0),
        ({"Retry-After": "Tue, 14 Nov 2999 22:13:50 GMT"}, 300),
        ({"Retry-After": "Tue, 99 Nov 2023 22:13:50 GMT"}, None),
    ],
)
def test_retry_after_is_believed_within_reason(headers: dict[str, str], seconds: float | None) -> None:
    """Seconds or a date, relative to the answer's own Date, capped; nonsense is ignored."""
    assert retry_after_seconds(headers, now=NOW, cap_seconds=300) == seconds


# --- secrets --------------------------------------------------------------------------------------------------------


def test_no_text_of_an_error_has_the_credential(studio: Studio, cloud: responses.RequestsMock) -> None:
    """Not even where the cloud repeats it, nor in the chain of exceptions."""
    error = _export_error(studio, cloud, *_no(400, msg=f"key {KEY} at https://h/p?Signature=abc is odd"))
    assert KEY not in str(error)
    assert "Signature" not in str(error)
    lost = _look_error(studio, cloud, 200, requests.ConnectionError(f"x {KEY} y"))
    assert KEY not in repr(lost)
    assert lost.__cause__ is None
    assert lost.__suppress_context__


def test_repr_shows_neither_credential_nor_signature(studio: Studio) -> None:
    """What may be logged by accident is harmless."""
    assert KEY not in repr(studio)
    assert "secret" not in repr(Look(100, "https://h/x.mp4?secret=1#secret"))


@pytest.mark.parametrize(
    ("base_url", "credential"),
    [
        ("http://cloud.example", KEY),
        ("ftp://cloud.example", KEY),
        ("https://", KEY),
        ("https://[::1", KEY),
        (f"https://user:{KEY}@cloud.example", KEY),
        ("https://cloud.example/?x=1", KEY),
        (BASE, f"{KEY}\n{KEY}"),
        (BASE, ""),
    ],
)
def test_what_would_leak_the_credential_is_refused_at_once(base_url: str, credential: str) -> None:
    """Plain http beyond loopback, no host, a user name, a broken credential."""
    with pytest.raises(ValueError, match=r".") as caught:
        Studio(
            base_url=base_url,
            credential=credential,
            redactor=Redactor([KEY]),
            connect_timeout_seconds=1,
            read_timeout_seconds=1,
            max_video_bytes=1,
        )
    assert KEY not in str(caught.value)


def test_an_unknown_api_version_is_refused() -> None:
    """Only what the dialect table has."""
    with pytest.raises(ValueError, match="v2"):
        Studio(
            base_url=BASE,
            credential=KEY,
            redactor=Redactor([KEY]),
            version="v9",
            connect_timeout_seconds=1,
            read_timeout_seconds=1,
            max_video_bytes=1,
        )
