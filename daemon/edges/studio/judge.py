"""What an answer of the cloud means: API.md's last table, row by row, and nothing else. Pure: no socket, no clock."""

from __future__ import annotations

import html
import json
import math
import re
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit, urlunsplit

from daemon.core.errors import AccountTroubled, CloudDeferred, CloudInDoubt, CloudRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from daemon.core.redact import Redactor
    from daemon.edges.studio.dialect import Dialect

BUSY: Final = frozenset({408, 425, 429, 503})
_ACCOUNT: Final = frozenset({401, 402, 403})
_BUSY_CODE: Final = 4290
_CREDENTIAL_CODES: Final = frozenset({4010, 4030})
_CREDIT_CODES: Final = range(4020, 4030)
_SERVER_CODES: Final = range(5000, 6000)

_CREDIT_WORDS: Final = re.compile(r"\bcredits?\b|\binsufficient (?:balance|funds)\b|\bpayments?\b")
_CREDENTIAL_WORDS: Final = re.compile(
    r"\bunauthori[sz]ed\b|\bnot authori[sz]ed\b|\bauthori[sz]ation\b|\bauthentication\b|\bapi ?key\b"
    r"|\b(?:invalid|expired)\b.{0,20}\btoken\b|\btoken\b.{0,20}\b(?:invalid|expired)\b"
)
_CAMEL: Final = re.compile(r"([a-z])([A-Z])")
_GAP: Final = re.compile(r"[\s_-]+")
_SURE_ECHO: Final = 16  # so many characters in common are a cut-off echo, not the vendor's own words

_WORDS_LIMIT: Final = 300
_MESSAGE_LIMIT: Final = 8_192
_EXCERPT_BYTES: Final = 4_096
_HIDDEN: Final = re.compile(r"<(script|style)\b.*?(?:</\1\s*>|\Z)", re.IGNORECASE | re.DOTALL)
_TAG: Final = re.compile(r"<[^<>]*>")
_LONGEST_PROJECT_ID: Final = 256
_LONGEST_URL: Final = 16_384
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
    """

    http: int
    headers: Mapping[str, str]
    body: bytes
    broken: str = ""

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

    @property
    def words(self) -> str:
        """The message, short enough to be quoted."""
        line = " ".join(self.message.split())
        return line if len(line) <= _WORDS_LIMIT else line[: _WORDS_LIMIT - 1] + "…"


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
    until = _seconds_of(text)
    if until is None:
        return None
    since = _seconds_of(headers.get("Date") or "")
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
        inner = (answer.document or {}).get("data")
        found = inner if isinstance(inner, dict) else {}
        percent = _percent(found.get("progress"))
        if percent is None:
            raise CloudDeferred(self._text("the cloud did not say how far the render is", answer))
        if percent < 100:  # noqa: PLR2004 - percent
            return Look(percent, None)
        url = next((url for key in self._dialect.url_keys if (url := _usable_url(found.get(key)))), None)
        if url is None:
            raise CloudDeferred("the render is at 100 %, but the cloud gave no link to the video yet")
        return Look(percent, url)

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

    def deferred_by(self, answer: Answer) -> CloudDeferred:
        """The deferral that a 408, 425, 429, or 503 asks for."""
        wait = retry_after_seconds(answer.headers, now=self._wall_clock(), cap_seconds=self._cap)
        reason = self._text("the cloud is busy", answer)
        return CloudDeferred(reason, retry_after_seconds=wait, is_outage=True)

    def _accepted(self, answer: Answer) -> str | None:
        """The project id; None when it was plainly refused."""
        document = answer.document
        if document is None:
            raise CloudInDoubt(self._text("the answer to the export is not JSON", answer))
        success, project_id = document.get("success"), self._project_id(document)
        if success is True and project_id is not None:
            return project_id
        if success is not False or project_id is not None:
            raise CloudInDoubt(self._text("the answer to the export has no usable project id", answer))
        if answer.code in _SERVER_CODES:  # the vendor's way to write 500 (API.md)
            raise CloudInDoubt(self._text("the cloud answered the export with an error", answer))
        return None

    def _project_id(self, document: Mapping[str, Any]) -> str | None:
        inner = document.get("data")
        if not isinstance(inner, dict):
            return None
        found = next((inner[key] for key in self._dialect.project_id_keys if key in inner), None)
        if isinstance(found, int) and not isinstance(found, bool):
            found = str(found)
        return found if isinstance(found, str) and _is_sane_id(found) else None

    def _raise_if_no(self, answer: Answer) -> None:
        self._raise_if_busy(answer)
        if not answer.is_success and not answer.is_client_error:
            raise CloudDeferred(self._text("the cloud answered with an error", answer))
        if answer.is_success and answer.document is None:
            raise CloudDeferred(self._text("the cloud's answer is not JSON", answer))
        if answer.is_client_error or (answer.document or {}).get("success") is False:
            self._raise_if_account(answer, ())
            raise CloudDeferred(self._text("the cloud says no", answer), is_bounded=True)

    def _raise_if_busy(self, answer: Answer) -> None:
        if answer.http in BUSY:
            raise self.deferred_by(answer)
        is_no = answer.is_client_error or (answer.is_success and (answer.document or {}).get("success") is False)
        if is_no and answer.code == _BUSY_CODE and answer.http not in _ACCOUNT:
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

    def _text(self, what: str, answer: Answer) -> str:
        code = "" if answer.code is None else f", code {answer.code}"
        said = f": {answer.words}" if answer.words else ""
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
    return found[0] if isinstance(found[0], str) else json.dumps(found[0], ensure_ascii=False)


def _excerpt(body: bytes) -> str:
    text = body[:_EXCERPT_BYTES].decode("utf-8", "replace")
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


def _is_sane_id(text: str) -> bool:
    return (
        0 < len(text) <= _LONGEST_PROJECT_ID
        and text.isprintable()
        and bool(text.strip())
        and text not in {".", ".."}  # a path would lose them, and another project's progress come back
    )


def _percent(progress: object) -> float | None:
    """0 to 100; None when it is no number. A number written as a string is one."""
    if isinstance(progress, bool) or not isinstance(progress, int | float | str):
        return None
    try:
        percent = float(progress)
    except (ValueError, OverflowError):
        return None
    return min(percent, 100.0) if math.isfinite(percent) and percent >= 0 else None


def is_usable_url(url: str) -> bool:
    """Whether it is a web address that can be asked."""
    if not 0 < len(url) <= _LONGEST_URL or not url.isprintable() or " " in url:
        return False
    try:
        parts = urlsplit(url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _usable_url(url: object) -> str | None:
    stripped = url.strip() if isinstance(url, str) else ""
    return stripped if is_usable_url(stripped) else None


def _seconds_of(date: str) -> float | None:
    try:
        when = parsedate_to_datetime(date)
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
