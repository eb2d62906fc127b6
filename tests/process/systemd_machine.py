"""A real systemd in a container that boots in a second: systemd-nspawn on the host's own /usr, all else in memory.

Nothing is installed and nothing is downloaded; the network is loopback alone. When it is left, the container is powered
off, and nothing of it stays behind on the host.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import sysconfig
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from place import KEY, wait_until

import daemon

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Self

SYSTEMD: Final = Path(daemon.__file__).parents[1] / "systemd"
PORT: Final = 8765
ROOT: Final = "/srv/chromadrop"
STATE: Final = "/var/lib/chromadrop"
SOURCE: Final = "/root/chromadrop"
_PLACES: Final = {
    "chromadrop.service": "/etc/systemd/system/chromadrop.service",
    "chromadrop@.service": "/etc/systemd/system/chromadrop@.service",
    "chromadrop-again@.service": "/etc/systemd/system/chromadrop-again@.service",
    "chromadrop.sysusers": "/etc/sysusers.d/chromadrop.conf",
    "chromadrop.tmpfiles": "/etc/tmpfiles.d/chromadrop.conf",
}
_MASKED: Final = ("systemd-firstboot.service", "systemd-networkd-wait-online.service", "ldconfig.service")
_RENDER_SECONDS: Final = 1_000_000


def why_not() -> str:
    """Why no machine can be booted here, or nothing."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "needs root on Linux"
    for program in ("systemd-nspawn", "systemctl", "nsenter"):
        if shutil.which(program) is None:
            return f"needs {program} (Debian packages systemd-container and util-linux)"
    if subprocess.run(
        ["unshare", "--mount", "--pid", "--net", "--fork", "true"], check=False, stderr=subprocess.DEVNULL
    ).returncode:
        return "needs leave to make namespaces"
    folders = list(_own_cgroups())
    if not folders or not all(os.access(folder, os.W_OK) for folder in folders):
        return "needs control groups that may be written"
    return ""


def _own_cgroups() -> Iterator[Path]:
    """The control groups of this process, in those hierarchies that systemd uses."""
    mounts = {}
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _source, where, kind, options, *_ = line.split(" ")
        if kind == "cgroup2":
            mounts[""] = where
        elif kind == "cgroup" and "name=systemd" in options.split(","):
            mounts["name=systemd"] = where
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _number, hierarchy, path = line.split(":", 2)
        if hierarchy in mounts:
            yield Path(mounts[hierarchy]) / path.lstrip("/")


def _is_empty(path: Path) -> bool:
    return not path.read_text()


class Machine:
    """Debian's systemd with chromadrop installed as docs/install.md says, and the simulator as another service.

    Args:
        scratch: for what is bound into the container.
        source: a copy of the checkout, which is at `SOURCE` then; nothing of chromadrop is installed.
    """

    def __init__(self, scratch: Path, *, source: Path | None = None) -> None:
        self._scratch = scratch
        self._source = source
        self._venv = "/opt/chromadrop" if source is None else "/opt/simulator"
        self.python = Path(os.path.realpath(sys.executable))
        """The interpreter, as it is in the container."""
        self.packages: list[str] = []
        """Where all packages that chromadrop needs lie in the container."""
        self._name = f"chromadrop-{secrets.token_hex(4)}"
        self._cgroups = [folder / self._name for folder in _own_cgroups()]
        self._nspawn: subprocess.Popen[bytes] | None = None
        self._init = 0

    # --- its life -----------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        try:
            self._boot()
            self._install()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._nspawn is not None:
            if self._init:
                with suppress(subprocess.TimeoutExpired):
                    self.run("systemctl", "poweroff", check=False)
                    self._nspawn.wait(20)
            self._nspawn.kill()
            self._nspawn.wait()
        for folder in self._cgroups:
            self._remove_cgroup(folder)
        with suppress(OSError):
            Path(f"/run/systemd/nspawn/propagate/{self._name}").rmdir()

    @staticmethod
    def _remove_cgroup(folder: Path) -> None:
        """With all below it; whoever should still live in it is ended."""
        for path, _folders, _files in os.walk(folder, topdown=False):
            members = Path(path) / "cgroup.procs"
            for pid in members.read_text().split():
                with suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            wait_until(partial(_is_empty, members), f"nobody in {path}")
            Path(path).rmdir()

    def _boot(self) -> None:
        for folder in self._cgroups:
            folder.mkdir()
        log = self._scratch / "boot.log"
        with log.open("wb") as output:
            self._nspawn = subprocess.Popen(
                ["sh", "-c", 'while [ "$1" != -- ]; do echo $$ >"$1"; shift; done; shift; exec "$@"', "sh"]
                + [str(folder / "cgroup.procs") for folder in self._cgroups]
                + ["--", *self._command()],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        pid = self._nspawn.pid
        children = Path(f"/proc/{pid}/task/{pid}/children")

        def is_up() -> bool:
            assert self._nspawn is not None
            assert self._nspawn.poll() is None, f"no boot: {log.read_text(errors='replace')}"
            with suppress(OSError):
                self._init = int((children.read_text().split() or ["0"])[0])
            return self._init > 0 and Path(f"/proc/{self._init}/root/run/systemd/private").exists()

        wait_until(is_up, "a booted systemd")
        told = self.run("systemctl", "is-system-running", "--wait", check=False)
        assert told.strip() == "running", told + self.run("systemctl", "--failed", check=False)

    def _command(self) -> list[str]:
        command = ["systemd-nspawn", "--directory=/", "--volatile=yes", "--boot", "--register=no", "--keep-unit"]
        command += ["--private-network", "--console=pipe", f"--machine={self._name}"]
        command += ["--setenv=SYSTEMD_PROC_CMDLINE=systemd.unit=basic.target"]
        for unit in _MASKED:
            command.append(f"--bind-ro=/dev/null:/etc/systemd/system/{unit}")
        for name, place in _PLACES.items() if self._source is None else ():
            command.append(f"--bind-ro={SYSTEMD / name}:{place}")
        if self._source is not None:
            command.append(f"--bind={self._source}:{SOURCE}")
        return command + [f"--bind-ro={here}:{there}" for here, there in self._environment().items()]

    def _environment(self) -> Mapping[Path, str]:
        """The running virtual environment as one below /opt that lies in nobody's home: what is to be bound."""
        base, venv = Path(sys.base_prefix), self._venv
        bound: dict[Path, str] = {}
        if not base.is_relative_to("/usr"):
            bound[base] = "/opt/python"
            self.python = Path("/opt/python") / self.python.relative_to(base)
        made = self._scratch / "chromadrop"
        packages = made / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
        bound[made] = venv
        sources = [Path(daemon.__file__).parent, *{Path(sysconfig.get_path(name)) for name in ("purelib", "platlib")}]
        self.packages = [f"{venv}/packages{n}" for n in range(1, len(sources))]
        inside = [f"{venv}/source/daemon", *self.packages]
        bound |= dict(zip(sources, inside, strict=True))
        for folder in [made / "bin", packages, *(made / Path(path).relative_to(venv) for path in inside)]:
            folder.mkdir(parents=True)
        (made / "bin/python").symlink_to(self.python)
        (made / "pyvenv.cfg").write_text(f"home = {self.python.parent}\ninclude-system-site-packages = false\n")
        (packages / "chromadrop.pth").write_text("\n".join([f"{venv}/source", *self.packages]) + "\n")
        script = made / "bin/chromadrop"
        script.write_text(f"#!{venv}/bin/python\nimport sys\nfrom daemon.cli import main\nsys.exit(main())\n")
        script.chmod(0o755)
        return bound

    def _install(self) -> None:
        self.write("/etc/ld.so.conf", "/opt/python/lib\n/usr/local/lib\n")
        self.run("ldconfig")
        if self._source is None:
            self.write("/etc/chromadrop/aistudios-api-key", KEY + "\n", mode=0o600)
        self.write("/etc/hosts", "127.0.0.1 localhost\n")
        self.run(
            "systemd-run", "--quiet", "--unit=simulator", f"{self._venv}/bin/chromadrop", "simulate",
            f"--port={PORT}", f"--render-seconds={_RENDER_SECONDS}", f"--key={KEY}",
        )  # fmt: skip
        said = ("journalctl", "--unit=simulator", "--output=cat")
        wait_until(lambda: "answers at" in self.run(*said), "the simulator")

    # --- what can be done in it ---------------------------------------------------------------------

    def run(self, *command: str, check: bool = True, typed: str = "") -> str:
        """Run it in the container, as root, with what is typed on its standard input; what it says."""
        entered = ["nsenter", f"--target={self._init}", "-m", "-p", "-u", "-i", "-n", "-C", "--", *command]
        ended = subprocess.run(
            entered,
            input=typed,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            timeout=240,
            check=False,
            cwd="/",
        )
        assert not check or ended.returncode == 0, f"{command} ended with {ended.returncode}: {ended.stdout}"
        return ended.stdout

    def path(self, path: str) -> Path:
        """A path of the container, as it is seen from here."""
        return Path(f"/proc/{self._init}/root{path}")

    def write(self, path: str, content: str, *, mode: int = 0o644) -> None:
        """Write a file in the container, as root."""
        there = self.path(path)
        there.parent.mkdir(parents=True, exist_ok=True)
        there.write_text(content)
        there.chmod(mode)

    def request(self, path: str, *, method: str = "GET", body: Any = None) -> Any:
        """Ask the simulator; what it answers."""
        code = (
            "import json, sys, urllib.request as u; "
            "url, method, body = sys.argv[1:]; "
            "head = {'Content-Type': 'application/json'}; "
            "print(u.urlopen(u.Request(url, body.encode() or None, head, method=method)).read().decode())"
        )
        url = f"http://127.0.0.1:{PORT}{path}"
        sent = "" if body is None else json.dumps(body)
        return json.loads(self.run(f"{self._venv}/bin/python", "-c", code, url, method, sent))

    def end_renders(self) -> None:
        """All that has been accepted so far is rendered now; otherwise a render has no end."""
        self.request("/_simulator/clock", method="POST", body={"advance_seconds": 2 * _RENDER_SECONDS})

    def add_fault(self, fault: str) -> None:
        """Have something go wrong, in the words of ``chromadrop simulate --fault``."""
        self.request("/_simulator/faults", method="POST", body=fault)

    def outside(self, pid: int) -> int:
        """The same process as the host numbers it."""
        for path in Path("/proc").glob("[0-9]*/status"):
            with suppress(OSError):
                numbers = re.search(r"^NSpid:\t(.+)$", path.read_text(), re.MULTILINE)
                is_ours = (path.parent / "ns/pid").samefile(f"/proc/{self._init}/ns/pid")
                if is_ours and numbers and numbers[1].split()[-1] == str(pid):
                    return int(path.parent.name)
        raise AssertionError(f"no process {pid}")

    def forget(self, service: Service) -> None:
        """End a service, and take away all that it had."""
        self.request("/_simulator/reset", method="POST")
        service.systemctl("stop")
        service.systemctl("reset-failed", check=False)
        dropins = f"/etc/systemd/system/{service.unit}.service.d"
        self.run("sh", "-c", f"rm -rf {dropins} {STATE}/* {ROOT}/*/* {ROOT}/.chromadrop /etc/chromadrop/*.yaml")
        self.run("systemd-tmpfiles", "--create", "chromadrop.conf")
        self.run("systemctl", "daemon-reload")
        self.run("journalctl", "--rotate", "--vacuum-time=1s", "--quiet")

    def accepted(self, text: str) -> int:
        """How often the simulator has accepted, and would have charged for, a video of this text."""
        found: int = self.request("/_simulator/state")["exports"]["accepted_by_text"].get(text, 0)
        return found


class Service:
    """One chromadrop service in the machine.

    Args:
        machine: where.
        unit: its name, without ``.service``.
        root: its root.
    """

    def __init__(self, machine: Machine, unit: str = "chromadrop", root: str = ROOT) -> None:
        self.machine = machine
        self.unit = unit
        self.root = machine.path(root)

    def systemctl(self, verb: str, *options: str, check: bool = True) -> str:
        """As the command of that name, on this service."""
        return self.machine.run("systemctl", verb, *options, f"{self.unit}.service", check=check)

    def shown(self, name: str) -> str:
        """As ``systemctl show`` has it."""
        return self.systemctl("show", f"--property={name}", "--value").strip()

    @property
    def pid(self) -> int:
        """Of the daemon, as it is seen in the container."""
        return int(self.shown("MainPID"))

    def adjust(self, *lines: str) -> None:
        """Put these lines into a drop-in's [Service]."""
        content = "\n".join(["[Service]", *lines, ""])
        self.machine.write(f"/etc/systemd/system/{self.unit}.service.d/test.conf", content)
        self.machine.run("systemctl", "daemon-reload")

    def configure(self, path: str = "/etc/chromadrop/config.yaml", root: str = ROOT, **jobs: float) -> None:
        """Write a configuration that is in a hurry."""
        settings = {"poll_seconds": 0.2} | jobs
        self.machine.write(
            path,
            f"api: {{base_url: 'http://localhost:{PORT}/api/odin'}}\n"
            f"folders: {{root: {root}}}\n"
            "watch: {settle_seconds: 0.2, grace_seconds: 0.2, rescan_seconds: 0.5}\n"
            f"jobs: {json.dumps(settings)}\n"
            "logs: {format: json}\n",
        )

    def drop(self, name: str, content: str) -> None:
        """As a producer does, who is another user."""
        scratch = self.root / "inbox" / f".{name}"
        scratch.write_text(content)
        scratch.chmod(0o644)
        scratch.rename(scratch.with_name(name))

    def wait_for(self, path: str) -> Path:
        """A file below the root."""
        wait_until((self.root / path).exists, path)
        return self.root / path

    def wait_for_videos(self, count: int) -> None:
        """Until so many exports were accepted; then their renders end, and so many videos come."""
        wait_until(lambda: len(self.said("job.exported")) >= count, f"{count} exports")
        self.machine.end_renders()
        wait_until(lambda: len(self.said("job.downloaded")) >= count, f"{count} videos")

    @property
    def state(self) -> str:
        """What it says of itself (STATUS=)."""
        return self.shown("StatusText")

    def wait_for_state(self, pattern: str) -> None:
        """Until it says something like this of itself."""
        wait_until(lambda: re.search(pattern, self.state), f"{pattern} in the state")

    def journal(self) -> str:
        """All that it and systemd have said of it."""
        return self.machine.run("journalctl", f"--unit={self.unit}.service", "--output=cat", "--no-pager")

    def said(self, event: str) -> list[dict[str, Any]]:
        """The log lines with this event."""
        lines = (json.loads(line) for line in self.journal().splitlines() if line.startswith("{"))
        return [line for line in lines if line["event"] == event]
