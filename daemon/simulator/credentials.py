"""Who may ask: long-lived keys, applications, and the tokens that these are given. Pure; time comes in as seconds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

REVOKED: Final = float("-inf")

MISSING: Final = "Authorization is required."
BEARER: Final = "Authorization takes the bare credential, without Bearer."
NOT_VALID: Final = "Unauthorized: the API key is not valid."
EXPIRED: Final = "Unauthorized: the token has expired."


@dataclass(slots=True)
class Tokens:
    """Every token that was ever given out; one that is no longer good is remembered as such.

    Attributes:
        token_seconds: how long a token is good.
        make: a fresh one.
        issued: how many were given out since the start, or the last reset.
    """

    token_seconds: float
    make: Callable[[], str] = field(repr=False)
    issued: int = 0
    _ends_at: dict[str, float] = field(default_factory=dict, repr=False)

    def issue(self, now: float) -> str:
        """Give out a token."""
        token = self.make()
        self._ends_at[token] = now + self.token_seconds
        self.issued += 1
        return token

    def is_ours(self, credential: str) -> bool:
        """Whether it is a token that was given out here, good or not."""
        return credential in self._ends_at

    def is_good(self, credential: str, now: float) -> bool:
        """Whether it is a token that has neither expired nor been revoked."""
        return now < self._ends_at.get(credential, REVOKED)

    def count_good(self, now: float) -> int:
        """How many tokens are good."""
        return sum(now < end for end in self._ends_at.values())

    def revoke(self) -> None:
        """No token that was given out so far is good any more."""
        self._ends_at = dict.fromkeys(self._ends_at, REVOKED)

    def reset(self) -> None:
        """Begin to count anew; the tokens of before are revoked."""
        self.revoke()
        self.issued = 0


@dataclass(frozen=True, slots=True)
class Credentials:
    """What is taken for a credential.

    Attributes:
        keys: the long-lived keys.
        apps: pairs of an application's id and a user's key; any when empty.
        tokens: what the pairs are exchanged for.
    """

    keys: Collection[str] = field(repr=False)
    apps: Collection[tuple[str, str]] = field(repr=False)
    tokens: Tokens

    def is_app(self, app_id: str, user_key: str) -> bool:
        """Whether the pair may have a token."""
        return not self.apps or (app_id, user_key) in self.apps

    def problem_of(self, credential: str, now: float, *, takes_tokens: bool) -> str | None:
        """What is wrong with an Authorization header, None where nothing is.

        Args:
            credential: the header's value.
            now: seconds since 1970.
            takes_tokens: whether the API version does; in v2 one is a word like any other.
        """
        if not credential:
            return MISSING
        if credential.lower().startswith("bearer "):
            return BEARER
        if credential in self.keys:
            return None
        is_ours = self.tokens.is_ours(credential)
        if takes_tokens and is_ours:
            return None if self.tokens.is_good(credential, now) else EXPIRED
        is_restricted = bool(self.keys) or bool(self.apps and (takes_tokens or is_ours))
        return NOT_VALID if is_restricted else None
