"""The command line: the only module that prints. Errors become exit codes and one clear text.

Commands import what they need when they run, so that ``--help`` is quick.
"""

from __future__ import annotations

import gc
import os
import shutil
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click

from daemon import VERSION
from daemon.layout import HelpCommand, HelpContext, folded, wrapped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import TextIO

    from click.shell_completion import CompletionItem
    from rich.console import Console

    from daemon.checkup import Finding
    from daemon.config import Config, Paths
    from daemon.demo import Ending
    from daemon.lint import LookAhead, Rules
    from daemon.overview import Overview

FINE: Final = 0
FAILED: Final = 1
UNREACHABLE: Final = 69
LOCKED: Final = 75
INVALID: Final = 78
INTERRUPTED: Final = 130
BROKEN_PIPE: Final = 141

COMPLETE: Final = "_CHROMADROP_COMPLETE"
"""By which a shell that completes a line asks us."""

REFRESH_SECONDS: Final = 0.5
LINE_SECONDS: Final = 2.0
PIPE_COLUMNS: Final = 120

_EXIT_CODES: Final = """\b
Exit codes:
  0    fine
  1    something failed: a job (run --once), a problem (lint, check), no list (models)
  2    wrong usage
  69   the cloud or the root cannot be reached
  75   another daemon has this state
  77   the credential was refused
  78   the configuration is not valid
  130  interrupted
"""


# --- errors become exit codes ---------------------------------------------------------------------


def _fail(text: str, exit_code: int) -> NoReturn:
    """An end that was foreseen: one text on standard error, and an exit code."""
    click.echo(f"chromadrop: {text}", err=True)
    raise click.exceptions.Exit(exit_code)


class Commands(click.Group):
    """The commands in the order in which people meet them; what they raise becomes a text and an exit code."""

    context_class = HelpContext
    command_class = HelpCommand

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of their definition."""
        del ctx
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; whatever can be foreseen ends without a traceback."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            ctx.exit(INTERRUPTED)
        except BrokenPipeError:
            _forget_output(sys.stdout)
            ctx.exit(BROKEN_PIPE)
        except OSError as error:
            _fail(_os_text(error), FAILED)
        except Exception as error:
            code = _exit_code_of(error)
            if code is None:
                raise
            _fail(_text_of(error), code)


def _exit_code_of(error: Exception) -> int | None:
    from daemon.core import errors

    codes: tuple[tuple[type[Exception], int], ...] = (
        (errors.ConfigInvalid, INVALID),
        (errors.LedgerRefused, INVALID),
        (errors.LedgerLocked, LOCKED),
        (errors.RootUnavailable, UNREACHABLE),
        (errors.ChromadropError, FAILED),
    )
    return next((code for kind, code in codes if isinstance(error, kind)), None)


def _text_of(error: Exception) -> str:
    from daemon.core.errors import ConfigInvalid

    if not isinstance(error, ConfigInvalid):
        return str(error)
    count = len(error.problems)
    if count == 1:
        return str(error.problems[0])
    return "\n  ".join([f"the configuration has {count} problems:", *(str(problem) for problem in error.problems)])


def _os_text(error: OSError) -> str:
    from daemon.core.display import display

    where = f"{display(os.fsdecode(error.filename))}: " if isinstance(error.filename, str | bytes) else ""
    return f"{where}{error.strerror or error}"


def _forget_output(stream: TextIO) -> None:
    """Whoever read our output has gone: nothing more goes there, not even at the interpreter's end."""
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def main() -> None:
    """The entry point of the console script and of ``python -m daemon``."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, ValueError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    if COMPLETE in os.environ:
        from daemon import completion

        completion.prepare()
    code: object = INTERRUPTED
    try:
        commands()
    except KeyboardInterrupt:
        pass
    except SystemExit as end:
        code = end.code
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _forget_output(sys.stdout)
        code = BROKEN_PIPE
    except (OSError, ValueError, AttributeError):
        pass  # a full disk or a closed stream; the exit code still tells
    try:
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        _forget_output(sys.stderr)  # or the interpreter's end would make 120 of any exit code
    sys.exit(code)  # type: ignore[arg-type]  # as click left it


# --- what the commands share ----------------------------------------------------------------------


def _config_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--config",
        "config_path",
        type=click.Path(path_type=Path),
        metavar="PATH",
        help="The configuration file. Without it: config.yaml in the current folder, else "
        "/etc/chromadrop/config.yaml, else the defaults.",
    )(command)


def _complete_files(_ctx: click.Context, _parameter: click.Parameter, begin: str) -> list[CompletionItem[str]]:
    """The shell's own files."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(begin, type="file")]


def _complete_failed(ctx: click.Context, _parameter: click.Parameter, begin: str) -> list[CompletionItem[str]]:
    """What lies in failed/ and is not on the line yet; the shell's own files where nothing there begins so."""
    from click.shell_completion import CompletionItem

    from daemon import completion

    config_path: Path | None = ctx.params.get("config_path")
    given = set(ctx.params.get("names") or ())
    found = completion.failed_names(config_path, os.environ, Path.cwd(), begin)
    names = [CompletionItem(name) for name in found if name not in given]
    return names or _complete_files(ctx, _parameter, begin)


def _load(config_path: Path | None) -> tuple[Config, Paths]:
    from daemon.config import load

    cwd = Path.cwd()
    config = load(config_path, os.environ, cwd)
    return config, config.paths(os.environ, cwd)


def _console() -> Console:
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False, soft_wrap=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = PIPE_COLUMNS
    return console


def _say(text: str, *, below: str | None = None) -> None:
    """Print a line; on a terminal no word of it is cut.

    Args:
        text: to be printed.
        below: before what has no room; None: as far in as the text of a second column, and a command is left whole.
    """
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else len(text)
    for line in folded(text, columns) if below is None else wrapped(text, columns, below=below):
        click.echo(line)


def _mark(*, is_ok: bool, is_warning: bool = False) -> str:
    fancy, plain = ("✓", "ok") if is_ok else ("!", "!!") if is_warning else ("✗", "XX")
    try:
        fancy.encode(getattr(sys.stdout, "encoding", None) or "ascii")
    except (UnicodeEncodeError, LookupError):
        return plain
    return fancy


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="""\b
Begin with:
  chromadrop demo                      see it work; no account is needed
  chromadrop check                     is everything there that it needs?
  chromadrop run                       the daemon: drop job files into inbox/
  chromadrop COMMAND --help            examples for each command

"""
    + _EXIT_CODES,
)
@click.version_option(VERSION, "-V", "--version", prog_name="chromadrop", message="%(prog)s %(version)s")
def commands() -> None:
    """Drop a YAML file into a folder, get chroma-key videos.

    Job files dropped into inbox/ are ordered from AI Studios; the videos come to videos/, the job files to done/, or to
    failed/ with an explanation beside them.
    """


# --- run ------------------------------------------------------------------------------------------


@commands.command(
    short_help="The daemon; --once works off what is there and ends.",
    epilog="""\b
Examples:
  chromadrop run                            work until stopped (Ctrl-C, SIGTERM)
  chromadrop run --once                     work off what lies in inbox/, then end
  chromadrop run --config /srv/x.yaml       with another configuration

SIGHUP reads the configuration again. A file inbox/PAUSE stops new orders until it is removed; so does a daily limit
(jobs.max_per_day, jobs.max_seconds_per_day) until tomorrow, and --once ends with what is left.

\b
Exit codes:
  0    stopped as asked; with --once: every job done
  1    with --once: a job or a file failed (see failed/)
  69   the root is not there, and nothing else says where the state is
  75   another daemon has this state
  77   with --once: the account was in trouble to the end
  78   the configuration or the credential is not valid, or the root belongs to another ledger
  130  with --once: stopped (Ctrl-C, SIGTERM) before all was done; the next run goes on
""",
)
@click.option("--once", is_flag=True, help="Work off what is there, then end.")
@_config_option
def run(config_path: Path | None, *, once: bool) -> None:
    """The daemon: make a video of every job that is dropped into inbox/."""
    gc.disable()  # what is loaded now stays; to look through it for garbage again and again takes 7 % of the start
    from daemon import app, lifetime
    from daemon.config import load_with_credential
    from daemon.edges import logs

    gc.freeze()
    gc.enable()
    environ, cwd = dict(os.environ), Path.cwd()
    config, credential = load_with_credential(config_path, environ, cwd)
    paths = config.paths(environ, cwd)
    redactor = app.redactor(credential, config)
    logs.configure(level=config.logs.level, format=config.logs.format, redact=redactor)
    logs.install_excepthooks()
    settings = app.Settings(config, config_path, paths, credential, redactor, environ, cwd)
    sys.exit(lifetime.run(settings, is_once=once))


# --- check ----------------------------------------------------------------------------------------


@commands.command(
    short_help="Every problem at once: configuration, folders, key, cloud, clock.",
    epilog="""\b
Examples:
  chromadrop check                          everything, the cloud too (asking costs nothing)
  chromadrop check --offline                without the cloud

\b
Exit codes, the gravest first:
  78   the configuration or the credential is not valid
  77   the cloud refused the credential
  69   the cloud or the root cannot be reached
  1    another problem: a folder that cannot be written, a clock that is wrong
  0    fine
""",
)
@click.option("--offline", is_flag=True, help="Leave the cloud out.")
@_config_option
def check(config_path: Path | None, *, offline: bool) -> None:
    """Tell every problem at once: configuration, folders, state, credential, cloud, clock.

    Nothing is made or left behind, and nothing is paid. The credential is never shown.
    """
    from daemon import checkup

    findings = checkup.check(config_path, os.environ, Path.cwd(), is_offline=offline)
    for finding in findings:
        click.echo(_finding_line(finding))
    problems = sum(finding.exit_code != FINE for finding in findings)
    words = "1 problem" if problems == 1 else f"{problems} problems"
    click.echo(words if problems else "all is well" + (" (the cloud was not asked)" if offline else ""))
    sys.exit(checkup.exit_code(findings))


def _finding_line(finding: Finding) -> str:
    mark = _mark(is_ok=finding.is_ok, is_warning=finding.exit_code == FINE)
    head = f"{mark} {finding.kind:<13} "
    if not sys.stdout.isatty():
        return head + finding.text
    columns = shutil.get_terminal_size().columns
    return click.wrap_text(finding.text, columns, initial_indent=head, subsequent_indent=" " * len(head))


# --- lint -----------------------------------------------------------------------------------------


@commands.command(
    short_help="Validate job files; sends nothing.",
    epilog="""\b
Examples:
  chromadrop lint greeting.yaml             one file
  chromadrop lint inbox                     every job file in a folder and below
  cat greeting.yaml | chromadrop lint -     standard input

A problem is one line, FILE:LINE:COLUMN: PATH: what is wrong.

Of a valid file it says how long its videos will be, and, where a daemon has run, when they would be ready; both are
estimates.

Models and clothes are compared with jobs.models_file, or with the list that the daemon read from the cloud in the last
48 hours (v3); without a list at hand they are not looked at.

\b
Exit codes:
  0    all are valid
  1    a problem
  2    wrong usage
  78   configuration not valid
""",
)
@click.argument("files", nargs=-1, required=True, metavar="FILE...", shell_complete=_complete_files)
@_config_option
def lint(files: Sequence[str], config_path: Path | None) -> None:
    """Validate job files; nothing is sent, and no credential is needed."""
    from daemon import lint as linter

    config, paths = _load(config_path)
    rules = _lint_rules(config, paths)
    rules.look_ahead = _lint_look_ahead(config, paths)
    has_problem = False
    for lines in linter.lint(files, rules, sys.stdin.buffer):
        has_problem |= not lines.is_ok
        for text in lines.texts:
            click.echo(text)
    sys.exit(FAILED if has_problem else FINE)


def _lint_look_ahead(config: Config, paths: Paths) -> LookAhead:
    from daemon.lint import LookAhead

    ledger = config.ledger.path or (paths.state or paths.root / "state") / "ledger.sqlite3"
    if not config.ledger.is_shared and not ledger.exists():
        return LookAhead()  # and nothing heavy is imported
    from daemon import app, overview
    from daemon.core.errors import ChromadropError

    with suppress(ChromadropError, OSError):  # a ledger that cannot be read now spoils no check of a file
        return overview.look_ahead(config, paths, app.now().wall)
    return LookAhead()


def _lint_rules(config: Config, paths: Paths) -> Rules:
    from daemon.defaults_on_disk import DefaultsOnDisk
    from daemon.lint import Rules

    on_disk = DefaultsOnDisk(config.grammar, paths.inbox, (paths.failed, paths.done, paths.processing))
    can_have_list = config.models_path is not None or config.api.version == "v3"
    if not can_have_list or not config.jobs.check_models:
        return Rules(on_disk)  # and nothing heavy is imported
    from daemon import app, models

    try:
        found = models.find_at_hand(config, paths, app.now().wall)
    except models.NoList as error:
        click.echo(f"chromadrop: models and clothes are not looked at: {error}", err=True)
        found = None
    if found is None:
        return Rules(on_disk)
    return Rules(on_disk, found.catalogue, models.utc(found.at))


# --- status ---------------------------------------------------------------------------------------


@commands.command(
    short_help="What is going on; --watch shows live progress.",
    epilog="""\b
Examples:
  chromadrop status                         what is going on now
  chromadrop status --watch                 live, until Ctrl-C
  chromadrop status --json | jq .counts     for programs

The JSON document has: at, root, state_folder, has_ledger, daemon {running, pid, started_at, version},
troubles {account, cloud, root: null or {reason, since}}, paused, inbox {count, exact, names, error}, counts
(jobs in work by state), file_count, files [{file, claimed_at, outcome, problems, counts, jobs [{n, state,
percent, project_id, text, since, reason, paid, video}], spoken_seconds, ready_seconds, host}], filed [{file, filed_as,
outcome, settled_at, videos, failures, in_doubt, problems}], the last 10, limited (the daily limit is reached: null or
{until, videos, seconds, max_videos, max_seconds}), experience {renders, render_seconds}, daemons [{host, state (alive,
silent, gone), since, taken_over_by, pid, version, counts, waiting, troubles {NAME: {reason, since}}}], empty unless
ledger.url names a database that several machines share, as is host, null. Times are UTC; spoken_seconds and
ready_seconds are estimates, and null where there is nothing to estimate from.

\b
Exit codes:
  0    fine
  1    the ledger cannot be read
  2    wrong usage
  69   no root
  78   configuration not valid
""",
)
@click.option("--watch", is_flag=True, help="Show live progress until Ctrl-C.")
@click.option("--json", "is_json", is_flag=True, help="Print one JSON document.")
@_config_option
def status(config_path: Path | None, *, watch: bool, is_json: bool) -> None:
    """What is going on: the daemon, its troubles, what is being made, what waits, what was filed away last.

    It reads the ledger, so it tells the same whether the daemon is running or not.
    """
    if watch and is_json:
        raise click.UsageError("--watch and --json do not go together; say --json again and again instead.")
    from daemon import app, overview

    config, paths = _load(config_path)
    state = app.find_state(config, paths)

    past, reader = overview.PastRenders(), overview.Reader(config, state)

    def gather() -> Overview:
        return overview.gather(config, paths, state, app.now().wall, past=past, reader=reader)

    if is_json:
        import json

        click.echo(json.dumps(overview.document(gather()), indent=2, ensure_ascii=True))
        return
    if watch:
        _watch(gather)
        return
    from daemon import screens

    console = _console()
    console.print(screens.screen(gather(), width=console.width))


def _watch(gather: Callable[[], Overview]) -> NoReturn:
    import threading

    from daemon.core.errors import LedgerUnavailable

    tick = threading.Event()
    with _live(is_kept=True) as show:
        while True:
            # Such as a ledger that is being moved: it is looked at again.
            with suppress(LedgerUnavailable):
                show(gather())
            tick.wait(REFRESH_SECONDS)


@contextmanager
def _live(*, is_kept: bool) -> Iterator[Callable[[Overview], None]]:
    """A function that shows an overview in the place of the one before; in a pipe, a line where something changed."""
    from daemon import screens

    console = _console()
    if not console.is_terminal:
        yield _Lines(screens.line)
        return
    from rich.live import Live

    with Live(console=console, auto_refresh=False, transient=not is_kept, vertical_overflow="crop") as live:
        yield lambda overview: live.update(
            screens.screen(overview, width=console.width, height=console.height), refresh=True
        )


def _raise_if_unread() -> None:
    """Notice that nobody reads our output any more also while there is nothing to say (poll(2), POLLERR)."""
    import select

    events: list[tuple[int, int]] = []
    with suppress(OSError, ValueError, AttributeError):  # no real file, or no poll on this system
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        events = poll.poll(0)
    if any(event & select.POLLERR for _, event in events):
        raise BrokenPipeError


class _Lines:
    """What is going on as single lines, not more often than people can read, and only where something changed."""

    def __init__(self, line: Callable[[Overview], str]) -> None:
        self._line = line
        self._last = ""
        self._said_at = float("-inf")

    def __call__(self, overview: Overview) -> None:
        """Print it, if it is news."""
        _raise_if_unread()
        line = self._line(overview)
        if line != self._last and overview.at - self._said_at >= LINE_SECONDS:
            self._last, self._said_at = line, overview.at
            click.echo(line)
            sys.stdout.flush()


# --- retry ----------------------------------------------------------------------------------------


@commands.command(
    short_help="Put failed job files back.",
    epilog="""\b
Examples:
  chromadrop retry greeting                      failed/greeting.yaml goes back to inbox/
  chromadrop retry failed/*.yaml                 all of them
  chromadrop retry --pay-again spring/a.yaml     also what may have been paid already

Videos that are made are not made again, and a render that was paid is waited for. Only what was never accepted is
ordered again. Whether it may have been paid is not known for a job in doubt: look into the AI Studios account, and if
the video is not there, say --pay-again.

\b
Exit codes:
  0    all were put back
  1    one could not be
  2    wrong usage
  69   no root
  78   configuration not valid
""",
)
@click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=_complete_failed)
@click.option("--pay-again", is_flag=True, help="Order again, and perhaps pay twice, what may have been paid already.")
@_config_option
def retry(names: Sequence[str], config_path: Path | None, *, pay_again: bool) -> None:
    """Put failed job files back into inbox/, and say what will happen to them."""
    from contextlib import ExitStack

    from daemon import app, overview
    from daemon import retry as retrying
    from daemon.checkup import require_root
    from daemon.defaults_on_disk import DefaultsOnDisk

    config, paths = _load(config_path)
    state = app.find_state(config, paths)
    has_failed = has_put_back = False
    with ExitStack() as stack:
        ledger = overview.open_for_reading(config, state)
        if ledger is not None:
            stack.callback(ledger.close)
        require_root(paths, ledger)
        for retried in retrying.retry(
            names,
            places=app.places(paths),
            ledger=ledger,
            defaults=DefaultsOnDisk(config.grammar, paths.inbox),
            may_pay_again=pay_again,
            cwd=Path.cwd(),
        ):
            has_failed |= not retried.is_back
            has_put_back |= retried.is_back
            _say_retried(retried.name, retried.texts, is_back=retried.is_back)
        is_alive = overview.is_any_alive(ledger, state)
    if has_put_back and not is_alive:
        whose = "ledger" if config.ledger.is_shared else "state"
        click.echo(f"No daemon is running with this {whose}; it goes on once one is: chromadrop run")
    sys.exit(FAILED if has_failed else FINE)


def _say_retried(name: str, texts: Sequence[str], *, is_back: bool) -> None:
    if is_back:
        click.echo(f"{_mark(is_ok=True)} {name} is back in inbox/")
        for text in texts:
            _say(f"    {text}", below="    ")
    else:
        click.echo(f"{_mark(is_ok=False)} {name}: {' '.join(texts)}", err=True)


# --- models ---------------------------------------------------------------------------------------


@commands.command(
    "models",
    short_help="The models and clothes that can be ordered.",
    epilog="""\b
Examples:
  chromadrop models                                     ids and names, for people
  chromadrop models --json | jq -r '.models[].id'       for programs
  chromadrop models --html > models.html                with pictures, for a browser

The list is jobs.models_file where that is set; else the cloud's own (v3), which costs nothing to read; and while the
cloud is away the copy that the daemon keeps. The JSON document has: as_of (UTC), source (cloud, file, or copy), models
[{id, label, thumbnail, clothes [{id, label, thumbnail}]}]; jobs.models_file takes it as it is.

\b
Exit codes:
  0    fine
  1    there is no list: v2 without jobs.models_file, or that file cannot be used
  2    wrong usage
  69   the cloud cannot be reached, and there is no copy
  77   the cloud refused the credential
  78   the configuration or the credential is not valid
""",
)
@click.option("--json", "is_json", is_flag=True, help="Print one JSON document.")
@click.option("--html", "is_html", is_flag=True, help="Print a page for a browser.")
@_config_option
def list_models(config_path: Path | None, *, is_json: bool, is_html: bool) -> None:
    """The models and clothes that can be ordered: their ids and names."""
    if is_json and is_html:
        raise click.UsageError("--json and --html do not go together.")
    from daemon import app, models

    config, paths = _load(config_path)
    now = app.now().wall
    try:
        found = models.find(config, paths, os.environ, now)
    except models.NoList as error:
        _fail(str(error), error.exit_code)
    if found.remark:
        click.echo(f"chromadrop: {found.remark}", err=True)
    if is_json:
        import json

        click.echo(json.dumps(models.document(found), indent=2, ensure_ascii=True))
    elif is_html:
        from daemon.core.models_page import page

        click.echo(page(found.catalogue, read_at=found.at, base=found.where).encode(), nl=False)
    else:
        from daemon import screens

        _console().print(screens.models(found.catalogue, read_at=found.at, now=now, where=found.where))


# --- simulate -------------------------------------------------------------------------------------


def _list_faults(ctx: click.Context, _option: click.Parameter, is_wanted: bool) -> None:
    if not is_wanted or ctx.resilient_parsing:
        return
    from daemon.simulator.faults import ALIASES, KINDS, TARGETS

    click.echo(f"--fault TARGET:KIND[,NAME=VALUE]...      TARGET is {', '.join(TARGETS)}, or any\n")
    for name, kind in KINDS.items():
        click.echo(f"{name:<18} {kind.says}")
        names = ", ".join(f"{key}={value}" for key, value in kind.parameters.items())
        click.echo(f"{'':<18} strikes: {kind.strikes}" + (f"; names: {names}" if names else ""))
    click.echo("\nFor every kind: times=1 (0: for ever), skip=0, rate=1.0, match=TEXT, accepted=yes|no")
    click.echo("Short for others: " + ", ".join(f"{short} = {name}" for short, name in ALIASES.items()))
    click.echo("A bare HTTP status is short for http,code=STATUS: export:503")
    ctx.exit()


@commands.command(
    short_help="A stand-in for the cloud, with faults on request.",
    epilog="""\b
Examples:
  chromadrop simulate
  chromadrop simulate --render-seconds 5 --verbose
  chromadrop simulate --fault export:503,times=3,retry_after=2 --fault progress:nan
  chromadrop simulate --fault download:short_body,times=2 --video-bytes 50000000
  chromadrop simulate --app my-app:my-key --token-seconds 60 --fault export:render_fails,match=Hello
  chromadrop simulate --list-faults

\b
Exit codes:
  0    stopped (Ctrl-C)
  1    the address cannot be had
  2    wrong usage, or a fault that does not exist
""",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8765, show_default=True, help="Port; 0 for a free one.")
@click.option("--render-seconds", type=float, default=20.0, show_default=True, help="How long a render takes.")
@click.option("--jitter", type=float, default=0.0, show_default=True, help="Share by which renders differ, 0 to 1.")
@click.option("--key", "keys", multiple=True, metavar="KEY", help="A key that is taken; any word if not given.")
@click.option("--app", "apps", multiple=True, metavar="APPID:USERKEY", help="A pair that gets a token (v3); or any.")
@click.option("--token-seconds", type=float, default=86400.0, show_default=True, help="How long a token is good (v3).")
@click.option("--strict-models", "is_strict_about_models", is_flag=True, help="Refuse models that GET /model has not.")
@click.option("--fault", "faults", multiple=True, metavar="FAULT", help="Something that goes wrong; see --list-faults.")
@click.option("--video-bytes", type=int, metavar="N", help="Size of every video; 70 kB if not given.")
@click.option("--link-seconds", type=float, default=900.0, show_default=True, help="How long a download link is good.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of jitter, and of faults with a rate.")
@click.option("--verbose", is_flag=True, help="Print a line for every request.")
@click.option(
    "--list-faults",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_list_faults,
    help="What can go wrong, and how to say it; then end.",
)
@_config_option
def simulate(
    config_path: Path | None,
    *,
    apps: Sequence[str],
    faults: Sequence[str],
    verbose: bool,
    **rest: Any,
) -> None:
    """A stand-in for the cloud, v2 and v3: real small MP4 files before an even green, and faults on request.

    It costs nothing and needs no account. chromadrop and the vendor's own sample programs work against it with only the
    address changed. The configuration is not read.
    """
    del config_path  # accepted like everywhere
    from daemon.simulator.faults import Fault
    from daemon.simulator.server import Settings, app_from, base_url_of, serve

    try:
        settings = Settings(
            **rest,
            apps=tuple(app_from(app) for app in apps),
            faults=tuple(Fault.parse(fault) for fault in faults),
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from error

    def on_ready(base_url: str) -> None:
        origin = base_url.partition("/api/")[0]
        app = settings.apps[0] if settings.apps else ("any-word", "any-word")
        _say_ready(origin, base_url, base_url_of("v3", origin), settings.keys[0] if settings.keys else "any-word", app)

    serve(settings, on_ready=on_ready, on_request=_say_served if verbose else None)


def _say_ready(origin: str, v2: str, v3: str, key: str, app: tuple[str, str]) -> None:
    pair = f"AISTUDIOS_APP_ID={app[0]} AISTUDIOS_USER_KEY={app[1]}"
    v3_hosts = "https://app.aistudios.com, https://app.aistudios.cn, or https://app.deepbrain.io"
    for text in (
        f"The simulator answers at {v2}",
        f"and, as v3,           at {v3}",
        "",
        f"chromadrop, v2:   AISTUDIOS_API_KEY={key} CHROMADROP_API__BASE_URL={v2} chromadrop run",
        f"chromadrop, v3:   {pair} CHROMADROP_API__VERSION=v3 CHROMADROP_API__BASE_URL={v3} chromadrop run",
        f"vendor's samples: write {origin} for the host they name:",
        f"  v2  https://v2.aistudios.com or https://aistudios.com; key {key}",
        f"  v3  {v3_hosts}; appId {app[0]}, userKey {app[1]}",
        f"what was asked:   {origin}/_simulator/state",
        "Ctrl-C ends it.",
    ):
        click.echo(text)
    sys.stdout.flush()


def _say_served(served: object) -> None:
    from daemon.core.display import display

    click.echo(display(str(served)))
    sys.stdout.flush()


# --- demo -----------------------------------------------------------------------------------------


@commands.command(
    short_help="See it all work, without an account.",
    epilog="""\b
Examples:
  chromadrop demo                           in a new folder `demo` here
  chromadrop demo --folder /tmp/try         elsewhere
  chromadrop demo --render-seconds 2        in a hurry

\b
Exit codes:
  0    all that was expected came true
  1    it did not
  2    wrong usage
  130  interrupted
""",
)
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    default="demo",
    show_default=True,
    help="The scratch folder; a number is added where it is taken. It is kept, and nothing is deleted.",
)
@click.option(
    "--render-seconds",
    type=click.FloatRange(0, 600),
    default=8.0,
    show_default=True,
    help="How long the simulator's renders take.",
)
@_config_option
def demo(config_path: Path | None, *, folder: Path, render_seconds: float) -> None:
    """The main job without an account: simulator, job files, daemon, videos. Takes about 15 seconds.

    The daemon is the real one; only the cloud is simulated. The configuration is not read.
    """
    del config_path  # accepted like everywhere
    from daemon import demo as show_piece

    with _ended_by_signals():
        try:
            place = show_piece.make_folder(Path.cwd() / folder)
            _say(f"Four job files lie in {_shown(place)}/inbox; one of them is bad on purpose. The daemon starts.")
            with _live(is_kept=False) as show:
                ending = show_piece.play(place, render_seconds=render_seconds, environ=os.environ, show=show)
        except show_piece.DemoFailed as error:
            _fail(str(error), FAILED)
    for text in _ending_lines(ending):
        _say(text, below=_QUOTED if text.startswith(_QUOTED) else None)
    sys.exit(FAILED if ending.unmet else FINE)


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP end like Ctrl-C, so that nothing is left running."""
    import signal

    def end(_number: int, _frame: object) -> NoReturn:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


_QUOTED: Final = "  | "


def _ending_lines(ending: Ending) -> Iterator[str]:
    where = _shown(ending.folder)
    videos = ending.videos
    yield ""
    whole = sum(made.flaw is None for made in videos)
    yield f"{len(videos)} videos in {ending.seconds:.0f} s, {whole} of them checked and whole:"
    for made in videos:
        mark = _mark(is_ok=made.flaw is None)
        yield f"  {mark} {where}/{made.path:<30} {made.bytes:>9,} bytes" + (f"  {made.flaw}" if made.flaw else "")
    yield ""
    yield f"{len(ending.done)} job files are done, each with its .result.json:"
    for name in ending.done:
        yield f"  {_mark(is_ok=True)} {where}/done/{name}"
    for name, text in ending.failed:
        yield ""
        yield f"{where}/failed/{name} failed, and {name}.error.txt beside it says:"
        yield from (f"{_QUOTED}{line}".rstrip() for line in text.rstrip().splitlines())
    yield ""
    yield from _farewell_lines(ending, where)


def _farewell_lines(ending: Ending, where: str) -> Iterator[str]:
    if ending.unmet:
        yield "This is not what should have come of it:"
        yield from (f"  {_mark(is_ok=False)} {text}" for text in ending.unmet)
        yield f"The log says more: {where}/chromadrop.log"
        return
    program = _program()
    yield f"Look into {where}; its log, chromadrop.log, has one JSON line for everything that happened."
    yield "With a real key, in the folder where inbox/ and videos/ are to be:"
    yield "  export AISTUDIOS_API_KEY=...                     # your key"
    yield "  echo 'jobs: {max_rendering: 5}' > config.yaml    # or nothing: every setting has a default"
    yield f"  {program} run"


def _shown(folder: Path) -> str:
    """The folder as one would type it from here."""
    from daemon.core.display import display

    with suppress(ValueError, OSError):
        return display(str(folder.relative_to(Path.cwd())))
    return display(str(folder))


def _program() -> str:
    """How to call this program from here."""
    if shutil.which("chromadrop"):
        return "chromadrop"
    called = Path(sys.argv[0])
    return _shown(called) if called.name == "chromadrop" else f"{Path(sys.executable).name} -m daemon"


# --- schema ---------------------------------------------------------------------------------------


@commands.command(
    short_help="JSON Schema of job files and of the configuration.",
    epilog="""\b
Examples:
  chromadrop schema job > job.schema.json
  chromadrop schema config > config.schema.json

\b
In VS Code (YAML extension), or any editor with the YAML language server, the first line of a file then is:
  # yaml-language-server: $schema=job.schema.json

\b
Exit codes:
  0    fine
  2    wrong usage
  78   configuration not valid
""",
)
@click.argument("which", type=click.Choice(["job", "config"]))
@_config_option
def schema(which: str, config_path: Path | None) -> None:
    """Print the JSON Schema of job files or of the configuration, for completion in editors."""
    import json

    if which == "job":
        from daemon.core.batch import job_schema

        found = job_schema(_load(config_path)[0].api.version)
    else:
        from daemon.config import config_schema

        found = config_schema()
    click.echo(json.dumps(found, indent=2))


# --- completion and manual ------------------------------------------------------------------------


@commands.command(
    "completion",
    short_help="The completion script for bash, zsh, or fish.",
    epilog="""\b
Examples:
  source <(chromadrop completion bash)                                        for this shell alone
  chromadrop completion bash > /etc/bash_completion.d/chromadrop              for everybody (package bash-completion)
  chromadrop completion zsh > /usr/local/share/zsh/site-functions/_chromadrop
  chromadrop completion fish > ~/.config/fish/completions/chromadrop.fish

It completes commands, options, and the names of failed files for retry. chromadrop must be in the PATH.

\b
Exit codes:
  0    fine
  2    wrong usage
""",
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@_config_option
def print_completion(shell: str, config_path: Path | None) -> None:
    """Print what a shell has to read so that the Tab key completes this command line."""
    del config_path  # accepted like everywhere
    from daemon import completion

    click.echo(completion.script(shell, commands, COMPLETE), nl=False)


@commands.command(
    "manual",
    short_help="The man page.",
    epilog="""\b
Examples:
  chromadrop manual | man -l -                                          read it
  chromadrop manual > /usr/local/share/man/man1/chromadrop.1            for everybody: man chromadrop

\b
Exit codes:
  0    fine
  2    wrong usage
""",
)
@_config_option
def print_manual(config_path: Path | None) -> None:
    """Print the man page chromadrop(1), in man's own language (roff)."""
    del config_path  # accepted like everywhere
    from daemon import manual

    click.echo(manual.page(commands).encode(), nl=False)
