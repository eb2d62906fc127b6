"""The units of systemd/: by what systemd-analyze says of them, and under a real systemd where one can be booted."""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest
from place import KEY, Place, job, listed, wait_until
from systemd_machine import ROOT, STATE, SYSTEMD, Machine, Service, why_not

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

UNITS = {"chromadrop.service": "chromadrop.service", "chromadrop@.service": "chromadrop@spring.service"}
"""The files, and as what they run."""
WHY_NOT = why_not()
needs_machine = pytest.mark.skipif(bool(WHY_NOT), reason=f"no systemd can be booted here: {WHY_NOT}")
needs_analyze = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
needs_sysusers = pytest.mark.skipif(
    shutil.which("systemd-sysusers") is None or shutil.which("systemd-tmpfiles") is None,
    reason="needs systemd-sysusers and systemd-tmpfiles",
)


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    """Run it; what it says on either stream."""
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )


# --- by reading ------------------------------------------------------------------------------------


@needs_analyze
@pytest.mark.parametrize("file", UNITS)
def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path, file: str) -> None:
    """No unknown key, no bad value: systemd-analyze ends with 0 on some of these, so that what it says counts."""
    content = (SYSTEMD / file).read_text()
    unit = tmp_path / UNITS[file]
    unit.write_text(content.replace("/opt/chromadrop/bin/chromadrop", "/bin/true"))
    told = run("systemd-analyze", "verify", "--man=no", "--recursive-errors=no", unit)
    assert (told.stdout, told.returncode) == ("", 0)
    unit.write_text(content.replace("UMask=", "Umsk=").replace("/opt/chromadrop/bin/chromadrop", "/bin/true"))
    assert "Umsk" in run("systemd-analyze", "verify", "--man=no", "--recursive-errors=no", unit).stdout


@needs_analyze
@pytest.mark.parametrize("file", UNITS)
def test_the_exposure_is_1_2_at_most(tmp_path: Path, file: str) -> None:
    """By the measure of systemd-analyze security, from 0 to 10; a bare service has 9.6."""
    unit = tmp_path / UNITS[file]
    unit.write_text((SYSTEMD / file).read_text())
    told = run("systemd-analyze", "security", "--offline=yes", "--threshold=12", "--no-pager", unit)
    assert told.returncode == 0, told.stdout
    assert "Overall exposure level" in told.stdout


def test_the_template_is_the_plain_unit_with_the_instances_names() -> None:
    """One inbox or several: hardened alike, and with the same answer to every trouble."""
    plain, template = (_directives(SYSTEMD / file) for file in UNITS)
    for own, shared in (
        ("chromadrop for %i:", "chromadrop:"),
        ("/srv/chromadrop.d/%i", "/srv/chromadrop"),
        ("/etc/chromadrop/%i.yaml", "/etc/chromadrop/config.yaml"),
        ("/etc/chromadrop/%i.", "/etc/chromadrop/"),
        ("StateDirectory=chromadrop/%i", "StateDirectory=chromadrop"),
    ):
        assert own in template
        template = template.replace(own, shared)
    assert template == plain


def _directives(path: Path) -> str:
    lines = (line.strip() for line in path.read_text().splitlines())
    return "\n".join(line for line in lines if line and not line.startswith("#"))


@needs_sysusers
def test_the_user_and_the_folders_are_made(tmp_path: Path) -> None:
    """By systemd-sysusers and systemd-tmpfiles: the folders of the root, in which a group keeps what it makes."""
    (tmp_path / "etc").mkdir()
    users = run("systemd-sysusers", f"--root={tmp_path}", SYSTEMD / "chromadrop.sysusers")
    assert users.returncode == 0, users.stdout
    assert re.search(r"^chromadrop:x:\d+:\d+:chromadrop daemon:", (tmp_path / "etc/passwd").read_text(), re.MULTILINE)
    assert re.search(r"^chromadrop:x:\d+:", (tmp_path / "etc/group").read_text(), re.MULTILINE)
    if os.geteuid() != 0:
        return  # folders can be given to another user by root alone
    folders = run("systemd-tmpfiles", "--create", f"--root={tmp_path}", SYSTEMD / "chromadrop.tmpfiles")
    assert folders.returncode == 0, folders.stdout
    root = tmp_path / "srv/chromadrop"
    found = {path.name: path.stat().st_mode & 0o7777 for path in [root, *root.iterdir()]}
    names = ("chromadrop", "inbox", "processing", "done", "failed", "videos")
    assert found == dict.fromkeys(names, 0o2770) | {"processing": 0o2750}


# --- what is said, without systemd -----------------------------------------------------------------


def test_the_watchdog_is_fed_while_nothing_happens(tmp_path: Path) -> None:
    """The main loop turns for it alone, after it has said READY=1 (sd_watchdog_enabled(3))."""
    with Place(tmp_path) as place, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(60)
        running = place.start("run", NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="200000")
        assert listener.recv(4096).startswith(b"READY=1\n")
        fed = [listener.recv(4096) for _ in range(8)].count(b"WATCHDOG=1")
        assert fed >= 4
        assert running.terminate() == 0


# --- under a real systemd --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """One boot for all."""
    with Machine(tmp_path_factory.mktemp("machine")) as booted:
        yield booted


@pytest.fixture
def service(machine: Machine) -> Iterator[Service]:
    """The unit as delivered, on empty folders; not yet started."""
    found = Service(machine)
    found.configure()
    yield found
    machine.forget(found)


def texts(*names: str) -> str:
    """One job file with so many jobs."""
    return listed(*(job(name) for name in names))


@needs_machine
@pytest.mark.slow
def test_a_drop_becomes_a_video(service: Service) -> None:
    """As delivered: READY=1 with a state, the credential from LoadCredential=, a video that the group may have."""
    service.systemctl("start")
    assert (service.shown("ActiveState"), service.shown("SubState")) == ("active", "running")
    service.wait_for_state("^0 queued, 0 exporting, 0 of 20 rendering, .* 0 done and 0 failed$")
    service.drop("film.yaml", job("as delivered"))
    service.wait_for_videos(1)
    result = json.loads(service.wait_for("done/film.yaml.result.json").read_text())
    video = service.root / result["jobs"][0]["video"]
    assert hashlib.sha256(video.read_bytes()).hexdigest() == result["jobs"][0]["sha256"]
    assert (video.stat().st_mode & 0o777, video.group()) == (0o660, video.owner())
    service.wait_for_state("1 done and 0 failed$")
    environ = service.machine.path(f"/proc/{service.pid}/environ").read_text().split("\0")
    assert "CREDENTIALS_DIRECTORY=/run/credentials/chromadrop.service" in environ
    assert KEY not in "".join(environ) + service.journal()
    service.systemctl("stop")
    assert (service.shown("Result"), service.shown("ExecMainStatus")) == ("success", "0")


@needs_machine
@pytest.mark.slow
def test_killed_it_is_started_again_and_pays_nothing_twice(service: Service) -> None:
    """SIGKILL while videos are being rendered: systemd starts it again, and it goes on where it was."""
    service.adjust("RestartSec=100ms")
    service.systemctl("start")
    service.drop("films.yaml", texts("killed one", "killed two"))
    wait_until(lambda: len(service.said("job.exported")) == 2, "two exports")
    before = service.pid
    service.systemctl("kill", "--signal=KILL")
    wait_until(lambda: service.shown("NRestarts") == "1" and service.pid not in {0, before}, "another start")
    service.wait_for_videos(2)
    service.wait_for("done/films.yaml.result.json")
    assert [service.machine.accepted(text) for text in ("killed one", "killed two")] == [1, 1]
    assert service.said("job.in_doubt") == []


@contextmanager
def held(pid: int) -> Iterator[Callable[[], bool]]:
    """Stop one thread and no other (ptrace(2)); what tells whether its process has been killed meanwhile."""
    seize, interrupt, detach = 0x4206, 0x4207, 0x11
    any_thread = 0x40000000
    libc = ctypes.CDLL(None, use_errno=True)

    def ask(request: int) -> None:
        if libc.ptrace(request, pid, None, None) != 0:
            raise OSError(ctypes.get_errno(), f"ptrace {request:#x}")

    def was_killed() -> bool:
        # Its parent does not hear of its end before we have.
        found, how = os.waitpid(pid, os.WNOHANG | any_thread)
        return found == pid and os.WIFSIGNALED(how)

    ask(seize)
    ask(interrupt)
    os.waitpid(pid, any_thread)
    try:
        yield was_killed
    finally:
        with suppress(OSError):
            ask(detach)


@needs_machine
@pytest.mark.slow
def test_a_main_loop_that_hangs_is_killed_by_the_watchdog(service: Service) -> None:
    """That all other threads live does not count. Each says where it was, and the service is started again."""
    service.adjust("RestartSec=100ms", "WatchdogSec=3")
    service.systemctl("start")
    service.wait_for_state("0 queued")
    before = service.pid
    with held(service.machine.outside(before)) as was_killed:
        wait_until(was_killed, "the watchdog's kill")
    wait_until(lambda: service.shown("NRestarts") == "1" and service.pid not in {0, before}, "another start")
    service.drop("film.yaml", job("after the watchdog"))
    service.wait_for_videos(1)
    service.wait_for("done/film.yaml")
    said = service.journal()
    assert "Watchdog timeout (limit 3s)!" in said
    assert "Current thread" in said
    assert "in _receive" in said


@needs_machine
@pytest.mark.slow
def test_a_frozen_daemon_is_killed_by_the_watchdog(service: Service) -> None:
    """SIGSTOP: it would keep its jobs for ever, on whatever ledger; ended and started again, it goes on with them."""
    service.adjust("RestartSec=100ms", "WatchdogSec=3", "TimeoutAbortSec=2")
    service.systemctl("start")
    service.drop("films.yaml", texts("frozen one", "frozen two"))
    wait_until(lambda: len(service.said("job.exported")) == 2, "two exports")
    before = service.pid
    service.systemctl("kill", "--signal=STOP", "--kill-whom=main")
    wait_until(lambda: service.shown("NRestarts") == "1" and service.pid not in {0, before}, "another start")
    service.wait_for_videos(2)
    service.wait_for("done/films.yaml.result.json")
    assert "Watchdog timeout (limit 3s)!" in service.journal()
    assert [service.machine.accepted(text) for text in ("frozen one", "frozen two")] == [1, 1]
    assert service.said("job.in_doubt") == []


@needs_machine
@pytest.mark.slow
def test_a_reload_takes_effect(service: Service) -> None:
    """With RELOADING=1 and READY=1, or systemd would not call it active; one with problems is refused."""
    service.configure(max_rendering=1)
    service.systemctl("start")
    service.drop("films.yaml", texts("reload one", "reload two", "reload three"))
    service.wait_for_state("^2 queued, 0 exporting, 1 of 1 rendering")
    service.configure(max_rendering=2)
    service.systemctl("reload")
    service.wait_for_state("^1 queued, 0 exporting, 2 of 2 rendering")
    service.configure(max_rendring=3)
    service.systemctl("reload")
    wait_until(lambda: service.said("config.refused"), "a refusal")
    wait_until(lambda: service.shown("ActiveState") == "active", "READY=1 after the refusal")
    assert "2 of 2 rendering" in service.state
    assert service.shown("NRestarts") == "0"


@needs_machine
@pytest.mark.slow
def test_a_refused_configuration_is_not_started_again(service: Service) -> None:
    """78 stands in RestartPreventExitStatus=: nothing but a person can mend it."""
    service.adjust("RestartSec=0")
    service.configure(max_rendring=3)
    service.systemctl("start", check=False)
    wait_until(lambda: service.shown("ActiveState") == "failed", "a failed start")
    assert (service.shown("ExecMainStatus"), service.shown("NRestarts")) == ("78", "0")
    assert "max_rendring" in service.journal()


@needs_machine
@pytest.mark.slow
def test_an_export_in_flight_is_heard_out_at_a_stop(service: Service) -> None:
    """However short TimeoutStopSec= is: the daemon asks for the time that a paid answer takes."""
    service.adjust("TimeoutStopSec=1")
    service.machine.add_fault("export:delay,seconds=3")
    service.systemctl("start")
    service.drop("film.yaml", job("heard out"))
    wait_until(lambda: service.said("job.export_started"), "an export in flight")
    service.systemctl("stop")
    assert (service.shown("Result"), service.shown("ExecMainStatus")) == ("success", "0")
    assert len(service.said("job.exported")) == service.machine.accepted("heard out") == 1


PROBE = """
import ctypes, json, os, socket, sqlite3, ssl, sys, threading

def outcome(deed):
    try:
        deed()
    except OSError as error:
        return os.strerror(error.errno) if isinstance(error.errno, int) else str(error)
    return "done"

def writes(folder):
    def deed():
        path = os.path.join(folder, ".probe")
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
        os.unlink(path)
    return deed

def calls(name, *arguments):
    def deed():
        if ctypes.CDLL(None, use_errno=True)[name](*arguments) < 0:
            raise OSError(ctypes.get_errno(), name)
    return deed

found = {folder: outcome(writes(folder)) for folder in sys.argv[2:]}
found |= {
    "read /home": outcome(lambda: os.listdir("/home")),
    "read the key's file": outcome(lambda: open("/etc/chromadrop/aistudios-api-key")),
    "read the credential": outcome(lambda: open(os.environ["CREDENTIALS_DIRECTORY"] + "/aistudios-api-key").read()),
    "a packet socket": outcome(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW)),
    "a namespace": outcome(lambda: calls("unshare", 0x10000000)()),
    "chown": outcome(lambda: os.chown(sys.argv[1], 0, 0)),
    "inotify": outcome(calls("inotify_init1", 0)),
    "a name": outcome(lambda: socket.getaddrinfo("localhost", 443)),
    "TLS": outcome(lambda: ssl.create_default_context()),
    "SQLite": outcome(lambda: sqlite3.connect(sys.argv[1] + ".db").execute("PRAGMA journal_mode=WAL")),
    "a thread": outcome(lambda: threading.Thread(target=print).start()),
}
state = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines())
found["user"] = os.getuid() == os.stat(sys.argv[1].rpartition("/")[0]).st_uid != 0
found["capabilities"] = int(state["CapEff"], 16) | int(state["CapBnd"], 16) | int(state["CapAmb"], 16)
with open(sys.argv[1], "w") as file:
    json.dump(found, file)
"""


@needs_machine
@pytest.mark.slow
def test_it_can_do_what_it_needs_and_no_more(service: Service) -> None:
    """A probe in the service's own sandbox: its two folders, the network, TLS, SQLite, inotify; nothing else."""
    service.machine.write("/etc/chromadrop/probe.py", PROBE)
    service.machine.run("mkdir", "--parents", "/home/somebody")
    closed = ("/etc/chromadrop", "/etc", "/usr", "/opt/chromadrop", "/srv", "/var", "/home", "/root", "/")
    folders = " ".join((ROOT, STATE, "/tmp", *closed))
    service.adjust(f"ExecStartPre=/opt/chromadrop/bin/python /etc/chromadrop/probe.py {STATE}/probe.json {folders}")
    service.systemctl("start")
    found = json.loads(service.machine.path(f"{STATE}/probe.json").read_text())
    needed = (ROOT, STATE, "/tmp", "inotify", "a name", "TLS", "SQLite", "a thread", "read the credential")
    assert {name: found[name] for name in needed} == dict.fromkeys(needed, "done")
    others = (*closed, "read /home", "read the key's file", "a packet socket", "a namespace", "chown")
    assert [name for name in others if found[name] == "done"] == []
    assert (found["user"], found["capabilities"]) == (True, 0)
    assert not service.machine.path("/tmp/.probe").exists()


@needs_machine
@pytest.mark.slow
@pytest.mark.parametrize(
    ("unit", "config", "root", "mount"),
    [
        ("chromadrop", "/etc/chromadrop/config.yaml", "/mnt/late", "mnt-late.mount"),
        ("chromadrop@late", "/etc/chromadrop/late.yaml", f"{ROOT}.d/late", "srv-chromadrop.d-late.mount"),
    ],
)
def test_a_share_that_cannot_be_mounted_yet_is_tried_again(
    machine: Machine, unit: str, config: str, root: str, mount: str
) -> None:
    """A file server that is away at boot: when it is back, so is the service, and a stop by hand stays one."""
    service, again = Service(machine, unit, root), f"chromadrop-again@{unit}.service"
    service.configure(config, root)
    machine.write("/etc/chromadrop/late.aistudios-api-key", KEY, mode=0o600)
    source = f"/var/late-{unit.replace('@', '-')}"
    machine.write(
        f"/etc/systemd/system/{mount}", f"[Mount]\nWhat={source}/share\nWhere={root}\nType=none\nOptions=bind\n"
    )
    machine.write(
        f"/etc/systemd/system/{unit}.service.d/late.conf",
        f"[Unit]\nRequiresMountsFor={root}\n[Service]\nReadWritePaths=\nReadWritePaths={root}\n",
    )
    machine.write(f"/etc/systemd/system/{again}.d/late.conf", "[Service]\nRestartSec=1\n")
    machine.write(source, "")  # a bind mount of what is no folder fails
    machine.run("systemctl", "daemon-reload")
    try:
        machine.run("systemctl", "start", "--no-block", f"{unit}.service")
        wait_until(lambda: int(machine.run("systemctl", "show", "-P", "NRestarts", again)) > 0, "another attempt")
        assert service.shown("ActiveState") in {"inactive", "activating"}
        machine.run("rm", source)
        machine.run("install", "--directory", "--mode=755", source)
        folders = (f"{source}/share", f"{source}/share/inbox")
        machine.run("install", "--directory", "--owner=chromadrop", "--group=chromadrop", "--mode=2770", *folders)
        wait_until(lambda: service.shown("ActiveState") == "active", "the service")
        wait_until(lambda: machine.run("systemctl", "show", "-P", "ActiveState", again) == "inactive\n", "its end")
        service.systemctl("stop")
        assert service.shown("ActiveState") == "inactive"
    finally:
        machine.run("systemctl", "stop", again, check=False)
        machine.forget(service)
        machine.run("umount", "--lazy", root, check=False)
        machine.run("rm", "--recursive", f"/etc/systemd/system/{mount}", f"/etc/systemd/system/{again}.d")
        machine.run("systemctl", "daemon-reload")


@needs_machine
@pytest.mark.slow
def test_an_instance_has_its_own_and_waits_for_its_share(machine: Machine) -> None:
    """The template: mounted before the start; a share that vanishes is taken up again when it is back."""
    root = f"{ROOT}.d/spring"
    service = Service(machine, "chromadrop@spring", root)
    service.configure("/etc/chromadrop/spring.yaml", root)
    machine.write("/etc/chromadrop/spring.aistudios-api-key", KEY, mode=0o600)
    machine.write(
        "/etc/systemd/system/srv-chromadrop.d-spring.mount",
        f"[Mount]\nWhat=/var/share\nWhere={root}\nType=none\nOptions=bind\n",
    )
    machine.run("install", "--directory", "--owner=chromadrop", "--group=chromadrop", "--mode=2770", "/var/share/inbox")
    machine.run("chown", "chromadrop:chromadrop", "/var/share")
    machine.run("systemctl", "daemon-reload")
    try:
        service.systemctl("start")
        assert machine.run("systemctl", "is-active", "srv-chromadrop.d-spring.mount").strip() == "active"
        service.drop("film.yaml", job("instance one"))
        service.wait_for_videos(1)
        service.wait_for("done/film.yaml")
        assert machine.path(f"{STATE}/spring/ledger.sqlite3").exists()
        machine.run("umount", "--lazy", root)
        service.wait_for_state("root lost: ")
        machine.run("mount", "--bind", "/var/share", root)
        service.wait_for_state("^0 queued, .* 1 done and 0 failed$")
        service.drop("film2.yaml", job("instance two"))
        service.wait_for_videos(2)
        service.wait_for("done/film2.yaml")
        assert service.shown("NRestarts") == "0"
    finally:
        machine.forget(service)
        machine.run("umount", "--lazy", root)
