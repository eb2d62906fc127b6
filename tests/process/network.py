"""Machines with a network of their own between them, whose cables can be pulled: network namespaces on one switch.

The network of the host is not touched, and all of it goes when the process that holds it ends, however it ends.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from file_systems import LonelyNetwork
from patience import PATIENCE_SECONDS
from tcp_proxy import Proxy
from test_share import _can

if TYPE_CHECKING:
    from typing import Self

_CLONE_NEWNET = 0x40000000
_SWITCH = "switch"


def why_no_network() -> str:
    """Why there can be no machines here; empty: there can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "needs root on Linux"
    if shutil.which("ip") is None or shutil.which("nsenter") is None:
        return "needs ip and nsenter (Debian packages iproute2 and util-linux)"
    bridge, pair = "ip link add switch type bridge", "ip link add port1 type veth peer name cable"
    if not _can("unshare", "--net", "sh", "-c", f"{bridge} && {pair}"):
        return "needs leave to make network namespaces with a bridge in them"
    return ""


class _Namespace(LonelyNetwork):
    """A network namespace that others may be joined to."""

    def __init__(self) -> None:
        super().__init__()
        self.held_by = self._holder.pid
        self.path = Path(f"/proc/{self.held_by}/ns/net")

    def ip(self, arguments: str) -> None:
        """Run the program of that name."""
        subprocess.run([*self.launcher, "ip", *arguments.split()], check=True)


class Machine:
    """What is started through ``launcher`` lives here: the same disk, another network."""

    def __init__(self, switch: _Namespace, number: int) -> None:
        self.address = f"10.77.0.{number}"
        self._switch = switch
        self._port = f"port{number}"
        self._own = _Namespace()
        self.launcher = self._own.launcher
        self._left_with_it = ExitStack()

    def __enter__(self) -> Self:
        self._left_with_it.enter_context(self._own)
        self._switch.ip(f"link add {self._port} type veth peer name cable netns {self._own.held_by}")
        self._switch.ip(f"link set {self._port} master {_SWITCH} up")
        self._own.ip(f"address add {self.address}/24 dev cable")
        self._own.ip("link set cable up")
        return self

    def __exit__(self, *_: object) -> None:
        self._left_with_it.close()

    def cut(self) -> None:
        """Pull its cable: nothing comes in or goes out, and nobody is told."""
        self._switch.ip(f"link set {self._port} down")

    def heal(self) -> None:
        """Put it back."""
        self._switch.ip(f"link set {self._port} up")

    def listener(self, port: int, host: str = "127.0.0.1") -> socket.socket:
        """A listening socket in this machine's network, for a server in the test itself."""
        made: list[socket.socket] = []

        def listen() -> None:  # a thread of its own: it alone moves, and ends there
            with self._own.path.open("rb") as namespace:
                if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), _CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), "setns")
            made.append(socket.create_server((host, port)))

        thread = threading.Thread(target=listen)
        thread.start()
        thread.join(PATIENCE_SECONDS)
        (listening,) = made
        return listening

    def lend(self, port: int) -> Proxy:
        """Let this machine have a loopback port of the test's, such as the simulator's, under the same address.

        It has nothing to do with the cable; the proxy that is returned can be cut for itself.
        """
        return self._left_with_it.enter_context(Proxy("127.0.0.1", port, listener=self.listener(port)))


class Network:
    """A switch with so many machines on it; all is gone when it is left."""

    def __init__(self, machines: int = 2) -> None:
        self._switch = _Namespace()
        self.machines = [Machine(self._switch, number) for number in range(1, machines + 1)]
        self._left_with_it = ExitStack()

    def __enter__(self) -> Self:
        self._left_with_it.enter_context(self._switch)
        with ExitStack() as undone:
            undone.push(self._left_with_it)
            self._switch.ip(f"link add {_SWITCH} up type bridge forward_delay 0")
            for machine in self.machines:
                self._left_with_it.enter_context(machine)
            undone.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._left_with_it.close()
