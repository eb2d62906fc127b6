"""Notices with a real daemon: a real program, a real address, and a daemon that ends while it tells."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import threading
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from place import KEY, Place, job, listed, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TOKEN = "T0K3N-of-the-hook"
TELL = """#!/bin/sh
env > {told}.environ
cat >> {told}
echo >> {told}
"""
HANG = """#!/bin/sh
echo $$ > {pid}.part
mv {pid}.part {pid}
exec tail -f /dev/null
"""


def program(path: Path, text: str, **paths: Path) -> str:
    """A program for notify.command, as the variable wants it."""
    path.write_text(text.format(**paths))
    path.chmod(0o755)
    return json.dumps([str(path)])


def told(path: Path) -> list[dict[str, Any]]:
    """The documents that the program was given."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@contextmanager
def address() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """An address that takes what is posted to it, and what that was."""
    posted: list[dict[str, Any]] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    server = HTTPServer(("127.0.0.1", 0), Hook)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/hook?token={TOKEN}", posted
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_both_are_told_of_the_main_job(tmp_path: Path) -> None:
    """A file that is done and one that failed: one document each, the same for both, and no secret anywhere."""
    with Place(tmp_path, render_seconds=0.1, keys=(KEY,)) as place, address() as (url, posted):
        place.environ |= {
            "CHROMADROP_NOTIFY__COMMAND": program(tmp_path / "tell", TELL, told=tmp_path / "told"),
            "CHROMADROP_NOTIFY__URL": url,
            "CHROMADROP_NOTIFY__EVENTS": '["failed", "done"]',
            "CHROMADROP_LOGS__LEVEL": "debug",
        }
        place.simulator.add_fault("export:400,match=refused")
        place.drop("good.yaml", job("hello"))
        place.drop("bad.yaml", listed(job("one"), job("refused")))
        running = place.start("run", "--once")
        assert running.end() == 1
        documents = told(tmp_path / "told")
        assert sorted((one["event"], one["file"], one["paid"]) for one in documents) == [
            ("done", "good.yaml", "yes"),
            ("failed", "bad.yaml", "yes"),
        ]
        assert posted == documents
        for one in documents:
            assert {key: one[key] for key in one if key in place.result(one["filed_as"])} == place.result(
                one["filed_as"]
            )
        assert len(running.said("notice.delivered")) == 4
        environ = (tmp_path / "told.environ").read_text()
        assert "CHROMADROP_FILED_AS=" in environ
        for secret in (KEY, TOKEN):
            assert not [line for line in running.lines if secret in line]
            assert secret not in environ
            assert secret not in (tmp_path / "told").read_text()
        assert "AISTUDIOS" not in environ


def test_a_program_that_hangs_delays_neither_job_nor_stop(tmp_path: Path) -> None:
    """It ends with the daemon, and the next daemon tells what it did not take."""
    with Place(tmp_path, render_seconds=0.1) as place:
        hang = program(tmp_path / "hang", HANG, pid=tmp_path / "pid")
        place.drop("bad.yaml", "nonsense: [")
        running = place.start("run", CHROMADROP_NOTIFY__COMMAND=hang, CHROMADROP_NOTIFY__TIMEOUT_SECONDS="300")
        wait_until((tmp_path / "pid").exists, "the program is started")
        place.drop("good.yaml", job("hello"))
        running.until("batch.filed", outcome="done")
        assert running.terminate() == 0
        pid = int((tmp_path / "pid").read_text())
        wait_until(lambda: not is_alive(pid), "the program has ended")
        tell = program(tmp_path / "tell", TELL, told=tmp_path / "told")
        place.start("run", "--once", CHROMADROP_NOTIFY__COMMAND=tell).end()
        assert [one["file"] for one in told(tmp_path / "told")] == ["bad.yaml"]


def test_a_program_that_cannot_even_be_started_delays_no_stop(tmp_path: Path) -> None:
    """Its file cannot be read for now, as on a frozen share (here: for 45 s, for we hold a lease on it, fcntl(2))."""
    with Place(tmp_path, render_seconds=0.1) as place:
        command = program(tmp_path / "tell", TELL, told=tmp_path / "told")
        wanted = SimpleQueue[int]()  # an Event's lock may be held by the very thread that is interrupted
        before = signal.signal(signal.SIGIO, lambda number, _frame: wanted.put(number))  # any thread may get it
        descriptor = os.open(tmp_path / "tell", os.O_RDONLY)
        try:
            fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_WRLCK)
            place.drop("bad.yaml", "nonsense: [")
            running = place.start("run", CHROMADROP_NOTIFY__COMMAND=command, CHROMADROP_NOTIFY__TIMEOUT_SECONDS="300")
            assert wanted.get(timeout=30), "it is being started"
            place.drop("good.yaml", job("hello"))
            running.until("batch.filed", outcome="done")
            assert running.terminate() == 0
            assert not running.said("notice.deferred")
        finally:
            os.close(descriptor)
            signal.signal(signal.SIGIO, before)
        assert told(tmp_path / "told") == [], "and nobody starts it later on"
        place.start("run", "--once", CHROMADROP_NOTIFY__COMMAND=command).end()
        assert [one["file"] for one in told(tmp_path / "told")] == ["bad.yaml"]


def test_a_daemon_killed_while_it_tells_tells_again(tmp_path: Path) -> None:
    """SIGKILL with the program under way: at least once, and under the same name."""
    with Place(tmp_path, render_seconds=0.1) as place:
        hang = program(tmp_path / "hang", HANG, pid=tmp_path / "pid")
        place.drop("bad.yaml", "nonsense: [")
        running = place.start("run", CHROMADROP_NOTIFY__COMMAND=hang)
        wait_until((tmp_path / "pid").exists, "the program is started")
        running.kill()
        with suppress(ProcessLookupError):  # where a service manager would end what is left
            os.killpg(int((tmp_path / "pid").read_text()), signal.SIGKILL)
        tell = program(tmp_path / "tell", TELL, told=tmp_path / "told")
        place.start("run", "--once", CHROMADROP_NOTIFY__COMMAND=tell).end()
        (one,) = told(tmp_path / "told")
        assert one["notice"].endswith("-failed-1")


def test_a_program_that_is_not_there_is_said_at_the_start(tmp_path: Path) -> None:
    """Before anything has to be told; the daemon works all the same."""
    with Place(tmp_path, render_seconds=0.1) as place:
        place.drop("bad.yaml", "nonsense: [")
        missing = str(tmp_path / "nobody")
        running = place.start("run", "--once", CHROMADROP_NOTIFY__COMMAND=json.dumps([missing]))
        assert running.end() == 1
        assert [line["program"] for line in running.said("notice.unavailable")] == [missing]
        (line,) = running.said("notice.deferred")
        assert line["reason"] == f"{missing} cannot be run: No such file or directory"
