"""What the tests of the simulator say to it."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any

import requests

from daemon.simulator.server import RunningSimulator, Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

JOB = {"language": "ko", "text": "Hello, this is my first work.", "model": "M000004017", "clothes": "BG00006160"}
PAIR = {"appId": "my-app", "userKey": "my-user-key"}
HEADERS = {"Authorization": "some-key", "Content-Type": "application/json"}


class Client:
    """The three calls of the API, and the download."""

    def __init__(self, simulator: RunningSimulator, http: requests.Session) -> None:
        self.simulator = simulator
        self.base = simulator.base_url
        self.http = http

    def export(self, **options: Any) -> requests.Response:
        """POST a job."""
        chosen: dict[str, Any] = {"json": JOB, "headers": HEADERS, "timeout": 10, "allow_redirects": False} | options
        return self.http.post(f"{self.base}/simple/video", **chosen)

    def accepted(self, **fields: Any) -> str:
        """POST a job that must be accepted: its key."""
        answer = self.export(json=JOB | fields)
        assert answer.status_code == 200
        return str(answer.json()["data"]["key"])

    def look(self, key: str, what: str = "progress", **options: Any) -> requests.Response:
        """GET the progress, or the project."""
        chosen: dict[str, Any] = {"headers": HEADERS, "timeout": 10, "allow_redirects": False} | options
        return self.http.get(f"{self.base}/editor/{what}/{key}", **chosen)

    def link(self, key: str) -> str:
        """The download link of a finished project."""
        return str(self.look(key).json()["data"]["url"])

    def download(self, url: str, **headers: str) -> requests.Response:
        """GET a link."""
        return self.http.get(url, headers={"Accept-Encoding": "identity"} | headers, timeout=10, allow_redirects=False)

    def download_into(self, came: bytearray, url: str) -> None:
        """GET a link, keeping what came even where it is cut."""
        with self.http.get(url, stream=True, timeout=10) as answer:
            for part in answer.iter_content(1000):
                came += part


class ClientV3(Client):
    """The same calls in v3, and those about the account."""

    def __init__(self, simulator: RunningSimulator, http: requests.Session) -> None:
        super().__init__(simulator, http)
        self.base = simulator.base_url_v3

    def accepted(self, **fields: Any) -> str:
        """POST a job that must be accepted, to be rendered if the fields do not say otherwise: its id."""
        answer = self.export(json=JOB | {"isExport": True} | fields)
        assert answer.status_code == 200
        return str(answer.json()["data"]["projectId"])

    def link(self, key: str) -> str:
        """The download link of a finished project."""
        return str(self.look(key).json()["data"]["downloadUrl"])

    def get(self, path: str, credential: str = "some-key") -> requests.Response:
        """GET something under the version's prefix."""
        headers = HEADERS | {"Authorization": credential}
        return self.http.get(f"{self.base}{path}", headers=headers, timeout=10, allow_redirects=False)

    def listed(self) -> list[dict[str, Any]]:
        """The list of projects."""
        found: list[dict[str, Any]] = self.get("/editor/project").json()["data"]["projects"]
        return found

    def project(self, key: str) -> dict[str, Any]:
        """One project."""
        found: dict[str, Any] = self.get(f"/editor/project/{key}").json()["data"]
        return found

    def ask_for_token(self, pair: Any = PAIR, **options: Any) -> requests.Response:
        """POST an application's id and a user's key, without any credential."""
        return self.http.post(f"{self.base}/auth/token", **({"json": pair, "timeout": 10} | options))

    def token(self) -> str:
        """A fresh token."""
        return str(self.ask_for_token().json()["data"]["token"])


HOUR = 3600.0


def eventually(is_so: Callable[[], bool]) -> None:
    """Wait until it is so; a test that never gets there fails."""
    pause = threading.Event()
    for _ in range(2000):
        if is_so():
            return
        pause.wait(0.01)
    raise AssertionError("it never was so")


@contextlib.contextmanager
def running(**settings: Any) -> Iterator[Client]:
    """A simulator whose renders take an hour of its own clock, which only the test puts forward."""
    chosen = Settings(**({"port": 0, "render_seconds": HOUR, "link_seconds": 900.0} | settings))
    with RunningSimulator(chosen) as simulator, requests.Session() as http:
        http.trust_env = False
        yield Client(simulator, http)


@contextlib.contextmanager
def running_v3(**settings: Any) -> Iterator[ClientV3]:
    """The same, spoken to in v3."""
    with running(**settings) as client:
        yield ClientV3(client.simulator, client.http)
