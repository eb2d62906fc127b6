"""What status.html may have to show: a busy day, a day with trouble, an empty root, and one full of attacks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from daemon.core.allowance import Limited
from daemon.core.batch import Request
from daemon.core.drop import Fingerprint
from daemon.core.estimate import Outlook
from daemon.core.job import Failure, Job, State, Video
from daemon.core.job_file import FileState, JobFile, Outcome
from daemon.core.messages import Lying, Reason, Waiting
from daemon.core.problem import Problem
from daemon.core.status_page import FailedFile, Made, OpenFile, Trouble, View

if TYPE_CHECKING:
    from collections.abc import Sequence

NOBODY = Fingerprint(0, 0, 0, 0, 0)
TEXTS = (
    "Hello, this is my first work.",
    "안녕하세요, 이번 분기 신제품을 소개해 드리겠습니다. 먼저 배터리부터 보시죠.",
    "Welcome to the spring sale: everything in the garden section is half the price until Sunday evening.",
    "오늘의 날씨를 전해 드립니다.",
)
NAMES = ("hello", "신제품 소개", "spring/sale #2 (50%)", "weather & news", "it's 'quoted'?", "a;b,c")


def job(number: int, state: State, **more: Any) -> Job:
    """One job."""
    text = more.pop("text", TEXTS[number % len(TEXTS)])
    request = Request({"language": "ko", "text": text, "model": "M000004017", "clothes": "BG00006160"})
    position = more.pop("position", 1)
    if state not in {State.QUEUED, State.EXPORTING}:
        more.setdefault("project_id", f"6562b0c3e4d1f{number:011x}")
    return Job(number, more.pop("batch_id", 1), position, request, state, **more)


def file(number: int, name: str, at: float, **more: Any) -> JobFile:
    """One job file."""
    more.setdefault("state", FileState.OPEN)
    more.setdefault("problems", ())
    return JobFile(
        id=number, name=name, processing_name=name, fingerprint=NOBODY, digest="", content=b"", claimed_at=at, **more
    )


def opened(job_file: JobFile, jobs: Sequence[Job]) -> OpenFile:
    """A file in work."""
    counts = {state.value: sum(found.state is state for found in jobs) for state in State}
    return OpenFile(job_file, tuple(jobs), counts, Outlook(40.0 * len(jobs), 190.0))


def filed(number: int, name: str, at: float, jobs: Sequence[Job], **more: Any) -> FailedFile:
    """A file in failed/."""
    job_file = file(
        number,
        name,
        at - 300,
        state=FileState.CLOSED,
        outcome=Outcome.FAILED,
        closed_at=at,
        settled_at=at,
        filed_as=f"failed/{name}",
        **more,
    )
    return FailedFile(job_file, tuple(jobs), len(jobs))


def made(number: int, path: str, at: float, **more: Any) -> Made:
    """A video that is there."""
    done = job(number, State.DONE, video=Video(path, 8_400_000 + 91_000 * number, "0" * 64), settled_at=at, **more)
    return Made(done, path.removeprefix("videos/").replace(".mp4", ".yaml"))


def busy(at: float, *, count: int = 40) -> View:
    """Forty files, four in work, some waiting."""
    moving = [
        job(1, State.RENDERING, progress=42, exported_at=at - 83, position=1),
        job(2, State.RENDERING, progress=7.5, exported_at=at - 21, position=2),
        job(3, State.EXPORTING, position=3),
        *(job(4 + n, State.QUEUED, position=4 + n) for n in range(9)),
    ]
    files = (
        opened(file(1, "spring/campaign.yaml", at - 90), moving),
        opened(
            file(2, "신제품 소개 (2).yaml", at - 240), [job(30, State.RENDERING, progress=100, exported_at=at - 235)]
        ),
        opened(file(3, "late.yaml", at - 20), [job(31, State.QUEUED)]),
    )
    done = [
        made(100 + n, f"videos/{NAMES[n % len(NAMES)]}{'' if n < len(NAMES) else f'-{n}'}.mp4", at - 700 - 2500 * n)
        for n in range(count)
    ]
    lying = Lying((Waiting("morning.yaml", Reason.SETTLING, at - 1),), 1)
    counts = {State.RENDERING.value: 3, State.EXPORTING.value: 1, State.QUEUED.value: 10}
    return View(
        at, "Studio drive", lying=lying, files=files, file_count=3, counts=counts, max_rendering=20, done=tuple(done)
    )


def trouble(at: float) -> View:
    """Everything that can be wrong."""
    waiting = (
        Waiting("empty.yaml", Reason.EMPTY, at - 4000),
        Waiting("notes (conflicted copy 2026-11-23).yaml", Reason.CONFLICT_COPY, at - 90_000),
        Waiting("spring/link.yaml", Reason.NOT_A_FILE, at - 400),
        Waiting("theirs.yaml", Reason.UNREADABLE, at - 70),
        Waiting("big.yaml", Reason.WRITING, at - 12),
        Waiting("half.yaml", Reason.MALFORMED, at - 5),
        Waiting("new.yaml", Reason.SETTLING, at - 1),
        Waiting("later.yaml", Reason.BEHIND, at - 1),
    )
    failed = (
        filed(
            50,
            "typo.yaml",
            at - 60,
            [],
            problems=(
                Problem("the key 'langauge' is not known. Did you mean 'language'?", 1, 1, "langauge"),
                Problem(
                    "the model 'Jonadan' is not in the list of models. Did you mean 'M000045058' (Jonadan)?",
                    3,
                    8,
                    "model",
                ),
            ),
        ),
        filed(
            51,
            "spring/mixed.yaml",
            at - 3600,
            [
                job(
                    60,
                    State.FAILED,
                    project_id=None,
                    failure=Failure.REFUSED,
                    reason="400: the text is too long (max. 1000 characters)",
                    position=2,
                ),
                job(
                    61,
                    State.FAILED,
                    project_id=None,
                    failure=Failure.IN_DOUBT,
                    reason="no answer within 30 s",
                    position=3,
                ),
                job(62, State.DONE, video=Video("videos/spring/mixed-1.mp4", 9, "0"), position=1),
            ],
        ),
        filed(
            52,
            "old.yaml",
            at - 90_000,
            [
                job(
                    63,
                    State.FAILED,
                    failure=Failure.GAVE_UP,
                    reason="the render has no end after 3600 s (it stands at 99 %)",
                )
            ],
        ),
        filed(
            53,
            "dropped.yaml",
            at - 190_000,
            [
                job(
                    64,
                    State.FAILED,
                    failure=Failure.REFUSED_AFTER,
                    reason="export failed: internal error",
                    is_adopted=True,
                )
            ],
        ),
    )
    files = (
        opened(
            file(1, "campaign.yaml", at - 900),
            [
                job(1, State.EXPORTING, position=1),
                job(2, State.RENDERING, progress=55, exported_at=at - 600, reason="503: busy", position=2),
                job(3, State.FAILED, project_id=None, failure=Failure.REFUSED, reason="no such clothes", position=3),
            ],
        ),
    )
    return View(
        at,
        "Studio drive",
        account=Trouble("402: not enough credit", at - 1900),
        cloud=Trouble("connection refused"),
        limited=Limited(at + 9000, 20, 812.0, 20, 3600.0),
        is_paused=True,
        is_ledger_away=True,
        is_blind=True,
        lying=Lying(waiting, 208, ("PAUSE.txt", "spring/job.yaml.txt"), 2, (("locked", "Permission denied"),)),
        files=files,
        file_count=1,
        counts={State.RENDERING: 1, State.EXPORTING: 1},
        max_rendering=20,
        traced=frozenset({1}),
        failed=failed,
    )


ATTACK = "</script><img src=x onerror=\"document.title='hit'\"><script>document.title='hit'</script>' onclick='x"


def attacked(at: float) -> View:
    """The same words wherever somebody else's words may stand."""
    attack = {"text": ATTACK, "reason": ATTACK, "project_id": ATTACK}
    request = Request(dict.fromkeys(("language", "text", "model", "clothes"), ATTACK), ATTACK)
    failing = Job(1, 1, 1, request, State.FAILED, project_id=ATTACK, failure=Failure.REFUSED, reason=ATTACK)
    return View(
        at,
        ATTACK,
        account=Trouble(ATTACK),
        cloud=Trouble(ATTACK),
        root=Trouble(ATTACK),
        lying=Lying((Waiting(ATTACK, Reason.EMPTY, at),), 1, (ATTACK,), 1, ((ATTACK, ATTACK),)),
        files=(
            opened(
                file(1, ATTACK, at),
                [job(2, State.RENDERING, exported_at=at, **attack), job(3, State.QUEUED, **attack), failing],
            ),
        ),
        file_count=1,
        counts={},
        max_rendering=1,
        failed=(filed(4, ATTACK, at, [failing]), filed(5, ATTACK, at, [], problems=(Problem(ATTACK, path=ATTACK),))),
        done=(made(6, f"videos/{ATTACK}.mp4", at, **attack),),
    )
