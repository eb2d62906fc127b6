"""What may be ordered on one calendar day: how much of it has been used, and whether one more video fits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from daemon.core.estimate import about, about_korean
from daemon.core.record import dataclass

_DAY_SECONDS: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class Day:
    """One calendar day, in wall-clock seconds; with summer time some have 23 hours, and some 25.

    Attributes:
        begins_at: the first moment of it.
        ends_at: the first moment of the next.
    """

    begins_at: float
    ends_at: float

    def has(self, wall: float) -> bool:
        """Whether a moment belongs to it."""
        return self.begins_at <= wall < self.ends_at


def utc_day(wall: float) -> Day:
    """The day of a moment where nobody has a time zone."""
    begins_at = wall // _DAY_SECONDS * _DAY_SECONDS
    return Day(begins_at, begins_at + _DAY_SECONDS)


@dataclass(frozen=True, slots=True)
class Limited:
    """Nothing more is ordered today.

    Attributes:
        until: wall-clock seconds.
        videos: ordered today.
        seconds: of speech in them, estimated.
        max_videos: on one day; None for any number.
        max_seconds: of speech on one day; None for any number.
    """

    until: float
    videos: int
    seconds: float
    max_videos: int | None
    max_seconds: float | None

    @property
    def english(self) -> str:
        """What was ordered, of what is allowed; in a few words."""
        videos = f"{self.videos:,} {'video' if self.videos == 1 else 'videos'}"
        if self.max_videos is not None:
            videos = f"{self.videos:,} of {self.max_videos:,} videos"
        if self.max_seconds is None:
            return f"{videos} ordered today"
        return f"{videos} ordered today, {about(self.seconds)} of {_exact(self.max_seconds)} of speech"

    @property
    def korean(self) -> str:
        """The same in Korean."""
        videos = f"오늘 주문한 영상 {self.videos:,}개"
        if self.max_videos is not None:
            videos += f"(하루 {self.max_videos:,}개까지)"
        if self.max_seconds is None:
            return videos
        return f"{videos}, {about_korean(self.seconds)} 분량(하루 {self.max_seconds:,.0f}초까지)"

    def note(self) -> dict[str, float | None]:
        """As the ledger keeps it."""
        return asdict(self)

    @classmethod
    def from_note(cls, note: Any) -> Limited | None:
        """As the ledger kept it; None for nothing that can be read."""
        if not isinstance(note, Mapping):
            return None
        try:
            return cls(**note)
        except TypeError:
            return None


def _exact(seconds: float) -> str:
    return f"{seconds:,.0f} s"


@dataclass(frozen=True, slots=True)
class Spent:
    """What was ordered on a day."""

    videos: int = 0
    seconds: float = 0.0


def has_room(spent: Spent, seconds: float, *, max_videos: int | None, max_seconds: float | None) -> bool:
    """Whether one more video of so many spoken seconds may be ordered today.

    One that is longer than a whole day's seconds goes when it is the day's first: it would wait for ever.
    """
    if max_videos is not None and spent.videos >= max_videos:
        return False
    return max_seconds is None or not spent.videos or spent.seconds + seconds <= max_seconds
