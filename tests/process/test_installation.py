"""docs/install.md, as an operator does it: every command of the page, in its order, under a real systemd."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from place import KEY, Place, Running, job, listed, wait_until
from systemd_machine import PORT, ROOT, SOURCE, STATE, Machine, Service, why_not

from daemon.simulator.faults import Fault

if TYPE_CHECKING:
    from collections.abc import Iterator

CHECKOUT: Final = Path(__file__).parents[2]
PAGE: Final = CHECKOUT / "docs/install.md"
DELIVERED: Final = ("daemon", "docs", "systemd", "pyproject.toml", "constraints.txt", "README.md", "LICENSE")
WHY_NOT: Final = why_not() or next(
    (f"needs {name}" for name in ("jq", "sqlite3", "runuser", "userdel") if shutil.which(name) is None), ""
)
HURRY: Final = f"""\
api: {{base_url: 'http://localhost:{PORT}/api/odin'}}
watch: {{settle_seconds: 0.2, grace_seconds: 0.2, rescan_seconds: 0.5}}
jobs: {{poll_seconds: 0.2, max_rendering: 2}}
"""
FILLED: Final = {
    r"^folders:$": f"{HURRY}folders:",  # the simulator for the cloud
    r"^echo '//server/films .*'": (
        "install -d -o chromadrop -g chromadrop -m 2770 /var/share && echo '/var/share /srv/chromadrop none bind 0 0'"
    ),
    r"^systemd-creds encrypt": "systemd-creds encrypt --with-key=host",  # a TPM, or a disk
    r"/usr/local/": "/run/local/",  # /usr is the host's own, and read-only
}
"""What stands for something that the reader of the page has, and the machine has not."""


def source(folder: Path) -> Path:
    """A copy of what an operator gets."""
    for name in DELIVERED:
        if (CHECKOUT / name).is_dir():
            shutil.copytree(CHECKOUT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(CHECKOUT / name, folder / name)
    return folder


# --- the page -------------------------------------------------------------------------------------


def blocks() -> Iterator[tuple[str, str]]:
    """Every block of commands, below its heading."""
    for part in PAGE.read_text().split("\n## ")[1:]:
        heading = part.partition("\n")[0]
        yield from ((heading, block) for block in re.findall(r"^```sh\n(.*?)^```$", part, re.DOTALL | re.MULTILINE))


class Operator:
    """Somebody who follows the page, block by block.

    Args:
        machine: where.
    """

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.left = list(blocks())
        self._functions = ""
        machine.run("mkdir", "--parents", "/run/local/bin")
        # What every Debian has in /etc, which is empty here.
        permit = "".join(f"{kind} sufficient pam_permit.so\n" for kind in ("auth", "account", "session"))
        machine.write("/etc/pam.d/runuser", permit)
        path = f"/run/local/bin:{machine.python.parent}:/usr/sbin:/usr/bin:/sbin:/bin"
        self._environ = [
            *(f"PATH={path}", "HOME=/root", "LANG=C.UTF-8", f"PYTHONPATH={':'.join(machine.packages)}"),
            # Nothing comes over the network: what chromadrop needs is there already, and so is what builds it.
            *("PIP_NO_INDEX=1", "PIP_NO_BUILD_ISOLATION=0", "PIP_ROOT_USER_ACTION=ignore"),
        ]
        machine.run("systemctl", "set-environment", *(entry for entry in self._environ if entry.startswith("PYTHON")))

    def follow(self, heading: str, *, typed: str = "") -> str:
        """Run the next block, which stands below this heading; what it says."""
        found, block = self.left.pop(0)
        assert found == heading
        for pattern, replacement in FILLED.items():
            block = re.sub(pattern, replacement.replace("\\", r"\\"), block, flags=re.MULTILINE)
        if re.match(r"\w+\(\) \{", block):
            self._functions += block
        script = f"set -euo pipefail\ncd {SOURCE}\n{self._functions}\n{block}"
        return self.machine.run("env", "--ignore-environment", *self._environ, "bash", "-c", script, typed=typed)


# --- the story ------------------------------------------------------------------------------------


def install(operator: Operator, service: Service) -> None:
    """From nothing to a running service, with the credential sealed."""
    said = operator.follow("Install")
    assert "Successfully installed chromadrop" in said
    operator.follow("Install")
    operator.follow("Install")
    operator.follow("Install", typed=f"{KEY}\n")
    checked = operator.follow("Install")
    assert "all is well" in checked
    assert "Active: active (running)" in operator.follow("Install")
    operator.follow("Install")
    assert not service.machine.path("/etc/chromadrop/aistudios-api-key").exists()
    operator.follow("Install")
    assert service.machine.path("/etc/bash_completion.d/chromadrop").read_text().startswith("_chromadrop_completion()")
    assert service.machine.path("/run/local/share/man/man1/chromadrop.1").read_text().startswith(".TH CHROMADROP 1")
    assert re.search("^d ?", operator.machine.run("stat", "--format=%F", "/opt/chromadrop/lib"))


WORK: Final = {
    "films.yaml": listed(job("one"), job("two")),
    "refused.yaml": job("no thanks"),
    "doubt.yaml": job("perhaps"),
    "bad.yaml": "modle: x\n",
}
FAULTS: Final = ("export:http,code=400,match=no thanks", "export:http,code=500,match=perhaps")


def faults() -> tuple[Fault, ...]:
    """What goes wrong at `WORK`."""
    return tuple(Fault.parse(text) for text in FAULTS)


def work(operator: Operator, service: Service) -> None:
    """One file done, one refused, one in doubt, one that is not valid, and one that waits."""
    for fault in FAULTS:
        service.machine.add_fault(fault)
    for name, content in WORK.items():
        service.drop(name, content)
        if name == "films.yaml":
            service.wait_for_videos(2)
        service.wait_for(f"{'done' if name == 'films.yaml' else 'failed'}/{name}.result.json")
    (service.root / "inbox/PAUSE").touch()
    service.wait_for_state("^paused")
    service.drop("waits.yaml", job("waits"))
    service.wait_for_state("^paused; 1 queued")
    shown = operator.follow("Look")
    assert shown.startswith("paused; 1 queued, 0 exporting")
    assert re.search(r"Overall exposure level for chromadrop.service: [01]\.", shown)
    assert "films.yaml" in shown
    counts = json.loads(shown[shown.rindex("{") :])
    assert counts == {"queued": 1, "exporting": 0, "rendering": 0, "done": 0, "failed": 0}


def ask_the_log(operator: Operator | Desk) -> None:
    """Each query gives what has happened in `work`, and no more."""

    def rows() -> list[list[str]]:
        return [line.split("\t") for line in operator.follow("Log queries").splitlines()]

    assert rows() == []  # the function alone
    assert [row[1:3] for row in rows()] == [
        *(["job.refused", "batch 2, job 1"], ["job.in_doubt", "batch 3, job 1"]),
        *(["batch.invalid", "bad.yaml"], ["queue.paused", ""]),
    ]
    story = [json.loads(line) for line in operator.follow("Log queries").splitlines()]
    assert {line["batch"] for line in story} == {1}
    assert [line["event"] for line in story if line["event"].startswith("batch.")] == [
        *("batch.claimed", "batch.settled", "batch.filed"),
    ]
    assert len([line for line in story if line["event"] == "job.exported"]) == 2
    paid = operator.follow("Log queries")
    lines, counts = paid[: paid.index("{")].splitlines(), json.loads(paid[paid.index("{") :])
    assert sorted(line.split("\t")[1:4] for line in lines) == [
        ["paid", "1", "1"],
        ["paid", "1", "2"],
        ["perhaps", "3", "1"],
    ]
    assert counts == {"paid": 2, "perhaps": 1}
    lasted = rows()
    assert sorted(row[1] for row in lasted) == ["videos/films-1.mp4", "videos/films-2.mp4"]
    assert all(float(row[0]) >= 0 for row in lasted)
    waiting = operator.follow("Log queries").splitlines()
    assert waiting[0] == "paused: inbox/PAUSE is there"
    assert waiting[1].startswith("waits.yaml, job 1: queued since ")
    assert len(waiting) == 2


class Desk:
    """The log queries of the page where nothing but jq is there: what else they call is played.

    Args:
        place: has a daemon that has done its work.
        running: that daemon.
        folder: for the players.
    """

    def __init__(self, place: Place, running: Running, folder: Path) -> None:
        self._place = place
        self._functions = ""
        self._left = [block for heading, block in blocks() if heading == "Log queries"]
        # As journalctl -u tells it, with what systemd says of the unit, and what Python may say at its end.
        (folder / "lines").write_text(
            "".join(["Started chromadrop.\n", "12\n", *running.lines, "Current thread (most\n"])
        )
        python = f'cd "{place.root}" && exec "{sys.executable}" -m daemon "$@"'
        players = {"journalctl": f'cat "{folder}/lines"', "runuser": 'shift 3; exec "$@"', "chromadrop": python}
        for name, does in players.items():
            (folder / name).write_text(f"#!/bin/sh\n{does}\n")
            (folder / name).chmod(0o755)
        self._environ = {**place.environ, "PYTHONPATH": str(CHECKOUT), "PATH": f"{folder}:{os.environ['PATH']}"}

    def follow(self, _heading: str) -> str:
        """Run the next block; what it says."""
        block = self._left.pop(0)
        if re.match(r"\w+\(\) \{", block):
            self._functions += block
        script = f"set -euo pipefail\n{self._functions}\n{block}"
        return subprocess.run(
            ["bash", "-c", script], env=self._environ, stdout=subprocess.PIPE, text=True, timeout=180, check=True
        ).stdout


@pytest.mark.skipif(shutil.which("jq") is None or shutil.which("bash") is None, reason="needs jq and bash")
def test_every_log_query_tells_what_happened(tmp_path: Path) -> None:
    """The queries of the page, on the lines of a real daemon."""
    (tmp_path / "root").mkdir()
    with Place(tmp_path / "root", faults=faults()) as place:
        running = place.start("run")
        for name, content in WORK.items():
            place.drop_at_once(name, content)
            running.until("batch.filed", file=name)
        place.drop("PAUSE", "")
        running.until("queue.paused")
        place.drop_at_once("waits.yaml", job("waits"))
        running.until("job.queued")
        (tmp_path / "bin").mkdir()
        ask_the_log(Desk(place, running, tmp_path / "bin"))
        assert running.terminate() == 0


TO_SCHEMA_1: Final = """
DROP TABLE daemons; DROP INDEX claiming_names; DROP INDEX processing_names; DROP INDEX offered_jobs;
ALTER TABLE jobs DROP COLUMN is_offered;
CREATE TABLE notes_of_one (key TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL);
INSERT INTO notes_of_one SELECT key, value FROM notes; DROP TABLE notes; ALTER TABLE notes_of_one RENAME TO notes;
DROP INDEX ix_jobs_project_id; DROP INDEX ix_jobs_asked_at; DROP INDEX ix_jobs_settled_at;
ALTER TABLE jobs DROP COLUMN asked_at; ALTER TABLE jobs DROP COLUMN is_adopted;
DROP TABLE notices; UPDATE notes SET value = '"1"' WHERE key = 'schema_version';
"""


def upgrade(operator: Operator, service: Service) -> None:
    """From the previous schema with a render in flight, and back; the cloud accepts nothing twice."""
    (service.root / "inbox/PAUSE").unlink()
    wait_until(lambda: service.machine.accepted("waits"), "an export")
    wait_until(lambda: len(service.said("job.exported")) == 3, "an answer to it")
    service.systemctl("stop")
    service.machine.run("sqlite3", f"{STATE}/ledger.sqlite3", TO_SCHEMA_1)
    assert "1 rendering" in operator.follow("Upgrade with renders in flight")
    assert service.machine.path(f"{STATE}/ledger.sqlite3.schema-1").exists()
    operator.follow("Upgrade with renders in flight")
    assert service.machine.path(f"{STATE}/newer/ledger.sqlite3").exists()
    service.wait_for_state("1 of 2 rendering")
    service.machine.end_renders()
    service.wait_for("done/waits.yaml")
    assert service.machine.accepted("waits") == 1


def restore(operator: Operator, service: Service) -> None:
    """A ledger in which two jobs render and one is queued, all done since: nothing is paid again."""
    service.drop("three.yaml", listed(job("a"), job("b"), job("c")))
    service.wait_for_state("^1 queued, 0 exporting, 2 of 2 rendering")
    assert ".sqlite3" in operator.follow("Back up and restore")
    service.machine.end_renders()
    wait_until(lambda: sum(map(service.machine.accepted, "abc")) == 3, "three exports")
    wait_until(lambda: len(service.said("job.exported")) == 6, "an answer to the last")
    service.machine.end_renders()
    service.wait_for("done/three.yaml")
    operator.follow("Back up and restore")
    service.wait_for("failed/three.yaml")
    assert [service.machine.accepted(text) for text in "abc"] == [1, 1, 1]
    result = json.loads(service.wait_for("failed/three.yaml.result.json").read_text())
    assert [(found["state"], found["paid"]) for found in result["jobs"]] == [
        *(("done", "yes"), ("done", "yes"), ("failed", "unknown")),
    ]
    assert (service.root / result["jobs"][0]["video"]).name == "three-1 (2).mp4"
    assert (service.root / "done/three.yaml").exists()


def mount(operator: Operator, service: Service) -> None:
    """A root on a share, at the unit's own place and at another one."""
    machine = service.machine
    service.systemctl("stop")
    machine.run("sh", "-c", f"rm -rf {ROOT}/* {ROOT}/.chromadrop {STATE}/*")
    operator.follow("On a share")
    service.drop("shared.yaml", job("shared"))
    wait_until(lambda: machine.accepted("shared"), "an export")
    assert machine.path("/var/share/.chromadrop").exists()
    machine.end_renders()
    wait_until(machine.path("/var/share/done/shared.yaml").exists, "a job file in done/")
    machine.run("systemctl", "stop", "srv-chromadrop.mount")
    assert service.shown("ActiveState") == "inactive"
    operator.follow("On a share")
    elsewhere = Service(machine, root="/mnt/films")
    elsewhere.drop("elsewhere.yaml", job("elsewhere"))
    wait_until(lambda: machine.accepted("elsewhere"), "an export")
    machine.end_renders()
    elsewhere.wait_for("done/elsewhere.yaml")


def divide(operator: Operator, machine: Machine) -> None:
    """An instance with an inbox of its own, in a folder that nobody but root can write in."""
    assert "spring" in operator.follow("Several inboxes", typed=f"{KEY}\n")
    spring = Service(machine, "chromadrop@spring", f"{ROOT}.d/spring")
    spring.drop("film.yaml", job("spring"))
    wait_until(lambda: machine.accepted("spring"), "an export")
    machine.end_renders()
    spring.wait_for("done/film.yaml")
    spring.systemctl("disable", "--now")


def uninstall(operator: Operator, machine: Machine) -> None:
    """Nothing stays but the folders of the root, and the ledger in an archive."""
    machine.run("systemctl", "start", "chromadrop")
    operator.follow("Uninstall")
    operator.follow("Uninstall")
    assert "ledger.sqlite3" in machine.run("tar", "-tzf", "/root/chromadrop-ledger.tar.gz")
    found = machine.run("find", "/etc", "/opt", "/var/lib", "/run/local", "-iname", "*chromadrop*").splitlines()
    assert [path for path in found if not path.startswith(("/opt/simulator", "/opt/python"))] == []
    assert "chromadrop" not in machine.path("/etc/passwd").read_text()
    assert machine.path(f"{ROOT}.d/spring/done/film.yaml").exists()


@pytest.mark.skipif(bool(WHY_NOT), reason=f"no systemd can be booted here: {WHY_NOT}")
@pytest.mark.slow
def test_the_page_from_nothing_to_nothing(tmp_path: Path) -> None:
    """Every block of the page, in its order, on a machine that has nothing of chromadrop; without a network."""
    (tmp_path / "source").mkdir()
    with Machine(tmp_path, source=source(tmp_path / "source")) as machine:
        operator, service = Operator(machine), Service(machine)
        install(operator, service)
        work(operator, service)
        ask_the_log(operator)
        upgrade(operator, service)
        restore(operator, service)
        mount(operator, service)
        divide(operator, machine)
        uninstall(operator, machine)
        assert operator.left == []


# --- the wheel ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_installed_wheel_runs_the_demo(tmp_path: Path) -> None:
    """The wheel has all that the program needs, such as the simulator's video; tried away from the checkout."""
    (tmp_path / "source").mkdir()
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--disable-pip-version-check"]
    pip = [sys.executable, "-m", "pip"]
    subprocess.run([*pip, "wheel", *options, f"--wheel-dir={tmp_path}", source(tmp_path / "source")], check=True)
    (wheel,) = tmp_path.glob("chromadrop-*.whl")
    target = tmp_path / "installed"
    subprocess.run([*pip, "install", *options[:1], *options[2:], f"--target={target}", wheel], check=True)
    delivered = {path.relative_to(CHECKOUT) for path in (CHECKOUT / "daemon").rglob("*") if path.is_file()}
    wanted = {path for path in delivered if path.suffix not in {".pyc", ".md"}}
    assert {path for path in wanted if not (target / path).exists()} == set()
    where = "import daemon, sys; print(daemon.__file__); from daemon.cli import main; sys.argv[1:] = {}; main()"
    code = where.format(["demo", "--render-seconds", "0.5"])
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(target), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith(f"{target}/daemon/__init__.py\n")
    assert "6 videos in" in ended.stdout
    assert len(list((tmp_path / "demo/videos").rglob("*.mp4"))) == 6
