"""The man page chromadrop(1) as roff, from the same objects of click that ``--help`` is printed from.

Our own few lines, for click-man writes one page for each command and takes no sections such as FILES or ENVIRONMENT.
The macros are those of groff_man(7), of which mandoc knows all that is used here.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import click

from daemon import VERSION

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_LITERAL: Final = "\b"
"""click leaves the line breaks of a paragraph that begins with this."""
_EVERYWHERE: Final = ("--config", "--help")
_BLANK_LINES: Final = re.compile(r"\n(?:[ \t]*\n)+")

_FILES: Final = (
    (
        "config.yaml, /etc/chromadrop/config.yaml",
        "The configuration, where --config names no other; the first that is there.",
    ),
    (
        "inbox/",
        "Where people drop NAME.yaml, NAME.csv, NAME.txt. A file PAUSE in it stops new orders until it is gone.",
    ),
    ("inbox/_defaults.yaml", "There, or in a folder below: what is taken for what the jobs dropped there do not say."),
    ("processing/", "Claimed job files while their videos are made; unfinished downloads in .downloads/."),
    ("done/", "Job files all of whose videos are made, each with NAME.yaml.result.json."),
    ("failed/", "The others, each with NAME.yaml.result.json and, for people, NAME.yaml.error.txt."),
    ("videos/", "Finished videos, and nothing else."),
    (".chromadrop", "In the root: names the ledger that the root belongs to. Not to be copied or deleted."),
    (
        "/var/lib/chromadrop/ledger.sqlite3, state/ledger.sqlite3",
        "The ledger: what was claimed, asked, paid, and made; with folders.state elsewhere. On a local disk.",
    ),
    (
        "/var/lib/chromadrop/identity, state/identity",
        "With ledger.url on PostgreSQL: tells this daemon from the others. Not to be copied to another machine.",
    ),
    ("ledger.sqlite3.schema-N", "Beside it: the ledger as it was before a new release brought it up to date."),
)
_ENVIRONMENT: Final = (
    (
        "CHROMADROP_SECTION__KEY",
        "A setting; wins over the configuration file. CHROMADROP_JOBS__MAX_RENDERING=50 is jobs.max_rendering.",
    ),
    ("AISTUDIOS_API_KEY", "The credential."),
    ("AISTUDIOS_APP_ID, AISTUDIOS_USER_KEY", "With api.version v3, in place of a key."),
    (
        "CREDENTIALS_DIRECTORY",
        "By systemd (LoadCredential=): the file aistudios-api-key there, or aistudios-app-id and aistudios-user-key.",
    ),
    (
        "PGPASSFILE, PGSERVICEFILE, PGPASSWORD",
        "The password for ledger.url on PostgreSQL, as libpq takes it; so is all else that begins with PG.",
    ),
    ("STATE_DIRECTORY", "Set by systemd (StateDirectory=): where the ledger lies, unless folders.state is set."),
    ("NOTIFY_SOCKET, WATCHDOG_USEC", "Set by systemd: sd_notify(3)."),
    ("HTTPS_PROXY, HTTP_PROXY, NO_PROXY", "The way to the cloud."),
    ("REQUESTS_CA_BUNDLE, SSL_CERT_FILE", "Certificates in place of those that come with the program."),
    ("NO_COLOR, COLUMNS", "How a terminal is written to."),
)
_SEE_ALSO: Final = "systemd.service(5), systemd-creds(1), journalctl(1), jq(1)"


def page(commands: click.Group) -> str:
    """The whole page.

    Args:
        commands: the command line; every command of it that is not hidden gets a section of its own.
    """
    top = click.Context(commands, info_name="chromadrop")
    title = commands.get_short_help_str(200).rstrip(".")
    blocks = [_texts(text) for text in _paragraphs(commands.epilog or "")]
    exit_codes = [block for block in blocks if block[0].startswith("Exit codes")]
    examples = [block for block in blocks if block not in exit_codes]
    lines = [
        f'.TH CHROMADROP 1 "" "chromadrop {VERSION}" "User Commands"',
        ".nh",  # what is typed is not to be broken
        ".ad l",
        ".SH NAME",
        rf"chromadrop \- {_escaped(title[0].lower() + title[1:])}",
        *(".SH SYNOPSIS", *_usage(top)),
        *(".SH DESCRIPTION", *_prose(_paragraphs(commands.help or "")[1:])),
        *(".SH OPTIONS", *_options(top), *_everywhere(commands, top)),
        *(".SH COMMANDS", *_commands(commands, top)),
        *(".SH EXIT STATUS", *_exit_status(exit_codes)),
        *(".SH FILES", *_tagged(_FILES)),
        *(".SH ENVIRONMENT", *_tagged(_ENVIRONMENT)),
        *(".SH EXAMPLES", *list(_blocks(block[1:] for block in examples))[1:]),
        *(".SH SEE ALSO", *_prose([_SEE_ALSO])),
    ]
    return "\n".join(line for line in lines if line) + "\n"


def _commands(commands: click.Group, top: click.Context) -> Iterator[str]:
    for name in commands.list_commands(top):
        command = commands.get_command(top, name)
        if command is None or command.hidden:
            continue
        context = click.Context(command, info_name=name, parent=top)
        yield f".SS {_escaped(name)}"
        yield from _usage(context)
        yield from (".PP", *_prose(_paragraphs(command.help or "")))
        yield from _options(context, without=_EVERYWHERE)
        yield from _blocks(_texts(text) for text in _paragraphs(command.epilog or ""))


def _usage(context: click.Context) -> Iterator[str]:
    pieces = context.command.collect_usage_pieces(context)
    yield rf"\fB{_escaped(context.command_path)}\fR {_escaped(' '.join(pieces))}".rstrip()


def _options(context: click.Context, *, without: Sequence[str] = ()) -> Iterator[str]:
    shown = (one for one in context.command.get_params(context) if not set(one.opts).intersection(without))
    records = (one.get_help_record(context) for one in shown)
    return _tagged((names, says) for names, says in filter(None, records) if says)


def _everywhere(commands: click.Group, top: click.Context) -> Iterator[str]:
    """What every command takes after its name, once."""
    command = next(iter(commands.commands.values()))
    context = click.Context(command, parent=top)
    shown = (one for one in command.params if set(one.opts).intersection(_EVERYWHERE))
    records = (one.get_help_record(context) for one in shown)
    return _tagged((names, f"After the name of any command. {says}") for names, says in filter(None, records))


def _exit_status(blocks: Iterable[list[str]]) -> Iterator[str]:
    rows = (line.split(None, 1) for block in blocks for line in block[1:])
    return _tagged((code, says) for code, says in rows)


# --- paragraphs -----------------------------------------------------------------------------------


def _paragraphs(text: str) -> list[str]:
    return [found for found in _BLANK_LINES.split(text.strip(" \n")) if found.strip(f"{_LITERAL} \n")]


def _texts(paragraph: str) -> list[str]:
    """The lines of a paragraph whose breaks are meant."""
    return [line.rstrip() for line in paragraph.split("\n") if line.strip() != _LITERAL]


def _prose(paragraphs: Iterable[str]) -> Iterator[str]:
    for number, paragraph in enumerate(paragraphs):
        yield ".PP" if number else ""
        yield _line(" ".join(paragraph.replace(_LITERAL, "").split()))


def _blocks(blocks: Iterable[list[str]]) -> Iterator[str]:
    """Paragraphs with an indented line keep their breaks; without one they are prose that was broken by hand."""
    for block in blocks:
        yield ".PP"
        if any(line.startswith(" ") for line in block):
            yield from (".nf", *(_line(line) for line in block), ".fi")
        else:
            yield from _prose(["\n".join(block)])


def _tagged(rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    for tag, says in rows:
        yield from (".TP", rf"\fB{_escaped(tag)}\fR", _line(" ".join(says.split())))


def _line(text: str) -> str:
    """A line of text; one that begins with a control character would be taken for a macro (groff(7))."""
    escaped = _escaped(text)
    return rf"\&{escaped}" if escaped.startswith((".", "'")) else escaped


_SPECIAL: Final = {"\\": r"\e", "-": r"\-", "'": r"\(aq", "`": r"\(ga", "^": r"\(ha", "~": r"\(ti", '"': r"\(dq"}


def _escaped(text: str) -> str:
    """Every character as it is, so that what is copied from the page works."""
    return "".join(_SPECIAL.get(c, c if c.isascii() else rf"\[u{ord(c):04X}]") for c in text)
