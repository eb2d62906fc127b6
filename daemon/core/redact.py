"""Texts made fit for a log, a page, or a file beside a job: no secret, no signed query, one line, bounded."""

from __future__ import annotations

import json
import re
from collections import deque
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, quote, quote_plus, urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

MASK: Final = "***"
LIMIT: Final = 2_000
"""Characters of the longest text that comes out."""
LEARNED_LIMIT: Final = 8
"""So many of the secrets that were learned last are known; a text may still quote one that was replaced."""

_SHORT: Final = 4  # a shorter secret is only masked as a whole word, or it would eat half of every text
_SIGNATURE: Final = 8  # characters; shorter ones sign nothing
_TOKEN: Final = re.compile(r'[^\s"<>]+')  # none of these can stand in a URL unescaped (RFC 3986)
_USERINFO: Final = re.compile(r"(:(?:\\?/){2})[^/?#\\]*@")  # JSON may have written the slashes as \/
_QUERY: Final = re.compile(r"[?#]|%(?:25)*(?:3[fF]|23)|\\u00(?:3[fF]|23)")
"""Where a query or a fragment begins, also as a URL within a URL, or JSON, may write it."""
_EQUALS: Final = re.compile(r"=|%(?:25)*3[dD]|\\u003[dD]")
_SIGNING: Final = r"[\w.-]{0,32}(?:signature|credential|token|policy|access-?key)[\w.-]{0,32}"
_SIGNED: Final = re.compile(rf"\b({_SIGNING}=)[^\s&\"<>]+", re.IGNORECASE)
"""Part of a signed query without its ``?``, as an object store quotes it when it refuses one."""
_SIGNED_ELEMENT: Final = re.compile(rf"(<({_SIGNING})>)[^<]+(?=</\2>)", re.IGNORECASE)
"""The same as XML, such as S3's ``SignatureProvided``."""
_UNSAFE: Final = re.compile("[\x00-\x1f\x7f-\x9f\xad\u200b-\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]")


def link_secrets(url: str) -> list[str]:
    """What a link may be signed with: its query, and each value in it that is long enough to be no ordinary word."""
    try:
        query = urlsplit(url).query
    except ValueError:
        return []
    values = [value for _name, value in parse_qsl(query) if len(value) >= _SIGNATURE]
    return [found for found in (query, *values) if found]


def clean_credential(text: str) -> str:
    """A credential as it can stand in a header: white space around it, as editors leave it, is taken off.

    Raises:
        ValueError: it is empty, or holds what no HTTP header can (RFC 9110, 5.5); the text does not repeat it.
    """
    stripped = text.strip()
    if not stripped:
        raise ValueError("the credential is empty")
    if any(ord(letter) < 0x20 or 0x7F <= ord(letter) < 0xA0 for letter in stripped):  # noqa: PLR2004 - C0, DEL, C1
        raise ValueError("the credential has a line break or another control character inside")
    try:
        stripped.encode("latin-1")
    except UnicodeEncodeError:
        raise ValueError("the credential has characters that no HTTP header can carry") from None
    return stripped


class Redactor:
    """Takes secrets and signed queries out of texts. May be used and taught by many threads at once.

    Args:
        secrets: credentials; each is also found stripped, percent-encoded, and as JSON or ``repr`` would write it.
            Empty ones are ignored.
    """

    __slots__ = ("_given", "_known", "_learned")

    def __init__(self, secrets: Iterable[str]) -> None:
        self._given = tuple(secrets)
        self._learned: deque[str] = deque(maxlen=LEARNED_LIMIT)
        self._known = (self._given, _pattern_of(self._given))

    def learn(self, secret: str) -> None:
        """Know one more secret from now on, in every thread; the last `LEARNED_LIMIT` of these are kept."""
        if secret not in self._given and secret not in self._learned:  # nothing known is pushed out by what is known
            self._learned.append(secret)

    def __call__(self, text: str) -> str:
        """The text on one line of at most `LIMIT` characters, without secrets, user names, queries, fragments."""
        secrets = self._pattern()
        masked = _TOKEN.sub(_without_query, _without_secrets(secrets, text))
        masked = _SIGNED_ELEMENT.sub(rf"\1{MASK}", _SIGNED.sub(rf"\1{MASK}", masked))
        line = _without_secrets(secrets, _UNSAFE.sub(_escaped, masked))  # escaping could have spelled one
        return line if len(line) <= LIMIT else line[: LIMIT - 1] + "…"

    def hiding(self, secrets: Iterable[str]) -> Callable[[str], str]:
        """The same for texts about one thing that has secrets of its own; these are not learned."""
        pattern = _pattern_of(secrets)
        return lambda text: self(_without_secrets(pattern, text))

    def __repr__(self) -> str:
        return f"Redactor({len(_stripped((*self._given, *self._learned)))} secrets)"

    def _pattern(self) -> re.Pattern[str] | None:
        """Of what is known at this moment; made anew, and put in place by one assignment, when that has changed."""
        secrets = (*self._given, *self._learned)
        known, pattern = self._known
        if known != secrets:
            pattern = _pattern_of(secrets)
            self._known = (secrets, pattern)
        return pattern


def _stripped(secrets: Iterable[str]) -> set[str]:
    return {secret.strip() for secret in secrets if secret.strip("* \t\r\n")}


def _pattern_of(secrets: Iterable[str]) -> re.Pattern[str] | None:
    known = {form for secret in secrets for form in (secret, secret.strip()) if form.strip("* \t\r\n")}
    forms = {form for secret in known for form in _forms(secret)}
    patterns = [_pattern(form) for form in sorted(forms, key=lambda form: (-len(form), form))]
    return re.compile("|".join(patterns)) if patterns else None


def _without_secrets(pattern: re.Pattern[str] | None, text: str) -> str:
    return text if pattern is None else pattern.sub(MASK, text)


def _forms(secret: str) -> Iterator[str]:
    yield secret
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret, ensure_ascii=False)[1:-1]
    yield json.dumps(secret)[1:-1].replace("/", "\\/")
    yield repr(secret)[1:-1]
    raw = secret.encode("utf-8", "surrogatepass")
    yield repr(raw)[2:-1]
    for encoded in (quote(raw, safe=""), quote(raw), quote_plus(raw)):
        yield encoded
        yield re.sub("%..", lambda match: match.group().lower(), encoded)


def _pattern(form: str) -> str:
    exact = re.escape(form)
    return exact if len(form) >= _SHORT else rf"(?<!\w){exact}(?!\w)"


def _without_query(match: re.Match[str]) -> str:
    token = match.group()
    if "@" in token:
        token = _USERINFO.sub(rf"\1{MASK}@", token)
    start = _QUERY.search(token)
    if start is None or start.end() == len(token):
        return token
    has_path = "/" in token[: start.start()]
    return token[: start.end()] + MASK if has_path or _EQUALS.search(token, start.end()) else token


def _escaped(match: re.Match[str]) -> str:
    return match.group().encode("unicode_escape").decode("ascii")
