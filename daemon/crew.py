"""The workers: threads that make one call at a time and put what it returns into the mailbox."""

from __future__ import annotations

import sys
import threading
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from daemon.core.schedule import EXPORTS_AT_ONCE, LOOKERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class Pool:
    """Threads that grow with the work, up to a limit.

    They are daemon threads: one that hangs on a frozen share must not keep the program from ending, which the
    standard library's executor would (it joins its threads at exit).

    Args:
        name: of the threads, for those who look at them from outside.
        most: threads at once.
        post: where what a call returns goes; not where that is None.
        prepare: called by the thread before each call.
    """

    def __init__(
        self, name: str, most: int, post: Callable[[object], None], prepare: Callable[[], None] | None = None
    ) -> None:
        self._name = name
        self.most = most
        self._post = post
        self._prepare = prepare
        self._calls: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._has_ended = threading.Condition(self._lock)
        self._living = 0
        self._threads: list[threading.Thread] = []
        self._idle = 0

    def submit(self, call: Callable[[], object]) -> None:
        """Have this called by a worker."""
        with self._lock:
            if self._idle > 0:
                self._idle -= 1
            elif len(self._threads) < self.most:
                name = f"{self._name}-{len(self._threads) + 1}"
                thread = threading.Thread(target=self._work, name=name, daemon=True)
                self._threads.append(thread)
                self._living += 1
                thread.start()
            self._calls.put(call)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            try:
                if self._prepare is not None:
                    self._prepare()
                message = call()
                if message is not None:
                    self._post(message)
            except Exception:  # noqa: BLE001 - the top of a worker: one bad call must not end the pool
                threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread())))
            with self._lock:
                if self._calls.empty():
                    self._idle += 1
        with self._has_ended:
            self._living -= 1
            self._has_ended.notify_all()

    def close(self, seconds: float) -> None:
        """Forget what has not begun, and let the workers end after what they are doing.

        Args:
            seconds: to wait for all of them together, at most.
        """
        with suppress(Empty):
            while True:
                self._calls.get_nowait()
        for _ in self._threads:
            self._calls.put(None)
        with self._has_ended:
            have_all_ended = self._has_ended.wait_for(lambda: self._living == 0, seconds)
        if have_all_ended:
            for thread in self._threads:
                thread.join()


class Crew:
    """One pool for each kind of work, so that none delays another.

    Args:
        post: the mailbox.
        max_rendering: as many looks may be under way, up to a limit.
        downloads: at once.
        join: called by a thread before each of the small calls, of which there are thousands.
        leave: called by a thread before each of the others, which may start a program or draw a page.
    """

    def __init__(
        self,
        post: Callable[[object], None],
        *,
        max_rendering: int,
        downloads: int,
        join: Callable[[], None] | None = None,
        leave: Callable[[], None] | None = None,
    ) -> None:
        self._exporters = Pool("export", EXPORTS_AT_ONCE, post, join)
        self._post = post
        self._lookers = Pool("look", min(max_rendering, LOOKERS), post, join)
        self._downloaders = Pool("download", downloads, post, join)
        self._filers = Pool("file", 1, post, join)
        self._messengers = Pool("errand", 1, post, leave)
        self._notifiers = Pool("notify", 1, post, leave)
        self._painters = Pool("page", 1, post, leave)

    def export(self, call: Callable[[], object]) -> None:
        """Make an export."""
        self._exporters.submit(call)

    def look(self, call: Callable[[], object]) -> None:
        """Make a look, or a probe."""
        self._lookers.submit(call)

    def look_together(self, call: Callable[[], Iterable[object]]) -> None:
        """Make many looks; each message goes into the mailbox when it is there."""

        def look() -> None:
            for message in call():
                self._post(message)

        self._lookers.submit(look)

    def download(self, call: Callable[[], object]) -> None:
        """Make a download."""
        self._downloaders.submit(call)

    def file(self, call: Callable[[], object]) -> None:
        """Move files, one after the other."""
        self._filers.submit(call)

    def errand(self, call: Callable[[], object]) -> None:
        """Ask the cloud for something that no video waits for, one after the other."""
        self._messengers.submit(call)

    def notify(self, call: Callable[[], object]) -> None:
        """Deliver a notice, one after the other."""
        self._notifiers.submit(call)

    def page(self, call: Callable[[], object]) -> None:
        """Write a page about what is going on, one after the other."""
        self._painters.submit(call)

    def last_page(self, call: Callable[[], object], seconds: float) -> None:
        """Write one more, and wait so long at most; one that a frozen share holds is left behind."""
        has_ended = threading.Event()

        def made() -> object:
            try:
                return call()
            finally:
                has_ended.set()

        self.page(made)
        has_ended.wait(seconds)

    def resize(self, *, max_rendering: int, downloads: int) -> None:
        """Take other limits; threads that are there stay."""
        self._lookers.most = min(max_rendering, LOOKERS)
        self._downloaders.most = downloads

    def close(self, seconds: float) -> None:
        """Let all workers end; waits for each pool so long at most."""
        others = (self._messengers, self._notifiers, self._painters)
        for pool in (self._exporters, self._lookers, self._downloaders, self._filers, *others):
            pool.close(seconds)
