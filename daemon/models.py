"""The list of models, as ``chromadrop models`` and ``chromadrop lint`` find it. Nothing is written.

An operator's file comes first; then the cloud, where its API has a list (v3); then the copy that the daemon keeps.
"""

from __future__ import annotations

from contextlib import closing, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal

from daemon import app, overview
from daemon.config import find_credential, read_models_file
from daemon.core.catalogue import catalogue_of, document_of
from daemon.core.display import display
from daemon.core.errors import (
    AccountTroubled,
    BatchInvalid,
    CloudDeferred,
    ConfigInvalid,
    LedgerRefused,
    LedgerUnavailable,
    RootUnavailable,
)
from daemon.core.record import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from daemon.config import Config, Paths
    from daemon.core.catalogue import Catalogue

COPY_SECONDS: Final = 48 * 3600.0
"""An older copy is not worth telling people that their job is wrong."""
NOTE: Final = "catalogue"
"""Where the daemon keeps its copy in the ledger: ``{"at": wall seconds, "models": the vendor's form}``."""

_PROBLEM: Final = 1
_UNREACHABLE: Final = 69
_CREDENTIAL_REFUSED: Final = 77
_INVALID: Final = 78
_HOUR: Final = 3600
_DAY_HOURS: Final = 24
_MANY_HOURS: Final = 48

Source = Literal["cloud", "file", "copy"]


@dataclass(frozen=True, slots=True)
class Found:
    """A list of models, and how far it can be trusted.

    Attributes:
        catalogue: the list.
        at: when it was read, or when its file was changed last: wall-clock seconds.
        source: the cloud; a file; or the copy of what the cloud once said.
        where: the cloud's address, or the file's path.
        remark: why it is only a copy, and how old; empty where it is none.
    """

    catalogue: Catalogue
    at: float
    source: Source
    where: str
    remark: str = ""


class NoList(Exception):
    """There is no list.

    Args:
        text: why, in plain words, and what to do.
        exit_code: what the command ends with.
    """

    def __init__(self, text: str, exit_code: int) -> None:
        super().__init__(text)
        self.exit_code = exit_code


def find(config: Config, paths: Paths, environ: Mapping[str, str], now: float) -> Found:
    """The list, asking the cloud where need be.

    Args:
        config: says where to look.
        paths: the folders, for the copy.
        environ: for the credential.
        now: wall-clock seconds.

    Raises:
        NoList: there is none.
        ConfigInvalid: the cloud has to be asked, and there is no credential.
    """
    if config.models_path is not None:
        return _in_file(config.models_path)
    if config.api.version != "v3":
        text = f"the cloud's API {config.api.version} has no list of models: set api.version to v3, or jobs.models_file"
        raise NoList(text, _PROBLEM)
    try:
        catalogue = _ask(config, environ)
    except CloudDeferred as error:
        return _instead(config, paths, error.reason, now)
    except AccountTroubled as error:
        raise NoList(f"the cloud does not let us see its models: {error.reason}", _CREDENTIAL_REFUSED) from None
    return Found(catalogue, now, "cloud", config.api.effective_base_url)


def find_at_hand(config: Config, paths: Paths, now: float) -> Found | None:
    """The list, as far as it can be had without asking anybody; None where there is none, or only an old one.

    Args:
        config: says where to look, and whether at all (``jobs.check_models``).
        paths: the folders, for the copy.
        now: wall-clock seconds.

    Raises:
        NoList: the file that should have it is of no use.
    """
    if not config.jobs.check_models:
        return None
    if config.models_path is not None:
        return _in_file(config.models_path)
    copy = _copy(config, paths) if config.api.version == "v3" else None
    return copy if copy is not None and now - copy.at <= COPY_SECONDS else None


def _in_file(path: Path) -> Found:
    where = display(str(path))
    try:
        return Found(read_models_file(path), path.stat().st_mtime, "file", where)
    except OSError as error:
        text = f"jobs.models_file: {where} cannot be read ({error.strerror or error}); check its path and permissions"
        raise NoList(text, _PROBLEM) from None
    except BatchInvalid as error:
        lines = [f"jobs.models_file: {where} is not valid:", *(str(problem) for problem in error.problems)]
        raise NoList("\n  ".join(lines), _PROBLEM) from None


def _ask(config: Config, environ: Mapping[str, str]) -> Catalogue:
    credential = find_credential(config, environ)
    try:
        studio = app.studio(config, credential)
    except ValueError as error:
        # Such as a CA bundle named by the environment that cannot be used.
        raise NoList(app.redactor(credential)(str(error)), _INVALID) from None
    with closing(studio):
        return studio.models()


def _instead(config: Config, paths: Paths, reason: str, now: float) -> Found:
    copy = _copy(config, paths)
    if copy is None:
        raise NoList(f"{reason}; and there is no copy of an earlier list", _UNREACHABLE)
    remark = f"{reason}; this is the daemon's copy of {utc(copy.at)}, {_age(now - copy.at)} old"
    return Found(copy.catalogue, copy.at, "copy", copy.where, remark)


def _copy(config: Config, paths: Paths) -> Found | None:
    """What the daemon noted last; None where nothing of use can be read."""
    note: Any = None
    with suppress(ConfigInvalid, RootUnavailable, LedgerRefused, LedgerUnavailable, OSError):
        ledger = overview.open_for_reading(config, app.find_state(config, paths))
        if ledger is not None:
            with closing(ledger):
                note = _latest(ledger.notes(NOTE))  # of several daemons each has its own
    with suppress(TypeError, KeyError, ValueError):
        return Found(catalogue_of(note["models"]), float(note["at"]), "copy", config.api.effective_base_url)
    return None


def _latest(notes: Sequence[Any]) -> Any:
    """The one that was read last, of those that can be understood."""
    found = [note for note in notes if isinstance(note, dict) and isinstance(note.get("at"), int | float)]
    return max(found, key=lambda note: float(note["at"]), default=None)


def document(found: Found) -> dict[str, Any]:
    """As plain JSON values; the models are in the vendor's form, which ``jobs.models_file`` takes too."""
    as_of = datetime.fromtimestamp(found.at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return {"as_of": as_of, "source": found.source, "models": document_of(found.catalogue)}


def utc(at: float) -> str:
    """A moment for people, the same wherever they are."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC"


def _age(seconds: float) -> str:
    if seconds < _HOUR:
        return "less than an hour"
    hours = int(seconds // _HOUR)
    if hours >= _MANY_HOURS:
        return f"{hours // _DAY_HOURS:,} days"
    return f"{hours} hour{'' if hours == 1 else 's'}"
