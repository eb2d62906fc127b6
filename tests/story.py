"""A root with a ledger in which things have happened, made by the engine's own parts."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Self

from daemon.app import places
from daemon.config import Config
from daemon.core.batch import parse_batch
from daemon.core.drop import Drop, Fingerprint
from daemon.core.job import Event, Job, advance
from daemon.core.job_file import FileState, JobFile
from daemon.edges.ledger import Ledger, Work
from daemon.edges.spool import Spool
from daemon.pipeline import claim, file_away

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from daemon.config import Paths

NOW = 1_700_000_000.0


def job_yaml(*texts: str) -> str:
    """A job file with a job for each text."""
    return "".join(f"- {{language: ko, text: '{text}', model: M1, clothes: 1}}\n" for text in texts)


class Story:
    """The daemon's part, played by hand; it holds the ledger while it is entered."""

    def __init__(self, root: Path) -> None:
        self.config = Config()
        self.paths: Paths = self.config.paths({}, root)
        self.state = root / "state"

    def __enter__(self) -> Self:
        self.ledger = Ledger(self.state)
        self.spool = Spool(places(self.paths), ledger_id=self.ledger.id, was_seen=False)
        self.spool.check_root()
        self.ledger.note("seen_root", str(self.paths.root))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ledger.close()

    def claim(self, name: str, *texts: str) -> tuple[JobFile, list[Job]]:
        """A job file is dropped and claimed."""
        path = self.paths.inbox / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(job_yaml(*texts), "utf-8")
        batch = parse_batch(path.read_bytes())
        drop = Drop(name, Fingerprint.of(path.stat()), path.read_bytes(), "", batch)
        earlier = self.ledger.earlier(name, f"failed/{name}")
        [(job_file, jobs)] = self.ledger.enter([claim.plan(drop, name, earlier, NOW)])
        self.spool.claim(name, name, job_file.fingerprint, job_file.digest)
        opened = replace(job_file, state=FileState.OPEN)
        self.ledger.commit(Work(files={job_file.id: (FileState.CLAIMING, opened)}))
        return opened, jobs

    def advance(self, job: Job, *events: Event) -> Job:
        """These things happen to a job."""
        after = job
        for event in events:
            after = advance(after, event, NOW)
        self.ledger.commit(Work(jobs={job.id: (job.state, after)}))
        return after

    def file_away(self, job_file: JobFile, jobs: list[Job]) -> str:
        """The job file is settled and filed away; where."""
        settled = replace(job_file, outcome=file_away.outcome_of(job_file, jobs), settled_at=NOW)
        ended = file_away.file_away(self.spool, settled, jobs, ledger_id=self.ledger.id, is_retry=False)
        assert ended.filed_as is not None
        closed = replace(settled, state=FileState.CLOSED, filed_as=ended.filed_as)
        self.ledger.commit(Work(files={job_file.id: (FileState.OPEN, closed)}))
        return ended.filed_as
