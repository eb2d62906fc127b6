"""structlog: what the daemon says about itself, one line an event.

An event is a dotted name with fields, never a sentence; `EVENTS` says what each means. On a terminal the
lines are for people, else they are JSON::

    {"timestamp": "2026-02-03T04:05:06.789Z", "level": "info", "event": "job.exported", "job": 7}

Whatever is written, by us, by a library, or by an exception that nobody caught: it is redacted, it is one
line of UTF-8 (on a terminal a traceback takes several), and writing it never raises into the caller.
"""

from __future__ import annotations

import codecs
import contextlib
import json
import logging
import math
import os
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from dataclasses import field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal, cast

import structlog
from structlog.dev import ConsoleRenderer, plain_traceback

from daemon.core.display import display
from daemon.core.record import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping
    from types import TracebackType
    from typing import TextIO

    from structlog.typing import FilteringBoundLogger

    from daemon.core.redact import Redactor

    ExcInfo = tuple[type[BaseException] | None, BaseException | None, TracebackType | None]

EVENTS: Final[dict[str, str]] = {
    "account.recovered": "the cloud takes our credential, and our credit, again; exports go on",
    "account.trouble": "credential refused or no credit; no job fails, new exports wait",
    "batch.claimed": "a job file was taken from inbox/ into processing/",
    "batch.deferred": "a job file could not be moved or its results not be written for now; tried again",
    "batch.filed": "a job file lies in done/ or failed/, with its results beside it",
    "batch.invalid": "a job file has problems; it goes to failed/, nothing was exported",
    "batch.settled": "every job of a job file is done or failed",
    "batch.withdrawn": "a job file had gone, or had changed, before it could be claimed; nothing came of the claim",
    "cloud.away": "the cloud cannot be reached or is too busy; everything waits",
    "cloud.back": "the cloud answers again",
    "config.refused": "the configuration that was read again has problems; the one before stays in force",
    "config.reloaded": "the configuration was read again and is in force",
    "credential.exposed": "the file that api.key_file names may be read by the group or by others",
    "daemon.crashed": "an exception that nobody caught ended the program or one of its threads: a bug",
    "daemon.started": "the daemon is at work",
    "daemon.stopped": "the daemon has ended",
    "daemon.stopping": "the daemon was asked to end; nothing new is begun",
    "defaults.broken": "a folder's defaults have problems; what is dropped there waits until they are mended",
    "defaults.read": "a folder's defaults were read, and count for what is dropped there from now on",
    "drop.conflict_copy": "a sync program's conflict copy lies in inbox/; it is left there",
    "drop.ignored": "something in inbox/ is no job file and never will be; it is left there",
    "drop.unreadable": "a job file in inbox/ may not be read; it is left there until it may",
    "drop.waiting": "a file in inbox/ is not ready: changing, being written, empty, or making no sense yet",
    "http.exposed": "the pages for monitoring can be read from other machines: http.listen says so",
    "http.started": "the pages for monitoring are served",
    "http.unavailable": "the address in http.listen cannot be had; work goes on without, and it is tried again",
    "job.adopted": "an export that was never answered was found among the account's projects; the job goes on with it",
    "job.continued": "a job of a file that was dropped again takes up what the earlier one has",
    "job.deferred": "nothing came of it this time; the same is done again later",
    "job.downloaded": "a job is done: its video is whole and visible in videos/",
    "job.export_started": "the ledger knows that the cloud is about to be asked for a video",
    "job.exported": "the cloud accepted a job: it is paid for",
    "job.gave_up": "a render did not end before its deadline; its project id stays on record",
    "job.in_doubt": "the cloud was asked and nothing that makes sense came back: it may have been paid",
    "job.progressed": "the cloud told how far a render is",
    "job.queued": "a job waits for its export",
    "job.refused": "the cloud said no to a job",
    "job.traced": "an export was not answered; it is looked for among the account's projects",
    "ledger.deferred": "the ledger cannot be written now; nothing is done until it can",
    "ledger.lost": "another daemon has taken our jobs over while we were cut off; we begin again, as after a restart",
    "ledger.pruned": "job files that were filed away more than ledger.keep_days ago were forgotten",
    "ledger.recovered": "the ledger can be written again",
    "library.message": "a library, or Python itself, had something to say",
    "lifeline.cut": "cut off from the shared ledger: nothing is asked for, and soon others go on with our jobs",
    "lifeline.mended": "the ledger is in reach again, and knows that we live",
    "models.read": "the list of models was read, and is another than before",
    "models.unavailable": "the list of models cannot be had; nothing waits for it, nothing is refused by it",
    "notice.deferred": "a notice was not taken; it is tried again",
    "notice.delivered": "a notice was taken by notify.command or notify.url",
    "notice.given_up": "notices were never taken, or too many wait: they are not tried again",
    "notice.unavailable": "the program that notify.command names cannot be found or run now",
    "page.deferred": "a page in the root could not be written for now",
    "peer.taken_over": "another daemon has died, or its machine has; we go on with its jobs (host, owner, files, jobs)",
    "queue.limited": "as much as may be ordered on one day was: the rest waits until tomorrow",
    "queue.paused": "inbox/PAUSE is there: nothing new is exported",
    "queue.resumed": "inbox/PAUSE is gone: exports go on",
    "queue.unlimited": "another day has begun, or the daily limit was raised: exports go on",
    "root.found": "the root is back; everything is taken up again",
    "root.lost": "the root is gone, unmounted, or unreadable; everything waits, nothing is forgotten",
    "scan.failed": "inbox/ could not be looked through; tried again",
    "spool.exposed": "processing/ may be written by others than the daemon; said once, with the cure",
    "spool.permissions_refused": "a mode or a group cannot be had for what was made, which keeps its own; said once",
    "spool.stray": "a file in processing/ that the ledger does not know; it is left there, for it may have been paid",
    "watch.degraded": "the operating system cannot tell of changes; scans find them, a little later",
    "watch.rebuilt": "the watch on inbox/ had gone blind and was set up again",
    "watch.started": "inbox/ is watched",
}

Format = Literal["auto", "console", "json"]

_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
_NAMES: Final = {
    "warn": "warning",
    "exception": "error",
    "fatal": "critical",
}  # structlog's other method names
_MAX_DEPTH: Final = 6
_MOST_NAMES: Final = 500
_MAX_TRACEBACK: Final = 16_000  # characters; journald cuts lines at 48 KiB (journald.conf(5), LineMax=)


# --- where the lines go -------------------------------------------------------------------------------------


def _unredacted(text: str) -> str:
    return text


@dataclass(frozen=True)
class _Output:
    """Everything that `configure` decides; replaced as a whole, so that a logger of any age follows."""

    threshold: int = _LEVELS["warning"]
    redact: Callable[[str], str] = _unredacted
    clock: Callable[[], float] = time.time
    stream: TextIO | None = None
    console: ConsoleRenderer | None = None
    names: dict[str, str] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)  # a warning may arise while a line is written

    def line(self, level: str, event: MutableMapping[str, Any]) -> str:
        """One event as one line, without its newline; on a terminal an exception adds lines of its own."""
        fields: dict[str, Any] = {
            "timestamp": self._timestamp(),
            "level": level,
            "event": self._text(event.pop("event", "")),
        }
        raised = _exception_of(event)
        own = {self._name(key): self._value(value, 0) for key, value in event.items()}
        fields |= {key: value for key, value in own.items() if key not in fields}
        if raised:
            # line by line, for the redactor cuts long texts, and what matters most comes last
            lines = [self._text(line) for line in raised.splitlines()]
            fields["exception"] = ("\n" if self.console else "\\n").join(lines)[-_MAX_TRACEBACK:]
        if self.console is not None:
            return self.console(None, level, fields)
        return json.dumps(fields, ensure_ascii=not _is_utf8(self.stream), allow_nan=False)

    def write(self, line: str) -> None:
        """Write one line. A broken pipe, a full disk, or a closed stream loses it, and that is all."""
        stream = self.stream if self.stream is not None else sys.stderr
        if stream is None:  # pythonw and daemons with closed descriptors have none
            return
        if not _is_utf8(stream):
            line = line.encode(stream.encoding, "backslashreplace").decode(stream.encoding)
        with self.lock, contextlib.suppress(OSError, ValueError, RuntimeError):
            stream.write(f"{line}\n")
            stream.flush()

    def _timestamp(self) -> str:
        now = self.clock()
        if self.console is not None:
            return time.strftime("%H:%M:%S", time.localtime(now))
        return datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def _name(self, key: str) -> str:
        """The name of an event's own field: there are few, so each is looked at once."""
        name = self.names.get(key)
        if name is None:
            name = self._text(key)
            if len(self.names) < _MOST_NAMES:
                self.names[key] = name
        return name

    def _fields(self, values: Mapping[Any, Any], depth: int) -> dict[str, Any]:
        return {self._text(key): self._value(value, depth) for key, value in values.items()}

    def _value(self, value: Any, depth: int) -> Any:
        """The value as JSON knows it, every text in it redacted and harmless."""
        if value is None or isinstance(value, bool):
            return value
        if type(value) is int:
            return value if abs(value) < 2**63 else hex(value)  # str of a huge one raises
        if type(value) is float and math.isfinite(value):
            return value
        if depth < _MAX_DEPTH and isinstance(value, Mapping):
            return self._fields(value, depth + 1)
        if depth < _MAX_DEPTH and isinstance(value, list | tuple | set | frozenset):
            return [self._value(member, depth + 1) for member in value]
        return self._text(value)

    def _text(self, value: Any) -> str:
        text = os.fsdecode(value) if isinstance(value, bytes) else str(value)
        return display(self.redact(text))


def _exception_of(event: MutableMapping[str, Any]) -> str:
    """The traceback as text, chain and notes included, local variables never."""
    found = event.pop("exc_info", None)
    if isinstance(found, tuple):
        found = found[1]
    elif found and not isinstance(found, BaseException):
        found = sys.exception()
    return "".join(traceback.format_exception(found)).rstrip() if found else ""


def _is_utf8(stream: TextIO | None) -> bool:
    """Whether the stream takes every character; one in memory has no encoding."""
    encoding = getattr(stream if stream is not None else sys.stderr, "encoding", None)
    return not encoding or codecs.lookup(encoding).name == "utf-8"


class _Switch:
    """The one thing that changes: where lines go now."""

    def __init__(self) -> None:
        self.output = _Output()

    def emit(self, level: str, event: MutableMapping[str, Any]) -> None:
        """Write an event that did not come through structlog, if its level is wanted."""
        if _LEVELS[level] >= self.output.threshold:
            self.output.write(self.render(level, event))

    def render(self, level: str, event: MutableMapping[str, Any]) -> str:
        sure = {key: value for key, value in event.items() if type(value) in {str, int, float, bool}}
        try:
            return self.output.line(level, event)
        except Exception as error:  # noqa: BLE001 - any object's text may raise anything; a log line must not
            plain = replace(self.output, console=None)
            return plain.line(level, sure | {"unloggable": type(error).__name__})


_switch: Final = _Switch()


class _Lines:
    """What structlog calls the logger: it is given rendered lines."""

    def _write(self, line: str) -> None:
        _switch.output.write(line)

    debug = info = warning = warn = error = exception = critical = fatal = log = msg = _write


def _drop_unwanted(_logger: Any, name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    if _LEVELS[_NAMES.get(name, name)] < _switch.output.threshold:
        raise structlog.DropEvent
    return event


def _render(_logger: Any, name: str, event: MutableMapping[str, Any]) -> str:
    return _switch.render(_NAMES.get(name, name), event)


# At import, not in `configure`: a command that never configures logs must not meet structlog's own default,
# which prints everything to standard output. The level is a processor and not a wrapper class, so that
# `set_level` reaches loggers that exist, and they may be cached.
structlog.configure(
    processors=[_drop_unwanted, _render],
    wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
    logger_factory=_Lines,
    cache_logger_on_first_use=True,
)


# --- what others say ----------------------------------------------------------------------------------------


class _LibraryMessages(logging.Handler):
    """The standard library's logging, into the same lines."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = record.getMessage().strip()
        except Exception:  # noqa: BLE001 - arguments that do not fit, or whose text raises; see _Switch.render
            text = record.msg
        level = next((name for name in reversed(_LEVELS) if record.levelno >= _LEVELS[name]), "debug")
        event = {"event": "library.message", "logger": record.name, "text": text}
        _switch.emit(level, event | {"exc_info": record.exc_info})


_library: Final = _LibraryMessages(logging.WARNING)


def _uncaught(_kind: type[BaseException], error: BaseException, _traceback: TracebackType | None) -> None:
    _switch.emit("error", {"event": "daemon.crashed", "exc_info": error})


def _uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_type is SystemExit:  # as Python's own hook has it
        return
    name = args.thread.name if args.thread is not None else ""
    _switch.emit("error", {"event": "daemon.crashed", "thread": name, "exc_info": args.exc_value})


def _unraisable(args: sys.UnraisableHookArgs) -> None:
    text = f"{args.err_msg or 'exception ignored in'}: {type(args.object).__qualname__}"
    _switch.emit("warning", {"event": "library.message", "logger": "python", "text": text, "exc_info": args.exc_value})


# --- what the program calls ---------------------------------------------------------------------------------


def configure(
    *,
    level: str,
    format: Format,  # noqa: A002 - the configuration's own word, logs.format
    redact: Redactor,
    stream: TextIO | None = None,
    clock: Callable[[], float] = time.time,
    environ: Mapping[str, str] = os.environ,
) -> None:
    """Say where lines go from now on, for loggers that exist too. May be called again.

    The standard library's logging (from WARNING) and Python's warnings are taken in as ``library.message``.

    Args:
        level: the least important level that is written: debug, info, warning, or error.
        format: console, json, or auto: console when ``stream`` is a terminal.
        redact: takes secrets out of a text.
        stream: where lines go; standard error when left out.
        clock: wall-clock seconds.
        environ: for ``NO_COLOR`` (https://no-color.org) and ``TERM``.
    """
    stream = stream if stream is not None else sys.stderr
    is_terminal = stream is not None and stream.isatty()
    console = None
    if format == "console" or (format == "auto" and is_terminal):
        has_colors = is_terminal and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"
        console = ConsoleRenderer(colors=has_colors, sort_keys=False, exception_formatter=plain_traceback)
    _switch.output = _Output(_LEVELS[level], redact, clock, stream, console)
    logging.raiseExceptions = False
    logging.captureWarnings(capture=True)
    root = logging.getLogger()
    if _library not in root.handlers:
        root.addHandler(_library)


def set_level(level: str) -> None:
    """Change the least important level that is written, at once and for every logger (SIGHUP)."""
    _switch.output = replace(_switch.output, threshold=_LEVELS[level])


def get_logger(**bound: Any) -> FilteringBoundLogger:
    """A logger whose every event carries the fields given here."""
    return cast("FilteringBoundLogger", structlog.get_logger(**bound))


def install_excepthooks() -> None:
    """Write exceptions that nobody caught like every other event: redacted, without local variables."""
    sys.excepthook = _uncaught
    threading.excepthook = _uncaught_in_thread
    sys.unraisablehook = _unraisable
