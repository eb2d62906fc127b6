"""``status.html``: what is going on, for people who only see the folder.

One file for both languages, opened from a network drive (see `page`). It says by itself when it has become old, for
whoever writes it may be gone; and it makes itself new, without losing what its reader is at, by loading itself again:
a page that was opened as a file can read no other one.
"""

from __future__ import annotations

import enum
from dataclasses import field
from html import escape
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import quote

from daemon.core.advice import (
    ADOPTED,
    ADOPTED_KOREAN,
    MEND,
    MEND_KOREAN,
    PAID,
    PAID_KOREAN,
    what_to_do,
    what_to_do_korean,
)
from daemon.core.display import display
from daemon.core.job import Paid, State
from daemon.core.messages import Lying, Reason
from daemon.core.page import LANGUAGE_BUTTON, both, head, many, utc
from daemon.core.record import dataclass
from daemon.core.status_page_look import SCRIPT, STYLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from daemon.core.allowance import Limited
    from daemon.core.estimate import Outlook
    from daemon.core.job import Job
    from daemon.core.job_file import JobFile
    from daemon.core.messages import Waiting

_T = TypeVar("_T")

STALE_SECONDS: Final = 60
"""A page that is older says so; whoever writes it does so at least twice as often."""
MOST_VIDEOS: Final = 200
"""So many can be played in the page; of more there are links."""
MOST_CHARACTERS: Final = 600
"""Of what the cloud said; error.txt has all of it."""
MOST_MACHINES: Final = 50
MOST_PROBLEMS: Final = 30
MOST_FAILED_JOBS: Final = 20
"""Of one job file; error.txt has all of them."""
EXCERPT_CHARACTERS: Final = 110

# What each part may weigh, in bytes: one that anybody opens over a network drive stays small, whatever is in it.
_MAKING_BYTES: Final = 600_000
# Of these, of one job file:
_MOVING_BYTES: Final = 150_000
_FAILED_MEANWHILE_BYTES: Final = 30_000
_IN_LINE_BYTES: Final = 60_000
_WAITING_BYTES: Final = 150_000
_FAILED_BYTES: Final = 500_000
_DONE_BYTES: Final = 600_000


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that keeps work waiting.

    Attributes:
        reason: plain words, or the cloud's.
        since: wall-clock seconds, where it is known.
    """

    reason: str
    since: float | None = None


@dataclass(frozen=True, slots=True)
class OpenFile:
    """A job file that is in work.

    Attributes:
        job_file: not filed away yet.
        jobs: those that are shown.
        counts: how many of all of its jobs are in each state.
        outlook: what can be expected of it; None where nobody has asked.
        host: on which machine it is, where that is worth telling; else empty.
    """

    job_file: JobFile
    jobs: tuple[Job, ...]
    counts: Mapping[str, int]
    outlook: Outlook | None = None
    host: str = ""


class Life(enum.StrEnum):
    """Whether the daemon of a machine is there."""

    ALIVE = "alive"
    SILENT = "silent"  # it ended, or its machine did, and nobody has taken its jobs over yet
    GONE = "gone"  # another one goes on with its jobs


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine whose daemon shares the ledger with others.

    Attributes:
        host: its name.
        life: whether its daemon is there.
        since: wall-clock seconds when that started, or was taken over; None where nobody knows.
        taken_over_by: the machine that goes on with its jobs; empty for none.
        version: of chromadrop.
        moving: videos being made there.
        queued: jobs in line there.
        troubles: what is wrong there, in plain words.
    """

    host: str
    life: Life
    since: float | None = None
    taken_over_by: str = ""
    version: str = ""
    moving: int = 0
    queued: int = 0
    troubles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FailedFile:
    """A job file that lies in failed/.

    Attributes:
        job_file: filed away.
        jobs: of it; all, or the first.
        job_count: all.
    """

    job_file: JobFile
    jobs: tuple[Job, ...]
    job_count: int


@dataclass(frozen=True, slots=True)
class Made:
    """A video that is there.

    Attributes:
        job: DONE.
        file_name: of its job file, as it was dropped.
    """

    job: Job
    file_name: str


@dataclass(frozen=True, slots=True)
class View:
    """Everything that the page tells.

    Attributes:
        at: wall-clock seconds when it was so.
        folder: the root's own name, by which people know it; empty for none.
        is_ended: the daemon has ended; this is its last page.
        stuck_since: wall-clock seconds of the dispatcher's last turn, where it is stuck; None where it is not.
        account: what is wrong with it; None for nothing.
        cloud: why it cannot be reached; None where it can.
        root: why the folders are not to be trusted; None where they are.
        folders: what keeps files and videos waiting for them; None for nothing.
        limited: why nothing more is ordered today; None where it is.
        is_paused: ``inbox/PAUSE`` is there.
        is_ledger_away: nothing is asked until it can be written.
        records: why the ledger, which several machines share, cannot be reached; what is told is of before. None where
            it can.
        machines: that share the ledger; empty where there is one.
        is_blind: inbox/ is not looked through: its file server does not answer, or the scanner has ended.
        lying: what lies in inbox/; its times are wall-clock seconds here.
        files: in work, oldest first; some of them.
        file_count: all of them.
        counts: jobs of files in work, by state.
        max_rendering: as many at once are rendered.
        traced: numbers of the jobs whose export was not answered and that are looked for.
        failed: newest first; some of them.
        failed_count: all that lie in failed/, where they are more.
        done: newest first; some of them.
        done_days: so many days back they go.
        failed_folder: path relative to the root.
        has_files: the page lies beside the folders; False where it is read elsewhere, and no link leads to a file.
    """

    at: float
    folder: str = ""
    is_ended: bool = False
    stuck_since: float | None = None
    account: Trouble | None = None
    cloud: Trouble | None = None
    root: Trouble | None = None
    folders: Trouble | None = None
    limited: Limited | None = None
    is_paused: bool = False
    is_ledger_away: bool = False
    records: str | None = None
    machines: tuple[Machine, ...] = ()
    is_blind: bool = False
    lying: Lying = field(default_factory=Lying)
    files: tuple[OpenFile, ...] = ()
    file_count: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)
    max_rendering: int = 0
    traced: frozenset[int] = frozenset()
    failed: tuple[FailedFile, ...] = ()
    failed_count: int = 0
    done: tuple[Made, ...] = ()
    done_days: int = 7
    failed_folder: str = "failed"
    has_files: bool = True


def page(view: View) -> str:
    """The page, whole; to be written as UTF-8."""
    media = "media-src 'self' file:" if view.has_files else "media-src 'none'"
    return "\n".join(
        [
            *head("What is going on", STYLE, SCRIPT, media),
            *_top(view),
            "<main>",
            *_making(view),
            *_waiting(view),
            *_machines(view),
            *_failed(view),
            *_done(view),
            f'<p id="nothing" class="empty" hidden>{both("Nothing is found.", "찾은 결과가 없습니다.")}</p>',
            "</main>",
            *_foot(view),
        ]
    )


def sign(view: View) -> str:
    """By which a page is known from an earlier or a later one; it stands in its first 64 KiB."""
    return _signed(view.at)


def _signed(wall: float) -> str:
    return f'data-at="{_iso(wall)}"'


# --- the top --------------------------------------------------------------------------------------


def _top(view: View) -> Iterator[str]:
    signed_at = view.at if view.stuck_since is None else view.stuck_since
    # Either way a banner of its own says more than that the page is old.
    ended = " data-ended" if view.is_ended or view.stuck_since is not None else ""
    yield f'<header id="top" {_signed(signed_at)} data-stale="{STALE_SECONDS}"{ended}>'
    yield f"<h1>{both('What is going on', '진행 상황')}</h1>"
    folder = f'<bdi class="folder">{_shown(view.folder)}</bdi> · ' if view.folder else ""
    sign = both("last sign", "마지막 신호")
    yield f'<p class="sign">{folder}{sign} {_time(signed_at)}</p>'
    yield from _banners(view)
    yield from _figures(view)
    yield "</header>"
    yield (
        '<nav class="scripted"><input type="search" id="search" autocomplete="off" spellcheck="false" '
        'data-en="Search by file, text, or project" data-ko="파일, 텍스트, 프로젝트로 검색">'
        f'<output id="found" role="status"></output>{LANGUAGE_BUTTON}</nav>'
    )


def _banner(kind: str, title: str, words: str) -> str:
    role = ' role="alert"' if kind == "bad" else ""
    return f'<div class="banner {kind}"{role}><strong>{title}</strong><p>{words}</p></div>'


def _banners(view: View) -> Iterator[str]:
    """What keeps people waiting, the worst first; that the page is old is said by its script."""
    yield (
        '<div id="stale" class="banner bad" role="alert" hidden><strong>'
        f"{both('No sign of life for', '신호가 끊긴 지')} {_since_then(view.at, view.at)}</strong><p>"
        + both(
            f"Since {_time(view.at)} nothing is known: chromadrop was switched off, its computer is down, or this "
            "drive is cut off from it. All below is as it was then. Nothing is lost and nothing is paid twice; what "
            "lies in inbox/ is taken up when it is back. Please tell whoever looks after chromadrop.",
            f"{_time(view.at)} 이후로는 아무것도 알 수 없습니다. chromadrop이 꺼졌거나, 컴퓨터가 멈췄거나, "
            "이 드라이브와의 연결이 끊어졌습니다. 아래 내용은 모두 그때의 상태입니다. 잃어버린 것은 없고 두 번 "
            "결제되지도 않으며, inbox/에 있는 파일은 다시 시작되면 이어서 처리됩니다. "
            "chromadrop 관리자에게 알려 주세요.",
        )
        + "</p></div>"
    )
    if view.is_ended:
        yield _banner(
            "bad",
            both(f"chromadrop was stopped at {_time(view.at)}", f"chromadrop이 {_time(view.at)}에 종료되었습니다"),
            both(
                "Nothing happens until it is started again. What lies in inbox/ waits, and what is being rendered is "
                "fetched then; nothing is lost.",
                "다시 시작될 때까지 아무 일도 일어나지 않습니다. inbox/의 파일은 기다리고, 렌더링 중인 영상은 "
                "다시 시작된 뒤 받아 옵니다. 잃어버리는 것은 없습니다.",
            ),
        )
    if view.stuck_since is not None:
        yield _stuck(view.stuck_since, view.at)
    yield from _troubles(view)
    is_at_work = not view.is_ended and view.stuck_since is None
    is_well = is_at_work and not (view.account or view.cloud or view.root or view.is_paused or view.limited)
    if is_well and not (view.folders or view.is_ledger_away or view.records or view.is_blind):
        yield (
            '<div id="well" class="banner good"><strong>'
            f"{both('chromadrop is at work, and the account is well', 'chromadrop이 작동 중이며 계정도 정상입니다')}"
            "</strong></div>"
        )


def _stuck(since: float, now: float) -> str:
    return _banner(
        "bad",
        both("chromadrop hangs: no sign of life for", "chromadrop이 응답하지 않습니다. 마지막 신호 이후")
        + f" {_since_then(since, now)}",
        both(
            "It runs, but has done nothing since then. Nothing is lost and nothing is paid twice. Where its service is "
            "watched it is started again by itself; if this stays, please tell whoever looks after chromadrop.",
            "실행 중이지만 그 이후로 아무 일도 하지 않았습니다. 잃어버린 것은 없고 두 번 결제되지도 않습니다. 서비스가 "
            "감시되고 있으면 저절로 다시 시작됩니다. 이 상태가 계속되면 chromadrop 관리자에게 알려 주세요.",
        ),
    )


def _troubles(view: View) -> Iterator[str]:
    if view.account is not None:
        yield _banner(
            "bad",
            both("The account cannot order videos", "계정으로 영상을 주문할 수 없습니다") + _since(view.account),
            f"{_quoted(view.account.reason)} "
            + both(
                "No job fails of it and nothing is lost: all waits, and goes on by itself once the account is well. It "
                "is tried once a minute.",
                "이 때문에 실패하는 작업은 없으며 잃어버리는 것도 없습니다. 모두 기다렸다가 계정이 정상이 되면 저절로 "
                "계속됩니다. 1분마다 다시 확인합니다.",
            ),
        )
    if view.cloud is not None:
        yield _banner(
            "wait",
            both("The cloud cannot be reached", "클라우드에 연결할 수 없습니다") + _since(view.cloud),
            f"{_quoted(view.cloud.reason)} "
            + both("It is tried again all the time; nothing is lost.", "계속 다시 시도하며, 잃어버리는 것은 없습니다."),
        )
    if view.root is not None:
        title = both("The folders cannot be reached", "폴더에 접근할 수 없습니다")
        yield _banner("bad", title + _since(view.root), _quoted(view.root.reason))
    if view.folders is not None:
        title = both("The folders do not take files", "폴더에 파일을 쓸 수 없습니다")
        yield _banner(
            "bad",
            title + _since(view.folders),
            f"{_quoted(view.folders.reason)} "
            + both(
                "It is tried again all the time and nothing is lost. Is the drive full, or a folder write-protected?",
                "계속 다시 시도하며, 잃어버리는 것은 없습니다. 드라이브가 가득 찼거나 폴더가 쓰기 금지되었는지 "
                "확인하세요.",
            ),
        )
    if view.is_blind:
        yield _banner(
            "bad",
            both("New files are not seen", "새 파일을 확인할 수 없습니다"),
            both(
                "The file server does not answer when inbox/ is looked through. What is being made goes on.",
                "inbox/를 살펴보려 하지만 파일 서버가 응답하지 않습니다. 이미 진행 중인 영상은 계속됩니다.",
            ),
        )
    yield from _troubles_of_records(view)
    if view.limited is not None:
        until = _time(view.limited.until)
        yield _banner(
            "wait",
            both("Today's limit is reached", "오늘의 한도에 도달했습니다"),
            both(
                f"{_shown(view.limited.english)}. The rest waits until {until} and goes on by itself; nothing is lost.",
                f"{_shown(view.limited.korean)}. 나머지는 {until}까지 기다렸다가 저절로 계속되며, "
                "잃어버리는 것은 없습니다.",
            ),
        )
    if view.is_paused:
        yield _banner(
            "wait",
            both("Paused", "일시 중지됨"),
            both(
                "There is a file PAUSE in inbox/: no video is ordered until somebody removes it. What was ordered "
                "before goes on.",
                "inbox/에 PAUSE 파일이 있습니다. 그 파일을 지울 때까지 영상을 주문하지 않습니다. 이미 주문한 영상은 "
                "계속됩니다.",
            ),
        )


def _troubles_of_records(view: View) -> Iterator[str]:
    silent = [machine for machine in view.machines if machine.life is Life.SILENT]
    if silent and not view.is_ended:
        names = ", ".join(f"<bdi>{_shown(machine.host)}</bdi>" for machine in silent)
        yield _banner(
            "wait",
            both("A computer does not answer", "응답하지 않는 컴퓨터가 있습니다") + f": {names}",
            both(
                "Another one takes its work over in a moment; nothing is lost and nothing is paid twice.",
                "곧 다른 컴퓨터가 그 작업을 이어받습니다. 잃어버리는 것은 없고 두 번 결제되지도 않습니다.",
            ),
        )
    if view.records is not None:
        yield _banner(
            "bad",
            both("The records cannot be reached", "기록에 접근할 수 없습니다"),
            f"{_quoted(view.records)} "
            + both(
                "The database that the computers share does not answer. Nothing is ordered until it does: that is how "
                "nothing is paid twice. All goes on by itself then; below is what was known last.",
                "여러 컴퓨터가 함께 쓰는 데이터베이스가 응답하지 않습니다. 두 번 결제되는 일이 없도록, 응답할 때까지 "
                "아무것도 주문하지 않습니다. 그 뒤에는 저절로 계속됩니다. 아래 내용은 마지막으로 확인된 상태입니다.",
            ),
        )
    elif view.is_ledger_away:
        yield _banner(
            "bad",
            both("The records cannot be written", "기록을 쓸 수 없습니다"),
            both(
                "Nothing is ordered until they can: that is how nothing is paid twice. Is the disk of the computer "
                "that chromadrop runs on full?",
                "두 번 결제되는 일이 없도록, 기록할 수 있을 때까지 아무것도 주문하지 않습니다. chromadrop이 실행되는 "
                "컴퓨터의 디스크가 가득 찼는지 확인하세요.",
            ),
        )


def _since(trouble: Trouble) -> str:
    return "" if trouble.since is None else f" <small>{_from(trouble.since)}</small>"


def _from(wall: float) -> str:
    return both(f"since {_time(wall)}", f"{_time(wall)}부터")


def _figures(view: View) -> Iterator[str]:
    moving = view.counts.get(State.RENDERING, 0) + view.counts.get(State.EXPORTING, 0)
    queued = view.counts.get(State.QUEUED, 0)
    lying = view.lying.waiting_count + view.lying.stranger_count + len(view.lying.unread)
    limit = f" / {view.max_rendering:,}" if view.max_rendering else ""
    done = f'<b id="today" data-most="{len(view.done)}">{len(view.done):,}</b>'
    days = both(f"done in {many(view.done_days, 'day')}", f"최근 {view.done_days}일 완료")
    yield '<ul class="figures">'
    yield f'<li><a href="#making"><b>{moving:,}<small>{limit}</small></b> {both("being made", "제작 중")}</a></li>'
    yield f'<li><a href="#making"><b>{queued:,}</b> {both("in line", "대기열")}</a></li>'
    yield f'<li><a href="#waiting"><b>{lying:,}</b> {both("in inbox", "inbox에 있음")}</a></li>'
    bad = " class=bad" if view.failed else ""
    failed = max(view.failed_count, len(view.failed))
    yield f'<li{bad}><a href="#failed"><b>{failed:,}</b> {both("failed", "실패")}</a></li>'
    yield (
        f'<li><a href="#done">{done} <span class="unscripted">{days}</span>'
        f'<span class="scripted">{both("done today", "오늘 완료")}</span></a></li>'
    )
    yield "</ul>"


# --- what is being made ---------------------------------------------------------------------------


def _making(view: View) -> Iterator[str]:
    yield _section("making", both("Being made", "제작 중"))
    if not view.files:
        yield _empty(
            both(
                "Nothing is being made. Drop a job file into inbox/.",
                "제작 중인 영상이 없습니다. 작업 파일을 inbox/에 넣으세요.",
            )
        )
    shown, left = _fitting(view.files, lambda file: _open_file(file, view), _MAKING_BYTES)
    yield from shown
    more = view.file_count - len(view.files) + left
    if more > 0:
        yield _more(both(f"and {many(more, 'more job file')}", f"그 밖에 작업 파일 {more:,}개"))
    yield "</section>"


def _open_file(file: OpenFile, view: View) -> str:
    job_file = file.job_file
    total = sum(file.counts.values())
    done = file.counts.get(State.DONE, 0)
    moving = [job for job in file.jobs if job.state in {State.RENDERING, State.EXPORTING}]
    failed = [job for job in file.jobs if job.state is State.FAILED]
    queued = [job for job in file.jobs if job.state is State.QUEUED]
    words = _how_far(job_file, done, total)
    if file.outlook is not None and job_file.outcome is None and not view.is_ended:
        words += f" · {both(_shown(file.outlook.english), _shown(file.outlook.korean))}"
    if file.host:
        words += f" · {_on(file.host)}"
    lines = [_file_head("file", job_file.id, job_file.name, words)]
    rows, left = _fitting(moving, lambda job: _moving(job, total, view), _MOVING_BYTES)
    failures, _ = _fitting(failed, lambda job: _failed_meanwhile(job, total), _FAILED_MEANWHILE_BYTES)
    if rows or failures:
        lines += ['<ol class="jobs">', *rows, *failures, "</ol>"]
    more = left + file.counts.get(State.FAILED, 0) - len(failures)
    if more > 0:
        lines.append(_more(both(f"and {more:,} more", f"그 밖에 {more:,}개")))
    lines += _in_line(job_file.id, queued, file.counts.get(State.QUEUED, 0))
    lines.append("</article>")
    return "\n".join(lines)


def _file_head(kind: str, number: int, name: str, words: str) -> str:
    head = f'<header><h3>{_path(name)}</h3><p class="small">{words}</p></header>'
    return f'<article class="{kind}" id="f{number}">{head}'


def _how_far(job_file: JobFile, done: int, total: int) -> str:
    since = _time(job_file.claimed_at)
    if job_file.problems:
        return both("it has problems and goes to failed/", "문제가 있어 failed/로 옮기는 중입니다")
    if job_file.outcome is not None:
        return both("all is settled; it is being filed away", "모두 끝났습니다. 파일을 옮기는 중입니다")
    if total > 1:
        counted = both(f"{done:,} of {total:,} videos are there", f"영상 {total:,}개 중 {done:,}개 완료")
        return f"{counted} · {both('taken', '접수')} {since}"
    return f"{both('taken', '접수')} {since}"


def _moving(job: Job, total: int, view: View) -> str:
    percent = max(0.0, min(100.0, job.progress))
    if job.state is State.EXPORTING:
        is_traced = job.id in view.traced
        words = (
            both(
                "Ordered, and no answer came: it is looked for in the account, before a person is asked.",
                "주문했지만 답이 없었습니다. 사람에게 묻기 전에 계정에서 찾아보고 있습니다.",
            )
            if is_traced
            else both("is being ordered", "주문하는 중")
        )
        bar = '<progress max="100" aria-label="0 %"></progress>'
        return _row(job, total, f"{bar}<b></b>", words)
    words = both("rendered; the video is being fetched", "렌더링 완료, 영상을 받는 중")
    if percent < 100.0:  # noqa: PLR2004 - percent
        since = "" if job.exported_at is None else f" {_since_then(job.exported_at, view.at)}"
        words = f"{both('rendering', '렌더링')}{since}"
    if job.reason:
        words += f" · {_quoted(job.reason)}"
    bar = f'<progress max="100" value="{percent:g}" aria-label="{percent:.0f} %"></progress><b>{percent:.0f}&nbsp;%</b>'
    return _row(job, total, bar, words)


def _row(job: Job, total: int, bar: str, words: str) -> str:
    return (
        f'<li class="entry">{_what(job, total)}<div class="bar">{bar}</div>'
        f'<p class="small">{words}{_project(job)}</p></li>'
    )


def _failed_meanwhile(job: Job, total: int) -> str:
    small = f'<p class="small">{_paid(job)}{_project(job)}</p>'
    return f'<li class="entry bad">{_what(job, total)}<p class="reason">{_quoted(job.reason)}</p>{small}</li>'


def _in_line(file_id: int, queued: list[Job], count: int) -> Iterator[str]:
    """Those that wait for their turn, in one fold: there may be hundreds, and nothing happens to them."""
    if not count:
        return
    words = both(
        f"{count:,} {'waits' if count == 1 else 'wait'} for {'its' if count == 1 else 'their'} turn",
        f"{count:,}개가 차례를 기다립니다",
    )
    shown, _ = _fitting(queued, _queued, _IN_LINE_BYTES)
    yield f'<details id="q{file_id}"><summary>{words}</summary><ol class="line">'
    yield from shown
    yield "</ol>"
    more = count - len(shown)
    if more > 0:
        yield _more(both(f"and {more:,} more", f"그 밖에 {more:,}개"))
    yield "</details>"


def _queued(job: Job) -> str:
    reason = f" <small>{_quoted(job.reason)}</small>" if job.reason else ""
    return f'<li class="entry" value="{job.position}">{_excerpt(job)}{reason}</li>'


# --- what lies in inbox/ --------------------------------------------------------------------------

_WHY: Final[dict[Reason, tuple[str, str]]] = {
    Reason.SETTLING: (
        "has just come, or is still growing; it is taken once it has lain still for a moment",
        "방금 들어왔거나 아직 커지고 있습니다. 잠시 변화가 없으면 처리합니다",
    ),
    Reason.WRITING: (
        "a program still has it open; save and close it there",
        "다른 프로그램이 아직 열어 두고 있습니다. 저장하고 닫으세요",
    ),
    Reason.MALFORMED: (
        "makes no sense yet; perhaps it is only half copied, so it is given a little longer",
        "아직 올바른 작업 파일이 아닙니다. 복사가 덜 끝났을 수 있어 조금 더 기다립니다",
    ),
    Reason.BEHIND: ("many others come first", "앞에 다른 파일이 많이 있습니다"),
    Reason.EMPTY: ("is empty; write the job into it", "빈 파일입니다. 작업 내용을 적으세요"),
    Reason.UNREADABLE: (
        "may not be read; somebody has to allow it",
        "읽을 권한이 없습니다. 읽기 권한을 주어야 합니다",
    ),
    Reason.NOT_A_FILE: (
        "is a link or something else, and no plain file; copy the file itself here",
        "일반 파일이 아니라 링크 등입니다. 파일 자체를 여기에 복사하세요",
    ),
    Reason.CONFLICT_COPY: (
        "is a copy that a sync program made, for two people changed one file; rename it to have it made, or delete it",
        "두 사람이 같은 파일을 고쳐 동기화 프로그램이 만든 사본입니다. 제작하려면 이름을 바꾸고, 아니면 지우세요",
    ),
    Reason.RESULT_TABLE: (
        "is a table of results, and is not ordered again; to order, drop the table itself",
        "결과 표이므로 다시 주문하지 않습니다. 주문하려면 원래 표를 넣으세요",
    ),
    Reason.BROKEN: (
        "has to be mended: until then it holds back the files of its folder, and nothing of them is lost",
        "고쳐야 합니다. 그때까지 이 폴더의 파일은 기다리며, 잃어버리는 것은 없습니다",
    ),
    Reason.DEFAULTS_SETTLING: (
        "waits for _defaults.yaml of its folder, which has just come",
        "방금 들어온 이 폴더의 _defaults.yaml을 기다립니다",
    ),
    Reason.DEFAULTS_BROKEN: (
        "waits until _defaults.yaml of its folder is mended",
        "이 폴더의 _defaults.yaml이 고쳐질 때까지 기다립니다",
    ),
}


_NO_PAUSE: Final = (
    "is no pause: the file's name must be PAUSE alone, without an ending",
    "일시 중지 파일이 아닙니다. 확장자 없이 PAUSE라는 이름이어야 합니다",
)
_NOTE: Final = (
    "is left alone as a note: a text is a job only where _defaults.yaml in its folder gives the rest",
    "메모로 보고 그대로 둡니다. 같은 폴더의 _defaults.yaml이 나머지를 정할 때에만 작업이 됩니다",
)
_NO_JOB_FILE: Final = (
    "is no job file: its name must end in .yaml (some computers hide a second ending such as .txt)",
    "작업 파일이 아닙니다. 이름이 .yaml로 끝나야 합니다 (.txt 같은 확장자가 숨겨져 있을 수 있습니다)",
)


def _waiting(view: View) -> Iterator[str]:
    yield _section("waiting", both("In inbox", "inbox에 있음"))
    lying = view.lying
    rows = [*map(_waits, lying.waiting), *map(_stranger, lying.strangers), *map(_unread, lying.unread)]
    if not rows:
        yield _empty(both("Nothing waits in inbox/.", "inbox/에서 기다리는 파일이 없습니다."))
    shown, _left = _fitting(rows, str, _WAITING_BYTES)
    if shown:
        yield '<ul class="card list">'
        yield from shown
        yield "</ul>"
    more = lying.waiting_count + lying.stranger_count + len(lying.unread) - len(shown)
    if more > 0:
        yield _more(both(f"and {more:,} more", f"그 밖에 {more:,}개"))
    yield "</section>"


def _waits(waiting: Waiting) -> str:
    english, korean = _WHY.get(waiting.reason, (waiting.reason.value, waiting.reason.value))
    words = both(english, korean) + (f" {_quoted(waiting.detail)}" if waiting.detail else "")
    return _lies(waiting.name, words, _from(waiting.since), needs_person=not waiting.reason.is_pending)


def _stranger(name: str) -> str:
    last = name.rpartition("/")[2].casefold()
    if last.partition(".")[0] == "pause":
        words = _NO_PAUSE
    elif last.endswith(".txt") and not last.endswith((".yaml.txt", ".yml.txt", ".csv.txt")):
        words = _NOTE
    else:
        words = _NO_JOB_FILE
    return _lies(name, both(*words), "", needs_person=words is not _NOTE)


def _unread(folder: tuple[str, str]) -> str:
    words = both("this folder cannot be read", "이 폴더를 읽을 수 없습니다")
    return _lies(f"{folder[0]}/", f"{words}: {_quoted(folder[1])}", "", needs_person=True)


def _lies(name: str, words: str, since: str, *, needs_person: bool) -> str:
    kind = " warn" if needs_person else ""
    small = f'<p class="small">{since}</p>' if since else ""
    return f'<li class="entry{kind}"><h3>{_path(name)}</h3><p>{words}</p>{small}</li>'


# --- the machines ---------------------------------------------------------------------------------

_LIVES: Final = {
    Life.ALIVE: ("at work", "작동 중"),
    Life.SILENT: (
        "does not answer; another computer takes its work over in a moment",
        "응답하지 않습니다. 곧 다른 컴퓨터가 작업을 이어받습니다",
    ),
    Life.GONE: ("gone; nothing waits for it", "꺼졌습니다. 기다리는 작업은 없습니다"),
}


def _machines(view: View) -> Iterator[str]:
    """Where there are several, or one is missed."""
    if len(view.machines) < 2 and all(machine.life is Life.ALIVE for machine in view.machines):  # noqa: PLR2004
        return
    yield _section("machines", both("Computers", "컴퓨터"))
    yield '<ul class="card list">'
    yield from map(_machine, view.machines[:MOST_MACHINES])
    yield "</ul>"
    more = len(view.machines) - MOST_MACHINES
    if more > 0:
        yield _more(both(f"and {more:,} more", f"그 밖에 {more:,}대"))
    yield "</section>"


def _machine(machine: Machine) -> str:
    english, korean = _LIVES[machine.life]
    if machine.life is Life.GONE and machine.taken_over_by:
        other = f"<bdi>{_shown(machine.taken_over_by)}</bdi>"
        english, korean = f"gone; {other} goes on with its work", f"꺼졌습니다. {other}에서 작업을 이어받았습니다"
    words = both(english, korean)
    if machine.moving or machine.queued:
        words += " · " + both(
            f"{machine.moving:,} being made, {machine.queued:,} in line",
            f"제작 중 {machine.moving:,}개, 대기열 {machine.queued:,}개",
        )
    small = [_from(machine.since)] if machine.since is not None else []
    small += [_shown(f"chromadrop {machine.version}")] if machine.version else []
    troubles = "".join(f'<p class="reason">{_quoted(trouble)}</p>' for trouble in machine.troubles)
    kind = "" if machine.life is Life.ALIVE and not machine.troubles else " warn"
    return (
        f'<li class="entry{kind}"><h3><bdi>{_shown(machine.host)}</bdi></h3><p>{words}</p>{troubles}'
        f'<p class="small">{" · ".join(small)}</p></li>'
    )


def _on(host: str) -> str:
    name = f"<bdi>{_shown(host)}</bdi>"
    return both(f"on {name}", f"{name}에서")


# --- what failed ----------------------------------------------------------------------------------


def _failed(view: View) -> Iterator[str]:
    if not view.failed:
        return
    yield _section("failed", both("Failed", "실패"))
    shown, left = _fitting(view.failed, lambda file: _failed_file(file, view), _FAILED_BYTES)
    yield from shown
    more = left + max(0, view.failed_count - len(view.failed))
    if more:
        yield _more(both(f"and {more:,} more, in failed/", f"그 밖에 {more:,}개가 failed/에 있습니다"))
    yield "</section>"


def _failed_file(file: FailedFile, view: View) -> str:
    job_file = file.job_file
    filed_as = job_file.filed_as or ""
    name = display(filed_as.removeprefix(f"{view.failed_folder}/"))
    failed = [job for job in file.jobs if job.state is State.FAILED]
    when = "" if job_file.closed_at is None else _time(job_file.closed_at)
    lines = [_file_head("file failed", job_file.id, name, when)]
    lines += _problems(job_file) if job_file.problems else _failed_jobs(file, failed, name)
    if view.has_files and filed_as:
        names = (("", "job file", "작업 파일"), (".error.txt", "error.txt", "error.txt"))
        links = [_link(filed_as + ending, both(english, korean)) for ending, english, korean in names]
        lines.append(f'<p class="links">{" ".join(filter(None, links))}</p>')
    lines.append("</article>")
    return "\n".join(lines)


def _problems(job_file: JobFile) -> Iterator[str]:
    korean = "사용할 수 없는 작업 파일입니다. 아무것도 보내지 않았습니다."
    yield f"<p>{both('This job file cannot be used. Nothing was sent.', korean)}</p>"
    yield '<ul class="problems">'
    for problem in job_file.problems[:MOST_PROBLEMS]:
        yield f'<li class="entry">{_quoted(str(problem))}</li>'
    yield "</ul>"
    more = len(job_file.problems) - MOST_PROBLEMS
    if more > 0:
        yield _more(both(f"and {more:,} more, in error.txt", f"그 밖에 {more:,}개는 error.txt에 있습니다"))
    yield f'<p class="small">{_paid_words(Paid.NO)}</p>'
    yield _to_do(" ".join(MEND), MEND_KOREAN)


def _failed_jobs(file: FailedFile, failed: list[Job], name: str) -> Iterator[str]:
    done = sum(job.state is State.DONE for job in file.jobs)
    if done:
        there = f"{done:,} of {many(file.job_count, 'video')} {'is' if done == 1 else 'are'} there"
        korean = f"영상 {file.job_count:,}개 중 {done:,}개는 완료되었으며 다시 결제되지 않습니다"
        yield f'<p class="small">{both(f"{there}, and will not be paid again", korean)}</p>'
    yield '<ol class="jobs">'
    for job in failed[:MOST_FAILED_JOBS]:
        to_do = _to_do(" ".join(what_to_do(job.failure, name)), what_to_do_korean(job.failure, name))
        adopted = f" · {both(ADOPTED, ADOPTED_KOREAN)}" if job.is_adopted else ""
        yield (
            f'<li class="entry bad">{_what(job, file.job_count)}<p class="reason">{_quoted(job.reason)}</p>'
            f'<p class="small">{_paid(job)}{_project(job)}{adopted}{_ordered(job)}</p>{to_do}</li>'
        )
    yield "</ol>"
    more = max(0, len(failed) - MOST_FAILED_JOBS) + file.job_count - len(file.jobs)
    if more > 0:
        yield _more(both(f"and {more:,} more, in error.txt", f"그 밖에 {more:,}개는 error.txt에 있습니다"))


def _ordered(job: Job) -> str:
    words = (job.request.body.get(key) for key in ("language", "model", "clothes"))
    found = [f"<bdi>{_shown(str(word), 60)}</bdi>" for word in words if word is not None]
    return "".join(f" · {word}" for word in found)


def _to_do(english: str, korean: str) -> str:
    label = both("What to do", "할 일")
    return f'<p class="todo"><b>{label}:</b> {both(_shown(english, 2000), _shown(korean, 2000))}</p>'


# --- what is done ---------------------------------------------------------------------------------


def _done(view: View) -> Iterator[str]:
    yield f'<section id="done" aria-labelledby="h-done"><div class="head"><h2 id="h-done">{both("Done", "완료")}</h2>'
    if view.done and view.has_files:
        yield _backgrounds()
    yield "</div>"
    if not view.done:
        yield _empty(
            both(
                f"No video was made in {many(view.done_days, 'day')}.",
                f"최근 {view.done_days}일 동안 만든 영상이 없습니다.",
            )
        )
    elif not view.has_files:
        yield _empty(
            both(
                "The videos lie in the folder videos/; they are not shown here.",
                "영상은 videos/ 폴더에 있으며 여기에서는 볼 수 없습니다.",
            )
        )
    numbered = list(enumerate(view.done))
    shown, left = _fitting(numbered, lambda one: _made(one[1], view, is_playable=one[0] < MOST_VIDEOS), _DONE_BYTES)
    if shown:
        yield '<ul class="cards">'
        yield from shown
        yield "</ul>"
    if left:
        yield _more(both(f"and {left:,} more, in videos/", f"그 밖에 {left:,}개가 videos/에 있습니다"))
    yield "</section>"


def _made(made: Made, view: View, *, is_playable: bool) -> str:
    video = made.job.video
    path = "" if video is None else video.path
    address = _address(path) if view.has_files else ""
    name = path.rpartition("/")[2]
    shown = f"<bdi>{_shown(name)}</bdi>"
    title = f'<a href="{address}">{shown}</a>' if address else shown
    size = "" if video is None else f" · {_megabytes(video.bytes)}"
    when = "" if made.job.settled_at is None else _time(made.job.settled_at)
    stage = ""
    if address and is_playable:
        gone = both("not there any more", "더 이상 여기에 없습니다")
        stage = (
            f'<div class="stage"><video controls playsinline preload="none" src="{address}" '
            f'aria-label="{_shown(name)}"></video><p class="gone" hidden>{gone}</p></div>'
        )
    return (
        f'<li class="entry video" id="v{made.job.id}">{stage}<h3>{title}</h3><p class="text">{_excerpt(made.job)}</p>'
        f'<p class="small">{when}{size} · <bdi>{_shown(made.file_name)}</bdi></p></li>'
    )


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f}&nbsp;MB" if count >= 1e5 else f"{max(1, round(count / 1e3)):,}&nbsp;kB"  # noqa: PLR2004


_GROUNDS: Final = (
    ("green", "Green, as it is", "초록 배경 그대로"),
    ("checks", "Checks in place of the green", "초록 대신 체크무늬"),
    ("white", "White in place of the green", "초록 대신 흰색"),
    ("black", "Black in place of the green", "초록 대신 검은색"),
    ("sky", "Colour in place of the green", "초록 대신 색상"),
)


def _backgrounds() -> str:
    """What is seen in the place of the green; a filter of the browser's own, which needs no right to read the video."""
    choices = "".join(
        f'<label class="{value}"><input type="radio" name="ground" value="{value}"{" checked" if not n else ""}>'
        f'<span class="swatch"></span><span class="name">{both(english, korean)}</span></label>'
        for n, (value, english, korean) in enumerate(_GROUNDS)
    )
    return (
        f'<fieldset class="grounds scripted"><legend>{both("Background", "배경")}</legend>{choices}</fieldset>'
        '<svg width="0" height="0" aria-hidden="true"><filter id="key" color-interpolation-filters="sRGB">'
        '<feColorMatrix in="SourceGraphic" result="red" values="1 0 0 0 0  0 1 0 0 0  0 0 1 0 0  3 -3 0 0 1"/>'
        '<feColorMatrix in="SourceGraphic" result="blue" values="1 0 0 0 0  0 1 0 0 0  0 0 1 0 0  0 -3 3 0 1"/>'
        '<feComposite in="red" in2="blue" operator="over"/></filter></svg>'
    )


def _foot(view: View) -> Iterator[str]:
    held = both("This is how it was at", "다음 시각의 상태입니다:")
    yield (
        f'<div id="held" role="status" hidden><span>{held} {_time(view.at)}</span>'
        f'<button type="button" id="refresh">{both("Refresh", "새로 고침")}</button></div>'
    )
    words = both(
        "This page makes itself new every few seconds while it is open.",
        "이 페이지는 열려 있는 동안 몇 초마다 새로 고쳐집니다.",
    )
    yield f'<footer><p class="small"><span class="scripted">{words}</span></p></footer>'
    yield "</body>"
    yield "</html>"
    yield ""


# --- small parts ----------------------------------------------------------------------------------


def _what(job: Job, total: int) -> str:
    number = f'<span class="n">{job.position}</span> ' if total > 1 else ""
    return f'<p class="what">{number}{_excerpt(job)}</p>'


def _excerpt(job: Job) -> str:
    text = " ".join(str(job.request.body.get("text", ""))[: 4 * EXCERPT_CHARACTERS].split())
    return f"<q><bdi>{_shown(text, EXCERPT_CHARACTERS)}</bdi></q>"


def _project(job: Job) -> str:
    return "" if job.project_id is None else f' · <code dir="ltr">{_shown(job.project_id, 80)}</code>'


def _paid(job: Job) -> str:
    return _paid_words(job.paid)


def _paid_words(paid: Paid) -> str:
    words = both(f"Paid: {PAID[paid]}", f"결제: {PAID_KOREAN[paid]}")
    return f'<span class="paid {paid.value}">{words}</span>'


def _quoted(words: str) -> str:
    """What somebody else said, or a text in English only."""
    return f'<bdi class="quoted">{_shown(words, MOST_CHARACTERS)}</bdi>'


def _path(name: str) -> str:
    """A path that may be broken after each folder."""
    return f"<bdi>{_shown(name, 300).replace('/', '/<wbr>')}</bdi>"


def _shown(text: str, most: int = 300) -> str:
    """Anybody's text as HTML: on one line, bounded, escaped."""
    cut = text if len(text) <= most else f"{text[: most - 1]}…"
    return escape(display(cut))


def _address(path: str) -> str:
    """A path relative to the root as an address relative to the page; empty where it leads out of the root."""
    if not path or path.startswith("/") or ".." in path.split("/"):
        return ""
    try:
        return escape("./" + quote(path.encode("utf-8", "surrogateescape")))
    except UnicodeEncodeError:  # no file has such a name
        return ""


def _link(path: str, words: str) -> str:
    address = _address(path)
    return f'<a href="{address}">{words}</a>' if address else ""


def _iso(wall: float) -> str:
    return f"{utc(wall):%Y-%m-%dT%H:%M:%SZ}"


def _time(wall: float) -> str:
    return f'<time datetime="{_iso(wall)}">{utc(wall):%Y-%m-%d %H:%M:%S} (UTC)</time>'


def _since_then(wall: float, now: float) -> str:
    """How long it has been; the script goes on counting."""
    seconds = max(0, round(now - wall))
    words = f"{seconds // 60} min {seconds % 60} s" if seconds >= 60 else f"{seconds} s"  # noqa: PLR2004 - a minute
    return f'<time class="since" datetime="{_iso(wall)}">{words}</time>'


def _section(name: str, title: str) -> str:
    return f'<section id="{name}" aria-labelledby="h-{name}"><h2 id="h-{name}">{title}</h2>'


def _empty(words: str) -> str:
    return f'<p class="empty">{words}</p>'


def _more(words: str) -> str:
    return f'<p class="more">{words}</p>'


def _fitting(parts: Sequence[_T], write: Callable[[_T], str], most_bytes: int) -> tuple[list[str], int]:
    """Those from the front that fit, and how many are left."""
    shown: list[str] = []
    for part in parts:
        text = write(part)
        most_bytes -= len(text.encode("utf-8", "replace"))
        if most_bytes < 0:
            break
        shown.append(text)
    return shown, len(parts) - len(shown)
