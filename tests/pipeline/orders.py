"""Job files and jobs to try the stages with, and a cloud that says what it is told to say."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from daemon.core.batch import Request
from daemon.core.drop import Fingerprint
from daemon.core.job import Event, Job, State, advance
from daemon.core.job_file import FileState, JobFile
from daemon.edges.spool import Places, Spool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from daemon.core.errors import AccountTroubled, CloudDeferred
    from daemon.core.project import Project

NOW = 1_770_000_000.0
NOW_TEXT = "2026-02-02T02:40:00.000Z"
LEDGER = "0123456789abcdef"
CLIP = b"a whole video"


def request(text: str = "Hello", *, name: str | None = None, may_pay_again: bool = False) -> Request:
    return Request({"language": "en", "text": text, "model": "ysy", "clothes": "1"}, name, may_pay_again)


def job(*events: Event, position: int = 1, text: str = "Hello", name: str | None = None) -> Job:
    """A job after these events."""
    found = Job(id=position, batch_id=1, position=position, request=request(text, name=name))
    for event in events:
        found = advance(found, event, NOW)
    return found


def job_file(name: str = "x.yaml", **how: object) -> JobFile:
    """A job file in processing/."""
    found = JobFile(
        id=1,
        name=name,
        processing_name=name,
        state=FileState.OPEN,
        fingerprint=Fingerprint(1, 2, 3, 4, 5),
        digest="",
        content=b"text: Hello\n",
        problems=(),
        claimed_at=NOW,
        settled_at=NOW,
    )
    return replace(found, **how)  # type: ignore[arg-type]  # the fields of a JobFile


def spool_in(root: Path) -> Spool:
    """The folders of a root, prepared."""
    places = Places(root, root / "inbox", root / "processing", root / "done", root / "failed", root / "videos")
    spool = Spool(places, ledger_id=LEDGER, was_seen=False)
    spool.check_root()
    return spool


@dataclass(frozen=True)
class Answer:
    """What a look found."""

    percent: float
    url: str | None = None


@dataclass(frozen=True)
class Fetched:
    """What a download brought."""

    bytes: int
    sha256: str


@dataclass
class Cloud:
    """Raises ``trouble`` where there is some, else gives what it has."""

    trouble: Exception | None = None
    answer: Answer = field(default_factory=lambda: Answer(10.0))
    fetched: Fetched = field(default_factory=lambda: Fetched(len(CLIP), "ab" * 32))
    asked: list[object] = field(default_factory=list)
    described: Project | Exception | None = None
    answers: list[Answer | CloudDeferred | AccountTroubled | None] = field(default_factory=list)
    connections: int = 0

    @property
    def has_project(self) -> bool:
        return self.described is not None

    def project(self, project_id: str) -> Project:
        self.asked.append(f"project {project_id}")
        assert self.described is not None, "asked without need"
        if isinstance(self.described, Exception):
            raise self.described
        return self.described

    def _ask(self, what: object) -> None:
        self.asked.append(what)
        if self.trouble is not None:
            raise self.trouble

    def export(self, body: Mapping[str, object]) -> str:
        self._ask(dict(body))
        return "p1"

    @property
    def can_export(self) -> bool:
        return self.trouble is None

    def warm_up(self) -> None:
        self._ask("warm up")

    def look(self, project_id: str, *, is_afresh: bool = False) -> Answer:
        del is_afresh
        self._ask(project_id)
        return self.answer

    def look_together(
        self, project_ids: Sequence[str]
    ) -> Iterator[list[tuple[int, Answer | CloudDeferred | AccountTroubled | None]]]:
        self._ask(list(project_ids))
        for place, answer in enumerate(self.answers):
            yield [(place, answer)]

    def probe(self, project_id: str | None) -> None:
        self._ask(project_id)

    def download(self, url: str, part: Path, *, should_stop: Callable[[], bool]) -> Fetched:
        self._ask(url)
        assert not should_stop()
        part.write_bytes(CLIP)
        return self.fetched


def states(jobs: list[Job]) -> list[State]:
    return [one.state for one in jobs]
