"""The cloud, as the workers see it: one method for each thing that is asked of it."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import urlsplit

from daemon.core.errors import AccountTroubled, CloudDeferred, CloudInDoubt, CloudRefused
from daemon.edges.studio.calls import JSON_LIMIT_BYTES, Calls, NoAnswer
from daemon.edges.studio.dialect import DIALECTS
from daemon.edges.studio.download import Downloader, Part
from daemon.edges.studio.judge import Judge, Look
from daemon.edges.studio.token import Key, Tokens, exchange_of
from daemon.edges.studio.wire import Proxies, is_loopback, ready_context

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from daemon.core.catalogue import Catalogue
    from daemon.core.credential import Secret
    from daemon.core.project import Project
    from daemon.core.redact import Redactor
    from daemon.edges.studio.judge import Answer

LIST_LIMIT_BYTES: Final = 16 << 20
"""As `JSON_LIMIT_BYTES`, for the lists of models and of projects."""

_Meaning = TypeVar("_Meaning")


class Studio:
    """The cloud. May be used by many threads at once; each has a connection of its own that is kept alive for looks.

    Args:
        base_url: such as ``https://v2.aistudios.com/api/odin``; plain http only for loopback.
        credential: a key is sent as the bare value of ``Authorization``; an application's keys are exchanged for a
            token that is (`Tokens`). White space around them is taken off.
        redactor: every text that leaves goes through it; it must know the credential, and learns the tokens.
        version: a key of `DIALECTS`.
        connect_timeout_seconds: for a connection, and for TLS.
        read_timeout_seconds: for silence. Both together bound a whole call of the API.
        max_video_bytes: a larger video is refused.
        retry_after_cap_seconds: the longest ``Retry-After`` that is believed.
        on_large: called by the thread of a download that has much to hash, before it does.
        clock: monotonic seconds.
        wall_clock: seconds since 1970, for ``Retry-After`` dates.

    Raises:
        ValueError: an argument, or a CA bundle that the environment names, cannot be used. No text has the credential.
    """

    def __init__(
        self,
        *,
        base_url: str,
        credential: Secret,
        redactor: Redactor,
        version: str = "v2",
        connect_timeout_seconds: float,
        read_timeout_seconds: float,
        max_video_bytes: int,
        retry_after_cap_seconds: float = 300,
        on_large: Callable[[], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        if version not in DIALECTS:
            raise ValueError(f"the API version {version!r} is not one of: {', '.join(DIALECTS)}")
        self._base_url = _checked(base_url)
        self._dialect = DIALECTS[version]
        self._redactor = redactor
        timeout = (connect_timeout_seconds, read_timeout_seconds)
        context, proxies = ready_context(), Proxies()
        self._judge = Judge(
            self._dialect, redactor, retry_after_cap_seconds=retry_after_cap_seconds, wall_clock=wall_clock
        )
        self._calls = Calls(
            self._base_url,
            context=context,
            proxies=proxies,
            redactor=redactor,
            timeout=timeout,
            clock=clock,
            wall_clock=wall_clock,
        )
        self._pass = self._pass_of(credential, version, clock, sum(timeout))
        self._downloader = Downloader(
            context=context,
            proxies=proxies,
            redactor=redactor,
            judge=self._judge,
            timeout=timeout,
            max_video_bytes=max_video_bytes,
            clock=clock,
            on_large=on_large,
        )

    def __repr__(self) -> str:
        return f"Studio({self._base_url!r})"

    @property
    def has_models(self) -> bool:
        """This generation of the API has a list of models."""
        return self._dialect.models_path is not None

    @property
    def has_projects(self) -> bool:
        """This generation of the API has a list of projects."""
        return self._dialect.projects_path is not None

    @property
    def has_project(self) -> bool:
        """This generation of the API describes a project beyond its progress."""
        return bool(self._dialect.project_path)

    def export(self, body: Mapping[str, object]) -> str:
        """Ask for one video: this costs money. Always on a fresh connection.

        It is never held up by getting a token: nobody could tell then whether anything was sent. Where there is none
        (see `can_export`), or where the cloud refuses it (a 401 says that nothing was accepted), it is deferred.

        Returns:
            The project id.

        Raises:
            CloudDeferred: nothing was sent, nothing was accepted, or the cloud said that it is busy.
            CloudRefused: the cloud said no.
            CloudInDoubt: it may have been accepted.
            AccountTroubled: credential or credit.
        """
        try:
            payload = json.dumps({**self._dialect.defaults, **body}, allow_nan=False).encode("ascii")
        except (TypeError, ValueError) as error:
            raise CloudRefused(self._redactor(f"the request cannot be written as JSON: {error}")) from None
        token = self._pass.at_hand()
        if token is None:
            raise CloudDeferred("there is no token to ask with yet")
        answer = self._answered(lambda token: self._posted(payload, token), token)
        try:
            return self._judge.export(answer, body)
        except AccountTroubled:
            if not answer.is_unauthorized or not self._pass.discard(token):
                raise
        raise CloudDeferred("the cloud refused a token that has had its day; nothing was accepted")

    @property
    def can_export(self) -> bool:
        """What an export needs is at hand; where it is not, `warm_up` gets it."""
        return self._pass.is_at_hand

    def warm_up(self) -> None:
        """Get what an export needs. Free.

        Raises:
            CloudDeferred: it cannot be had for now.
            AccountTroubled: app id and user key were refused.
        """
        self._pass.current()

    def look(self, project_id: str, *, is_afresh: bool = False) -> Look:
        """Ask how far a render is. Free.

        Args:
            project_id: of the render.
            is_afresh: on a new connection, which `look_together` may use after that.

        Raises:
            CloudDeferred: no usable answer; ``is_outage`` and ``is_bounded`` say of which kind.
            AccountTroubled: credential or credit.
        """
        return self._read(self._dialect.progress_path_of(project_id), self._judge.look, is_afresh=is_afresh)

    @property
    def connections(self) -> int:
        """Connections that are in use, or kept alive: so many looks can be under way without making another one."""
        return self._calls.connections

    def look_together(
        self, project_ids: Sequence[str]
    ) -> Iterator[list[tuple[int, Look | CloudDeferred | AccountTroubled | None]]]:
        """Ask how far many renders are, with one thread. Free.

        Returns:
            By their places in ``project_ids``, those that were answered together, as the answers come: what `look`
            returns or raises; None where it has to be asked by `look`, for a connection or a token is to be had first.

        Raises:
            CloudDeferred, AccountTroubled: as for `look`, before anything is asked.
        """
        token = self._pass.current()
        paths = [self._dialect.progress_path_of(project_id) for project_id in project_ids]
        for ended in self._calls.get_together(paths, authorization=token):
            yield [(place, self._meaning(answer, token)) for place, answer in ended]

    def _meaning(self, answer: Answer | NoAnswer | None, token: str) -> Look | CloudDeferred | AccountTroubled | None:
        if isinstance(answer, NoAnswer):
            return CloudDeferred(answer.reason, is_outage=answer.is_unsent)
        if answer is None or answer.is_unauthorized:
            return None
        self._pass.accepted(token)
        try:
            return self._judge.look(answer)
        except (CloudDeferred, AccountTroubled) as error:
            return error

    def probe(self, project_id: str | None) -> None:
        """Test the credential with a free GET; returns when it is accepted, whatever becomes of the project.

        Where the API tells about the credential itself, and does so plainly, that decides.

        Args:
            project_id: one that exists makes the best test; None where none is known.

        Raises:
            CloudDeferred: the cloud cannot be reached, is busy, or makes no sense.
            AccountTroubled: the credential was refused.
        """
        if self._dialect.auth_path is not None and self._read(self._dialect.auth_path, self._judge.auth):
            return
        self._read(self._dialect.progress_path_of(project_id or self._dialect.probe_project_id), self._judge.probe)

    def models(self) -> Catalogue:
        """The models and clothes that the account can order; only where `has_models`. Free.

        Raises:
            CloudDeferred, AccountTroubled: as for `look`.
            ValueError: this generation of the API has no such list.
        """
        return self._read(_there(self._dialect.models_path), self._judge.models, LIST_LIMIT_BYTES)

    def projects(self) -> tuple[Project, ...]:
        """The account's projects, as far as the cloud lists them; only where `has_projects`. Free.

        Raises:
            CloudDeferred, AccountTroubled: as for `look`.
            ValueError: this generation of the API has no such list.
        """
        return self._read(_there(self._dialect.projects_path), self._judge.projects, LIST_LIMIT_BYTES)

    def project(self, project_id: str) -> Project:
        """What the cloud knows of one project, beyond its progress. Free.

        Raises:
            CloudDeferred, AccountTroubled: as for `look`.
        """
        path = self._dialect.project_path_of(project_id)
        return self._read(path, lambda answer: self._judge.project(answer, project_id))

    def clock_lead_seconds(self) -> float | None:
        """By how much our clock is ahead of the cloud's, by its answer to a free GET; see `Answer.clock_lead_seconds`.

        The credential is not sent: whatever the answer is, it has a date. None where it has not.

        Raises:
            CloudDeferred: no answer came.
        """
        return self._got(self._dialect.progress_path_of(self._dialect.probe_project_id), None).clock_lead_seconds

    def download(self, url: str, part: Path, *, should_stop: Callable[[], bool]) -> Part:
        """Download a finished video, or go on with a download that was cut; see `Downloader.download`."""
        return self._downloader.download(url, part, should_stop=should_stop)

    def close(self) -> None:
        """Close the connections that are kept alive. Calls in flight end by themselves."""
        self._calls.close()
        self._downloader.close()

    def _pass_of(
        self, credential: Secret, version: str, clock: Callable[[], float], patience_seconds: float
    ) -> Key | Tokens:
        if isinstance(credential, str):
            return Key(credential)
        if self._dialect.token_path is None:
            raise ValueError(f"API {version} takes a key; it has no exchange of an app id and a user key for a token")
        exchange = exchange_of(credential, self._dialect.token_path, self._calls, self._judge)
        return Tokens(exchange, redactor=self._redactor, clock=clock, patience_seconds=patience_seconds)

    def _read(
        self,
        path: str,
        judge: Callable[[Answer], _Meaning],
        limit_bytes: int = JSON_LIMIT_BYTES,
        *,
        is_afresh: bool = False,
    ) -> _Meaning:
        return self._asked(lambda token: self._got(path, token, limit_bytes, is_afresh=is_afresh), judge)

    def _asked(self, ask: Callable[[str], Answer], judge: Callable[[Answer], _Meaning]) -> _Meaning:
        """What the answer means; asked once more where the token was refused and another one is to be had."""
        token = self._pass.current()
        answer = self._answered(ask, token)
        try:
            return judge(answer)
        except AccountTroubled:
            fresh = self._pass.renewed(token) if answer.is_unauthorized else None
            if fresh is None:
                raise
        return judge(self._answered(ask, fresh))

    def _answered(self, ask: Callable[[str], Answer], token: str) -> Answer:
        answer = ask(token)
        if not answer.is_unauthorized:
            self._pass.accepted(token)
        return answer

    def _posted(self, payload: bytes, token: str) -> Answer:
        try:
            return self._calls.post(self._dialect.export_path, payload, authorization=token)
        except NoAnswer as lost:
            if lost.is_unsent:
                raise CloudDeferred(lost.reason, is_outage=True) from None
            raise CloudInDoubt(f"the export was sent, but no answer came: {lost.reason}") from None

    def _got(
        self, path: str, token: str | None, limit_bytes: int = JSON_LIMIT_BYTES, *, is_afresh: bool = False
    ) -> Answer:
        try:
            return self._calls.get(path, authorization=token, limit_bytes=limit_bytes, is_afresh=is_afresh)
        except NoAnswer as lost:
            raise CloudDeferred(lost.reason, is_outage=lost.is_unsent) from None


def _there(path: str | None) -> str:
    if path is None:
        raise ValueError("this version of the API has no such list")
    return path


def _checked(base_url: str) -> str:
    try:
        parts = urlsplit(base_url.strip())
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError("the base URL cannot be read") from None
    if parts.scheme not in {"http", "https"} or not host:
        raise ValueError("the base URL must begin with https:// and a host name")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("the base URL must have no user name, no query, and no fragment")
    if parts.scheme == "http" and not is_loopback(host):
        raise ValueError(f"the credential is not sent to {host} over plain http; use https")
    return base_url.strip().rstrip("/")
