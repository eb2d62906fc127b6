"""What the cloud knows us by."""

from __future__ import annotations

from dataclasses import field

from daemon.core.record import dataclass


@dataclass(frozen=True, slots=True)
class AppKeys:
    """An application's id and a user's key, which the cloud exchanges for a token of 24 hours (API.md, v3).

    Neither is shown by ``repr``. A long-lived key is a plain ``str`` beside it.
    """

    app_id: str = field(repr=False)
    user_key: str = field(repr=False)


Secret = str | AppKeys
"""A long-lived key, or what a token is had for."""


def secrets_of(secret: Secret) -> tuple[str, ...]:
    """Every text that must never be shown."""
    return (secret,) if isinstance(secret, str) else (secret.app_id, secret.user_key)
