"""Debian's smbd serving one folder on loopback, and what people do to it with smbclient."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

import pytest
from place import PATIENCE_SECONDS, wait_until
from test_share import _can

if TYPE_CHECKING:
    from typing import Self

SMBD = shutil.which("smbd") or shutil.which("smbd", path="/usr/sbin")
CAN_SAMBA = (
    SMBD is not None
    and shutil.which("smbclient") is not None
    and os.geteuid() == 0
    and _can("unshare", "--pid", "--fork", "true")
)
needs_samba = pytest.mark.skipif(not CAN_SAMBA, reason="needs root, and Debian's samba and smbclient")

_CONFIGURATION = """
[global]
    server role = standalone server
    interfaces = lo
    bind interfaces only = yes
    smb ports = {port}
    disable netbios = yes
    map to guest = Bad User
    guest account = {user}
    private dir = {own}
    lock directory = {own}
    state directory = {own}
    cache directory = {own}
    pid directory = {own}
    ncalrpc dir = {own}/ncalrpc
    log file = {own}/log
    load printers = no
    printing = bsd
    printcap name = /dev/null
    smb2 max write = 4096

[{share}]
    path = {folder}
    guest ok = yes
    read only = no
    {options}
"""
_SHARE = "office"


class Samba:
    """A file server for guests; ended with all its children, and forgotten, when it is left.

    Args:
        folder: what it serves.
        options: lines for smb.conf, of the share.
        launcher: what it and its clients are started through, such as ``nsenter``.
        port: to listen on; None: a free one.
    """

    def __init__(self, folder: Path, *options: str, launcher: tuple[str, ...] = (), port: int | None = None) -> None:
        self._own = Path(tempfile.mkdtemp(prefix="smb"))  # short: sockets lie in it
        self._configuration = self._own / "smb.conf"
        self._port = _free_port() if port is None else port
        self._launcher = launcher
        self._clients: list[subprocess.Popen[bytes]] = []
        text = _CONFIGURATION.format(
            port=self._port,
            user=pwd.getpwuid(os.geteuid()).pw_name,
            own=self._own,
            share=_SHARE,
            folder=folder,
            options="\n    ".join(options),
        )
        self._configuration.write_text(text)

    def __enter__(self) -> Self:
        # A pipe as standard input: smbd ends when this program does, however it ends. In a process namespace of its
        # own it is the first, with whom the kernel ends all its children.
        sandbox = (*self._launcher, "unshare", "--pid", "--fork", "--kill-child")
        self._server = subprocess.Popen(
            [*sandbox, str(SMBD), "--foreground", "--no-process-group", f"--configfile={self._configuration}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd=self._own,
        )
        try:
            wait_until(lambda: self._client("-c", "ls").wait() == 0, "smbd's first answer")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for client in self._clients:
            client.kill()
            with suppress(BrokenPipeError, ValueError):  # it had ended, or what it said was taken
                client.communicate()
        assert self._server.stdin is not None
        self._signal(signal.SIGTERM)
        self._server.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self._server.wait(PATIENCE_SECONDS / 4)
        self._signal(signal.SIGKILL)
        self._server.wait()
        shutil.rmtree(self._own)

    def _signal(self, number: int) -> None:
        """To it and its launcher, which are in a group of their own."""
        with suppress(ProcessLookupError):
            os.killpg(self._server.pid, number)

    def _client(
        self, *arguments: str, stdin: int = subprocess.DEVNULL, stdout: int = subprocess.DEVNULL
    ) -> subprocess.Popen[bytes]:
        name = f"//127.0.0.1/{_SHARE}"
        command = [*self._launcher, "stdbuf", "--output=L", "smbclient", name, f"--port={self._port}", "--no-pass"]
        client = subprocess.Popen(
            [*command, f"--configfile={self._configuration}", *arguments],
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.STDOUT if stdout == subprocess.PIPE else subprocess.DEVNULL,
            cwd=self._own,
        )
        self._clients.append(client)
        return client

    def do(self, *commands: str, content: bytes = b"") -> str:
        """Run smbclient(1) with these commands, one session each; what it prints."""
        said = ""
        for command in commands:
            with self._client("-c", command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as client:
                told, _ = client.communicate(content, PATIENCE_SECONDS)
            said += told.decode()
            assert client.returncode == 0, f"{command}: {said}"
            assert "NT_STATUS" not in said, f"{command}: {said}"
        return said

    def put(self, name: str, content: str) -> None:
        """Open, write, close."""
        self.do(f'put - "{name}"', content=content.encode())

    def get(self, name: str) -> bytes:
        """The whole file."""
        taken = self._own / "taken"
        self.do(f'get "{name}" "{taken}"')
        return taken.read_bytes()

    def rename(self, old: str, new: str) -> None:
        """As in a file manager; nothing may have the new name."""
        self.do(f'rename "{old}" "{new}"')

    def names(self, folder: str) -> list[str]:
        """What a file manager shows in a folder."""
        lines = self.do(f'ls "{folder}/*"').splitlines()
        found = (line[2:].rsplit(maxsplit=7)[0].rstrip() for line in lines if line.startswith("  "))
        return sorted(name for name in found if name not in {".", ".."})

    def start_put(self, name: str) -> SlowPut:
        """A put whose content comes bit by bit; the file is there, and open, all the while."""
        return SlowPut(self._client("-c", f'put - "{name}"', stdin=subprocess.PIPE))

    def hold(self, name: str) -> Holding:
        """Open a file for reading and writing, as an editor with share modes does, and keep it so."""
        return Holding(self._client(stdin=subprocess.PIPE, stdout=subprocess.PIPE), name)


class SlowPut:
    """A file that is being copied onto the server."""

    def __init__(self, client: subprocess.Popen[bytes]) -> None:
        self._client = client

    def write(self, content: str) -> None:
        """Send the next bytes, in pieces of 4,096; what is left over waits for more."""
        assert self._client.stdin is not None
        self._client.stdin.write(content.encode())
        self._client.stdin.flush()

    def finish(self) -> None:
        """Send the rest and close the file."""
        self._client.communicate(timeout=PATIENCE_SECONDS)
        assert self._client.returncode == 0

    def cut(self) -> None:
        """The client's machine goes away in the middle."""
        self._client.kill()
        with suppress(BrokenPipeError):
            self._client.communicate()


class Holding:
    """A file that a client has open."""

    def __init__(self, client: subprocess.Popen[bytes], name: str) -> None:
        self._client = client
        self._tell(f'open "{name}"')
        answer = _line(client.stdout)
        while b"open file" not in answer:
            assert answer, f"smbclient did not open {name}"
            answer = _line(client.stdout)
        assert b"for read/write fnum 1" in answer, answer

    def let_go(self) -> None:
        """Close the file."""
        self._tell("close 1", "exit")
        self._client.communicate(timeout=PATIENCE_SECONDS)

    def _tell(self, *commands: str) -> None:
        assert self._client.stdin is not None
        self._client.stdin.write("".join(f"{command}\n" for command in commands).encode())
        self._client.stdin.flush()


def _line(stream: IO[bytes] | None) -> bytes:
    assert stream is not None
    return stream.readline()


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port
