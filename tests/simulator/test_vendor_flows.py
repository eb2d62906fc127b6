"""What the vendor's sample programs do, written anew, against the simulator with only the host changed.

They are as clumsy as such samples are. Where those wait, the simulator's clock is put forward.
"""

from __future__ import annotations

import http.client
import json
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
import requests
from simulator_client import running

if TYPE_CHECKING:
    from pathlib import Path

    from daemon.simulator.server import RunningSimulator

INTERVAL_SECONDS = 3
RENDER_SECONDS = 9
APP = ("sample-app", "sample-user-key")
KEY = "sample-key"

JOBS = [
    {"language": "ko", "text": "안녕하세요, 첫 번째 영상입니다.", "model": "M000004017", "clothes": "BG00006160"},
    {"language": "en", "text": "Hello, this is the second one.", "model": "M000004017", "clothes": "BG00001004"},
    {"language": "ko", "text": "안녕하세요, 세 번째 영상입니다.", "model": "ysy", "clothes": "1"},
]


def name_of(url: str) -> str:
    """The last segment of a link's path, under which the samples save the video."""
    return urlsplit(url).path.split("/")[-1]


def downloaded_videos(folder: Path, simulator: RunningSimulator) -> list[str]:
    """The files in the folder, each of which must be a video of the simulator's to the last byte."""
    for file in folder.iterdir():
        assert file.read_bytes() == simulator.video(file.stem).read()
    return sorted(file.stem for file in folder.iterdir())


def project_ids(simulator: RunningSimulator) -> list[str]:
    """Those that were accepted."""
    return sorted(project["key"] for project in simulator.state()["projects"])


# --- v2: the tutorial "Export multiple chromakey" -------------------------------------------------------------------


def tutorial(
    host: str, jobs: list[dict[str, str]], folder: Path, wait: Callable[[float], None], interval: float
) -> list[str]:
    """One job after the other: POST, keep the key, look until 100 and a URL, download."""
    said = []
    headers = {"Authorization": KEY, "Content-Type": "application/json"}
    for job in jobs:
        answer = requests.post(host + "/api/odin/simple/video", headers=headers, data=json.dumps(job))
        key = answer.json()["data"]["key"]
        while True:
            result = requests.get(host + "/api/odin/editor/progress/" + key, headers=headers).json()
            if result["success"]:
                if result["data"]["progress"] < 100:
                    said.append(f"Waiting... progress: {result['data']['progress']}")
                elif result["data"].get("url"):
                    url = result["data"]["url"]
                    video = requests.get(url, allow_redirects=True)
                    (folder / name_of(url)).write_bytes(video.content)
                    break
            wait(interval)
    return said


@pytest.mark.parametrize("interval", [INTERVAL_SECONDS, 1])
def test_the_vendors_tutorial_runs_with_only_the_host_changed(tmp_path: Path, interval: float) -> None:
    """Three jobs, three videos under the last segment of the URL, and progress on the way."""
    with running(render_seconds=RENDER_SECONDS, keys=(KEY,)) as client:
        simulator = client.simulator
        said = tutorial(simulator.origin, JOBS, tmp_path, simulator.advance, interval)
        assert downloaded_videos(tmp_path, simulator) == project_ids(simulator)
        assert simulator.accepted_by_text() == {job["text"]: 1 for job in JOBS}
        assert simulator.state()["strays"] == []
    assert len(said) == len(JOBS) * RENDER_SECONDS / interval
    assert all(line.startswith("Waiting... progress: ") for line in said)


def v2_sample(host: str, folder: Path, wait: Callable[[float], None], interval: float) -> None:
    """One video, its link read under the name that the reference page has."""
    api = host + "/api/odin"
    headers = {"Authorization": KEY, "Content-Type": "application/json"}
    body = {**JOBS[0], "locale": "zh", "uppercut": 12.5, "webhook": "https://example.com/done"}
    res = requests.post(api + "/simple/video", json=body, headers=headers)
    if not res.json()["success"]:
        raise RuntimeError(res.text)
    key = res.json()["data"]["key"]
    video_url = None
    while video_url is None:
        wait(interval)
        data = requests.get(api + "/editor/progress/" + key, headers=headers).json()["data"]
        video_url = data.get("videoUrl")
    with requests.get(video_url, stream=True) as r, (folder / name_of(video_url)).open("wb") as f:
        for chunk in r.iter_content(chunk_size=8192):
            f.write(chunk)


def test_the_v2_sample(tmp_path: Path) -> None:
    """All optional fields, and `videoUrl`."""
    with running(render_seconds=RENDER_SECONDS, keys=(KEY,)) as client:
        v2_sample(client.simulator.origin, tmp_path, client.simulator.advance, INTERVAL_SECONDS)
        assert downloaded_videos(tmp_path, client.simulator) == project_ids(client.simulator)


# --- v3 -------------------------------------------------------------------------------------------------------------


def v3_token(host: str) -> str:
    """A token for the application, looked at once before it is used."""
    api = host + "/api/odin/v3"
    app_id, user_key = APP
    res = requests.post(api + "/auth/token", json={"appId": app_id, "userKey": user_key})
    token: str = res.json()["data"]["token"]
    res = requests.get(api + "/auth", headers={"Authorization": token, "Content-Type": "application/json"})
    if not res.json()["data"]["isAuthenticated"]:
        raise RuntimeError(res.text)
    return token


def v3_sample(host: str, token: str, folder: Path, wait: Callable[[float], None], interval: float) -> dict[str, Any]:
    """The first model in its first clothes; its video; then the list, and the project that is first in it."""
    api = host + "/api/odin/v3"
    headers = {"Authorization": token, "Content-Type": "application/json"}
    model = requests.get(api + "/model", headers=headers).json()["data"]["models"][0]
    body = {
        "language": "en",
        "text": "Hello from the sample.",
        "model": model["id"],
        "clothes": model["clothes"][0]["id"],
        "isExport": True,
    }
    project_id = requests.post(api + "/simple/video", headers=headers, data=json.dumps(body)).json()["data"][
        "projectId"
    ]
    while True:
        data = requests.get(f"{api}/editor/progress/{project_id}", headers=headers).json()["data"]
        if data["progress"] == 100 and "downloadUrl" in data:
            break
        wait(interval)
    video = requests.get(data["downloadUrl"])
    (folder / name_of(data["downloadUrl"])).write_bytes(video.content)
    ready = [
        p
        for p in requests.get(api + "/editor/project", headers=headers).json()["data"]["projects"]
        if p["state"] == "exported"
    ]
    project = requests.get(api + "/editor/project/" + ready[0]["id"], headers=headers).json()["data"]
    (folder / name_of(project["download_url"])).write_bytes(requests.get(project["download_url"]).content)
    return {"project_id": project_id, "listed": ready, "project": project}


@pytest.mark.parametrize("is_long_lived", [False, True])
def test_the_v3_sample(tmp_path: Path, *, is_long_lived: bool) -> None:
    """With a token for an application, or with a long-lived key; the model is one of the list, as it must be."""
    account: dict[str, Any] = {"keys": (KEY,)} if is_long_lived else {"apps": (APP,)}
    with running(render_seconds=RENDER_SECONDS, is_strict_about_models=True, **account) as client:
        simulator = client.simulator
        credential = KEY if is_long_lived else v3_token(simulator.origin)
        told = v3_sample(simulator.origin, credential, tmp_path, simulator.advance, INTERVAL_SECONDS)
        assert downloaded_videos(tmp_path, simulator) == project_ids(simulator) == [told["project_id"]]
        assert simulator.state()["strays"] == []
    assert [project["id"] for project in told["listed"]] == [told["project_id"]]
    assert (told["project"]["state"], told["project"]["text"]) == ("exported", "Hello from the sample.")


# --- other clients --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    """What came back, whichever client asked."""

    code: int
    content: bytes

    def json(self) -> Any:
        """The body, read."""
        return json.loads(self.content)


Ask = Callable[[str, str, dict[str, str], bytes | None], Answer]


def by_http_client(method: str, url: str, headers: dict[str, str], body: bytes | None) -> Answer:
    """With the header names as they are written; the connection is not kept."""
    address = urlsplit(url)
    assert address.hostname is not None
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=10)
    try:
        path = url[url.index(address.netloc) + len(address.netloc) :]
        connection.request(method, path, body=body, headers=headers)
        answer = connection.getresponse()
        return Answer(answer.status, answer.read())
    finally:
        connection.close()


def by_urllib(method: str, url: str, headers: dict[str, str], body: bytes | None) -> Answer:
    """Which writes header names in a case of its own: ``Content-type``."""
    request = urllib.request.Request(url, data=body, headers=headers, method=method)
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as answer:
        return Answer(answer.status, answer.read())


AXIOS = {
    "Accept": "application/json, text/plain, */*",
    "Content-Type": "application/json;charset=utf-8",
    "User-Agent": "axios/1.6.0",
    "Accept-Encoding": "gzip, compress, deflate, br",
}
FETCH = {
    "accept": "*/*",
    "accept-language": "*",
    "sec-fetch-mode": "cors",
    "user-agent": "node",
    "content-type": "application/json; charset=UTF-8",
}
SHOUTED = {"ACCEPT": "*/*", "CONTENT-TYPE": "application/json"}


def round_trip(
    ask: Ask,
    api: str,
    headers: dict[str, str],
    fields: dict[str, Any],
    names: tuple[str, str],
    wait: Callable[[float], None],
) -> tuple[str, bytes]:
    """Export, look until there is a link, download: the project's name in the cloud, and the video."""
    key_name, url_name = names
    asked = ask("POST", f"{api}/simple/video", headers, json.dumps(fields, ensure_ascii=False).encode())
    key = asked.json()["data"][key_name]
    url = None
    while url is None:
        wait(INTERVAL_SECONDS)
        url = ask("GET", f"{api}/editor/progress/{key}", headers, None).json()["data"].get(url_name)
    accept = {name: value for name, value in headers.items() if name.lower() != "authorization"}
    return key, ask("GET", url, accept, None).content


@pytest.mark.parametrize("ask", [by_http_client, by_urllib])
@pytest.mark.parametrize("style", [AXIOS, FETCH, SHOUTED])
@pytest.mark.parametrize("version", ["v2", "v3"])
def test_clients_of_other_kinds(ask: Ask, style: dict[str, str], version: str) -> None:
    """What they accept, how they write header names, and a charset beside the content type change nothing."""
    with running(render_seconds=RENDER_SECONDS, keys=(KEY,), apps=(APP,)) as client:
        simulator = client.simulator
        if version == "v2":
            api, credential, fields, names = simulator.base_url, KEY, dict[str, Any](JOBS[0]), ("key", "url")
        else:
            api, fields, names = simulator.base_url_v3, {**JOBS[0], "isExport": True}, ("projectId", "downloadUrl")
            pair = json.dumps(dict(zip(("appId", "userKey"), APP, strict=True))).encode()
            credential = ask("POST", f"{api}/auth/token", style, pair).json()["data"]["token"]
        headers = style | {"authorization" if style is FETCH else "Authorization": credential}
        key, video = round_trip(ask, api, headers, fields, names, simulator.advance)
        assert video == simulator.video(key).read()
        assert simulator.accepted_by_text() == {JOBS[0]["text"]: 1}
