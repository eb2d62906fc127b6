"""Values as a foreign JSON answer has them: each reader takes whatever is there; None is what makes no sense."""

from __future__ import annotations

import json
import math
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable

WORDS_LIMIT: Final = 300
"""Characters of the longest quotation."""

_LOOKED_AT: Final = 8_192  # characters of a message that may still become part of a quotation
_LONGEST_PROJECT_ID: Final = 256
_LONGEST_URL: Final = 16_384
_NUMBER: Final = re.compile(r"[0-9]{1,16}(?:\.[0-9]{1,9})?")
_DATE_ONLY: Final = 10  # the longest form of a day without a time of day: no moment
_MILLISECONDS_FROM: Final = 1e11  # as seconds the year 5138, as milliseconds 1973
_PLAUSIBLE_SECONDS: Final = (946_684_800.0, 4_102_444_800.0)  # the years 2000 to 2100


def id_of(value: object) -> str | None:
    """A project's id, which may be written as a whole number."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    return value if isinstance(value, str) and _is_sane_id(value) else None


def _is_sane_id(text: str) -> bool:
    return (
        0 < len(text) <= _LONGEST_PROJECT_ID
        and text.isprintable()
        and bool(text.strip())
        and text not in {".", ".."}  # a path would lose them, and another project's progress come back
    )


def number_of(value: object) -> float | None:
    """A finite number, which may be written as a string."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def percent_of(value: object) -> float | None:
    """0 to 100; more than that is 100."""
    number = number_of(value)
    return min(number, 100.0) if number is not None and number >= 0 else None


def is_usable_url(url: str) -> bool:
    """Whether it is a web address that can be asked."""
    if not 0 < len(url) <= _LONGEST_URL or not url.isprintable() or " " in url:
        return False
    try:
        parts = urlsplit(url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def url_of(value: object) -> str | None:
    """A web address, without the white space around it; a blank within is written as one has to be."""
    stripped = value.strip().replace(" ", "%20") if isinstance(value, str) else ""
    return stripped if is_usable_url(stripped) else None


def moment_of(value: object) -> float | None:
    """Seconds since 1970, of ISO 8601 (without a zone it is UTC), or of seconds or milliseconds since 1970."""
    text = value.strip() if isinstance(value, str) else ""
    if isinstance(value, str) and not _NUMBER.fullmatch(text):
        seconds = _iso_seconds(text)
    else:
        seconds = number_of(value)
        if seconds is not None and seconds >= _MILLISECONDS_FROM:
            seconds /= 1000
    earliest, latest = _PLAUSIBLE_SECONDS
    return seconds if seconds is not None and earliest <= seconds <= latest else None


def _iso_seconds(text: str) -> float | None:
    if len(text) <= _DATE_ONLY:
        return None
    try:
        return _in_utc(datetime.fromisoformat(text)).timestamp()
    except (ValueError, OverflowError):
        return None


def http_date_seconds(text: str) -> float | None:
    """Seconds since 1970, of a date in a header (RFC 9110, 5.6.7)."""
    try:
        return _in_utc(parsedate_to_datetime(text)).timestamp()
    except (TypeError, ValueError, IndexError, OverflowError):
        return None


def _in_utc(when: datetime) -> datetime:
    return when if when.tzinfo else when.replace(tzinfo=UTC)


def quotation(text: str, redactor: Callable[[str], str]) -> str:
    """What the vendor said, on one line, redacted, and short enough to be quoted.

    In this order: a secret that was cut in two cannot be recognised any more.
    """
    line = redactor(" ".join(text[:_LOOKED_AT].split()))
    return line if len(line) <= WORDS_LIMIT else line[: WORDS_LIMIT - 1] + "…"


def written(value: object) -> str:
    """A value as text, for quoting; empty where it is nested too deeply to be written."""
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, ensure_ascii=False)
    except RecursionError:
        return ""
