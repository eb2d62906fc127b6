"""What an answer of the cloud means: API.md's last table, row by row, and nothing else. Pure: no socket, no clock."""

from __future__ import annotations

import json
import re
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit, urlunsplit

from daemon.core.catalogue import catalogue_of
from daemon.core.errors import AccountTroubled, CloudDeferred, CloudInDoubt, CloudRefused
from daemon.core.record import dataclass
from daemon.core.redact import clean_credential
from daemon.edges.studio.projects import listed, project_of, single
from daemon.edges.studio.values import http_date_seconds, id_of, percent_of, quotation, url_of, written

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from daemon.core.catalogue import Catalogue
    from daemon.core.project import Project
    from daemon.core.redact import Redactor
    from daemon.edges.studio.dialect import Dialect

BUSY: Final = frozenset({408, 425, 429, 503})
_ACCOUNT: Final = frozenset({401, 402, 403})
_UNAUTHORIZED: Final = 401
_UNAUTHORIZED_CODE: Final = 4010
_BUSY_CODE: Final = 4290
_CREDENTIAL_CODES: Final = frozenset({_UNAUTHORIZED_CODE, 4030})
_CREDIT_CODES: Final = range(4020, 4030)
_SERVER_CODES: Final = range(5000, 6000)

_CREDIT_WORDS: Final = re.compile(r"\bcredits?\b|\binsufficient (?:balance|funds)\b|\bpayments?\b")
_CREDENTIAL_WORDS: Final = re.compile(
    r"\bunauthori[sz]ed\b|\bnot authori[sz]ed\b|\bauthori[sz]ation\b|\bauthentication\b|\bapi ?key\b"
    r"|\b(?:invalid|expired)\b.{0,20}\btoken\b|\btoken\b.{0,20}\b(?:invalid|expired)\b"
)
_CAMEL: Final = re.compile(r"([a-z])([A-Z])")
_GAP: Final = re.compile(r"[\s_-]+")
_HALF_A_SECOND: Final = 0.5
_SURE_ECHO: Final = 16  # so many characters in common are a cut-off echo, not the vendor's own words

_MESSAGE_LIMIT: Final = 8_192
_EXCERPT_BYTES: Final = 4_096
_HIDDEN: Final = re.compile(r"<(script|style)\b.*?(?:</\1\s*>|\Z)", re.IGNORECASE | re.DOTALL)
_TAG: Final = re.compile(r"<[^<>]*>")
_LONGEST_TOKEN: Final = 8_192
_WHOLE_SECONDS: Final = re.compile(r"[0-9]{1,12}")


@dataclass(frozen=True, slots=True)
class Look:
    """One answer of the progress endpoint.

    Attributes:
        percent: 0 to 100.
        url: set exactly when it is rendered. It is signed: never log it; ``repr`` leaves its query out.
    """

    percent: float
    url: str | None

    def __repr__(self) -> str:
        shown = None if self.url is None else urlunsplit((*urlsplit(self.url)[:3], "", ""))
        return f"Look(percent={self.percent!r}, url={shown!r})"


@dataclass(frozen=True)
class Answer:
    """An HTTP answer, read within its bounds.

    Attributes:
        http: the HTTP status.
        headers: by any case of their names.
        body: decoded; what came of it, where it is broken.
        broken: why the body is not all there; empty when it is.
        at: seconds since 1970 by our clock, half-way between the question and the answer's head; None where it was
            not taken down.
    """

    http: int
    headers: Mapping[str, str]
    body: bytes
    broken: str = ""
    at: float | None = None

    @cached_property
    def document(self) -> dict[str, Any] | None:
        """The JSON object in the body, if there is one."""
        if self.broken:
            return None
        try:
            document = json.loads(self.body)
        except (ValueError, RecursionError):  # ValueError: not JSON, not Unicode, or digits without end
            return None
        return document if isinstance(document, dict) else None

    @property
    def is_success(self) -> bool:
        """The HTTP status says so; the body may still say no."""
        return 200 <= self.http < 300  # noqa: PLR2004 - RFC 9110, 15

    @property
    def is_client_error(self) -> bool:
        """The HTTP status says that nothing was done, and that it is the request's fault."""
        return 400 <= self.http < 500  # noqa: PLR2004 - RFC 9110, 15

    @property
    def is_no(self) -> bool:
        """The request was turned down: nothing was done."""
        return self.is_client_error or (self.is_success and (self.document or {}).get("success") is False)

    @property
    def content(self) -> Any:
        """What stands under ``data``; None where nothing does."""
        return (self.document or {}).get("data")

    @property
    def is_unauthorized(self) -> bool:
        """The key or token that was sent is not a good one, or not any more."""
        is_told = self.http == _UNAUTHORIZED or (self.is_no and self.code == _UNAUTHORIZED_CODE)
        return is_told or self.is_authenticated is False

    @property
    def is_authenticated(self) -> bool | None:
        """What an answer that tells about the credential says; None where it does not."""
        found = self.content.get("isAuthenticated") if isinstance(self.content, dict) else None
        return found if isinstance(found, bool) else None

    @property
    def clock_lead_seconds(self) -> float | None:
        """By how much our clock is ahead of the cloud's, by ``Date`` (RFC 9110, 6.6.1); None where it has none.

        The answer was made some time within that second, so it is good to about half of one.
        """
        date = http_date_seconds(self.headers.get("Date") or "")
        return None if date is None or self.at is None else self.at - (date + _HALF_A_SECOND)

    @property
    def code(self) -> int | None:
        """The vendor's own error code, if one is there."""
        document = self.document or {}
        error = document.get("error")
        places = (error, document) if isinstance(error, dict) else (document,)
        for place in places:
            code = place.get("code")
            if isinstance(code, str) and _WHOLE_SECONDS.fullmatch(code):
                code = int(code)
            if isinstance(code, int) and not isinstance(code, bool):
                return code
        return None

    @cached_property
    def message(self) -> str:
        """What the vendor said, in any of the shapes of API.md; else what can be read of the body."""
        document = self.document
        return (_excerpt(self.body) if document is None else _message_of(document))[:_MESSAGE_LIMIT]

    def words(self, redactor: Callable[[str], str]) -> str:
        """The message, redacted, and short enough to be quoted."""
        return quotation(self.message, redactor)


def retry_after_seconds(headers: Mapping[str, str], *, now: float, cap_seconds: float) -> float | None:
    """What ``Retry-After`` asks for (RFC 9110, 10.2.3), capped; None when it says nothing that makes sense.

    Args:
        headers: of the answer. A date counts from the answer's own ``Date``, as clocks differ.
        now: wall-clock seconds, for an answer without one.
        cap_seconds: the longest that is believed.
    """
    text = (headers.get("Retry-After") or "").strip()
    if _WHOLE_SECONDS.fullmatch(text):
        return min(float(text), cap_seconds)
    until = http_date_seconds(text)
    if until is None:
        return None
    since = http_date_seconds(headers.get("Date") or "")
    return min(max(until - (now if since is None else since), 0.0), cap_seconds)


class Judge:
    """Turns answers into what the caller will do about them.

    Args:
        dialect: the API's generation.
        redactor: every text goes through it.
        retry_after_cap_seconds: see `retry_after_seconds`.
        wall_clock: seconds since 1970, for ``Retry-After`` dates.
    """

    __slots__ = ("_cap", "_dialect", "_redactor", "_wall_clock")

    def __init__(
        self,
        dialect: Dialect,
        redactor: Redactor,
        *,
        retry_after_cap_seconds: float,
        wall_clock: Callable[[], float],
    ) -> None:
        self._dialect = dialect
        self._redactor = redactor
        self._cap = retry_after_cap_seconds
        self._wall_clock = wall_clock

    def export(self, answer: Answer, body: Mapping[str, object]) -> str:
        """The project id of an accepted export.

        Args:
            answer: to the POST.
            body: what was asked; where the answer repeats it, those are not the vendor's words.

        Raises:
            CloudDeferred, AccountTroubled, CloudRefused, CloudInDoubt: see API.md's last table.
        """
        self._raise_if_busy(answer)
        if answer.is_success:
            project_id = self._accepted(answer)
            if project_id is not None:
                return project_id
        elif not answer.is_client_error:
            raise CloudInDoubt(self._text("the cloud answered the export with an error", answer))
        self._raise_if_account(answer, [value for value in body.values() if isinstance(value, str)])
        raise CloudRefused(self._text("the cloud refused the request", answer))

    def look(self, answer: Answer) -> Look:
        """How far the render is.

        Raises:
            CloudDeferred, AccountTroubled: see API.md's last table.
        """
        self._raise_if_no(answer)
        found = answer.content if isinstance(answer.content, dict) else {}
        percent = percent_of(found.get("progress"))
        if percent is None:
            raise CloudDeferred(self._text("the cloud did not say how far the render is", answer))
        if percent < 100:  # noqa: PLR2004 - percent
            return Look(percent, None)
        url = next((url for key in self._dialect.url_keys if (url := url_of(found.get(key)))), None)
        if url is None:
            given = next((link for key in self._dialect.url_keys if (link := found.get(key))), None)
            if given is None:
                raise CloudDeferred("the render is at 100 %, but the cloud gave no link to the video yet")
            words = quotation(written(given), self._redactor)
            raise CloudDeferred(f"the render is at 100 %, but the cloud's link to the video is no web address: {words}")
        return Look(percent, url)

    def project(self, answer: Answer, project_id: str) -> Project:
        """The project that was asked for; its id is the one that we know it by.

        Raises:
            CloudDeferred, AccountTroubled: as for a look.
        """
        self._raise_if_no(answer)
        found = single(answer.content)
        if found is None:
            raise CloudDeferred(self._text("the cloud did not describe the project", answer))
        return project_of(found, project_id, lead_seconds=answer.clock_lead_seconds, redactor=self._redactor)

    def projects(self, answer: Answer) -> tuple[Project, ...]:
        """Every project in the list that has an id, in its order; none of them is no trouble.

        Raises:
            CloudDeferred, AccountTroubled: as for a look; also where nothing like a list is there.
        """
        self._raise_if_no(answer)
        found = listed(answer.content)
        if found is None:
            raise CloudDeferred(self._text("the cloud's list of projects cannot be read", answer))
        lead = answer.clock_lead_seconds
        return tuple(project_of(entry, key, lead_seconds=lead, redactor=self._redactor) for key, entry in found)

    def models(self, answer: Answer) -> Catalogue:
        """The models and clothes that can be ordered.

        Raises:
            CloudDeferred, AccountTroubled: as for a look; also where no model is in it.
        """
        self._raise_if_no(answer)
        found = answer.content
        try:
            return catalogue_of(found.get("models") if isinstance(found, dict) else found)
        except ValueError as error:
            raise CloudDeferred(self._text(f"the cloud's list of models cannot be read: {error}", answer)) from None

    def token(self, answer: Answer) -> str:
        """The token that an application's keys were exchanged for.

        An answer that may hold a token is not quoted.

        Raises:
            CloudDeferred: none can be had for now; always an outage.
            AccountTroubled: the keys were refused.
        """
        self._raise_if_busy(answer)
        found = answer.content if isinstance(answer.content, dict) else {}
        if answer.is_no and answer.code not in _SERVER_CODES:
            raise AccountTroubled(self._text("the app id and user key were refused", answer), is_credential=True)
        token = _usable_token(found.get("token"))
        if token is None or not answer.is_success or answer.is_no:
            raise CloudDeferred(f"the cloud gave no usable token (HTTP {answer.http})", is_outage=True)
        return token

    def auth(self, answer: Answer) -> bool:
        """Whether the answer shows that the credential was accepted; False where it tells nothing.

        Raises:
            CloudDeferred: no answer can be had for now.
            AccountTroubled: it was refused.
        """
        self._raise_if_busy(answer)
        if answer.is_authenticated is False and (answer.is_success or answer.is_client_error):
            raise AccountTroubled(self._text("the credential was refused", answer), is_credential=True)
        try:
            self._raise_if_no(answer)
        except CloudDeferred as deferred:
            if not deferred.is_bounded:
                raise
            return False
        return answer.is_authenticated is True

    def probe(self, answer: Answer) -> None:
        """Returns when the answer shows that the credential was accepted: any answer about the project, even a no.

        Raises:
            CloudDeferred, AccountTroubled: as for a look.
        """
        try:
            self._raise_if_no(answer)
        except CloudDeferred as deferred:
            if not deferred.is_bounded:
                raise

    def deferred_by(self, answer: Answer, redactor: Callable[[str], str] | None = None) -> CloudDeferred:
        """The deferral that a 408, 425, 429, or 503 asks for; its words through another redactor, if there is one."""
        wait = retry_after_seconds(answer.headers, now=self._wall_clock(), cap_seconds=self._cap)
        reason = self._text("the cloud is busy", answer, redactor)
        return CloudDeferred(reason, retry_after_seconds=wait, is_outage=True)

    def _accepted(self, answer: Answer) -> str | None:
        """The project id; None when it was plainly refused."""
        document = answer.document
        if document is None:
            raise CloudInDoubt(self._text("the answer to the export is not JSON", answer))
        success, project_id = document.get("success"), self._project_id(document)
        if success is True and project_id is not None:
            return project_id
        if project_id is not None:
            named = f"the answer to the export does not say that it was accepted, but names the project {project_id}"
            raise CloudInDoubt(self._text(named, answer))
        if success is not False:
            raise CloudInDoubt(self._text("the answer to the export has no usable project id", answer))
        if answer.code in _SERVER_CODES:  # the vendor's way to write 500 (API.md)
            raise CloudInDoubt(self._text("the cloud answered the export with an error", answer))
        return None

    def _project_id(self, document: Mapping[str, Any]) -> str | None:
        inner = document.get("data")
        if not isinstance(inner, dict):
            return None
        return id_of(next((inner[key] for key in self._dialect.project_id_keys if key in inner), None))

    def _raise_if_no(self, answer: Answer) -> None:
        self._raise_if_busy(answer)
        if not answer.is_success and not answer.is_client_error:
            raise CloudDeferred(self._text("the cloud answered with an error", answer))
        if answer.is_success and answer.document is None:
            raise CloudDeferred(self._text("the cloud's answer is not JSON", answer))
        if answer.is_no:
            self._raise_if_account(answer, ())
            raise CloudDeferred(self._text("the cloud says no", answer), is_bounded=True)

    def _raise_if_busy(self, answer: Answer) -> None:
        if answer.http in BUSY:
            raise self.deferred_by(answer)
        if answer.is_no and answer.code == _BUSY_CODE and answer.http not in _ACCOUNT:
            raise self.deferred_by(answer)

    def _raise_if_account(self, answer: Answer, echoes: Iterable[str]) -> None:
        words = _without_echoes(answer.message, echoes)
        is_credit = (
            answer.http == 402  # noqa: PLR2004 - Payment Required
            or answer.code in _CREDIT_CODES
            or _CREDIT_WORDS.search(words) is not None
        )
        is_credential = (
            answer.http in _ACCOUNT or answer.code in _CREDENTIAL_CODES or _CREDENTIAL_WORDS.search(words) is not None
        )
        if is_credit:
            raise AccountTroubled(self._text("no credit, or no payment", answer), is_credential=False)
        if is_credential:
            raise AccountTroubled(self._text("the credential was refused", answer), is_credential=True)

    def _text(self, what: str, answer: Answer, redactor: Callable[[str], str] | None = None) -> str:
        code = "" if answer.code is None else f", code {answer.code}"
        words = answer.words(redactor or self._redactor)
        said = f": {words}" if words else ""
        broken = f" ({answer.broken})" if answer.broken else ""
        return self._redactor(f"{what} (HTTP {answer.http}{code}){broken}{said}")


def _message_of(document: Mapping[str, Any]) -> str:
    error = document.get("error")
    places = [error, document] if isinstance(error, dict) else [document]
    found = [place[key] for place in places for key in ("msg", "message") if place.get(key)]
    if error and not isinstance(error, dict):
        found.insert(0, error)
    if not found:
        return ""
    return written(found[0])


def _excerpt(body: bytes) -> str:
    text = body[:_EXCERPT_BYTES].decode("utf-8", "replace")
    import html  # noqa: PLC0415 - half a megabyte of names, for pages that a proxy puts in the cloud's place

    return html.unescape(_TAG.sub(" ", _HIDDEN.sub(" ", text)))


def _normal(text: str) -> str:
    return _GAP.sub(" ", _CAMEL.sub(r"\1 \2", text)).lower().strip()


def _without_echoes(words: str, echoes: Iterable[str]) -> str:
    """The words, normalised, without what the request itself had said, even where the echo was cut off."""
    left = _normal(words)
    for echo in sorted(filter(None, map(_normal, echoes)), key=len, reverse=True):
        if len(echo) <= len(left):
            left = re.sub(rf"(?<!\w){re.escape(echo)}(?!\w)", " ", left)
        start = left.find(echo[:_SURE_ECHO]) if len(echo) > _SURE_ECHO else -1
        if start >= 0:
            end = start + _SURE_ECHO
            while end < len(left) and end - start < len(echo) and left[end] == echo[end - start]:
                end += 1
            left = f"{left[:start]} {left[end:]}"
    return left


def _usable_token(token: object) -> str | None:
    """A token that can stand in a header, in one word."""
    if not isinstance(token, str) or len(token) > _LONGEST_TOKEN or len(token.split()) != 1:
        return None
    try:
        return clean_credential(token)
    except ValueError:
        return None
