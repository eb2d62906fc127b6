"""Version 3 of the API over a real socket, and what can go wrong only there."""

from __future__ import annotations

import email.utils
import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest
import requests
from simulator_client import HEADERS, HOUR, JOB, PAIR, Client, ClientV3, running_v3

from daemon.simulator.faults import KINDS
from daemon.simulator.server import RunningSimulator, Served, Settings, base_url_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def client() -> Iterator[ClientV3]:
    """A simulator and its client."""
    with running_v3() as one:
        yield one


def code_of(answer: requests.Response) -> tuple[int, int]:
    """The HTTP status, and the vendor's code."""
    return answer.status_code, answer.json()["error"]["code"]


# --- exports --------------------------------------------------------------------------------------------------------


def test_an_export_is_accepted_rendered_and_downloaded(client: ClientV3) -> None:
    """projectId, progress, downloadUrl: nothing of v2's names."""
    answer = client.export(json=JOB | {"isExport": True, "resolution": "720", "workspaceId": "w"}).json()
    assert set(answer["data"]) == {"projectId"}
    project_id = answer["data"]["projectId"]
    client.simulator.advance(HOUR / 2)
    assert set(client.look(project_id).json()["data"]) == {"progress"}
    client.simulator.advance(HOUR / 2)
    whole = client.look(project_id).json()["data"]
    assert set(whole) == {"progress", "downloadUrl"}
    assert client.download(whole["downloadUrl"]).content == client.simulator.video(project_id).read()


@pytest.mark.parametrize("fields", [{}, {"isExport": False}])
def test_what_is_not_exported_is_accepted_and_never_rendered(client: ClientV3, fields: dict[str, Any]) -> None:
    """It is in the list as created, at 0 percent, for ever, and has cost nothing."""
    project_id = str(client.export(json=JOB | fields).json()["data"]["projectId"])
    client.simulator.advance(100 * HOUR)
    assert client.look(project_id).json()["data"] == {"progress": 0.0}
    assert client.listed() == [{"id": project_id, "name": JOB["text"], "state": "created"}]
    project = client.project(project_id)
    assert (project["state"], project["progress"], project["creditSubstracted"]) == ("created", 0.0, 0)
    (outcome,) = client.simulator.outcomes()
    assert (outcome.is_accepted, outcome.is_exported, outcome.version) == (True, False, "v3")


@pytest.mark.parametrize("change", [{"resolution": 2160}, {"isExport": "true"}, {"text": ""}, {"webhookUrl": "x"}])
def test_an_invalid_export_is_refused(client: ClientV3, change: dict[str, Any]) -> None:
    """400 with code 4000, and nothing is accepted."""
    assert code_of(client.export(json=JOB | change)) == (400, 4000)
    assert client.listed() == []


@pytest.mark.parametrize("version", ["v2", "v3"])
def test_unknown_models_are_refused_only_where_that_is_asked_for(client: ClientV3, version: str) -> None:
    """400 in both versions, for the model and for the clothes; by default whatever comes is taken."""
    unknown = JOB | {"model": "M1"}
    assert client.export(json=unknown).status_code == 200
    with running_v3(is_strict_about_models=True) as strict:
        asked = strict if version == "v3" else Client(strict.simulator, strict.http)
        answers = [asked.export(json=job) for job in (unknown, JOB | {"clothes": "1"}, JOB)]
    assert [answer.status_code for answer in answers] == [400, 400, 200]
    assert answers[0].json()["error"]["msg"] == "Invalid input: there is no model M1."


def test_neither_version_knows_the_projects_of_the_other(client: ClientV3) -> None:
    """They are two services; v2's paths do not swallow v3's."""
    v2 = Client(client.simulator, client.http)
    old, new = v2.accepted(), client.accepted()
    assert [v2.look(key, what).status_code for key in (old, new) for what in ("progress", "project")] == [
        200,
        200,
        404,
        404,
    ]
    assert [client.look(key).status_code for key in (old, new)] == [404, 200]
    assert [line["id"] for line in client.listed()] == [new]
    assert [project["version"] for project in client.simulator.state()["projects"]] == ["v2", "v3"]


@pytest.mark.parametrize("path", ["/auth", "/model", "/editor/project"])
def test_v2_has_nothing_about_the_account(client: ClientV3, path: str) -> None:
    """404, and remembered as a stray."""
    v2 = client.simulator.base_url
    assert requests.get(f"{v2}{path}", headers=HEADERS, timeout=10).status_code == 404
    assert [stray["path"] for stray in client.simulator.state()["strays"]] == [f"/api/odin{path}"]


def test_the_base_urls() -> None:
    """By property and by name; the simulator's own prefix is that of the real cloud."""
    with running_v3() as client:
        simulator = client.simulator
        assert simulator.base_url_v3 == f"{simulator.origin}/api/odin/v3" == base_url_of("v3", simulator.origin)
        assert simulator.base_url == f"{simulator.origin}/api/odin" == base_url_of("v2", simulator.origin)


# --- projects -------------------------------------------------------------------------------------------------------


def test_the_list_is_newest_first_and_has_links_once_exported(client: ClientV3) -> None:
    """id, name, state; download_url once there is one, good for a download."""
    first = client.accepted(text="a" * 50)
    client.simulator.advance(HOUR)
    second = client.accepted(text="two")
    newest, oldest = client.listed()
    assert newest == {"id": second, "name": "two", "state": "progress"}
    link = oldest.pop("download_url")
    assert oldest == {"id": first, "name": "a" * 40, "state": "exported"}
    assert client.download(link).content == client.simulator.video(first).read()


def test_a_project_tells_what_was_asked_and_what_it_cost(client: ClientV3) -> None:
    """The request, the state, the progress, the credit under the vendor's spelling, the date by the same clock."""
    project_id = client.accepted()
    client.simulator.advance(HOUR)
    answer = client.get(f"/editor/project/{project_id}")
    project = answer.json()["data"]
    link, created_at = project.pop("download_url"), project.pop("createdAt")
    assert project == {
        **JOB,
        "id": project_id,
        "name": JOB["text"],
        "state": "exported",
        "progress": 100.0,
        "creditSubstracted": 1,
    }
    assert client.download(link).status_code == 200
    assert created_at.endswith("Z")
    age = email.utils.parsedate_to_datetime(answer.headers["Date"]) - datetime.fromisoformat(created_at)
    assert age.total_seconds() == pytest.approx(HOUR, abs=10)


# --- the account ----------------------------------------------------------------------------------------------------


def test_a_token_is_fresh_each_time_and_good_for_all(client: ClientV3) -> None:
    """Opaque, taken by every endpoint, counted."""
    tokens = {client.token() for _ in range(3)}
    assert len(tokens) == 3
    for path in ("/auth", "/model", "/editor/project"):
        assert {client.get(path, token).status_code for token in tokens} == {200}
    headers = HEADERS | {"Authorization": tokens.pop()}
    assert client.export(headers=headers).status_code == 200
    assert client.simulator.state()["tokens"] == {"issued": 3, "valid": 3}


@pytest.mark.parametrize(
    "options",
    [
        {"json": {}},
        {"json": {"appId": "a"}},
        {"json": {"appId": "a", "userKey": " "}},
        {"json": {"appId": 1, "userKey": "u"}},
        {"json": [PAIR]},
        {"json": None, "data": b"not json", "headers": {"Content-Type": "application/json"}},
        {"json": None, "data": json.dumps(PAIR)},
    ],
)
def test_without_a_pair_there_is_no_token(client: ClientV3, options: dict[str, Any]) -> None:
    """400 with code 4000; no Content-Type is as bad."""
    assert code_of(client.ask_for_token(**options)) == (400, 4000)
    assert client.simulator.state()["tokens"]["issued"] == 0


def test_pairs_can_be_restricted() -> None:
    """Only those that were named get a token, and then nothing but tokens is taken."""
    with running_v3(apps=((PAIR["appId"], PAIR["userKey"]),)) as client:
        assert code_of(client.ask_for_token(PAIR | {"userKey": "other"})) == (401, 4010)
        assert client.get("/auth", client.token()).status_code == 200
        assert code_of(client.get("/auth", "any-word")) == (401, 4010)


def test_keys_and_tokens_can_be_taken_together() -> None:
    """A long-lived key beside tokens; v2 takes the key alone."""
    with running_v3(keys=("key",), apps=((PAIR["appId"], PAIR["userKey"]),)) as client:
        token = client.token()
        assert [client.get("/auth", word).status_code for word in ("key", token, "word")] == [200, 200, 401]
        v2 = Client(client.simulator, client.http)
        codes = [v2.export(headers=HEADERS | {"Authorization": word}).status_code for word in ("key", token, "word")]
        assert codes == [200, 401, 401]


@pytest.mark.parametrize("path", ["/auth", "/model", "/editor/project", "/editor/project/x", "/editor/progress/x"])
def test_nothing_is_told_without_a_bare_credential(client: ClientV3, path: str) -> None:
    """401 with code 4010; also with Bearer."""
    assert code_of(client.get(path, "")) == (401, 4010)
    assert code_of(client.get(path, "Bearer some-key")) == (401, 4010)


def test_the_credential_can_be_checked(client: ClientV3) -> None:
    """isAuthenticated, for a key and for a token."""
    for credential in ("some-key", client.token()):
        assert client.get("/auth", credential).json() == {"success": True, "data": {"isAuthenticated": True}}


def test_a_token_expires_by_the_simulators_clock(client: ClientV3) -> None:
    """After a day, or what was chosen; then it is refused although any other word is taken."""
    token = client.token()
    client.simulator.advance(86_399 - 60)
    assert client.get("/auth", token).status_code == 200
    client.simulator.advance(61)
    assert code_of(client.get("/auth", token)) == (401, 4010)
    assert client.get("/auth", "any-word").status_code == 200
    assert client.simulator.state()["tokens"] == {"issued": 1, "valid": 0}
    with running_v3(token_seconds=60) as short:
        token = short.token()
        short.simulator.advance(61)
        assert short.get("/auth", token).status_code == 401


def by_method(client: ClientV3) -> None:
    """Revoke all tokens by the running simulator's method."""
    client.simulator.revoke_tokens()


def by_control(client: ClientV3) -> None:
    """Revoke all tokens over the control API."""
    answer = client.http.post(f"{client.simulator.origin}/_simulator/tokens", json={"revoke": True}, timeout=10)
    assert answer.json() == {"success": True}


@pytest.mark.parametrize("revoke", [by_method, by_control])
def test_all_tokens_can_be_revoked_at_once(client: ClientV3, revoke: Callable[[ClientV3], None]) -> None:
    """Those given out so far are refused for good; the next one is taken."""
    old = client.token()
    revoke(client)
    new = client.token()
    assert [client.get("/auth", token).status_code for token in (old, new)] == [401, 200]
    assert client.simulator.state()["tokens"] == {"issued": 2, "valid": 1}
    client.simulator.reset()
    assert client.get("/auth", new).status_code == 401


@pytest.mark.parametrize("body", ["", "[]", '{"revoke": false}', "{}"])
def test_a_mistake_in_revoking_revokes_nothing(client: ClientV3, body: str) -> None:
    """400 with words."""
    token = client.token()
    assert client.http.post(f"{client.simulator.origin}/_simulator/tokens", data=body, timeout=10).status_code == 400
    assert client.get("/auth", token).status_code == 200


def test_the_models_with_their_pictures(client: ClientV3) -> None:
    """id, labels, thumbnail; each picture is there for everybody."""
    models = client.get("/model").json()["data"]["models"]
    assert {"M000045058", "M000004017", "ysy"} <= {model["id"] for model in models}
    for one in (*models, *(clothes for model in models for clothes in model["clothes"])):
        assert set(one["label"]) == {"ko", "en"}
        picture = requests.get(one["thumbnail"], timeout=10)
        assert (picture.status_code, picture.headers["Content-Type"]) == (200, "image/svg+xml")
        assert picture.text.startswith("<svg ")
    assert set(models[0]) == {"id", "label", "thumbnail", "clothes"}
    assert set(models[0]["clothes"][0]) == {"id", "label", "thumbnail"}


@pytest.mark.parametrize("name", ["nobody.svg", "ysy/nothing.svg", "nobody/1.svg"])
def test_there_is_no_picture_of_nobody(client: ClientV3, name: str) -> None:
    """404."""
    assert requests.get(f"{client.simulator.origin}/thumbnails/{name}", timeout=10).status_code == 404


def test_the_state_tells_what_was_asked() -> None:
    """How often each endpoint of the account was asked, refusals included; and every request is told."""
    heard: list[Served] = []
    settings = Settings(port=0)
    with RunningSimulator(settings, on_request=heard.append) as simulator, requests.Session() as http:
        client = ClientV3(simulator, http)
        client.token()
        client.get("/auth", "")
        client.get("/model")
        client.listed()
        client.listed()
        project_id = client.accepted(isExport=False)
        client.project(project_id)
        state = client.simulator.state()
    assert state["asked"] == {"token": 1, "auth": 1, "models": 1, "projects": 2, "project": 1}
    (project,) = state["projects"]
    assert {name: project[name] for name in ("version", "state", "is_listed", "is_exported")} == {
        "version": "v3",
        "state": "created",
        "is_listed": True,
        "is_exported": False,
    }
    assert [str(served) for served in heard[:3]] == ["token     -  200", "auth      -  401", "models    -  200"]
    assert str(heard[5]) == f"export    {project_id}  200  accepted, not exported"


@pytest.mark.parametrize("settings", [{"token_seconds": 0}, {"token_seconds": -1}])
def test_a_token_must_be_good_for_some_time(settings: dict[str, Any]) -> None:
    """Refused at once."""
    with pytest.raises(ValueError, match="token_seconds positive"):
        Settings(**settings)


# --- faults ---------------------------------------------------------------------------------------------------------


def asker(client: ClientV3, target: str) -> Callable[[], requests.Response]:
    """A request of the account that is right by itself."""
    paths = {"auth": "/auth", "models": "/model", "projects": "/editor/project"}
    return client.ask_for_token if target == "token" else lambda: client.get(paths[target])


ACCOUNT = ["token", "auth", "models", "projects"]


@pytest.mark.parametrize("target", ACCOUNT)
@pytest.mark.parametrize("code", [401, 403, 404, 429, 500, 503])
def test_any_status_for_the_account(client: ClientV3, target: str, code: int) -> None:
    """Once, and then all is well again."""
    ask = asker(client, target)
    client.simulator.add_fault(f"{target}:{code}")
    assert [ask().status_code for _ in range(2)] == [code, 200]


@pytest.mark.parametrize("target", ACCOUNT)
@pytest.mark.parametrize(
    ("kind", "start"), [("not_json", "OK, but"), ("login", "<!DOCTYPE"), ("success_false", '{"success": false')]
)
def test_an_account_that_answers_nonsense(client: ClientV3, target: str, kind: str, start: str) -> None:
    """200, and not what was asked for."""
    client.simulator.add_fault(f"{target}:{kind}")
    answer = asker(client, target)()
    assert answer.status_code == 200
    assert answer.text.startswith(start)


@pytest.mark.parametrize("target", ACCOUNT)
@pytest.mark.parametrize("kind", ["close", "close,reset=yes", "cut_headers", "short_body", "cut_chunk"])
def test_an_account_that_hangs_up(client: ClientV3, target: str, kind: str) -> None:
    """Before, in, or after the headers."""
    client.simulator.add_fault(f"{target}:{kind}")
    ask = asker(client, target)
    if kind == "cut_headers":
        assert ask().content == b""  # what requests makes of it
    else:
        with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
            ask()
    assert ask().status_code == 200


def test_a_request_that_is_wrong_by_itself_uses_up_no_fault(client: ClientV3) -> None:
    """Its proper answer, and the fault is still to come."""
    for target in ACCOUNT:
        client.simulator.add_fault(f"{target}:500")
    assert client.get("/auth", "").status_code == 401
    assert client.ask_for_token({}).status_code == 400
    assert [asker(client, target)().status_code for target in ACCOUNT] == [500] * 4


def test_no_usable_token(client: ClientV3) -> None:
    """200, and nothing to go on with; the field is the token's."""
    for shape in ("missing", "number"):
        client.simulator.add_fault(f"token:no_key,shape={shape}")
    assert [client.ask_for_token().json()["data"] for _ in range(2)] == [{}, {"token": 12345}]


def test_a_credential_that_is_said_to_be_no_good(client: ClientV3) -> None:
    """200, and isAuthenticated is false."""
    client.simulator.add_fault("auth:not_authenticated")
    answers = [client.get("/auth").json()["data"] for _ in range(2)]
    assert answers == [{"isAuthenticated": False}, {"isAuthenticated": True}]


def test_lists_of_nothing(client: ClientV3) -> None:
    """For once."""
    client.accepted()
    client.simulator.add_fault("models:empty_list")
    client.simulator.add_fault("projects:empty_list")
    assert client.get("/model").json() == {"success": True, "data": {"models": []}}
    assert [len(client.listed()) for _ in range(2)] == [0, 1]


@pytest.mark.parametrize("fault", ["render_fails", "render_fails,percent=7.5,msg=no voice"])
@pytest.mark.parametrize("version", ["v2", "v3"])
def test_a_render_that_fails(client: ClientV3, version: str, fault: str) -> None:
    """Progress stands still and says nothing; only the project tells, in words, and that nothing was paid."""
    asked = client if version == "v3" else Client(client.simulator, client.http)
    client.simulator.add_fault(f"export:{fault}")
    key = asked.accepted()
    client.simulator.advance(2 * HOUR)
    percent, words = (7.5, "no voice") if "msg" in fault else (42.0, KINDS["render_fails"].parameters["msg"])
    assert asked.look(key).json() == {"success": True, "data": {"progress": percent}}
    project = asked.look(key, "project").json()["data"]
    assert (project["state"], project["message"], project["creditSubstracted"]) == ("failed", words, 0)
    assert not {"url", "download_url"} & set(project)
    (outcome,) = client.simulator.outcomes()
    assert (outcome.is_accepted, outcome.is_exported) == (True, True)


def test_a_failed_render_in_the_list(client: ClientV3) -> None:
    """Its state is told there too, without words."""
    client.simulator.add_fault("export:render_fails")
    project_id = client.accepted()
    assert client.listed()[0]["state"] == "progress"
    client.simulator.advance(2 * HOUR)
    assert client.listed() == [{"id": project_id, "name": JOB["text"], "state": "failed"}]


def test_a_render_that_stands_still(client: ClientV3) -> None:
    """For good, and nobody says why."""
    client.simulator.add_fault("export:stuck,percent=80")
    project_id = client.accepted()
    client.simulator.advance(1000 * HOUR)
    assert client.look(project_id).json()["data"] == {"progress": 80.0}
    project = client.project(project_id)
    assert (project["state"], project["progress"], "message" in project) == ("progress", 80.0, False)


def test_a_project_that_is_not_listed(client: ClientV3) -> None:
    """Accepted and rendered, and yet neither in the list nor to be looked at."""
    client.simulator.add_fault("export:unlisted")
    project_id = client.accepted()
    client.simulator.advance(HOUR)
    assert client.listed() == []
    assert code_of(client.get(f"/editor/project/{project_id}")) == (404, 4040)
    assert client.download(client.link(project_id)).status_code == 200
    assert client.simulator.state()["projects"][0]["is_listed"] is False


def test_a_project_that_does_not_tell_its_text(client: ClientV3) -> None:
    """Only that is left out; the name is told."""
    project_id = client.accepted()
    client.simulator.add_fault("project:no_text")
    without, whole = (client.project(project_id) for _ in range(2))
    assert set(whole) - set(without) == {"text"}


LOST = ["close", "close,reset=yes", "500", "not_json", "empty", "short_body", "cut_headers", "no_key", "login", "hang"]


@pytest.mark.parametrize("fault", LOST)
def test_a_project_whose_answer_was_lost_is_in_the_list(client: ClientV3, fault: str) -> None:
    """The client never heard the id, and finds it: by name in the list, by text in the project."""
    client.simulator.add_fault(f"export:{fault},accepted=yes")
    try:
        came = client.export(json=JOB | {"isExport": True}, timeout=0.3 if fault == "hang" else 10).text
    except requests.RequestException:
        came = ""
    (line,) = client.listed()
    assert line["id"] not in came
    assert line["name"] == JOB["text"][:40]
    assert {name: client.project(line["id"])[name] for name in JOB} == JOB
    client.simulator.advance(HOUR)
    assert client.download(client.link(line["id"])).status_code == 200
