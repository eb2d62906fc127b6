"""``chromadrop check``: is everything there that ``run`` needs? Every problem at once, and nothing is left behind.

Folders are not made, only tried: with a real file, written and moved, in the folder itself or in the nearest parent
that exists (two bind mounts of one file system look alike and still refuse a rename).
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from daemon import VERSION, app
from daemon.config import Config, credential_problems_beside, find_credential, load, read_models_file
from daemon.core.display import display
from daemon.core.errors import (
    AccountTroubled,
    BatchInvalid,
    CloudDeferred,
    ConfigInvalid,
    LedgerOutdated,
    LedgerRefused,
    LedgerUnavailable,
    RootUnavailable,
)
from daemon.core.record import dataclass
from daemon.core.status_page import Life
from daemon.edges.ledger import is_daemon_alive
from daemon.edges.spool import MARKER, group_number, why_exposed, why_not_entered
from daemon.overview import open_for_reading, peers_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from daemon.config import Credential, Paths
    from daemon.core.catalogue import Catalogue
    from daemon.edges.ledger import Ledger
    from daemon.edges.studio import Studio

FINE: Final = 0
PROBLEM: Final = 1
UNREACHABLE: Final = 69
CREDENTIAL_REFUSED: Final = 77
INVALID: Final = 78
PRECEDENCE: Final = (INVALID, CREDENTIAL_REFUSED, UNREACHABLE, PROBLEM)

MOST_SKEW_SECONDS: Final = 60.0
_PREFIX: Final = ".chromadrop-check-"  # begins with a dot: a daemon that runs meanwhile does not take it for a drop


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        kind: what: configuration, root, folder, sharing, state, daemon, ledger, models, notify, credential,
            cloud, or clock.
        is_ok: nothing need be done.
        text: what was found and, where it is not well, what to do.
        exit_code: what it makes of the whole check; 0 with ``is_ok`` false is a warning.
    """

    kind: str
    is_ok: bool
    text: str
    exit_code: int = FINE


def exit_code(findings: list[Finding]) -> int:
    """The gravest of all: configuration, credential, reach, anything else, nothing."""
    found = {finding.exit_code for finding in findings}
    return next((code for code in PRECEDENCE if code in found), FINE)


def check(config_path: Path | None, environ: Mapping[str, str], cwd: Path, *, is_offline: bool) -> list[Finding]:
    """Look at everything.

    Args:
        config_path: as a person named it; None for the usual places.
        environ: all of the environment.
        cwd: the current folder, absolute.
        is_offline: leave the cloud out.
    """
    try:
        config = load(config_path, environ, cwd)
    except ConfigInvalid as error:
        problems = [Finding("configuration", False, str(problem), INVALID) for problem in error.problems]
        return [*problems, *_credential_beside_problems(config_path, environ, cwd)]
    source = f"{display(str(config.source))} is valid" if config.source else "there is no file; the defaults hold"
    findings = [Finding("configuration", True, source)]
    paths = config.paths(environ, cwd)
    findings += _check_root_and_folders(config, paths)
    findings += _check_state(config, paths)
    findings += _check_models_file(config)
    findings += _check_notify(config, environ)
    credential, found = _check_credential(config, environ)
    findings += found
    if credential is not None and not is_offline:
        findings += _check_cloud(config, credential)
    return findings


# --- the credential -------------------------------------------------------------------------------


def _credential_beside_problems(config_path: Path | None, environ: Mapping[str, str], cwd: Path) -> Iterator[Finding]:
    error = credential_problems_beside(config_path, environ, cwd)
    for problem in error.problems if error is not None else ():
        yield Finding("credential", False, str(problem), INVALID)


def _check_credential(config: Config, environ: Mapping[str, str]) -> tuple[Credential | None, list[Finding]]:
    try:
        credential = find_credential(config, environ)
    except ConfigInvalid as error:
        return None, [Finding("credential", False, str(problem), INVALID) for problem in error.problems]
    findings = [Finding("credential", True, f"found in {credential.place} (it is never shown)")]
    if credential.is_exposed:
        text = (
            "the file that api.key_file names may be read by others on this machine: chmod 600 would keep it from them"
        )
        findings.append(Finding("credential", False, text))
    return credential, findings


# --- root and folders -----------------------------------------------------------------------------


def _check_root_and_folders(config: Config, paths: Paths) -> list[Finding]:
    try:
        marker = app.marker_ledger(paths.root)
    except RootUnavailable as error:
        return [Finding("root", False, str(error), UNREACHABLE)]
    root = _root_finding(paths, marker, _ledger_of(config, paths))
    if root.exit_code == UNREACHABLE:
        return [root]  # what lies there now are not the folders that are meant
    return [root, *_check_folders(paths), *_check_group(config), *_check_sharing(config, paths)]


def _root_finding(paths: Paths, marker: str | None, ours: _Ours | None) -> Finding:
    root = display(str(paths.root))
    if marker is None and ours is not None and ours.has_seen_root:
        text = f"{root}/{MARKER} is missing although it was there before: is the share not mounted?"
        return Finding("root", False, text, UNREACHABLE)
    if marker is not None and ours is not None and ours.id != marker:
        cure = "database (ledger.url)" if ours.is_shared else "state folder (folders.state)"
        text = (
            f"{root}/{MARKER} says that this root belongs to another ledger; two ledgers would pay twice. "
            f"Use that ledger's {cure}"
        )
        return Finding("root", False, text, INVALID)
    if marker is None:
        return Finding("root", True, f"{root} is there, and new to chromadrop")
    return Finding("root", True, f"{root} is there" + (" and belongs to our ledger" if ours else ""))


@dataclass(frozen=True, slots=True)
class _Ours:
    id: str | None = None
    has_seen_root: bool = False
    is_shared: bool = False


def _ledger_of(config: Config, paths: Paths) -> _Ours | None:
    """What our ledger says, empty where there is none yet; None where it cannot be told."""
    with suppress(ConfigInvalid, RootUnavailable, LedgerRefused, LedgerUnavailable, OSError):
        ledger = open_for_reading(config, app.find_state(config, paths))
        if ledger is None:
            return _Ours(is_shared=config.ledger.is_shared)
        with closing(ledger):
            return _ours(ledger, paths)
    return None


def _ours(ledger: Ledger, paths: Paths) -> _Ours:
    return _Ours(ledger.id, app.was_root_seen(ledger, paths), ledger.is_shared)


def _check_folders(paths: Paths) -> Iterator[Finding]:
    folders = {name: getattr(paths, name) for name in ("inbox", "processing", "done", "failed", "videos")}
    usable: dict[str, Path] = {}
    for name, folder in folders.items():
        try:
            why = why_not_entered(paths.root, folder)
            if why is not None:
                yield Finding("folder", False, why, PROBLEM)
                continue
            usable[name] = _existing(folder)
            with _probe_file(usable[name]):
                pass
        except OSError as error:
            usable.pop(name, None)
            yield Finding("folder", False, _not_writable(folder, error), PROBLEM)
        else:
            is_there = usable[name] == folder
            words = "is there and can be written" if is_there else "is not there yet and can be made"
            yield Finding("folder", True, f"{display(str(folder))} {words}")
    if "processing" in usable:
        for name in [name for name in folders if name != "processing" and name in usable]:
            yield from _check_rename(name, usable[name], usable["processing"])


def _check_group(config: Config) -> Iterator[Finding]:
    """Whether the group can be given away to: only root can give to one that he is not in (chown(2))."""
    group = config.folders.group
    if group is None:
        return
    number = group_number(group)
    user = os.geteuid()
    if number is None:
        wrong = f"there is no group {display(group)} on this machine: make it (groupadd --system {display(group)})"
    elif user != 0 and number not in {os.getegid(), *os.getgroups()}:
        wrong = (
            f"the user with the number {user}, as whom this was tried, is not in the group {display(group)}: add the "
            "daemon's user to it (usermod --append --groups), or name it in SupplementaryGroups= of the unit"
        )
    else:
        yield Finding("sharing", True, f"the group {display(group)} is there and can be given to files")
        return
    yield Finding("sharing", False, str(config.problem_at("folders.group", wrong)), PROBLEM)


def _check_sharing(config: Config, paths: Paths) -> Iterator[Finding]:
    """Folders that were there before are never changed: who is shut out, or let in, by what they are."""
    with suppress(OSError):
        why = why_exposed(paths.processing)
        if why is not None:
            yield Finding("sharing", False, why)
    mode, group = config.folders.mode_bits, config.folders.group
    number = None if group is None else group_number(group)
    for folder in (paths.inbox, paths.done, paths.failed, paths.videos):
        with suppress(OSError):
            found = folder.stat()
            cures = []
            if mode is not None and mode & stat.S_IWGRP & ~found.st_mode:
                cures.append(f"chmod {mode:04o}")
            if number is not None and found.st_gid != number:
                cures.append(f"chgrp {group}")
            if cures:
                text = (
                    f"{display(str(folder))} was there before and is not as folders.mode and folders.group say, so "
                    f"that producers cannot work in it: {' and '.join(cures)} on it, and on the folders in it"
                )
                yield Finding("sharing", False, text)


def _check_rename(name: str, folder: Path, processing: Path) -> Iterator[Finding]:
    source, target = (folder, processing) if name == "inbox" else (processing, folder)
    try:
        _try_rename(source, target)
    except OSError as error:
        where = f"from {display(str(source))} to {display(str(target))}"
        if error.errno != errno.EXDEV:
            yield Finding("folder", False, f"a file cannot be moved {where}: {error.strerror}", PROBLEM)
        elif name == "inbox":
            text = (
                f"a file cannot be moved {where} in one step, they are on different file systems: "
                "set folders.processing to a folder beside inbox/"
            )
            yield Finding("folder", False, text, INVALID)
        elif name == "videos":
            text = "videos/ is on another file system than processing/: unfinished downloads lie in videos/.downloads"
            yield Finding("folder", True, text)
        else:
            text = f"{name}/ is on another file system than processing/: files are copied there, then removed"
            yield Finding("folder", True, text)


def _existing(folder: Path) -> Path:
    """The folder, else the nearest parent that exists: in there it would be made."""
    return next(path for path in (folder, *folder.parents) if os.path.lexists(path))


@contextmanager
def _probe_file(folder: Path) -> Iterator[Path]:
    """A file of our own in the folder, gone again afterwards; one that was moved away is the caller's."""
    path = folder / f"{_PREFIX}{os.getpid()}-{secrets.token_hex(4)}"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(b"chromadrop check\n")
            opened.flush()
            os.fsync(opened.fileno())
        yield path
    finally:
        path.unlink(missing_ok=True)


def _try_rename(source: Path, target: Path) -> None:
    with _probe_file(source) as path:
        moved = target / f"{path.name}-moved"
        path.rename(moved)
        moved.unlink()


def _not_writable(folder: Path, error: OSError) -> str:
    existing = _existing(folder)
    if isinstance(error, NotADirectoryError):
        return f"{display(str(existing))} is not a folder: move it away, or set the folder elsewhere"
    what = "be written" if existing == folder else f"be made in {display(str(existing))}"
    return (
        f"{display(str(folder))} cannot {what}: {error.strerror or error} "
        f"(tried as the user with the number {os.geteuid()})"
    )


# --- the state ------------------------------------------------------------------------------------


def _check_state(config: Config, paths: Paths) -> Iterator[Finding]:
    try:
        state = app.find_state(config, paths)
    except ConfigInvalid as error:
        yield from (Finding("state", False, str(problem), INVALID) for problem in error.problems)
        return
    except RootUnavailable:
        return  # the root's own finding says it
    except OSError as error:
        yield Finding("state", False, f"the state folder cannot be looked at: {error.strerror or error}", PROBLEM)
        return
    yield _check_state_folder(state)
    yield from _check_ledger(config, state)
    is_alive = is_daemon_alive(state)
    here = " on this machine" if config.ledger.is_shared else ""
    text = f"one is running with this state{here}; a second would refuse to start" if is_alive else "none is running"
    yield Finding("daemon", True, text if is_alive else f"{text}{here}")


def _check_state_folder(state: Path) -> Finding:
    try:
        with _probe_file(_existing(state)):
            pass
    except OSError as error:
        return Finding("state", False, _not_writable(state, error), PROBLEM)
    return Finding("state", True, f"{display(str(state))} is on a local disk and can be written")


def _check_ledger(config: Config, state: Path) -> Iterator[Finding]:
    if config.ledger.database is not None:
        findings = _check_server(config, config.ledger.database)
        yield from findings
        if any(finding.exit_code for finding in findings):
            return
        yield from _check_peers(config, state)
    try:
        ledger = open_for_reading(config, state)
    except LedgerOutdated as error:
        yield Finding("ledger", False, str(error))  # a start mends it, and check is asked before one
    except LedgerRefused as error:
        yield Finding("ledger", False, str(error), INVALID)
    except LedgerUnavailable as error:
        yield Finding("ledger", False, str(error), PROBLEM)
    else:
        if ledger is not None:
            ledger.close()
        yield Finding("ledger", True, "there is none yet; it is made at the first start" if ledger is None else "sound")


def _check_server(config: Config, url: str) -> list[Finding]:
    """The database that several machines share."""
    from daemon.edges.ledger.postgres import look_at_server  # noqa: PLC0415 - `run` comes here without PostgreSQL, too

    try:
        server = look_at_server(url)
    except LedgerRefused as error:
        return [Finding("ledger", False, str(config.problem_at("ledger.url", str(error))), INVALID)]
    except LedgerUnavailable as error:
        return [Finding("ledger", False, str(config.problem_at("ledger.url", str(error))), UNREACHABLE)]
    where = f"PostgreSQL {server.version} at {display(server.place)}"
    findings = [Finding("ledger", True, f"{where} answers{', over TLS' if server.is_encrypted else ''}")]
    if server.obstacle:
        findings.append(Finding("ledger", False, str(config.problem_at("ledger.url", server.obstacle)), INVALID))
    if server.is_standby:
        wrong = f"{where} is a standby, which takes no writes: name all servers, and target_session_attrs=read-write"
        findings.append(Finding("ledger", False, str(config.problem_at("ledger.url", wrong)), PROBLEM))
    if not server.is_local and not server.is_verified:
        wrong = (
            "what is said to it is encrypted, but who answers is not proved"
            if server.is_encrypted
            else "what is said to it, texts of jobs among it, goes over the network as it is"
        )
        text = f"{wrong}: ?sslmode=verify-full&sslrootcert=/etc/chromadrop/ledger-ca.crt in ledger.url would mend that"
        findings.append(Finding("ledger", False, text))
    if config.ledger.secrets and config.source is not None and _is_open_to_others(config.source):
        text = f"{display(str(config.source))} holds the ledger's password and may be read by others: chmod 640 on it"
        findings.append(Finding("ledger", False, text))
    lead = app.now().wall - server.clock
    if abs(lead) > MOST_SKEW_SECONDS:
        way = "ahead of" if lead > 0 else "behind"
        text = (
            f"this machine's clock is {abs(lead):.0f} s {way} the database's: set it right (timedatectl set-ntp true)"
        )
        findings.append(Finding("clock", False, text, PROBLEM))
    return findings


def _is_open_to_others(path: Path) -> bool:
    """Anybody on this machine may read the file."""
    with suppress(OSError):
        return bool(path.stat().st_mode & stat.S_IROTH)
    return False


def _check_peers(config: Config, state: Path) -> Iterator[Finding]:
    """Who else has the ledger."""
    with suppress(LedgerRefused, LedgerUnavailable):
        ledger = open_for_reading(config, state)
        if ledger is not None:
            with closing(ledger):
                views = peers_of(ledger.members(), app.now().wall)
            for life, words in ((Life.ALIVE, "alive on"), (Life.SILENT, "not answering, and not taken over yet, on")):
                hosts = ", ".join(view.host for view in views if view.life is life)
                if hosts:
                    yield Finding("daemon", life is Life.ALIVE, f"{words} {hosts}")
            others = {view.version for view in views if view.life is Life.ALIVE and view.version} - {VERSION}
            if others:
                text = f"this is release {VERSION}, others with the same ledger are {', '.join(sorted(others))}"
                yield Finding("daemon", False, f"{text}: have one release on all machines")


# --- the list of models ---------------------------------------------------------------------------


def _check_models_file(config: Config) -> Iterator[Finding]:
    path = config.models_path
    if path is None:
        return
    where = display(str(path))
    try:
        catalogue = read_models_file(path)
    except OSError as error:
        wrong = f"{where} cannot be read ({error.strerror or error}); check its path and permissions"
        yield Finding("models", False, str(config.problem_at("jobs.models_file", wrong)), PROBLEM)
    except BatchInvalid as error:
        yield from (Finding("models", False, str(replace(wrong, where=where)), PROBLEM) for wrong in error.problems)
    else:
        yield Finding("models", True, f"{_counted(catalogue)} in {where}")


def _check_models_of_cloud(studio: Studio) -> Finding:
    try:
        return Finding("models", True, f"{_counted(studio.models())} in the cloud's list")
    except (AccountTroubled, CloudDeferred) as error:
        text = (
            f"{error.reason}; the daemon goes on without the cloud's list of models, and refuses no job for its model"
        )
        return Finding("models", False, text)


def _counted(catalogue: Catalogue) -> str:
    count = len(catalogue.models)
    return f"{count:,} model{'' if count == 1 else 's'}"


# --- notices --------------------------------------------------------------------------------------


def _check_notify(config: Config, environ: Mapping[str, str]) -> Iterator[Finding]:
    if config.notify.command is None:
        return
    program = app.missing_program(config, environ)
    if program is None:
        yield Finding("notify", True, f"{display(config.notify.command[0])} is there and can be run (it was not)")
    else:
        wrong = f"{display(program)} cannot be found or run; see that it is there and has the x permission (chmod +x)"
        yield Finding("notify", False, str(config.problem_at("notify.command", wrong)))


# --- the cloud ------------------------------------------------------------------------------------


def _check_cloud(config: Config, credential: Credential) -> Iterator[Finding]:
    address = config.api.effective_base_url
    try:
        studio = app.studio(config, credential)
    except ValueError as error:
        yield Finding("cloud", False, str(error), INVALID)
        return
    with closing(studio):
        answer = _finding_of(lambda: studio.probe(None), f"{address} answers and accepts the credential")
        yield answer
        needs_list = config.jobs.check_models and config.models_path is None
        if answer.is_ok and needs_list and studio.has_models:
            yield _check_models_of_cloud(studio)
        try:
            lead = studio.clock_lead_seconds()
        except CloudDeferred:
            return  # nothing answers, which was said
        if lead is not None:
            yield _clock(lead)


def _finding_of(probe: Callable[[], None], well: str) -> Finding:
    try:
        probe()
    except AccountTroubled as error:
        cure = "see that it is the right credential and still valid" if error.is_credential else "see to the account"
        return Finding("cloud", False, f"{error.reason}; {cure}", CREDENTIAL_REFUSED)
    except CloudDeferred as error:
        return Finding("cloud", False, f"{error.reason}; nothing is lost, the daemon would wait for it", UNREACHABLE)
    return Finding("cloud", True, well)


def _clock(lead: float) -> Finding:
    if abs(lead) <= MOST_SKEW_SECONDS:
        return Finding("clock", True, "agrees with the cloud's")
    way = "ahead of" if lead > 0 else "behind"
    text = f"this machine's clock is {abs(lead):.0f} s {way} the cloud's: set it right (timedatectl set-ntp true)"
    return Finding("clock", False, text, PROBLEM)


def require_root(paths: Paths, ledger: Ledger | None) -> None:
    """Make sure that the root is there and ours, for commands that move files in it; nothing is made.

    Args:
        paths: the folders.
        ledger: ours; None where there is none yet.

    Raises:
        RootUnavailable: it is not there, or not mounted.
        LedgerRefused: it belongs to another ledger.
    """
    marker = app.marker_ledger(paths.root)
    finding = _root_finding(paths, marker, _Ours() if ledger is None else _ours(ledger, paths))
    if finding.exit_code == UNREACHABLE:
        raise RootUnavailable(finding.text)
    if not finding.is_ok:
        raise LedgerRefused(finding.text)
