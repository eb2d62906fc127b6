"""inbox/: which drops are ready, said to the mailbox.

The event is a hint, the scan is the truth. watchdog's threads only leave hints; one scanning thread of our own looks at
the names they point to, at what is settling when it is due, and at everything every ``rescan_seconds``. A file
server that has frozen blocks that thread and no other::

    observer ── hints ──► watch ── looks at a file ──► drop_file
                            │ remembers in the roster
                            └── DropReady, ScanEnded, PauseSeen, RootLost, RootFound ──► mailbox

When a file is ready is decided in `daemon.core.settle`; which names are drops, in `daemon.core.drop_name`.
"""

from daemon.edges.inbox_watch.watch import InboxWatch, Pulse, WatchSettings

__all__ = ["InboxWatch", "Pulse", "WatchSettings"]
