"""systemd, as far as it wants to be told: sd_notify(3) over a datagram socket."""

from __future__ import annotations

import contextlib
import socket


def notify(address: str | None, *lines: str) -> None:
    """Tell the service manager, if there is one; never fails.

    Args:
        address: ``$NOTIFY_SOCKET``; a leading ``@`` means the abstract name space. None or empty: nobody listens.
        lines: such as ``READY=1``, ``STOPPING=1``, ``STATUS=3 renders in flight``.
    """
    if not address:
        return
    path = f"\0{address[1:]}" if address.startswith("@") else address
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as link:
        link.connect(path)
        link.send("\n".join(lines).encode("utf-8", "backslashreplace"))
