"""The figures for Prometheus, in a registry of their own.

Counters are told what happened, gauges are read from the last `Vitals`: a page costs the same for one job and for
thousands. Every label has a few fixed values, all of which are there from the start, so that a rate has no gaps.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final

from prometheus_client import CollectorRegistry, Counter, Histogram, Info, ProcessCollector
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from daemon.core.errors import ChromadropError
from daemon.core.job import Deferred, Exported, InDoubt, Refused, State
from daemon.core.report import Troubled
from daemon.core.vitals import Delay, Part, Vitals, delay_of, ills

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from prometheus_client.core import Metric

    from daemon.core.vitals import Peer

_ENDS: Final = {
    "job.downloaded": "done",
    "job.refused": "refused",
    "job.in_doubt": "in_doubt",
    "job.gave_up": "gave_up",
}
"""The ledger entries by which a job is settled, and how."""
_ANSWERS: Final[dict[type, str]] = {
    Exported: "accepted",
    Refused: "refused",
    InDoubt: "in_doubt",
    Deferred: "deferred",
    Troubled: "account",
}
_BATCH_ENDS: Final = ("done", "failed", "withdrawn")
_LATENESS_BUCKETS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
PEERS_SECONDS: Final = 5.0
"""The ledger is asked for its daemons so often at most."""
PEERS_WAIT_SECONDS: Final = 1.0
"""Whoever reads the figures waits for that for so long at most, and gets what was known before."""
PEERS_OLD_SECONDS: Final = 60.0
"""What is older is not told."""
_VIDEO_BUCKETS: Final = (15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0, 7200.0, 14400.0)


class Figures:
    """What the dispatcher tells (its ``Meter``), and what Prometheus reads.

    Args:
        version: of chromadrop.
        booted_at: wall-clock seconds when the machine was started.
        clock: monotonic seconds.
        peers: the machines whose daemons share the ledger; called on a thread of this module's, may block; raises
            ChromadropError. None where the ledger is not shared.
    """

    def __init__(
        self,
        *,
        version: str,
        booted_at: float,
        clock: Callable[[], float],
        peers: Callable[[], Sequence[Peer]] | None = None,
    ) -> None:
        self.clock = clock
        self.vitals = Vitals(turned_at=clock())
        """After the last turn; replaced as a whole, so that any thread may read it."""
        self.registry = CollectorRegistry()
        self._jobs = self._counter("jobs_settled", "Jobs that were settled, by how.", "outcome", _ENDS.values())
        self._adopted = self._counter("jobs_adopted", "Exports without an answer whose render was found.")
        self._claims = self._counter("batches_claimed", "Job files taken from inbox/.")
        self._invalid = self._counter("batches_invalid", "Job files with problems; nothing of these was exported.")
        self._batches = self._counter("batches", "Job files that were filed away or withdrawn.", "outcome", _BATCH_ENDS)
        self._exports = self._counter("exports", "Answers to exports.", "outcome", _ANSWERS.values())
        self._looks = self._counter("looks", "Answers to looks at renders.")
        self._delays = self._counter("deferrals", "What has to be done again later, by why.", "reason", Delay)
        self._bytes = self._counter("downloaded_bytes", "Bytes of the videos that were made.")
        self._lateness = self._histogram(
            "look_lateness_seconds",
            "Seconds from when a look was due until its answer was in.",
            _LATENESS_BUCKETS,
        )
        self._videos = self._histogram(
            "video_seconds", "Seconds from the claim of a job file until a video of it was there.", _VIDEO_BUCKETS
        )
        Info("chromadrop_build", "What is running.", registry=self.registry).info({"version": version})
        self.registry.register(_Gauges(self))
        self.registry.register(_Peers(peers, clock))
        self.registry.register(_Process(booted_at))

    def _counter(self, name: str, meaning: str, label: str = "", values: Iterable[str] = ()) -> Counter:
        counter = Counter(f"chromadrop_{name}", meaning, [label] if label else [], registry=self.registry)
        for value in values:
            counter.labels(value)
        return counter

    def _histogram(self, name: str, meaning: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"chromadrop_{name}", meaning, buckets=buckets, registry=self.registry)

    # --- what the dispatcher tells ----------------------------------------------------------------

    def entered(self, event: str, fields: Mapping[str, Any]) -> None:
        """An entry is in the ledger."""
        if event in _ENDS:
            self._jobs.labels(_ENDS[event]).inc()
        if event == "job.downloaded":
            self._bytes.inc(fields["bytes"])
        elif event == "job.adopted":
            self._adopted.inc()
        elif event == "batch.claimed":
            self._claims.inc()
        elif event == "batch.invalid":
            self._invalid.inc()
        elif event == "batch.filed":
            self._batches.labels("done" if fields["outcome"] == "done" else "failed").inc()
        elif event == "batch.withdrawn":
            self._batches.labels("withdrawn").inc()

    def exported(self, outcome: Exported | Deferred | Refused | InDoubt | Troubled) -> None:
        """An export was answered, or will never be."""
        self._exports.labels(_ANSWERS[type(outcome)]).inc()
        if isinstance(outcome, Deferred | Troubled):
            self.deferred(outcome)

    def looked(self, late_seconds: float) -> None:
        """A look has ended, so long after it was due."""
        self._looks.inc()
        self._lateness.observe(max(0.0, late_seconds))

    def deferred(self, outcome: Deferred | Troubled) -> None:
        """Something has to be done again."""
        delay = Delay.ACCOUNT if isinstance(outcome, Troubled) else delay_of(outcome)
        self._delays.labels(delay).inc()

    def made(self, seconds: float) -> None:
        """A video is there, so long after its job file was claimed."""
        self._videos.observe(max(0.0, seconds))

    # --- what Prometheus reads --------------------------------------------------------------------

    def page(self, accept: str) -> tuple[bytes, str]:
        """All figures, and their content type.

        Args:
            accept: the header of that name: OpenMetrics where it is asked for, else Prometheus' text,
                also where it makes no sense.
        """
        try:
            encode, content_type = choose_encoder(" ".join(accept.split()))  # what is echoed has no line breaks
        except (TypeError, ValueError):  # a version that is none: the library compares words with numbers
            encode, content_type = choose_encoder("")
        return encode(self.registry), content_type


class _Gauges(Collector):
    """The last vitals, as gauges."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    def describe(self) -> Iterable[Metric]:
        """Their names, so that the registry refuses a counter of the same name: OpenMetrics has one name for both."""
        return self.collect()

    def collect(self) -> Iterator[Metric]:
        vitals = self._figures.vitals
        states = ("queued", "exporting", "tracing", "rendering", "downloading")
        counts = {state: getattr(vitals, state) for state in states}
        yield _labelled("chromadrop_jobs", "Jobs in work.", "state", counts)
        yield _gauge("chromadrop_max_rendering", "Renders in flight at once that are allowed.", vitals.max_rendering)
        ill = {found.part for found in ills(vitals, self._figures.clock())}
        yield _labelled("chromadrop_up", "1 where it is well.", "part", {part: part not in ill for part in Part})
        yield _gauge("chromadrop_healthy", "1 where /healthz says 200.", not ill)
        yield _gauge("chromadrop_paused", "1 while inbox/PAUSE is there.", vitals.is_paused)
        yield _gauge("chromadrop_limited", "1 while the daily limit is reached.", vitals.is_limited)
        yield _gauge("chromadrop_stopping", "1 once asked to stop.", vitals.is_stopping)
        yield _gauge("chromadrop_peers", "Other daemons that share the ledger and are alive.", vitals.peers)
        yield _gauge(
            "chromadrop_last_scan_timestamp_seconds",
            "When all of inbox/ was looked through last; 0 before the first time.",
            vitals.scanned_at or 0.0,
        )


class _Peers(Collector):
    """The daemons that share the ledger, which is asked now and then, and never waited for."""

    def __init__(self, read: Callable[[], Sequence[Peer]] | None, clock: Callable[[], float]) -> None:
        self._read = read
        self._clock = clock
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._known: Sequence[Peer] = ()
        self._known_at = self._asked_at = float("-inf")

    def describe(self) -> Iterable[Metric]:
        """Their names; see `_Gauges`."""
        return self._families(())

    def collect(self) -> Iterator[Metric]:
        if self._read is not None:
            self._refresh(self._read)
        is_fresh = self._clock() - self._known_at <= PEERS_OLD_SECONDS
        yield from self._families(self._known if is_fresh else ())

    def _refresh(self, read: Callable[[], Sequence[Peer]]) -> None:
        with self._lock:
            thread = self._thread
            if thread is None or not thread.is_alive():
                if self._clock() - self._asked_at < PEERS_SECONDS:
                    return
                self._asked_at = self._clock()
                thread = self._thread = threading.Thread(target=self._ask, args=(read,), name="peers", daemon=True)
                thread.start()
        thread.join(PEERS_WAIT_SECONDS)

    def _ask(self, read: Callable[[], Sequence[Peer]]) -> None:
        try:
            found = read()
        except ChromadropError:
            return  # chromadrop_up says so
        self._known, self._known_at = found, self._clock()

    @staticmethod
    def _families(peers: Sequence[Peer]) -> Iterator[Metric]:
        alive = GaugeMetricFamily(
            "chromadrop_daemon_alive", "1 where a daemon is alive; 0 where one is missed.", labels=["host"]
        )
        jobs = GaugeMetricFamily(
            "chromadrop_daemon_jobs", "Jobs of unfinished files of each machine's daemons.", labels=["host", "state"]
        )
        for peer in peers:
            alive.add_metric([peer.host], float(peer.is_alive))
            for state in State:
                jobs.add_metric([peer.host, state.value], float(peer.counts.get(state, 0)))
        yield alive
        yield jobs


def _gauge(name: str, meaning: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, meaning, value=float(value))


def _labelled(name: str, meaning: str, label: str, values: Mapping[str, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, meaning, labels=[label])
    for value, figure in values.items():
        family.add_metric([value], float(figure))
    return family


class _Process(ProcessCollector):
    """The usual figures of a process, also where /proc/stat is hidden (systemd's ``ProcSubset=pid``)."""

    def __init__(self, booted_at: float, *, proc: str = "/proc") -> None:
        super().__init__(proc=proc, registry=None)
        # Without it the library says nothing at all.
        self._btime = self._btime or int(booted_at)
