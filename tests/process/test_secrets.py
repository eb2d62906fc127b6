"""Secrets: a run full of faults, and everything that it leaves behind, searched for the key and for signatures.

``/proc/PID/environ`` is not searched: the key may be given in the environment, which the kernel shows to the daemon's
own user and to root only (proc(5)); whoever wants it out of there gives it by a file (``LoadCredential=``).
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus

import pytest
from place import Place, Running, job, listed

from daemon import app
from daemon.config import find_credential, load

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY = "sk-live-q7/Zx+9=\"k\\'0123456789"
"""With all that an encoding could change."""

SIGNED = (b"Signature=", b"Signature%3D", b"Expires=", b"Expires%3D")


def forms(secret: str) -> set[bytes]:
    """The secret as it could be written somewhere."""
    raw = secret.encode()
    texts = {
        secret,
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        json.dumps(json.dumps(secret)[1:-1])[1:-1],
        repr(secret)[1:-1],
        repr(raw)[2:-1],
        repr(secret.encode("latin-1"))[2:-1],
        quote(secret),
        quote(secret, safe=""),
        quote_plus(secret),
        base64.b64encode(raw).decode(),
        base64.b64encode(secret.encode("latin-1")).decode(),
        base64.b64encode(b":" + raw).decode(),
        raw.hex(),
        "q7/Zx+9=",  # a piece of it
    }
    return {text.encode() for text in texts} | {secret.encode("latin-1"), secret.encode("utf-16-le")}


def leaks(where: str, content: bytes) -> Iterator[str]:
    """What must not be there."""
    for secret in (*forms(KEY), *SIGNED):
        if secret in content:
            at = content.index(secret)
            yield f"{where}: {content[max(0, at - 80) : at + 20]!r}"


def leaks_below(folder: Path) -> Iterator[str]:
    """The same for every file, and every file's name."""
    for path in folder.rglob("*"):
        yield from leaks("a name", os.fsencode(path))
        if path.is_file():
            yield from leaks(str(path), path.read_bytes())


def test_the_search_finds_what_is_there() -> None:
    """In the log's own JSON, in a URL, in a header: or the tests below would show nothing."""
    assert list(leaks("log", json.dumps({"text": f"Authorization: {KEY}"}).encode()))
    assert list(leaks("url", f"https://x.example/?key={quote(KEY, safe='')}".encode()))
    assert list(leaks("link", b"GET /v.mp4?Expires=1&Signature=abc"))
    assert not list(leaks("link", b"GET /v.mp4?*** failed"))


FAULTS = (
    "export:503,match=busy,msg=The key {key} was used too often",
    "export:400,match=refused,body=string,msg=a bad body: {key}",
    "export:close,match=lost",
    "export:hang,match=silent",
    "export:login,match=page",
    "export:307,match=elsewhere,to=http://{key}@127.0.0.1:9/x?Signature=abc",
    "progress:500,msg=trace: Authorization: {key}",
    "progress:nan",
    "progress:not_json",
    "progress:close",
    "progress:hang",
    "progress:endless_json",
    "download:403,match=good",
    "download:404,match=many",
    "download:short_body,match=good",
    "download:cut_headers,match=many",
    "download:close,match=many",
    "download:not_video,match=many",
    "download:302,match=good,to=http://127.0.0.1:9/gone?Signature=abc&Expires=1",
    "download:403,times=0,match=never,body=xml",
)


def test_nothing_that_a_faulty_run_leaves_behind_has_a_secret(tmp_path: Path) -> None:
    """Not the log at its most talkative, no file, no error text, no status, not the list of processes."""
    with Place(tmp_path, render_seconds=0.8, keys=(KEY,)) as place:
        place.environ |= {
            "AISTUDIOS_API_KEY": KEY,
            "CHROMADROP_API__CONNECT_TIMEOUT_SECONDS": "1",
            "CHROMADROP_API__READ_TIMEOUT_SECONDS": "3",
            "CHROMADROP_JOBS__POLL_SECONDS": "0.1",
            "CHROMADROP_LOGS__LEVEL": "debug",
        }
        for fault in FAULTS:
            target, _, rest = fault.partition(":")
            place.simulator.add_fault({"target": target, **_words(rest)})
        texts = ("busy", "refused", "lost", "silent", "page", "elsewhere", "good", "many", "never")
        place.drop("all.yaml", listed(*(job(text) for text in texts)))
        place.drop("bad.yaml", "language: ko\nkey: x\n")
        running = place.start("run")
        running.until("job.exported")
        processes = Path(f"/proc/{running.process.pid}/cmdline").read_bytes()
        during = place.told("status") + place.told("status", "--json")
        for _ in range(2):
            running.until("batch.filed")
        after = place.told("status") + place.told("status", "--json") + place.told("check", "--offline")
        during_files = list(leaks_below(tmp_path))
        assert running.terminate() == 0
        made = {one["request"]["text"]: one["failure"] for one in place.result("failed/all.yaml")["jobs"]}
        assert [text for text, failure in made.items() if failure is None] == ["busy", "good", "many"]
    said = "".join(running.lines)
    assert "job.progressed" in said
    found = [*leaks("cmdline", processes), *leaks("status", during.encode()), *leaks("status", after.encode())]
    assert found + during_files + [*leaks("the log", said.encode()), *leaks_below(tmp_path)] == []


def _words(rest: str) -> dict[str, str]:
    kind, *settings = rest.replace("{key}", KEY).split(",")
    return {"kind": kind} | dict(setting.split("=", 1) for setting in settings)


BROKEN = {
    "an export": "daemon.edges.studio.client.Studio.export",
    "a look": "daemon.edges.studio.client.Studio.look",
    "a download": "daemon.edges.studio.client.Studio.download",
    "the turn": "daemon.dispatcher.Dispatcher._on_exported",
    "a worker's report": "daemon.core.report.ExportEnded.__init__",
    "the scanner": "daemon.edges.inbox_watch.watch.list_inbox",
}
"""Where the bug is, by its address."""

CRASH = """
import sys, pkgutil
address, key = sys.argv[1:3]
owner, _, name = address.rpartition(".")
def crash(*arguments, **named):
    secret = key
    url = 'https://x.example/v.mp4?Expires=1&Signature=abc'
    raise RuntimeError(f"GET {url} failed, headers {{'Authorization': {key!r}}}")
setattr(pkgutil.resolve_name(owner), name, crash)
sys.argv[1:] = sys.argv[3:]
from daemon.cli import main
main()
"""


@pytest.mark.parametrize("bug", BROKEN)
def test_a_bug_of_ours_does_not_tell_either(tmp_path: Path, bug: str) -> None:
    """An exception that nobody foresaw, with the key and a signed link in its text, wherever it comes up."""
    with Place(tmp_path, render_seconds=0.1) as place:
        place.environ |= {"AISTUDIOS_API_KEY": KEY, "CHROMADROP_LOGS__LEVEL": "debug"}
        place.drop("x.yaml", job("hello"))
        environ = place.environ | {"PATH": os.environ["PATH"]}
        command = [sys.executable, "-c", CRASH, BROKEN[bug], KEY, "run", "--once"]
        process = subprocess.Popen(
            command, cwd=tmp_path, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        running = Running(process)
        place.adopt(running)
        running.wait_until(lambda: process.poll() is not None or any("Error" in line for line in running.lines))
        running.kill()
    said = "".join(running.lines)
    assert [*leaks("the log", said.encode()), *leaks_below(tmp_path)] == []


def test_no_repr_and_no_text_of_what_is_wired_has_the_key(tmp_path: Path) -> None:
    """Whatever a debugger, an error report, or a careless log line prints of our own objects."""
    environ = {"AISTUDIOS_API_KEY": KEY, "CHROMADROP_API__BASE_URL": "http://127.0.0.1:9/api"}
    config = load(None, environ, tmp_path)
    credential = find_credential(config, environ)
    paths, redactor = config.paths(environ, tmp_path), app.redactor(credential)
    settings = app.Settings(config, None, paths, credential, redactor, environ, tmp_path)
    daemon = app.Daemon(settings, is_once=False)
    try:
        wired = [credential, config, daemon, *vars(daemon).values(), *vars(daemon._dispatcher).values()]
        wired += [app.redactor(credential), app.studio(config, credential)]
        text = "\n".join(f"{one!r} {one!s}" for one in wired if one is not settings)
    finally:
        daemon._stack.close()  # it never ran
    assert list(leaks("repr", text.encode())) == []


def test_a_connection_that_broke_has_no_secret_in_its_words(tmp_path: Path) -> None:
    """A log whose reader has gone, and a key file: the daemon works on, and what it prints last is clean."""
    (tmp_path / "key").write_text(f"{KEY}\n")
    (tmp_path / "key").chmod(0o600)
    root = tmp_path / "root"
    root.mkdir()
    with Place(root, render_seconds=0.1, keys=(KEY,)) as place:
        del place.environ["AISTUDIOS_API_KEY"]
        place.environ["CHROMADROP_API__KEY_FILE"] = str(tmp_path / "key")
        place.drop("x.yaml", job("hello"))
        read, write = os.pipe()
        os.close(read)
        environ = place.environ | {"PATH": os.environ["PATH"], "CHROMADROP_LOGS__LEVEL": "debug"}
        command = [sys.executable, "-m", "daemon", "run", "--once"]
        with os.fdopen(write, "wb") as broken:
            ended = subprocess.run(command, cwd=root, env=environ, stderr=broken, stdout=subprocess.PIPE, check=False)
        assert ended.returncode == 0
        assert list(leaks("stdout", ended.stdout)) == []
        assert list(leaks_below(root)) == []
