"""An `Overview` as people see it: tables and bars for a terminal, single lines for a pipe. Pure: nothing is printed.

Whatever people or the cloud wrote stands in `rich.text.Text`, never in markup, and has no control character left.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from rich.console import Group
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from daemon.core.display import display
from daemon.core.job import State
from daemon.core.record import dataclass
from daemon.core.status_page import Life

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rich.console import RenderableType

    from daemon.core.catalogue import Catalogue, Clothes, Model
    from daemon.overview import FiledView, FileView, InboxView, JobView, Overview, Trouble

_WIDE: Final = 110  # columns from which on the project ids have room
_NARROW: Final = 60  # and below which a bar has none
_BAR_CELLS: Final = 20
_MINUTE: Final = 60
_HOUR: Final = 3600
_DAY: Final = 86400
_LINES_AROUND: Final = 6
_GAP: Final = 2  # columns between two cells
_LEAST_NAME: Final = 12
MOST_PEERS: Final = 10
_STYLES: Final = {
    State.QUEUED: "dim",
    State.EXPORTING: "yellow",
    State.RENDERING: "cyan",
    State.DONE: "green",
    State.FAILED: "red",
}


def screen(overview: Overview, *, width: int, height: int | None = None) -> RenderableType:
    """Everything, as ``status`` shows it.

    Args:
        overview: what is going on.
        width: columns of the terminal.
        height: lines that there are room for; None for as many as it takes.
    """
    head = [*_head(overview)]
    tail = [*_waiting(overview.inbox), *_filed_lines(overview, width)]
    room = None if height is None else max(1, height - len(head) - _lines_of(tail, overview) - _LINES_AROUND)
    return Group(*head, *_work(overview, width, room), *tail)


def _lines_of(tail: list[RenderableType], overview: Overview) -> int:
    return len(tail) + len(overview.filed)


# --- the head: daemon and troubles ----------------------------------------------------------------


def _head(overview: Overview) -> Iterator[RenderableType]:
    daemon = overview.daemon
    line = Text("chromadrop ", style="bold", no_wrap=True, overflow="ellipsis")
    if daemon.is_running:
        facts = [f"pid {daemon.pid}" if daemon.pid else "", _since(daemon.started_at, overview.at)]
        if has_several(overview):
            alive = sum(peer.life is Life.ALIVE for peer in overview.peers)
            facts = [f"on {_many(alive, 'machine')}"]
        line.append("is running", style="bold green")
        line.append(f" ({', '.join(fact for fact in facts if fact)})" if any(facts) else "", style="not bold")
    elif overview.has_ledger:
        line.append("is not running", style="bold yellow")
    else:
        line.append("has not run here yet", style="bold yellow")
    line.append(f"  in {overview.root}", style="not bold dim")
    yield line
    yield from _troubles(overview)
    if has_several(overview):
        yield from _peers(overview)


def has_several(overview: Overview) -> bool:
    """Several daemons share the ledger, or one is missed: who has what is worth telling."""
    return len(overview.peers) > 1 or any(peer.life is not Life.ALIVE for peer in overview.peers)


_LIVES: Final = {
    Life.ALIVE: ("alive", "green"),
    Life.SILENT: ("not answering", "yellow"),
    Life.GONE: ("gone", "dim"),
}


def _peers(overview: Overview) -> Iterator[Text]:
    """A line for each daemon."""
    widest = max(len(peer.host) for peer in overview.peers)
    for peer in overview.peers[:MOST_PEERS]:
        state, style = _LIVES[peer.life]
        facts = [_since(peer.since, overview.at)]
        facts += [f"taken over by {peer.taken_over_by}"] if peer.taken_over_by and peer.life is Life.GONE else []
        facts += [f"version {peer.version}"] if peer.version else []
        line = Text("  ", no_wrap=True, overflow="ellipsis").append(peer.host.ljust(widest))
        line.append(f"  {state:<13}", style=style)
        if peer.life is not Life.GONE:
            line.append(f"  {_counted(peer.counts, 'nothing in work')}")
        line.append(f"  {', '.join(fact for fact in facts if fact)}", style="dim")
        for trouble in peer.troubles.values():
            line.append(f"  ! {trouble.reason}", style="yellow")
        yield line
    if len(overview.peers) > MOST_PEERS:
        yield Text(f"  … and {len(overview.peers) - MOST_PEERS:,} more", style="dim")


def _troubles(overview: Overview) -> Iterator[RenderableType]:
    is_now = overview.daemon.is_running
    if overview.inbox.is_paused:
        yield _warning("paused: nothing new is ordered until somebody removes inbox/PAUSE")
    if overview.limited is not None:
        until = _clock(overview.limited.until, overview.at)
        yield _warning(f"the daily limit is reached, the rest waits until {until}: {overview.limited.english}")
    if overview.root_trouble is not None:
        yield _trouble("the folders are away", overview.root_trouble, overview.at, is_now=is_now)
    if overview.account is not None:
        words = "account trouble, new orders wait and no job fails"
        yield _trouble(words, overview.account, overview.at, is_now=is_now)
    if overview.cloud is not None:
        yield _trouble("the cloud is away, everything waits", overview.cloud, overview.at, is_now=is_now)


def _trouble(what: str, trouble: Trouble, now: float, *, is_now: bool) -> Text:
    when = _since(trouble.since, now)
    before = "" if is_now else "when it last ran: "
    return _warning(f"{before}{what}: {trouble.reason}{f' ({when})' if when else ''}")


def _warning(text: str) -> Text:
    return Text(f"! {text}", style="yellow")


# --- what is being made ---------------------------------------------------------------------------


def _work(overview: Overview, width: int, room: int | None) -> Iterator[RenderableType]:
    if not overview.file_count:
        if overview.has_ledger:
            yield Text("")
            yield Text("No job file is in work.")
        return
    yield Text("")
    yield Text(f"{_many(overview.file_count, 'job file')} in work: {_counted(overview.counts)}", style="bold")
    rows = [*_rows(overview, has_hosts=has_several(overview))]
    shown = rows if room is None else rows[:room]
    for group in _grouped(shown):
        yield group if isinstance(group, Text) else _job_table(group, overview.at, width)
    hidden = sum(not isinstance(row, Text) for row in rows[len(shown) :]) + _unread(overview)
    if hidden:
        yield Text(f"  … and {_many(hidden, 'more video')}", style="dim")


@dataclass(frozen=True, slots=True)
class _Row:
    """A video, with its file's name, and what is expected of that, where the file has no other."""

    job: JobView
    file_name: str = ""
    expected: str = ""
    host: str = ""


def _job_table(rows: Iterable[_Row], now: float, width: int) -> Table:
    # The widths are fixed, so that the tables of all files look like one.
    table = Table.grid(padding=(0, 1), expand=True)
    is_wide = width >= _WIDE
    for cells in (4, 9, _BAR_CELLS if width >= _NARROW else 0, 5, 8):
        table.add_column(no_wrap=True, width=cells, justify="right" if cells in {4, 5, 8} else "left")
    table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    if is_wide:
        table.add_column(no_wrap=True, width=24, overflow="ellipsis", style="dim")
    for row in rows:
        table.add_row(*_cells(row, now, is_wide=is_wide))
    return table


def _grouped(rows: Iterable[_Row | Text]) -> Iterator[Text | list[_Row]]:
    found: list[_Row] = []
    for row in rows:
        if not isinstance(row, Text):
            found.append(row)
            continue
        if found:
            yield found
        found = []
        yield row
    if found:
        yield found


def _unread(overview: Overview) -> int:
    return sum(overview.counts.values()) - sum(len(file.jobs) for file in overview.files)


def _rows(overview: Overview, *, has_hosts: bool) -> Iterator[Text | _Row]:
    for file in overview.files:
        host = file.host if has_hosts else ""
        if file.job_count == 1 and file.jobs:
            yield _Row(file.jobs[0], file.name, _expected(file), host)
            continue
        line = _file_line(file)
        line.append(f"  on {host}" if host else "", style="dim")
        yield line
        yield from (_Row(job) for job in file.jobs)


def _file_line(file: FileView) -> Text:
    line = Text(no_wrap=True, overflow="ellipsis").append(file.name, style="bold")
    if file.problems:
        line.append("  is not valid, nothing is ordered", style="red")
    elif file.outcome:
        line.append("  is being filed away", style="dim")
    elif file.job_count > 1:
        line.append(f"  {file.counts.get(State.DONE, 0)} of {file.job_count} done", style="dim")
        expected = _expected(file)
        line.append(f"; {expected}" if expected else "", style="dim")
    return line


def _expected(file: FileView) -> str:
    """What can be expected of a file; empty where all of it has come about."""
    is_moving = any(file.counts.get(state) for state in (State.QUEUED, State.EXPORTING, State.RENDERING))
    return file.outlook.english if file.outlook is not None and is_moving else ""


def _cells(row: _Row, now: float, *, is_wide: bool) -> list[RenderableType]:
    job = row.job
    style = _STYLES[job.state]
    has_bar = job.state is State.RENDERING
    text = Text(f"{row.file_name}  ", style="bold") if row.file_name else Text()
    text.append(f"on {row.host}  " if row.host else "", style="not bold dim")
    if job.reason:
        text.append(job.reason, style="not bold red" if job.state is State.FAILED else "not bold yellow")
    else:
        text.append(f'"{job.text}"', style="not bold")
        text.append(f"  {row.expected}" if row.expected else "", style="not bold dim")
    cells: list[RenderableType] = [
        Text("" if row.file_name else str(job.n), style="dim"),
        Text(job.state.value, style=style),
        ProgressBar(total=100, completed=job.percent, width=_BAR_CELLS) if has_bar else Text(""),
        Text(f"{job.percent:.0f} %" if has_bar else ""),
        Text(_elapsed(job.since, now) if not job.state.is_settled else "", style="dim"),
        text,
    ]
    return [*cells, Text(job.project_id or "")] if is_wide else cells


# --- what waits, and what was filed away ----------------------------------------------------------


def _waiting(inbox: InboxView) -> Iterator[RenderableType]:
    if inbox.trouble:
        yield Text("")
        yield Text(f"inbox/: {inbox.trouble}", style="yellow")
    elif inbox.count:
        least = "" if inbox.is_whole else "at least "
        names = ", ".join(inbox.names)
        more = ", …" if inbox.count > len(inbox.names) else ""
        line = Text(f"Waiting in inbox/ ({least}{inbox.count}): ", no_wrap=True, overflow="ellipsis")
        yield Text("")
        yield line.append(f"{names}{more}", style="dim")


def _filed_lines(overview: Overview, width: int) -> Iterator[RenderableType]:
    if not overview.filed:
        return
    table = Table.grid(padding=(0, _GAP))
    times = [f"  {_clock(filed.settled_at, overview.at)}" for filed in overview.filed]
    ends = [became(filed) for filed in overview.filed]
    others = max(map(len, times)) + max(map(len, ends)) + 2 * _GAP
    table.add_column(no_wrap=True, style="dim")
    table.add_column(no_wrap=True, overflow="ellipsis", max_width=max(_LEAST_NAME, width - others))
    table.add_column(no_wrap=True)
    for when, filed, end in zip(times, overview.filed, ends, strict=True):
        style = "green" if filed.outcome == "done" else "red"
        table.add_row(Text(when), Text(filed.filed_as), Text(end, style=style))
    yield Text("")
    yield Text("Filed away last", style="bold")
    yield table


def became(filed: FiledView) -> str:
    """What became of a job file, in a few words."""
    if filed.problems:
        return "not valid, nothing was ordered"
    words = _many(filed.videos, "video")
    if filed.failures:
        words += f", {filed.failures} failed"
    if filed.in_doubt:
        words += f" ({filed.in_doubt} perhaps paid)"
    return words


# --- the list of models ---------------------------------------------------------------------------


def models(catalogue: Catalogue, *, read_at: float, now: float, where: str) -> RenderableType:
    """The list of models, as ``models`` shows it: each id with its names, and below it what the model wears.

    Args:
        catalogue: the list.
        read_at: when it was read, wall-clock seconds.
        now: wall-clock seconds.
        where: it is from; fit to be shown.
    """
    table = Table.grid(padding=(0, 2))
    table.add_column(overflow="fold", min_width=14, style="bold")
    table.add_column(overflow="fold")
    for model in catalogue.models:
        table.add_row(Text(display(model.id)), _names(model))
        for clothes in model.clothes:
            table.add_row(Text(f"  {display(clothes.id)}", style="not bold"), _names(clothes))
    count = len(catalogue.models)
    wardrobe = sum(len(model.clothes) for model in catalogue.models)
    head = f"{_many(count, 'model')} and {wardrobe:,} clothes, as of {_clock(read_at, now)}, from {where}"
    return Group(table, Text(""), Text(head, style="dim"))


def _names(thing: Model | Clothes) -> Text:
    """The English and the Korean name, else whichever there is."""
    known = [thing.labels[language] for language in ("en", "ko") if thing.labels.get(language)]
    names = dict.fromkeys(known or list(thing.labels.values())[:1])
    return Text("  ").join(Text(display(name)) for name in names)


# --- one line, for a pipe -------------------------------------------------------------------------


def line(overview: Overview) -> str:
    """How far everything is, on one line; the same line as long as nothing has changed."""
    parts = [f"{overview.inbox.count} waiting in inbox/"] if overview.inbox.count else []
    if overview.inbox.is_paused:
        parts.append("paused")
    if overview.limited is not None:
        parts.append(f"waits for tomorrow ({overview.limited.english})")
    parts += [f"{peer.host} does not answer" for peer in overview.peers if peer.life is Life.SILENT]
    parts += [trouble.reason for trouble in (overview.root_trouble, overview.account, overview.cloud) if trouble]
    if overview.file_count:
        parts.append(_counted(overview.counts))
        percents = [
            job.percent for file in overview.files for job in file.jobs if job.state is State.RENDERING
        ]  # fmt: skip
        if percents:
            parts[-1] += f" (at {', '.join(f'{percent:.0f} %' for percent in percents[:8])})"
    if not parts:
        parts.append("nothing is in work" if overview.has_ledger else "nothing has run here yet")
    return "; ".join(parts)


# --- small things ---------------------------------------------------------------------------------


def _counted(counts: dict[str, int], nothing: str = "not valid") -> str:
    found = [f"{count} {state}" for state, count in counts.items() if count]
    return ", ".join(found) or nothing


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def _elapsed(since: float | None, now: float) -> str:
    if since is None:
        return ""
    seconds = max(0, int(now - since))
    if seconds >= _HOUR:
        return f"{seconds // _HOUR}:{seconds % _HOUR // _MINUTE:02}:{seconds % _MINUTE:02}"
    return f"{seconds // _MINUTE}:{seconds % _MINUTE:02}"


def _since(at: float | None, now: float) -> str:
    return "" if at is None else f"since {_clock(at, now)}"


def _clock(at: float | None, now: float) -> str:
    """Local time; with its date where that was not today."""
    if at is None:
        return ""
    moment = datetime.fromtimestamp(at, UTC).astimezone()
    is_today = moment.date() == datetime.fromtimestamp(now, UTC).astimezone().date()
    return moment.strftime("%H:%M:%S" if is_today else "%Y-%m-%d %H:%M")
