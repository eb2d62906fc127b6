"""YAML and environment -> one frozen `Config`, or every problem at once.

Where a value comes from, the later one wins:

1. the default, written beside each key below;
2. the configuration file: the one that was named, else ``config.yaml`` in the current folder, else
   ``/etc/chromadrop/config.yaml``; an empty file and an empty section mean the defaults;
3. the environment, ``CHROMADROP_SECTION__KEY`` (``CHROMADROP_STATUS_PAGE`` for the one key without a
   section); an empty variable counts as not set, ``null`` as null.

Both are read as the text that was written and become numbers only here, so that a problem can quote what a
person wrote. The credential is no part of `Config`: `find_credential` looks for it and hides it.
"""

from __future__ import annotations

import ipaddress
import itertools
import json
import os
import re
import stat
import unicodedata
from contextlib import suppress
from dataclasses import field, replace
from functools import cache, cached_property
from pathlib import Path, PurePath
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Union, get_args, get_origin
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

import msgspec
from msgspec import Meta, Struct

from daemon.core import defaults, notice, yaml_text
from daemon.core.catalogue import operator_catalogue
from daemon.core.credential import AppKeys
from daemon.core.defaults import Given
from daemon.core.display import display
from daemon.core.errors import BatchInvalid, ConfigInvalid
from daemon.core.job_content import Grammar
from daemon.core.problem import Problem, did_you_mean
from daemon.core.record import dataclass
from daemon.core.redact import clean_credential
from daemon.core.video_name import check_template
from daemon.core.yaml_text import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence

    from daemon.core.catalogue import Catalogue
    from daemon.core.credential import Secret

DEFAULT_FILES: Final = (Path("config.yaml"), Path("/etc/chromadrop/config.yaml"))
BASE_URLS: Final = {  # API.md, "Two generations, one flow"
    "v2": "https://v2.aistudios.com/api/odin",
    "v3": "https://app.aistudios.com/api/odin/v3",
}
CHINA_BASE_URL: Final = "https://app.aistudios.cn/api/odin/v3"
VENDOR_DOMAINS: Final = ("aistudios.com", "aistudios.cn", "deepbrain.io")

API_KEY: Final = "AISTUDIOS_API_KEY"
APP_ID: Final = "AISTUDIOS_APP_ID"
USER_KEY: Final = "AISTUDIOS_USER_KEY"

_PREFIX: Final = "CHROMADROP_"
_LOOPBACKS: Final = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))
_MAX_CREDENTIAL_BYTES: Final = 64 * 1024
_MAX_MODELS_BYTES: Final = 16 * yaml_text.MAX_BYTES  # more than is accepted, so that the refusal tells the true size
_MAX_PORT: Final = 65535
_MAX_HOST: Final = 253  # RFC 1035, 2.3.4, as text
_LABEL: Final = re.compile("[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_MAX_GROUP: Final = 2**32 - 2  # chown(2): the last number means "leave it"
_DAY: Final = 24 * 3600.0


# --- what single values must look like ----------------------------------------------------------------------


class _RefusedError(Exception):
    """A value that is of the right kind and cannot be meant; says why and what to write."""


def _is_loopback(host: str) -> bool:
    if host.casefold() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return any(address in network for network in _LOOPBACKS)


def _check_base_url(url: str) -> str:
    """The address without a trailing slash. No message quotes it: it may hold a password."""
    example = f"write for example {BASE_URLS['v2']}"
    parts = _web_address(url, example)
    if "@" in parts.netloc:
        raise _RefusedError(
            "must not hold a user name or a password; the credential goes into AISTUDIOS_API_KEY or api.key_file"
        )
    if "?" in url or "#" in url:
        raise _RefusedError(f"must end with the path, without ? or #; {example}")
    if parts.scheme == "http" and not _is_loopback(parts.hostname or ""):
        raise _RefusedError(
            "is plain http, which would send the credential in the clear; "
            "it is accepted for this machine only (127.0.0.1, ::1, localhost). Write https://"
        )
    return url.rstrip("/")


def _web_address(url: str, example: str) -> SplitResult:
    if not url.isascii() or not url.isprintable() or " " in url:
        raise _RefusedError(f"is no web address: it holds a blank or an unusual character; {example}")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise _RefusedError(f"is no web address that can be understood; {example}") from None
    if parts.scheme not in {"https", "http"} or not host:
        raise _RefusedError(f"is not a web address that starts with https:// and names a host; {example}")
    return parts


def _check_notify_url(url: str) -> str:
    """The address as it is. No message quotes it: a hook's address is often its secret."""
    example = "write for example https://hooks.example.com/chromadrop"
    parts = _web_address(url, example)
    if "@" in parts.netloc:
        raise _RefusedError("must not hold a user name or a password; a token belongs into the path or the query")
    if "#" in url:
        raise _RefusedError(f"must not hold a #; {example}")
    if parts.scheme == "http" and not _is_loopback(parts.hostname or ""):
        raise _RefusedError(
            "is plain http, which would tell everybody on the way what is made here; it is accepted for this machine "
            "only (127.0.0.1, ::1, localhost). Write https://, or have notify.command do it"
        )
    return url


def _check_command(command: tuple[str, ...]) -> tuple[str, ...]:
    """Program and arguments. No message quotes them: there may be a token among them."""
    if not command or not command[0].strip():
        raise _RefusedError(
            "names no program; write a list that begins with one, such as [/usr/local/bin/tell], or null"
        )
    if command[0].startswith("~") or ("/" in command[0] and not command[0].startswith("/")):
        raise _RefusedError(
            "names a program by half a path; write the whole path, or a name alone, which is looked up in PATH"
        )
    return command


def _check_argument(text: str) -> str:
    try:
        is_possible = b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        is_possible = False
    if not is_possible:
        raise _RefusedError("holds a character that no argument of a program can")
    return text


def _check_generation(url: str, version: str) -> None:
    """The vendor serves each version under a path of its own; elsewhere (a simulator, a gateway) any path goes."""
    parts = urlsplit(url)
    is_v3 = parts.path.endswith("/v3")
    if is_v3 == (version == "v3") or not _is_vendors(parts.hostname or ""):
        return
    if is_v3:
        raise _RefusedError(
            "is an address of v3, for its path ends in /v3, but api.version is v2. Change api.version: write v3 "
            "(or, to stay with v2, leave api.base_url out)"
        )
    raise _RefusedError(
        "is no address of v3, for its path does not end in /v3, but api.version is v3. Change api.base_url: leave it "
        f"out for {BASE_URLS['v3']}, or write {CHINA_BASE_URL} for China (or, to stay with it, write api.version: v2)"
    )


def _is_vendors(host: str) -> bool:
    name = host.rstrip(".").casefold()
    return any(name == domain or name.endswith(f".{domain}") for domain in VENDOR_DOMAINS)


def _check_path(text: str) -> str:
    if not text.strip():
        raise _RefusedError("is empty; write a path, or leave the key out for the default")
    if text.startswith("~"):
        raise _RefusedError("starts with ~, which is not expanded here; write the whole path")
    return text


def _check_template(template: str) -> str:
    wrong = check_template(template)
    if wrong:
        raise _RefusedError("; ".join(wrong))
    return template


def _check_said(text: str) -> str:
    if not text.strip():
        raise _RefusedError("is empty; write a value, or leave the key out")
    return text


def _check_ledger_url(url: str) -> str:
    """The address as it is. No message quotes it: it may hold a password."""
    scheme, _, rest = url.partition("://")
    if scheme.partition("+")[0] in {"postgresql", "postgres"}:
        return _check_database_url(url, scheme)
    path = rest.removeprefix("/")
    if scheme != "sqlite" or path == rest or not path.startswith("/") or not path.strip("/"):
        raise _RefusedError(
            "is neither null nor sqlite:///ABSOLUTE PATH, such as sqlite:////var/lib/chromadrop/ledger.db, nor "
            "postgresql+psycopg://USER@HOST/DATABASE"
        )
    if "?" in path or "#" in path or not path.isprintable():
        raise _RefusedError("must end with the path of the file, without ? or # or control characters")
    return url


def _check_database_url(url: str, scheme: str) -> str:
    if scheme != "postgresql+psycopg":
        raise _RefusedError("must begin with postgresql+psycopg:// for a database of PostgreSQL")
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise _RefusedError(
            "is no address: HOST:PORT is not written as it should be, or a bracket is missing"
        ) from None
    if not url.isprintable() or parts.fragment:
        raise _RefusedError("must hold no # and no control characters; write them as %23 and the like")
    if "@" in parts.path:
        raise _RefusedError("holds a password with a / in it; write that as %2F (and @ as %40, : as %3A)")
    if not parts.path.strip("/"):
        raise _RefusedError("names no database: write postgresql+psycopg://USER@HOST/DATABASE")
    return url


def _check_listen(text: str) -> str:
    host, colon, port = text.rpartition(":")
    is_port = re.fullmatch("[0-9]{1,5}", port) is not None and int(port) <= _MAX_PORT
    if not colon or not is_port or not _is_host(host):
        raise _RefusedError(
            f"{shown(text)} is not HOST:PORT, such as 127.0.0.1:9188 or [::1]:9188 (0.0.0.0:9188 for all addresses)"
        )
    return text


def _is_host(text: str) -> bool:
    """An IPv4 address, an IPv6 address in brackets, or a name that could be one (RFC 1123, 2.1)."""
    if text[:1] == "[" and text[-1:] == "]":
        return _is_address(text[1:-1], 6)
    if set(text) <= set("0123456789."):
        return _is_address(text, 4)
    labels = text.removesuffix(".").split(".")
    return len(text) <= _MAX_HOST and all(_LABEL.fullmatch(label) for label in labels)


def _is_address(text: str, version: int) -> bool:
    try:
        return ipaddress.ip_address(text).version == version
    except ValueError:
        return False


def _check_mode(text: str, *, example: str, most: int, least: int, need: str) -> str:
    """The octal digits alone, ``0o`` cut off. ``least`` is what the daemon itself must be allowed."""
    digits = text.removeprefix("0o")
    if not re.fullmatch("0*[0-7]{1,4}", digits):
        raise _RefusedError(f"{shown(text)} is no mode in octal digits; write for example {example}")
    mode = int(digits, 8)
    if mode & ~most:
        raise _RefusedError(
            f"{shown(text)} has bits beyond {most:04o}, the most that makes sense here; write {example}"
        )
    if mode & least != least:
        wanted = f'"{mode | least:04o}"'
        raise _RefusedError(
            f"{shown(text)} would not let the daemon itself {need}; write {wanted} or, as a rule, {example}"
        )
    return digits


def _check_videos_mode(text: str) -> str:
    return _check_mode(text, example='"0664"', most=0o777, least=stat.S_IRUSR, need="read its videos")


def _check_folders_mode(text: str) -> str:
    need = "read, change, and enter its folders"
    return _check_mode(text, example='"2775"', most=0o7777, least=stat.S_IRWXU, need=need)


def _check_group(text: str) -> str:
    """Whether there is such a group is for ``check``: where groups come from a network they may come later."""
    is_number = text.isascii() and text.isdigit()
    if not text.strip() or not text.isprintable() or any(letter in text for letter in ":/,"):
        raise _RefusedError(f"{shown(text)} cannot be a group; write its name or its number, such as producers")
    if is_number and int(f"0{text.lstrip('0')[:11]}") > _MAX_GROUP:
        raise _RefusedError(
            f"{shown(text)} is larger than the number of any group ({_MAX_GROUP}); write the group's name"
        )
    return text


def _key(description: str, *checks: Callable[[Any], Any]) -> Meta:
    """What is said of a key, and what a value that is no null goes through, one check after the other."""
    return Meta(description=description, extra={"checks": checks})


_Argument = Annotated[str, Meta(extra={"checks": (_check_argument,)})]


# --- the sections -------------------------------------------------------------------------------------------


_HIDDEN: Final = {("Ledger", "url"), ("Notify", "command"), ("Notify", "url")}
"""What may hold a secret, and is never shown."""


class _Section(Struct, frozen=True, forbid_unknown_fields=True):
    """Nothing in it can be changed."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{key}={value!r}' for key, value in self.__rich_repr__())})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """What may be shown; msgspec's own shows all."""
        name = type(self).__name__
        return [(key, getattr(self, key)) for key in self.__struct_fields__ if (name, key) not in _HIDDEN]


class Api(_Section, frozen=True):
    """The cloud: which API, where, and with which credential."""

    version: Annotated[
        Literal["v2", "v3"], _key("Version of the cloud's API: v2 with an API key, v3 with app id and user key.")
    ] = "v2"
    base_url: Annotated[
        str | None,
        _key(
            "Address of the API; null is the documented one of the version, "
            f"which for v3 in China is {CHINA_BASE_URL}, to be written here. "
            "https, or plain http for this machine only.",
            _check_base_url,
        ),
    ] = None
    key_file: Annotated[
        str | None,
        _key(
            "File that holds the API key alone on one line, or for v3 also app id and user key by name; "
            "relative to the configuration file. Tried last, after the environment variables "
            "(AISTUDIOS_API_KEY and so on) and the files in $CREDENTIALS_DIRECTORY (aistudios-api-key and so on).",
            _check_path,
        ),
    ] = None
    connect_timeout_seconds: Annotated[
        float, Meta(ge=0.01, le=300.0), _key("Seconds to wait for a connection to the cloud.")
    ] = 10.0
    read_timeout_seconds: Annotated[
        float, Meta(ge=0.01, le=3600.0), _key("Seconds to wait for the next part of an answer.")
    ] = 30.0

    @property
    def effective_base_url(self) -> str:
        """The address that is used: the one given, else the documented one. No trailing slash."""
        return self.base_url or BASE_URLS[self.version]


class Folders(_Section, frozen=True):
    """Where files are dropped and where they end; none of the folders lies in another but in root."""

    root: Annotated[str, _key("Folder that holds the others; relative to the current folder.", _check_path)] = "."
    inbox: Annotated[str, _key("Where people drop job files; relative to root, as the next four.", _check_path)] = (
        "inbox"
    )
    processing: Annotated[
        str, _key("Claimed job files while their videos are made, and unfinished downloads.", _check_path)
    ] = "processing"
    done: Annotated[str, _key("Job files all of whose videos are made.", _check_path)] = "done"
    failed: Annotated[str, _key("Job files with a failure, and why.", _check_path)] = "failed"
    videos: Annotated[str, _key("Finished videos, and nothing else.", _check_path)] = "videos"
    state: Annotated[
        str | None,
        _key(
            "The ledger, on a local disk; relative to root. "
            "null is $STATE_DIRECTORY where systemd sets it, else state/ in root.",
            _check_path,
        ),
    ] = None
    mode: Annotated[
        str | None,
        _key(
            'Permissions of the folders that are made, as octal text such as "2775"; '
            "null is what the umask leaves. processing/ is never for others to write.",
            _check_folders_mode,
        ),
    ] = None
    group: Annotated[
        str | None,
        _key(
            "Group of folders and files that are made, by name or number; "
            "null is that of a setgid folder, else the process's own.",
            _check_group,
        ),
    ] = None

    @property
    def mode_bits(self) -> int | None:
        """The mode as a number; None for what the umask leaves."""
        return None if self.mode is None else int(self.mode, 8)


class Watch(_Section, frozen=True):
    """How new files in inbox/ are noticed."""

    observer: Annotated[
        Literal["auto", "native", "polling"],
        _key(
            "How changes are noticed: native asks the operating system, "
            "polling looks every rescan_seconds, auto decides by the kind of disk."
        ),
    ] = "auto"
    settle_seconds: Annotated[
        Annotated[float, Meta(ge=0.0, le=3600.0)] | None,
        _key(
            "Seconds that a file must stay unchanged before it is read; null is 2 on a local disk, "
            "5 on a network drive."
        ),
    ] = None
    rescan_seconds: Annotated[
        Annotated[float, Meta(ge=0.05, le=3600.0)] | None,
        _key("Seconds between two looks at the whole folder; null is 30 on a local disk, 5 on a network drive."),
    ] = None
    grace_seconds: Annotated[
        float,
        Meta(ge=0.0, le=3600.0),
        _key("Seconds more that a file which makes no sense yet is given before it is called bad."),
    ] = 10.0


class Jobs(_Section, frozen=True):
    """How many videos are made at once, and how patiently."""

    max_rendering: Annotated[
        int, Meta(ge=1, le=100_000), _key("Videos that the cloud renders for us at the same time, at most.")
    ] = 20
    poll_seconds: Annotated[
        float, Meta(ge=0.05, le=3600.0), _key("Seconds between two questions how far a video is.")
    ] = 3.0
    render_timeout_seconds: Annotated[
        float,
        Meta(ge=0.1, le=30 * _DAY),
        _key(
            "Seconds after which a render without an end is given up; "
            "its project id stays on record, and dropping the file again costs nothing."
        ),
    ] = 3600.0
    max_per_day: Annotated[
        Annotated[int, Meta(ge=1, le=1_000_000)] | None,
        _key(
            "Videos that are ordered in one calendar day of this machine's time zone, at most; the rest waits "
            "until tomorrow. null is no limit."
        ),
    ] = None
    max_seconds_per_day: Annotated[
        Annotated[float, Meta(ge=1.0, le=float(365 * _DAY))] | None,
        _key(
            "Estimated seconds of speech that are ordered in one calendar day, at most; a single longer video "
            "goes when nothing else was ordered that day. null is no limit."
        ),
    ] = None
    check_models: Annotated[
        bool,
        _key(
            "Refuse job files that name a model or clothes which the list does not have, before anything "
            "is paid. The list is models_file, else the cloud's own, which only v3 has."
        ),
    ] = True
    models_file: Annotated[
        str | None,
        _key(
            "File with the list of models and clothes, YAML or JSON, in the cloud's own form or as "
            "`MODEL: [CLOTHES, ...]`; relative to the configuration file. null is the cloud's own list.",
            _check_path,
        ),
    ] = None
    csv_encoding: Annotated[
        Literal["cp949"] | None,
        _key(
            "Encoding of tables (.csv) and texts (.txt) that are neither UTF-8 nor UTF-16: cp949, as Excel in "
            "Korea writes them; null refuses them."
        ),
    ] = None


class Defaults(_Section, frozen=True):
    """What is taken for what neither a job nor a _defaults.yaml of its folder says."""

    language: Annotated[str | None, _key("The language that is spoken, such as ko.", _check_said)] = None
    model: Annotated[str | None, _key("Who says it: the model's id, such as M000004017.", _check_said)] = None
    clothes: Annotated[str | None, _key("What the model wears: the clothes' id, such as BG00006160.", _check_said)] = (
        None
    )


class Videos(_Section, frozen=True):
    """How videos are named and fetched."""

    name: Annotated[
        str | None,
        _key(
            "Template of the file name without its extension: "
            "{file}, {n}, {url}, {project}, {model}, {language}; "
            "null is {file} for a job file with one video, {file}-{n} otherwise.",
            _check_template,
        ),
    ] = None
    mode: Annotated[
        str | None,
        _key(
            'Permissions of videos, as octal text such as "0664"; what is written beside job files has its '
            "read and write bits. null is what the umask leaves.",
            _check_videos_mode,
        ),
    ] = None
    downloads: Annotated[int, Meta(ge=1, le=1000), _key("Downloads at the same time, at most.")] = 4
    max_bytes: Annotated[int, Meta(ge=1, le=1024**5), _key("Bytes of one video, at most; a larger one is refused.")] = (
        20 * 1024**3
    )

    @property
    def mode_bits(self) -> int | None:
        """The mode as a number; None for what the umask leaves."""
        return None if self.mode is None else int(self.mode, 8)


class Ledger(_Section, frozen=True):
    """Where the record of every job is kept."""

    url: Annotated[
        str | None,
        _key(
            "null is an SQLite file in state/; or sqlite:///ABSOLUTE PATH; "
            "or postgresql+psycopg://USER@HOST/DATABASE, for several machines, whose password may also be given as "
            "libpq takes it: PGPASSFILE, PGSERVICEFILE, PGPASSWORD.",
            _check_ledger_url,
        ),
    ] = None
    keep_days: Annotated[
        Annotated[int, Meta(ge=1, le=36_500)] | None,
        _key(
            "Days after which a job file that was filed away is forgotten, with its jobs; what may be needed "
            "so that nothing is paid twice is kept. null is never."
        ),
    ] = 90

    @property
    def path(self) -> Path | None:
        """The SQLite file that ``url`` names; None where the state folder holds it."""
        return Path(self.url.removeprefix("sqlite:///")) if self.url and not self.is_shared else None

    @property
    def is_shared(self) -> bool:
        """Several daemons may have it."""
        return self.url is not None and self.url.startswith("postgresql")

    @property
    def database(self) -> str | None:
        """The address of the database that several daemons have; None for SQLite."""
        return self.url if self.is_shared else None

    @property
    def secrets(self) -> tuple[str, ...]:
        """The passwords in the address: never to be shown."""
        parts = urlsplit(self.database or "")
        named = [value for key, value in parse_qsl(parts.query) if key in {"password", "sslpassword"}]
        return tuple(secret for secret in (unquote(parts.password or ""), *named) if secret)


class Logs(_Section, frozen=True):
    """What is written to standard error."""

    level: Annotated[Literal["debug", "info", "warning", "error"], _key("Least important level that is written.")] = (
        "info"
    )
    format: Annotated[
        Literal["auto", "console", "json"],
        _key("console is for people, json for machines; auto is console on a terminal, json otherwise."),
    ] = "auto"


class Http(_Section, frozen=True):
    """The pages for monitoring."""

    listen: Annotated[
        str | None,
        _key(
            "HOST:PORT of status.html on / and of /healthz, /metrics, and /status, such as 127.0.0.1:9188; "
            "null is none. "
            "Whoever reaches an address other than this machine's own (127.0.0.1, [::1]) can read what is ordered.",
            _check_listen,
        ),
    ] = None

    @property
    def address(self) -> tuple[str, int] | None:
        """Host, without brackets, and port; None where nothing listens."""
        if self.listen is None:
            return None
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]"), int(port)


class Notify(_Section, frozen=True):
    """Who is told when something needs a person. Each of the two is told for itself, until it has taken it."""

    command: Annotated[
        tuple[_Argument, ...] | None,
        _key(
            "Program and arguments, as a list, that is run for each notice, without a shell: the notice is on "
            "its standard input as JSON, its main facts are in the environment (CHROMADROP_EVENT and so on).",
            _check_command,
        ),
    ] = None
    url: Annotated[
        str | None,
        _key(
            "Address to which each notice is posted as JSON. https, or plain http for this machine only.",
            _check_notify_url,
        ),
    ] = None
    events: Annotated[
        tuple[Literal["failed", "in_doubt", "account", "done"], ...],
        _key(
            "What is told: failed, a job file lies in failed/; in_doubt, a job may have been paid and a person "
            "has to find out; account, it is in trouble or well again; done, a job file lies in done/."
        ),
    ] = ("failed", "in_doubt", "account")
    timeout_seconds: Annotated[
        float, Meta(ge=0.1, le=300.0), _key("Seconds after which a try is ended, and counts as failed.")
    ] = 10.0
    tries: Annotated[int, Meta(ge=1, le=100), _key("Tries after which a notice is given up.")] = 8


# --- the whole ----------------------------------------------------------------------------------------------

KeyPath = tuple[str, ...]  # ("jobs", "poll_seconds"), ("status_page",)


@dataclass(frozen=True, slots=True)
class _Place:
    where: str = ""
    line: int | None = None
    column: int | None = None

    def problem(self, path: KeyPath, message: str) -> Problem:
        return Problem(message, self.line, self.column, ".".join(path), self.where)


@dataclass(frozen=True, slots=True)
class _Origin:
    """Where a configuration was read. Never compared: the same values from another file are the same."""

    source: Path | None = field(default=None, compare=False)
    folder: Path = field(default=Path(), compare=False)
    places: Mapping[KeyPath, _Place] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True)
class Paths:
    """The folders, absolute.

    ``state`` is None where nobody said: it is state/ in root then, where root is on a local disk.
    """

    root: Path
    inbox: Path
    processing: Path
    done: Path
    failed: Path
    videos: Path
    state: Path | None


class _Alone(_Section, frozen=True):
    """The keys without a section."""

    status_page: Annotated[
        bool, _key("Write status.html into root: what is going on, for people who only see the folder.")
    ] = True


class Config(_Alone, frozen=True):
    """Settings of chromadrop. Every key may be left out."""

    api: Api = Api()
    folders: Folders = Folders()
    watch: Watch = Watch()
    jobs: Jobs = Jobs()
    defaults: Defaults = Defaults()
    videos: Videos = Videos()
    ledger: Ledger = Ledger()
    logs: Logs = Logs()
    http: Http = Http()
    notify: Notify = Notify()
    _origin: _Origin = _Origin()

    @property
    def source(self) -> Path | None:
        """The file that was read; None where there was none."""
        return self._origin.source

    @property
    def folder(self) -> Path:
        """What ``api.key_file`` and ``jobs.models_file`` are relative to: the read file's folder, else the current."""
        return self._origin.folder

    @property
    def models_path(self) -> Path | None:
        """The file that ``jobs.models_file`` names; None where none is named."""
        return _absolute(self.jobs.models_file, self.folder) if self.jobs.models_file is not None else None

    @property
    def grammar(self) -> Grammar:
        """How drops are read, with what this configuration gives for what they do not say."""
        values = {}
        for name, text in msgspec.structs.asdict(self.defaults).items():
            if text is None:
                continue
            at = self.problem_at(f"defaults.{name}", "")
            node = yaml_text.Scalar(text, is_plain=False, line=at.line or 0, column=at.column or 0)
            values[name] = Given(node, at.where, at.path)
        return Grammar(self.api.version, self.jobs.csv_encoding, defaults.Defaults(values))

    def problem_at(self, path: str, message: str) -> Problem:
        """A problem with the value of a key, with the place where it was written.

        Args:
            path: the key's path, such as ``folders.root``.
            message: what is wrong and what to do.
        """
        keys = tuple(path.split("."))
        return self._origin.places.get(keys, _Place()).problem(keys, message)

    def paths(self, environ: Mapping[str, str], cwd: Path) -> Paths:
        """The folders, absolute; nothing is looked up on the disk.

        Args:
            environ: for ``STATE_DIRECTORY`` (systemd.exec(5)); the first, where it names several.
            cwd: absolute; what ``folders.root`` is relative to.

        Raises:
            ConfigInvalid: two folders are the same, or one lies inside another.
        """
        paths = _lay_out(self.folders, environ, cwd)
        overlaps = _overlaps(paths, self.ledger.path, self._origin.places)
        problems = [self.problem_at(".".join(key), text) for key, text in overlaps]
        if problems:
            raise ConfigInvalid(problems)
        return paths


SECTIONS: Final[dict[str, type[_Section]]] = {
    section.__name__.lower(): section
    for section in (Api, Folders, Watch, Jobs, Defaults, Videos, Ledger, Logs, Http, Notify)
}
KEY_PATHS: Final[tuple[KeyPath, ...]] = (
    *((name, key) for name, section in SECTIONS.items() for key in section.__struct_fields__),
    ("status_page",),
)
VARIABLES: Final = {_PREFIX + "__".join(path).upper(): path for path in KEY_PATHS}
_LISTS: Final = {("notify", "command"), ("notify", "events")}


# --- folders ------------------------------------------------------------------------------------------------


def _lay_out(folders: Folders, environ: Mapping[str, str], cwd: Path) -> Paths:
    root = _absolute(folders.root, cwd)
    given = folders.state
    systemd = environ.get("STATE_DIRECTORY", "").partition(":")[0]
    state = _absolute(given, root) if given is not None else _absolute(systemd, root) if systemd else None
    return Paths(
        root,
        _absolute(folders.inbox, root),
        _absolute(folders.processing, root),
        _absolute(folders.done, root),
        _absolute(folders.failed, root),
        _absolute(folders.videos, root),
        state,
    )


def _absolute(text: str, base: Path) -> Path:
    return Path(os.path.normpath(base / text))


def _overlaps(paths: Paths, ledger: Path | None, written: Container[KeyPath]) -> Iterator[tuple[KeyPath, str]]:
    """``(key, what is wrong)`` for folders that are the same or lie inside each other.

    Of two that clash, the one is named that somebody has written.
    """
    names = ("inbox", "processing", "done", "failed", "videos")
    folders: dict[KeyPath, Path] = {("folders", name): getattr(paths, name) for name in names}
    for key in [key for key, folder in folders.items() if _is_inside(paths.root, folder)]:
        yield key, "is folders.root itself or holds it; give it a folder of its own inside root"
        del folders[key]
    for pair in itertools.combinations(folders, 2):
        other, key = pair if pair[1] in written or pair[0] not in written else pair[::-1]
        relation = _relation(folders[key], folders[other])
        if relation:
            yield key, f"{relation} {'.'.join(other)}; give it a folder of its own, beside the others"
    for key, kept in ((("folders", "state"), paths.state), (("ledger", "url"), ledger)):
        for other in [other for other, folder in folders.items() if kept and _is_inside(kept, folder)]:
            yield key, f"lies inside {'.'.join(other)}, where files come and go; put it elsewhere"


def _relation(one: Path, other: Path) -> str:
    is_inside, holds = _is_inside(one, other), _is_inside(other, one)
    if is_inside and holds:
        return "is the same folder as"
    return "lies inside" if is_inside else "holds" if holds else ""


def _is_inside(inner: Path, outer: Path) -> bool:
    """The same folder or one in it, also for a network drive that tells neither case nor NFC from NFD."""
    return _folded(inner).is_relative_to(_folded(outer))


def _folded(path: Path) -> PurePath:
    return PurePath(unicodedata.normalize("NFC", str(path)).casefold())


# --- reading ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Value:
    text: str | None
    place: _Place
    members: tuple[_Value, ...] | None = None


@dataclass(frozen=True, slots=True)
class _Read:
    """What one or several sources gave: values by the path of their key, and what is wrong."""

    values: dict[KeyPath, _Value] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def load(
    path: Path | None,
    environ: Mapping[str, str],
    cwd: Path,
    *,
    default_files: Sequence[Path] = DEFAULT_FILES,
) -> Config:
    """The configuration from a file and the environment.

    Args:
        path: the file that a person named; None for the first of ``default_files`` that exists, if any.
        environ: all of the environment; only ``CHROMADROP_*`` and ``STATE_DIRECTORY`` are looked at.
        cwd: the current folder, absolute.
        default_files: relative to ``cwd``.

    Raises:
        ConfigInvalid: every problem of the file and of the environment.
    """
    source, read = _read_first(path, cwd, default_files)
    _read_environment(environ, read)
    places = {key: value.place for key, value in read.values.items()}
    origin = _Origin(source, source.parent if source else cwd, places)
    config, wrong = _validated(read.values, origin)
    problems = [*read.problems, *wrong]
    try:
        config.paths(environ, cwd)
    except ConfigInvalid as error:
        problems += error.problems
    if problems:
        raise ConfigInvalid(sorted(problems, key=lambda problem: _reading_order(problem, environ)))
    return config


def _reading_order(problem: Problem, environ: Mapping[str, str]) -> tuple[bool, int, int]:
    """The file from top to bottom, then the environment by name."""
    return problem.where in environ, problem.line or 0, problem.column or 0


def _read_first(path: Path | None, cwd: Path, default_files: Sequence[Path]) -> tuple[Path | None, _Read]:
    for candidate in [path] if path is not None else default_files:
        source = cwd / candidate
        try:
            with source.open("rb") as file:
                content = file.read(yaml_text.MAX_BYTES + 1)
        except (FileNotFoundError, NotADirectoryError) as error:
            if path is not None or source.is_symlink():
                return source, _unreadable(source, error)
        except (OSError, ValueError) as error:
            return source, _unreadable(source, error)
        else:
            return source, _read_text(content, str(source))
    return None, _Read()


def _unreadable(source: Path, error: OSError | ValueError) -> _Read:
    why = (isinstance(error, OSError) and error.strerror) or "its name cannot be used"
    return _Read(
        problems=[Problem(f"the configuration file cannot be read ({why}); check --config", where=display(str(source)))]
    )


def _read_text(content: bytes, where: str) -> _Read:
    where = display(where)
    if len(content) > yaml_text.MAX_BYTES:
        return _Read(problems=[Problem("is larger than 1 MiB; this is no configuration file", where=where)])
    try:
        reading = yaml_text.read(yaml_text.decode(content))
    except BatchInvalid as error:
        return _Read(problems=[replace(problem, where=where) for problem in error.problems])
    read = _Read(problems=[replace(problem, where=where) for problem in reading.problems.listed()])
    for document in reading.documents[:1]:
        _read_document(document, where, read)
    for extra in reading.documents[1:]:
        problem = _at(extra, where).problem((), "a second document; there is one configuration, remove the ---")
        read.problems.append(problem)
    return read


def _at(node: yaml_text.Node, where: str) -> _Place:
    return _Place(where, node.line, node.column)


def _read_document(document: yaml_text.Node, where: str, read: _Read) -> None:
    sections = {path[0] for path in KEY_PATHS if len(path) > 1}
    for name, node in _entries(document, (), where, read):
        if name not in sections:
            _read_leaf(node, (name,), where, read)
            continue
        for key, leaf in _entries(node, (name,), where, read):
            _read_leaf(leaf, (name, key), where, read)


def _entries(node: yaml_text.Node, path: KeyPath, where: str, read: _Read) -> Iterator[tuple[str, yaml_text.Node]]:
    """The entries of a mapping whose keys are known; everything else becomes a problem."""
    if isinstance(node, yaml_text.Scalar) and node.is_null:
        return
    if not isinstance(node, yaml_text.Mapping):
        what = f"the section '{path[-1]}'" if path else "a configuration file"
        read.problems.append(_at(node, where).problem(path, f"{what} is a mapping: lines of `key: value`"))
        return
    depth = len(path) + 1
    known = list(dict.fromkeys(key[depth - 1] for key in KEY_PATHS if key[: depth - 1] == path))
    for key, value in node.entries:
        if key.text in known:
            yield key.text, value
        else:
            message = _unknown(key.text, path, known)
            read.problems.append(_at(key, where).problem((*path, display(key.text)), message))


def _unknown(key: str, section: KeyPath, known: Iterable[str]) -> str:
    hint = did_you_mean(key, known)
    homes = [path[0] for path in KEY_PATHS if len(path) > 1 and path[-1] == key]
    if not hint and homes:
        hint = f" It belongs under {' or '.join(f'`{home}:`' for home in homes)}."
    if not hint and (section == ("api",) or "key" in key.casefold()):
        hint = f" An API key itself is not written here: put it into {API_KEY}, or name its file in api.key_file."
    return f"unknown key {shown(key)}.{hint or ' Known are: ' + ', '.join(known) + '.'}"


def _read_leaf(node: yaml_text.Node, path: KeyPath, where: str, read: _Read) -> None:
    if isinstance(node, yaml_text.Scalar):
        read.values[path] = _scalar(node, where)
    elif isinstance(node, yaml_text.Sequence) and path in _LISTS:
        _read_members(node, path, where, read)
    elif path in _LISTS:
        read.problems.append(_at(node, where).problem(path, f"write {_wanted(path)}, not a mapping"))
    else:
        read.problems.append(
            _at(node, where).problem(path, f"write one value, not a list or a mapping: {_wanted(path)}")
        )


def _scalar(node: yaml_text.Scalar, where: str) -> _Value:
    return _Value(None if node.is_null else node.text, _at(node, where))


def _read_members(node: yaml_text.Sequence, path: KeyPath, where: str, read: _Read) -> None:
    scalars = [member for member in node.nodes if isinstance(member, yaml_text.Scalar)]
    for wrong in [member for member in node.nodes if not isinstance(member, yaml_text.Scalar)]:
        read.problems.append(_at(wrong, where).problem(path, "a list within the list, or a mapping; write a text"))
    if len(scalars) == len(node.nodes):
        members = tuple(_scalar(member, where) for member in scalars)
        read.values[path] = _Value(None, _at(node, where), members)


def _read_environment(environ: Mapping[str, str], read: _Read) -> None:
    """Lay the environment over the file. No value of a variable is ever shown but that of a known key."""
    told = set(notice.VARIABLES.values())  # where notify.command itself calls chromadrop
    ours = {name: text for name, text in sorted(environ.items()) if name.startswith(_PREFIX) and text}
    ours = {name: text for name, text in ours.items() if name not in told}
    read.problems.extend(_unknown_variable(name) for name in ours if name not in VARIABLES)
    for name, text in ours.items():
        path = VARIABLES.get(name)
        if path is None:
            continue
        if path in _LISTS:
            _read_list_variable(name, text, read)
        else:
            read.values[path] = _Value(None if _is_null(text) else text, _Place(name))


def _read_list_variable(name: str, text: str, read: _Read) -> None:
    path, place = VARIABLES[name], _Place(name)
    try:
        members = None if _is_null(text) else json.loads(text)
    except (ValueError, RecursionError):
        members = ""
    if members is None:
        read.values[path] = _Value(None, place)
    elif isinstance(members, list) and all(isinstance(member, str) for member in members):
        read.values[path] = _Value(None, place, tuple(_Value(member, place) for member in members))
    else:
        read.problems.append(
            place.problem(path, f'write a JSON list of texts, such as ["first", "second"]: {_wanted(path)}')
        )


def _is_null(text: str) -> bool:
    return yaml_text.Scalar(text, is_plain=True, line=0, column=0).is_null


def _unknown_variable(name: str) -> Problem:
    bare = did_you_mean(name.removeprefix(_PREFIX), [known.removeprefix(_PREFIX) for known in VARIABLES])
    hint = bare.replace("'", f"'{_PREFIX}", 1)  # with the prefix, everything would be near
    return Problem(f"unknown variable.{hint or ' Unset it.'}", where=display(name))


# --- validating ---------------------------------------------------------------------------------------------


def _validated(values: Mapping[KeyPath, _Value], origin: _Origin) -> tuple[Config, list[Problem]]:
    """The configuration, the sections that have problems left at their defaults, and those problems."""
    found: dict[KeyPath, object] = {}
    problems: dict[KeyPath, list[Problem]] = {}
    for path in [path for path in KEY_PATHS if path in values]:
        wrong: list[Problem] = []
        found[path] = _understood(path, values[path], wrong)
        if wrong:
            problems[path] = wrong
    url, version = ("api", "base_url"), ("api", "version")
    if not {url, version} & problems.keys() and isinstance(found.get(url), str):
        try:
            _check_generation(str(found[url]), str(found.get(version, Api().version)))
        except _RefusedError as error:
            problems[url] = [values[url].place.problem(url, str(error))]
    bad = {path[0] for path in problems}
    sections = {
        name: section(**{path[-1]: value for path, value in found.items() if path[0] == name})
        for name, section in SECTIONS.items()
        if name not in bad
    }
    alone = {path[0]: value for path, value in found.items() if len(path) == 1 and path[0] not in bad}
    config = Config(**sections, **alone, _origin=origin)  # type: ignore[arg-type]  # each was converted to its type
    return config, [problem for path in KEY_PATHS for problem in problems.get(path, ())]


def _understood(path: KeyPath, value: _Value, wrong: list[Problem]) -> object:
    """What a value means, of the type that its key has; what is wrong with it goes to the list."""
    kind = _info(path).type
    if value.members is None:
        if path in _LISTS and value.text is not None:
            wrong.append(value.place.problem(path, f"one value, where a list belongs; write {_wanted(path)}"))
            return None
        return _converted(path, value, kind, _wanted, wrong)
    of_member = _member_kind(kind)
    members = tuple(_converted(path, member, of_member, _wanted_in, wrong) for member in value.members)
    return None if wrong else _checked(path, value, members, kind, wrong)


def _converted(
    path: KeyPath, value: _Value, kind: Any, wanted: Callable[[KeyPath], str], wrong: list[Problem]
) -> object:
    try:
        found = msgspec.convert(_from_text(value.text, kind), kind)
    except (msgspec.ValidationError, UnicodeEncodeError):
        wrong.append(value.place.problem(path, _not_accepted(path, value.text, wanted(path))))
        return None
    return _checked(path, value, found, kind, wrong)


def _checked(path: KeyPath, value: _Value, found: Any, kind: Any, wrong: list[Problem]) -> object:
    try:
        for check in () if found is None else _checks(kind):
            found = check(found)
    except _RefusedError as error:
        wrong.append(value.place.problem(path, str(error)))
    return found


def _not_accepted(path: KeyPath, text: str | None, wanted: str) -> str:
    if text is None:
        return f"null is not accepted here; write {wanted}."
    return f"{shown(text)} is not accepted; write {wanted}.{did_you_mean(text, _choices(_info(path).type))}"


_BOOLEANS: Final = {
    **dict.fromkeys(("true", "t", "yes", "y", "on", "1"), True),
    **dict.fromkeys(("false", "f", "no", "n", "off", "0"), False),
}


def _from_text(text: str | None, kind: Any) -> object:
    """A text as a boolean or a number where its key wants one and it is one."""
    kinds = {option for option, _ in _options(kind)}
    if text is None or str in kinds:
        return text
    if bool in kinds:
        return _BOOLEANS.get(text.strip().lower(), text)
    if not kinds & {int, float}:
        return text
    try:
        number = float(text)
    except ValueError:
        return text
    if float in kinds:
        return number
    return int(number) if number.is_integer() else text


@cache
def _infos(section: type[_Section]) -> dict[str, msgspec.structs.FieldInfo]:
    return {info.name: info for info in msgspec.structs.fields(section)}


def _info(path: KeyPath) -> msgspec.structs.FieldInfo:
    """Type and default of a key, with what was said of it."""
    return _infos(SECTIONS.get(path[0], _Alone))[path[-1]]


def _options(kind: Any, said: tuple[Meta, ...] = ()) -> Iterator[tuple[Any, tuple[Meta, ...]]]:
    """The types that a value may have, each with what was said of it."""
    if get_origin(kind) is Annotated:
        inner, *more = get_args(kind)
        yield from _options(inner, (*said, *more))
    elif get_origin(kind) in {Union, UnionType}:
        for option in get_args(kind):
            yield from _options(option, said)
    else:
        yield kind, said


def _member_kind(kind: Any) -> Any:
    """Of a list's members."""
    return next(get_args(option)[0] for option, _ in _options(kind) if get_origin(option) is tuple)


def _checks(kind: Any) -> Iterator[Callable[[Any], Any]]:
    for said in get_args(kind)[1:] if get_origin(kind) is Annotated else ():
        yield from (said.extra or {}).get("checks", ())


def _choices(kind: Any) -> list[str]:
    """The words of which a value, or a list's member, is one; none where it may be anything."""
    words: list[str] = []
    for option, _ in _options(kind):
        if get_origin(option) is Literal:
            words += get_args(option)
        elif get_origin(option) is tuple:
            words += _choices(get_args(option)[0])
    return words


def _wanted(path: KeyPath) -> str:
    """What may stand at a key, in words, with the unit and the default."""
    info = _info(path)
    unit = next((word for word in ("seconds", "bytes") if path[-1].endswith(f"_{word}")), "")
    default = info.default
    if isinstance(default, tuple):
        text = f"[{', '.join(default)}]"
    elif default is None or isinstance(default, bool):
        text = json.dumps(default)
    else:
        text = str(default).removesuffix(".0")
    return f"{' or '.join(_words(kind, said, unit) for kind, said in _options(info.type))} (default {text})"


def _wanted_in(path: KeyPath) -> str:
    """What may stand in the list at a key."""
    return _words(*next(_options(_member_kind(_info(path).type))), "")


def _words(kind: Any, said: tuple[Meta, ...], unit: str) -> str:
    if kind in {int, float}:
        least, most = next((meta.ge, meta.le) for meta in said if meta.ge is not None)
        of_unit = f" of {unit}" if unit else ""
        return f"{'a whole number' if kind is int else 'a number'}{of_unit} from {least:.16g} to {most:.16g}"
    choices = ", ".join(_choices(kind))
    if get_origin(kind) is tuple:
        return f"a list of {choices or 'texts, such as [/usr/local/bin/tell, loudly]'}"
    if choices:
        return f"one of {choices}" if ", " in choices else choices
    return {bool: "true or false", NoneType: "null"}.get(kind, "text")


# --- the list of models -------------------------------------------------------------------------------------


def read_models_file(path: Path) -> Catalogue:
    """The list of models that an operator wrote, from `Config.models_path`.

    Raises:
        OSError: it cannot be read.
        BatchInvalid: everything that is wrong in it, by line and column.
    """
    with path.open("rb") as file:
        return operator_catalogue(file.read(_MAX_MODELS_BYTES))


# --- the credential -----------------------------------------------------------------------------------------

PAIR: Final = (APP_ID, USER_KEY)
_WORDS: Final = {API_KEY: "API key", APP_ID: "app id", USER_KEY: "user key"}
_NAMES: Final = {"apikey": API_KEY, "appid": APP_ID, "userkey": USER_KEY}
_LINE: Final = re.compile(r"^[ \t]*(?:export[ \t]+)?([A-Za-z_][\w-]*)[ \t]*=(.*)$", re.MULTILINE)
_LINE_VALUE: Final = re.compile(r"""\s*(?:"([^"]*)"|'([^']*)'|([^"'#\s].*?)?)\s*(?:(?<!\S)#.*)?""")
_NAMED: Final = re.compile(r"""(?im)^[^#\n]*\b(?:aistudios_)?(?:app[_-]?id|user[_-]?key)["']?\s*[:=]""")


@dataclass(frozen=True, slots=True)
class Credential:
    """What the cloud knows us by. Neither ``repr`` nor ``str`` nor an error shows it.

    Attributes:
        secret: hidden; `reveal` gives it.
        place: where it was found, to be told to people.
        is_exposed: it, or half of it, was read from ``api.key_file``, which the group or others may read: worth a
            warning.
    """

    secret: str | AppKeys = field(repr=False)
    place: str
    is_exposed: bool = False

    def reveal(self) -> Secret:
        """The credential itself, for the requests and for the redactor (`secrets_of`)."""
        return self.secret


def find_credential(config: Config, environ: Mapping[str, str]) -> Credential:
    """The credential, from the first of three places that has one.

    The environment variable ``AISTUDIOS_API_KEY``; ``$CREDENTIALS_DIRECTORY/aistudios-api-key``
    (systemd.exec(5), ``LoadCredential=``); the file that ``api.key_file`` names, relative to `Config.folder`.
    An empty one counts as not there. With v3 a pair comes first, where both are found, each for itself in the same
    three places: ``AISTUDIOS_APP_ID`` and ``AISTUDIOS_USER_KEY`` (API.md).

    Raises:
        ConfigInvalid: there is none, or one that cannot be read or cannot be a credential. No text shows it.
    """
    search = _Search(config, environ)
    if config.api.version == "v3":
        search.look_for(APP_ID)
        search.look_for(USER_KEY)
    if not all(name in search.found for name in PAIR):
        search.look_for(API_KEY)
    problems = [*dict.fromkeys(search.problems), *_missing(config, environ, search)]
    if problems:
        raise ConfigInvalid(problems)
    return _credential(search.found)


def _credential(found: Mapping[str, _Found]) -> Credential:
    if API_KEY in found:
        key = found[API_KEY]
        return Credential(key.text, key.place, key.is_exposed)
    app_id, user_key = (found[name] for name in PAIR)
    places = dict.fromkeys([app_id.place, user_key.place])
    keys = AppKeys(app_id.text, user_key.text)
    return Credential(keys, " and ".join(places), app_id.is_exposed or user_key.is_exposed)


@dataclass(frozen=True, slots=True)
class _Found:
    """A text that was found for one name, where, and how a problem with it begins."""

    text: str = field(repr=False)
    place: str
    at: Problem
    is_exposed: bool = False


@dataclass(frozen=True, slots=True)
class _KeyFile:
    """The texts of the file that ``api.key_file`` names, by the variable that could hold the same."""

    texts: Mapping[str, str] = field(repr=False)
    is_exposed: bool


class _Search:
    """One search through the three places. What is found, and every problem on the way, is kept."""

    def __init__(self, config: Config, environ: Mapping[str, str]) -> None:
        self.found: dict[str, _Found] = {}
        self.problems: list[Problem] = []
        self.seen: set[str] = set()  # found, or there and unusable
        self._config = config
        self._environ = environ

    def look_for(self, name: str) -> None:
        """Look into the places in turn, until one is not empty; a later one is not even opened."""
        try:
            for look in (self._in_variable, self._of_systemd, self._in_key_file):
                found = look(name)
                if found is not None and found.text.strip():
                    self.seen.add(name)
                    self.found[name] = _cleaned(name, found)
                    return
        except ConfigInvalid as error:
            self.seen.add(name)
            self.problems += error.problems

    def _in_variable(self, name: str) -> _Found | None:
        text = self._environ.get(name, "")
        return _Found(text, f"the environment variable {name}", Problem("", where=name))

    def _of_systemd(self, name: str) -> _Found | None:
        folder = self._environ.get("CREDENTIALS_DIRECTORY", "")
        path = Path(folder, _file_of(name))
        if not folder or not os.path.lexists(path):
            return None
        place = display(str(path))
        at = Problem("", where=place)
        text, _ = _read_credential(path, at)
        return _Found(text, place, at)

    @cached_property
    def _key_file(self) -> _KeyFile | None:
        """Read once: where the file is replaced meanwhile, the halves must not be of two pairs."""
        path = self._config.api.key_file
        at = self._config.problem_at("api.key_file", "")
        return None if path is None else _read_key_file(_absolute(path, self._config.folder), at)

    def _in_key_file(self, name: str) -> _Found | None:
        file = self._key_file
        if file is None:
            return None
        at = self._config.problem_at("api.key_file", "")
        if name in file.texts:
            return _Found(file.texts[name], "the file that api.key_file names", at, file.is_exposed)
        if self._config.api.version == "v2":
            wrong = (
                "the file that it names holds an app id or a user key, which only v3 takes: v2 wants the API key alone "
                "on one line. Put that there, or write api.version: v3"
            )
            raise ConfigInvalid([replace(at, message=wrong)])
        return None


def _cleaned(name: str, found: _Found) -> _Found:
    try:
        return replace(found, text=clean_credential(found.text))
    except ValueError as error:
        wrong = f"{error}; copy the {_WORDS[name]} once more, alone on one line"
    raise ConfigInvalid([replace(found.at, message=wrong)])


def _file_of(name: str) -> str:
    """What systemd's ``LoadCredential=`` is to call it: ``aistudios-api-key``."""
    return name.casefold().replace("_", "-")


def _read_credential(path: Path, at: Problem) -> tuple[str, int]:
    """The file's text and mode. The path is not told: somebody may have put the key itself in its place."""
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_CREDENTIAL_BYTES)
            mode = os.fstat(file.fileno()).st_mode
    except (OSError, ValueError) as error:
        why = (isinstance(error, OSError) and error.strerror) or "no file can have this name"
    else:
        return content.decode("utf-8-sig", "replace"), mode
    problem = replace(at, message=f"the file for the credential cannot be read ({why}); check its path and permissions")
    raise ConfigInvalid([problem])


def _read_key_file(path: Path, at: Problem) -> _KeyFile:
    text, mode = _read_credential(path, at)
    try:
        texts = _named(text) or {API_KEY: text}
    except ValueError as error:
        wrong = f"the file that it names {error}"
    else:
        return _KeyFile(texts, bool(mode & (stat.S_IRGRP | stat.S_IROTH)))
    raise ConfigInvalid([replace(at, message=wrong)])


def _named(text: str) -> dict[str, str]:
    """What a key file gives by name; nothing where it is a key alone.

    Raises:
        ValueError: it names something, but not in a way that can be told; the text shows nothing of it.
    """
    named: dict[str, str] = {}
    for name, value in list(_named_in_lines(text)) or _named_in_yaml(text):
        if named.setdefault(name, value) != value:
            raise ValueError(f"gives the {_WORDS[name]} twice; keep the right one")
    if not named and _NAMED.search(text):
        raise ValueError(
            f"gives app id or user key in a way that cannot be read: write two lines, {APP_ID}=... and {USER_KEY}=..."
        )
    return named


def _named_in_lines(text: str) -> Iterator[tuple[str, str]]:
    """``NAME=VALUE`` as environment files have it (systemd.exec(5), sh(1)): quotes, comments, ``export``."""
    for key, written in _LINE.findall(text):
        name = _name_of(key)
        if name is None:
            continue
        value = _LINE_VALUE.fullmatch(written)
        if value is None:
            raise ValueError(f"has quotes around the {_WORDS[name]} that do not match; leave them out")
        yield name, next((part for part in value.groups() if part), "")


def _named_in_yaml(text: str) -> Iterator[tuple[str, str]]:
    """The entries of a YAML mapping, which a JSON object is too."""
    reading = yaml_text.read(text)
    document = reading.documents[0] if reading.documents and not reading.problems else None
    for key, value in document.entries if isinstance(document, yaml_text.Mapping) else ():
        name = _name_of(key.text)
        if name is not None and isinstance(value, yaml_text.Scalar):
            yield name, "" if value.is_null else value.text


def _name_of(key: str) -> str | None:
    """The variable that a key stands for, however it is spelled: ``appId``, ``app_id``, ``AISTUDIOS_APP_ID``."""
    return _NAMES.get(re.sub(r"[\s_-]", "", key.casefold()).removeprefix("aistudios"))


def _missing(config: Config, environ: Mapping[str, str], search: _Search) -> Iterator[Problem]:
    """What is nowhere to be found although nothing else serves in its stead."""
    halves = [name for name in PAIR if name in search.seen]
    if API_KEY in search.seen or len(halves) == len(PAIR):
        return
    if halves:
        yield Problem(_no_other_half(search, halves[0]))
    else:
        yield Problem(_no_credential(config, environ))


def _no_other_half(search: _Search, half: str) -> str:
    other = next(name for name in PAIR if name != half)
    where = f" (in {search.found[half].place})" if half in search.found else ""
    return (
        f"the {_WORDS[other]} is missing: the {_WORDS[half]} is there{where}, and v3 wants both. "
        f"Put it into {_places_of(other)}. Or take the {_WORDS[half]} away and give an API key in the same way: "
        f"{API_KEY}; {_file_of(API_KEY)}; alone in the file that api.key_file names"
    )


def _no_credential(config: Config, environ: Mapping[str, str]) -> str:
    empty = " (the file that it names now is empty)" if config.api.key_file else ""
    if config.api.version == "v2":
        ignored = [name for name in PAIR if environ.get(name)]
        hint = f" ({' and '.join(ignored)} would count with api.version: v3)" if ignored else ""
        lack = f"no API key was found{hint}. Put it into {_places_of(API_KEY)}{empty}"
    else:
        lack = (
            f"neither app id and user key nor an API key was found. Put both into {_places_of(*PAIR)}{empty}. "
            f"Or an API key in the same way: {API_KEY}; {_file_of(API_KEY)}; alone in that file"
        )
    return f"{lack}. Without a key, `chromadrop demo` shows how it works"


def _places_of(*names: str) -> str:
    files = [_file_of(name) for name in names]
    loads = " and ".join(f"LoadCredential={file}:/path/to/file" for file in files)
    by_name = "" if API_KEY in names else f", as a line {' and a line '.join(f'`{name}=...`' for name in names)}"
    return (
        f"one of three places, tried in this order: {_listed('environment variable', names)}; "
        f"{_listed('file', files)} in $CREDENTIALS_DIRECTORY (systemd: {loads}); "
        f"the file that api.key_file names{by_name}"
    )


def _listed(what: str, names: Sequence[str]) -> str:
    return f"the {what}{'s' if len(names) > 1 else ''} {' and '.join(names)}"


# --- for editors --------------------------------------------------------------------------------------------


def config_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of the configuration file, for completion in editors."""
    models = (*SECTIONS.values(), _Alone)
    schemas = msgspec.json.schema_components(models, ref_template="#/$defs/{name}")[1]
    names = {name: section.__name__ for name, section in SECTIONS.items()}
    sections = {
        key: {
            "description": schemas[name]["description"],
            "default": {},
            "anyOf": [{"$ref": f"#/$defs/{name}"}, {"type": "null"}],
        }
        for key, name in names.items()
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$defs": {name: schemas[name] for name in names.values()},
        "title": "chromadrop configuration",
        "description": Config.__doc__,
        "type": ["object", "null"],
        "properties": sections | schemas[_Alone.__name__]["properties"],
        "additionalProperties": False,
    }


def load_with_credential(config_path: Path | None, environ: Mapping[str, str], cwd: Path) -> tuple[Config, Credential]:
    """The configuration and the credential, as ``run`` needs them.

    Raises:
        ConfigInvalid: every problem of both.
    """
    try:
        config = load(config_path, environ, cwd)
    except ConfigInvalid as error:
        beside = credential_problems_beside(config_path, environ, cwd)
        raise ConfigInvalid([*error.problems, *(beside.problems if beside else ())]) from None
    return config, find_credential(config, environ)


def credential_problems_beside(config_path: Path | None, environ: Mapping[str, str], cwd: Path) -> ConfigInvalid | None:
    """What is wrong with the credential, where the configuration is not valid and so cannot say where it lies.

    Where ``api.key_file`` seems to be set nothing is said: that file counts once the configuration is mended.
    """
    if environ.get("CHROMADROP_API__KEY_FILE") or _as_written(config_path, cwd, "key_file"):
        return None
    version = environ.get("CHROMADROP_API__VERSION") or _as_written(config_path, cwd, "version")
    try:
        find_credential(Config(api=Api(version="v3" if version == "v3" else "v2")), environ)
    except ConfigInvalid as error:
        return error
    return None


def _as_written(config_path: Path | None, cwd: Path, key: str) -> str:
    """What seems to be set for a key of ``api:`` in a file that may be anything; empty for null and for nothing."""
    for candidate in [config_path] if config_path is not None else DEFAULT_FILES:
        with suppress(OSError, ValueError):
            text = (cwd / candidate).read_bytes()[: 1 << 20].decode("utf-8", "replace")
            values = re.findall(rf"""(?m)^[^#\n]*\b{key}\b["']?[ \t]*:[ \t]*["']?([^\s,}}"'#]+)""", text)
            return next((value for value in values if value not in {"null", "~"}), "")
    return ""
