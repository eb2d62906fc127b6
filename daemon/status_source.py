"""What status.html tells, gathered from the ledger, the scanner, and the dispatcher; nothing is written or held."""

from __future__ import annotations

import os
from collections import defaultdict
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from daemon.allowance import NOTE as LIMITED
from daemon.core import estimate, status_page
from daemon.core.errors import LedgerUnavailable
from daemon.core.job import State
from daemon.core.job_file import Outcome
from daemon.core.page import STATUS_PAGE
from daemon.core.status_page import FailedFile, Life, Machine, Made, OpenFile, Trouble, View
from daemon.core.vitals import STUCK_SECONDS, has_lasted
from daemon.edges.spool import read_small
from daemon.overview import MOST_FILES, MOST_JOBS, PastRenders, Reader, limit_in_force, peers_of, trouble_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from daemon.config import Config, Paths
    from daemon.core.messages import Lying
    from daemon.core.schedule import Instant
    from daemon.edges.ledger import Closed, Glance, Ledger, Member
    from daemon.overview import PeerView
    from daemon.pages import Live

DAY_SECONDS: Final = 86_400.0
DONE_DAYS: Final = 7
FAILED_DAYS: Final = 30
"""So far back the page looks for videos, and for what lies in failed/."""
MOST_FAILED: Final = 200
MOST_FAILED_LOOKED_FOR: Final = 20_000
"""So many names are looked up in failed/: what has been seen to pushes out nothing that has not."""
MOST_DONE: Final = 1000


class StatusPages:
    """Makes the page. Any thread may ask; each reads the ledger through a connection of its own.

    Attributes:
        live: replaced as a whole by the app.

    Args:
        config: for where the ledger lies.
        paths: the folders.
        state: the state folder.
        lying: what lies in inbox/; its times are monotonic.
        now: both clocks.
    """

    def __init__(
        self, config: Config, paths: Paths, state: Path, *, lying: Callable[[], Lying], now: Callable[[], Instant]
    ) -> None:
        self.live: Live | None = None
        self._config = config
        self._paths = paths
        self._reader = Reader(config, state)
        self._known: View | None = None
        self._sign = ""
        self._lying = lying
        self._now = now
        self._past = PastRenders()

    def in_root(self) -> bytes:
        """The page that hangs beside the folders.

        Raises:
            LedgerUnavailable: the ledger cannot be read, or another daemon, which can, makes the page.
        """
        view = self._view()
        if view.records is not None and self._is_painted_by_another():
            raise LedgerUnavailable("we are cut off from the ledger, and another daemon makes the page")
        self._sign = status_page.sign(view)
        return _encoded(view)

    def _is_painted_by_another(self) -> bool:
        """Whether the page that hangs there is not the one that we made last."""
        with suppress(OSError):
            begin = read_small(self._paths.root / STATUS_PAGE)
            return bool(self._sign) and self._sign.encode() not in begin
        return False

    def elsewhere(self) -> bytes:
        """The page where no link could lead to a file; raises as `in_root`.

        It is made without the dispatcher, which makes a turn every `BEAT_SECONDS` while somebody may ask for it: so
        it says where that is stuck.
        """
        return _encoded(replace(self._view(), has_files=False, stuck_since=self._stuck_since()))

    def last(self) -> bytes:
        """The page of a daemon that has ended; raises as `in_root`."""
        return _encoded(replace(self._view(), is_ended=True))

    def close(self) -> None:
        """Let go of the ledger."""
        self._reader.close()

    def _stuck_since(self) -> float | None:
        live = self.live
        if live is None or self._now().monotonic - live.turned.monotonic <= STUCK_SECONDS:
            return None
        return live.turned.wall

    def _view(self) -> View:
        moment = self._now()
        lying = _on_the_wall(self._lying(), moment)
        view = View(moment.wall, self._paths.root.name, lying=lying, done_days=DONE_DAYS)
        try:
            with self._reader.ledger() as ledger:
                if ledger is not None:
                    view = self._with_work(view, ledger)
        except LedgerUnavailable as error:
            if self._known is None or not self._config.ledger.is_shared:
                raise
            view = replace(self._known, at=moment.wall, lying=lying, records=str(error))
        else:
            self._known = view
        return _with_troubles(view, self.live, moment) if self.live is not None else view

    def _with_work(self, view: View, ledger: Ledger) -> View:
        glance = ledger.glance(MOST_FILES, MOST_JOBS)
        done_since = view.at - DONE_DAYS * DAY_SECONDS
        # Apart, for many of the one kind would push out the other; videos of a file that failed in part are videos.
        closed = [one for kind in Outcome for one in ledger.closed_since(done_since, MOST_FILES, MOST_JOBS, kind)]
        members = ledger.members() if ledger.is_shared else []
        root = self._paths.root
        lying = _lying_failed(ledger.failed_since(view.at - FAILED_DAYS * DAY_SECONDS, MOST_FAILED_LOOKED_FOR), root)
        failed = ledger.closed_among(lying[:MOST_FAILED], MOST_JOBS)
        if ledger.is_shared:
            view = _with_machines(view, members, ledger.owner, self.live)
        else:
            note = ledger.read_note("account")
            account = Trouble(str(note.get("reason", "")), note.get("since")) if isinstance(note, dict) else None
            view = replace(view, account=account)
        return replace(
            view,
            counts=ledger.counts(),
            file_count=glance.file_count,
            files=tuple(self._in_work(glance, ledger, view.at)),
            failed=tuple(FailedFile(one.job_file, one.jobs, one.job_count) for one in failed),
            failed_count=len(lying),
            failed_folder=_relative(self._paths.failed, root),
            done=_done(glance, closed, done_since),
        )

    def _in_work(self, glance: Glance, ledger: Ledger, at: float) -> Iterator[OpenFile]:
        """The files with what can be expected of each."""
        experience = self._past.experience(ledger, at)
        summary = self.live.summary if self.live is not None else None
        is_held = summary is not None and bool(summary.trouble or summary.is_paused or summary.limited)
        line = estimate.Line(experience, self._config.jobs.max_rendering, at, is_held)
        outlooks = line.outlooks((jobs, counts) for _job_file, jobs, counts in glance.files)
        hosts = glance.hosts if len(set(glance.hosts.values())) > 1 else {}
        for file, outlook in zip(glance.files, outlooks, strict=True):
            yield OpenFile(*file, outlook, hosts.get(file[0].id, ""))


def _encoded(view: View) -> bytes:
    return status_page.page(view).encode("utf-8", "replace")


def _relative(folder: Path, root: Path) -> str:
    return folder.relative_to(root).as_posix() if folder.is_relative_to(root) else folder.as_posix()


def _on_the_wall(lying: Lying, moment: Instant) -> Lying:
    """The same with times that people can read."""
    waiting = (replace(one, since=moment.wall - (moment.monotonic - one.since)) for one in lying.waiting)
    return replace(lying, waiting=tuple(waiting))


def _with_machines(view: View, members: Sequence[Member], ours: str, live: Live | None) -> View:
    """With who shares the ledger, and what keeps any of those that live from ordering.

    Args:
        view: without it.
        members: as the ledger has them.
        ours: which of them we are.
        live: what we know better of ourselves than the ledger.
    """
    others = [member for member in members if member.is_alive and member.owner != ours]
    account, cloud = trouble_of(others, "account"), trouble_of(others, "cloud")
    if live is not None and live.summary.trouble is not None:
        account = trouble_of([member for member in members if member.owner == ours], "account") or account
    return replace(
        view,
        machines=tuple(_machine(peer) for peer in peers_of(members, view.at)),
        account=None if account is None else Trouble(account.reason, account.since),
        cloud=None if cloud is None else Trouble(cloud.reason, cloud.since),
        limited=limit_in_force((member.troubles.get(LIMITED) for member in others), view.at),
    )


def _machine(peer: PeerView) -> Machine:
    return Machine(
        host=peer.host,
        life=peer.life,
        since=peer.since,
        taken_over_by=peer.taken_over_by,
        version=peer.version or "",
        moving=peer.counts[State.RENDERING] + peer.counts[State.EXPORTING],
        queued=peer.counts[State.QUEUED],
        troubles=tuple(trouble.reason for trouble in peer.troubles.values()) if peer.life is Life.ALIVE else (),
    )


def _with_troubles(view: View, live: Live, moment: Instant) -> View:
    summary, pulse = live.summary, live.pulse
    folders = summary.folders if summary.folders and has_lasted(summary.folders, moment.monotonic) else None
    since = view.account.since if view.account is not None else None
    # Where several share the ledger, the others' troubles stand there already.
    account, cloud, limited = (view.account, view.cloud, view.limited) if view.machines else (None, None, None)
    return replace(
        view,
        account=account if summary.trouble is None else Trouble(summary.trouble, since),
        cloud=cloud if summary.cloud_reason is None else Trouble(summary.cloud_reason),
        root=None if summary.root_reason is None else Trouble(summary.root_reason),
        folders=None if folders is None else Trouble(folders.reason, folders.since.wall),
        limited=summary.limited or limited,
        is_paused=summary.is_paused,
        is_ledger_away=summary.is_ledger_away,
        records=view.records or summary.cut_reason,
        is_blind=not pulse.is_alive or pulse.held_since is not None,
        max_rendering=summary.max_rendering,
        traced=live.traced,
    )


def _lying_failed(failed: Sequence[tuple[int, str]], root: Path) -> list[int]:
    """Those that still lie in failed/: what somebody took away, or put back, has been seen to."""
    there = _there((path for _file_id, path in failed), root)
    return [file_id for file_id, path in failed if path in there]


def _there(paths: Iterable[str], root: Path) -> set[str]:
    """Which of the paths are there; a folder is read once, and one that cannot be read says nothing against them."""
    names: defaultdict[str, list[str]] = defaultdict(list)
    for path in paths:
        names[path.rpartition("/")[0]].append(path)
    found: set[str] = set()
    for folder, within in names.items():
        try:
            listed = set(os.listdir(root / folder))  # noqa: PTH208 - names alone; no Path for each is needed
        except FileNotFoundError:
            continue
        except OSError:
            found.update(within)
            continue
        found.update(path for path in within if path.rpartition("/")[2] in listed)
    return found


def _done(glance: Glance, closed: Sequence[Closed], since: float) -> tuple[Made, ...]:
    """The videos of all files, newest first; one that a file dropped again took over is told once."""
    files = [*((file, jobs) for file, jobs, _counts in glance.files), *((one.job_file, one.jobs) for one in closed)]
    made: dict[str, Made] = {}
    for job_file, jobs in files:
        for job in jobs:
            if job.state is State.DONE and job.video is not None:
                known = made.get(job.video.path)
                if known is None or (job.settled_at or 0.0) < (known.job.settled_at or 0.0):
                    made[job.video.path] = Made(job, job_file.name)
    recent = (one for one in made.values() if (one.job.settled_at or 0.0) >= since)
    return tuple(sorted(recent, key=lambda one: one.job.settled_at or 0.0, reverse=True)[:MOST_DONE])
