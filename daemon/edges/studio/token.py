"""What is sent as ``Authorization``: a long-lived key, or the token of 24 hours that an application's keys give.

A token is kept in memory only. It is had when it is first needed, renewed when it is 23 hours old or was refused, and
never by two threads at once.
"""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from dataclasses import field
from typing import TYPE_CHECKING, Final

from daemon.core.errors import AccountTroubled, CloudDeferred
from daemon.core.record import dataclass
from daemon.core.redact import clean_credential
from daemon.edges.studio.calls import NoAnswer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from daemon.core.credential import AppKeys
    from daemon.core.redact import Redactor
    from daemon.edges.studio.calls import Calls
    from daemon.edges.studio.judge import Judge

RENEWED_AFTER_SECONDS: Final = 23 * 3600.0
VALID_SECONDS: Final = 24 * 3600.0
"""API.md: a token is valid for 24 hours."""
RENEWED_AGAIN_SECONDS: Final = 60.0
"""Where an ageing token could not be renewed, it is tried again after so long."""
JUST_FETCHED_SECONDS: Final = 10.0
"""A younger token that is refused, and never was accepted, is not renewed, and keys that were refused are not sent
again so soon: it would be the same again, and a storm of it."""
HELD_OFF_SECONDS: Final = 1.0
"""Where no token could be had for now, whoever asks within so long is told the same; and no token is replaced sooner
than this after it was had."""


class Key:
    """A long-lived key.

    Raises:
        ValueError: see `clean_credential`.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = clean_credential(text)

    @property
    def is_at_hand(self) -> bool:
        """It is."""
        return True

    def current(self) -> str:
        """The key."""
        return self._text

    def at_hand(self) -> str:
        """The key."""
        return self._text

    def discard(self, refused: str) -> bool:  # noqa: ARG002 - as of Tokens
        """False: there is no other."""
        return False

    def accepted(self, text: str) -> None:
        """Nothing is to be learnt of it."""

    def renewed(self, refused: str) -> str | None:  # noqa: ARG002 - as of Tokens
        """None: there is no other."""
        return None


def exchange_of(keys: AppKeys, path: str, calls: Calls, judge: Judge) -> Callable[[], str]:
    """What has a new token each time that it is called, for `Tokens`.

    Raises:
        ValueError: the keys cannot be used; see `clean_credential`.
    """
    pair = {"appId": clean_credential(keys.app_id), "userKey": clean_credential(keys.user_key)}
    body = json.dumps(pair).encode("ascii")

    def exchange() -> str:
        try:
            answer = calls.post(path, body, authorization=None)
        except NoAnswer as lost:
            raise CloudDeferred(f"no token can be had: {lost.reason}", is_outage=True) from None
        return judge.token(answer)

    return exchange


@dataclass(frozen=True, slots=True)
class _Token:
    text: str = field(repr=False)
    fetched_at: float


@dataclass(frozen=True, slots=True)
class _Failure:
    """Why the last exchange gave no token."""

    at: float
    reason: str
    is_refusal: bool
    retry_after_seconds: float | None

    @classmethod
    def of(cls, error: CloudDeferred | AccountTroubled, at: float) -> _Failure:
        wait = error.retry_after_seconds if isinstance(error, CloudDeferred) else None
        return cls(at, error.reason, isinstance(error, AccountTroubled), wait)

    @property
    def until(self) -> float:
        """Asking before this moment would be a storm."""
        least = JUST_FETCHED_SECONDS if self.is_refusal else HELD_OFF_SECONDS
        return self.at + max(least, self.retry_after_seconds or 0.0)

    def again(self, now: float) -> CloudDeferred | AccountTroubled:
        """The same once more, for another thread to raise."""
        if self.is_refusal:
            return AccountTroubled(self.reason, is_credential=True)
        wait = None if self.retry_after_seconds is None else self.until - now
        return CloudDeferred(self.reason, retry_after_seconds=wait, is_outage=True)


class Tokens:
    """The token, for many threads.

    Args:
        exchange: has a new one, or raises CloudDeferred or AccountTroubled; never called by two threads at once.
        redactor: knows each token before anybody else does.
        clock: monotonic seconds.
        patience_seconds: the longest that a thread waits while another one has the token renewed.
    """

    __slots__ = ("_accepted", "_clock", "_exchange", "_failure", "_patience", "_redactor", "_renewing", "_token")

    def __init__(
        self,
        exchange: Callable[[], str],
        *,
        redactor: Redactor,
        clock: Callable[[], float],
        patience_seconds: float,
    ) -> None:
        self._exchange = exchange
        self._redactor = redactor
        self._clock = clock
        self._patience = patience_seconds
        self._renewing = threading.Lock()  # whoever holds it alone writes the two below
        self._token: _Token | None = None
        self._failure: _Failure | None = None
        self._accepted: str | None = None

    def accepted(self, text: str) -> None:
        """The cloud took this token: if it is refused later, it has had its day, however short that was."""
        self._accepted = text

    def current(self) -> str:
        """The token; one that grows old is renewed first, where that can be done now.

        Raises:
            CloudDeferred: there is none, and none can be had for now; always an outage.
            AccountTroubled: there is none, and the keys were refused.
        """
        token = self._token
        age = VALID_SECONDS if token is None else self._clock() - token.fetched_at
        if token is None or age >= VALID_SECONDS:
            return self._had(token)
        return token.text if age < RENEWED_AFTER_SECONDS else self._renewed_in_passing(token)

    @property
    def is_at_hand(self) -> bool:
        """There is a token, good as far as we know, and nobody need be asked for it."""
        token = self._token
        return token is not None and self._clock() - token.fetched_at < VALID_SECONDS

    def at_hand(self) -> str | None:
        """The token; None where there is none without asking for one."""
        token = self._token
        return token.text if token is not None and self.is_at_hand else None

    def discard(self, refused: str) -> bool:
        """Whether another token is worth having; the refused one is at hand no more then."""
        with self._turn():
            token = self._token
            if token is None or token.text != refused:
                return True
            if self._is_just_fetched(token):
                return False
            self._token = None
            return True

    def renewed(self, refused: str) -> str | None:
        """Another token than the one that was refused; None where a new one would be no better.

        Raises:
            CloudDeferred, AccountTroubled: as for `current`.
        """
        with self._turn():
            token = self._token
            if token is None or token.text == refused:
                if token is not None:
                    if self._is_just_fetched(token):
                        return None
                    self._refuse_haste(token)
                token = self._fetched()
            return token.text if token.text != refused else None

    def _is_just_fetched(self, token: _Token) -> bool:
        return token.text != self._accepted and self._clock() - token.fetched_at < JUST_FETCHED_SECONDS

    def _refuse_haste(self, token: _Token) -> None:
        """Somebody else with the same keys may have had a new token, which voids ours, and ours voids theirs."""
        if self._clock() - token.fetched_at < HELD_OFF_SECONDS:
            raise CloudDeferred("the cloud refuses a token that it took a moment ago", is_outage=True)

    def _had(self, missing: _Token | None) -> str:
        with self._turn():
            token = self._token
            return (self._fetched() if token is None or token is missing else token).text

    def _renewed_in_passing(self, old: _Token) -> str:
        """The old one is still good: nobody waits, and no failure counts, neither of the line nor of the keys."""
        failure = self._failure
        if failure is not None and self._clock() < max(failure.until, failure.at + RENEWED_AGAIN_SECONDS):
            return old.text
        if not self._renewing.acquire(blocking=False):
            return old.text
        try:
            return (self._fetched() if self._token is old else self._token or old).text
        except (CloudDeferred, AccountTroubled):
            return old.text
        finally:
            self._renewing.release()

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if not self._renewing.acquire(timeout=self._patience):
            raise CloudDeferred("no token can be had: another call still waits for one", is_outage=True)
        try:
            yield
        finally:
            self._renewing.release()

    def _fetched(self) -> _Token:
        failure, now = self._failure, self._clock()
        if failure is not None and now < failure.until:
            raise failure.again(now)
        try:
            text = self._exchange()
        except (CloudDeferred, AccountTroubled) as error:
            self._failure = _Failure.of(error, self._clock())
            raise
        self._redactor.learn(text)
        self._failure = None
        self._token = token = _Token(text, self._clock())
        return token
