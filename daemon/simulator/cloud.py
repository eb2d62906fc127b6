"""Projects, their progress, and their links: pure state; time comes in as seconds since 1970."""

from __future__ import annotations

import base64
import enum
import hashlib
import hmac
import itertools
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Mapping

WHOLE: Final = 100.0
NAME_LENGTH: Final = 40
CREDIT: Final = 1

CREATED: Final = "created"
RENDERING: Final = "progress"
EXPORTED: Final = "exported"
FAILED: Final = "failed"


@dataclass(frozen=True, slots=True)
class Fate:
    """What goes wrong with a project after it was accepted.

    Attributes:
        is_listed: whether the list has it, and it can be looked at; its progress can be asked for all the same.
        stands_at: the percent at which its progress stands still; None where it does not.
        failure: the cloud's words about a render that failed there; empty where it just stands.
    """

    is_listed: bool = True
    stands_at: float | None = None
    failure: str = ""


FAIR: Final = Fate()


@dataclass(frozen=True, slots=True)
class Project:
    """One accepted export, which is to say: one that was paid for.

    Attributes:
        key: the cloud's name for it.
        ordinal: 1 for the first export accepted, and so on.
        fields: the request's JSON object as it came.
        accepted_at: when, in seconds since 1970.
        render_seconds: how long the render takes.
        version: of the API by which it came, the only one that knows of it.
        is_exported: whether it is rendered at all; v3 does so only when asked.
        fate: what goes wrong with it.
    """

    key: str
    ordinal: int
    fields: Mapping[str, Any]
    accepted_at: float
    render_seconds: float
    version: str = "v2"
    is_exported: bool = True
    fate: Fate = FAIR

    @property
    def text(self) -> str:
        """What the person in the video says."""
        return str(self.fields.get("text", ""))

    @property
    def name(self) -> str:
        """What the project is called in the list: the text's beginning."""
        return self.text[:NAME_LENGTH]

    @property
    def created_at(self) -> str:
        """When it was accepted: ISO 8601 with milliseconds, in UTC."""
        moment = datetime.fromtimestamp(self.accepted_at, UTC).isoformat(timespec="milliseconds")
        return moment.replace("+00:00", "Z")

    @property
    def finished_at(self) -> float:
        """When the render ends."""
        return self.accepted_at + self.render_seconds

    def progress_at(self, now: float) -> float:
        """Percent, 0 to 100: rises evenly, and is 100 only once the render has ended; 0 where there is no render."""
        if not self.is_exported:
            return 0.0
        percent = self._undisturbed_progress_at(now)
        return percent if self.fate.stands_at is None else min(percent, self.fate.stands_at)

    def _undisturbed_progress_at(self, now: float) -> float:
        if now >= self.finished_at:
            return WHOLE
        share = max(0.0, now - self.accepted_at) / self.render_seconds
        return min(99.99, int(share * 10_000) / 100)

    def state_at(self, now: float) -> str:
        """``created`` where it is not rendered, else ``progress``, ``exported``, or ``failed``."""
        if not self.is_exported:
            return CREATED
        if self.fate.stands_at is None:
            return EXPORTED if now >= self.finished_at else RENDERING
        has_failed = bool(self.fate.failure) and self._undisturbed_progress_at(now) >= self.fate.stands_at
        return FAILED if has_failed else RENDERING

    def credit_at(self, now: float) -> int:
        """What was paid: nothing where there is no render, and nothing for one that failed."""
        return 0 if self.state_at(now) in {CREATED, FAILED} else CREDIT


@dataclass(slots=True)
class Cloud:
    """Everything that was ever accepted.

    Attributes:
        render_seconds: how long a render takes.
        jitter: share of ``render_seconds`` by which renders differ, 0 to 1.
        seed: decides which render differs how much.
        nonce: makes the keys of one run differ from those of another, as the real cloud's do.
    """

    render_seconds: float
    jitter: float = 0.0
    seed: int = 0
    nonce: str = ""
    projects: dict[str, Project] = field(default_factory=dict)
    _ordinals: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def accept(
        self,
        fields: Mapping[str, Any],
        now: float,
        *,
        key: str | None = None,
        version: str = "v2",
        is_exported: bool = True,
        fate: Fate = FAIR,
    ) -> Project:
        """Enter an export. ``key`` replaces the one that the cloud would choose; the rest is as in ``Project``."""
        ordinal = next(self._ordinals)
        project = Project(
            key=key if key is not None else self._key(ordinal, now),
            ordinal=ordinal,
            fields=dict(fields),
            accepted_at=now,
            render_seconds=self._render_seconds_of(ordinal),
            version=version,
            is_exported=is_exported,
            fate=fate,
        )
        self.projects[project.key] = project
        return project

    def find(self, key: str) -> Project | None:
        """The project of that key, if there is one."""
        return self.projects.get(key)

    def listed(self, version: str) -> list[Project]:
        """The projects that a version's list has, newest first."""
        return [each for each in reversed(self.projects.values()) if each.version == version and each.fate.is_listed]

    def _key(self, ordinal: int, now: float) -> str:
        """24 hexadecimal digits, time first, as the vendor's keys are."""
        rest = hashlib.sha256(f"{self.nonce}:{self.seed}:{ordinal}".encode()).hexdigest()
        return f"{int(now) & 0xFFFFFFFF:08x}{rest[:16]}"

    def _render_seconds_of(self, ordinal: int) -> float:
        swing = random.Random(f"{self.seed}:{ordinal}").uniform(-1, 1)  # noqa: S311 - repeatable, not secret
        return self.render_seconds * (1 + self.jitter * swing)


class LinkFault(enum.Enum):
    """Why a link is refused: the object store's code and words."""

    UNSIGNED = ("AccessDenied", "Access Denied")
    WRONG_SIGNATURE = (
        "SignatureDoesNotMatch",
        "The request signature we calculated does not match the signature you provided.",
    )
    EXPIRED = ("AccessDenied", "Request has expired")


@dataclass(frozen=True, slots=True)
class Links:
    """Signs download links and checks them.

    Attributes:
        secret: of the signature.
        link_seconds: how long a link is good.
    """

    secret: bytes
    link_seconds: float

    def sign(self, origin: str, key: str, name: str, now: float, *, is_dead: bool = False) -> str:
        """A link to a project's video, good for ``link_seconds`` from ``now``; an expired one if ``is_dead``.

        The name is percent-encoded whole, so that it is the last segment of the path whatever it holds.
        """
        expires = int(now) - 60 if is_dead else int(now + self.link_seconds)
        signature = quote(self._signature(key, name, str(expires)), safe="")
        path = f"/videos/{quote(key, safe='')}/{quote(name, safe='')}"
        return f"{origin}{path}?Expires={expires}&Signature={signature}"

    def fault_of(self, key: str, name: str, expires: str | None, signature: str | None, now: float) -> LinkFault | None:
        """What is wrong with a link, None where nothing is."""
        if not expires or not signature:
            return LinkFault.UNSIGNED
        expected = self._signature(key, name, expires)
        if not hmac.compare_digest(expected.encode(), signature.encode()):
            return LinkFault.WRONG_SIGNATURE
        return LinkFault.EXPIRED if now >= int(expires) else None

    def _signature(self, key: str, name: str, expires: str) -> str:
        signed = hmac.digest(self.secret, f"GET\n{key}\n{name}\n{expires}".encode(), "sha1")
        return base64.b64encode(signed).decode()
