"""What a measurement gives: rows of figures, each with the goal that it has to meet, where there is one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

MIB: Final = 1024 * 1024
MB: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured figure.

    Attributes:
        text: with its unit.
        goal: what it was to be; empty where nothing was promised.
        is_met: None where nothing was promised.
    """

    text: str
    goal: str = ""
    is_met: bool | None = None

    def __str__(self) -> str:
        if self.is_met is None:
            return self.text
        return f"{self.text} (goal {self.goal})" if self.is_met else f"**{self.text}** (goal {self.goal}: **missed**)"


def at_most(value: float, limit: float | None, form: str) -> Figure:
    """A figure that is to be so large at most; no goal where the limit is None."""
    text = form.format(value)
    return Figure(text) if limit is None else Figure(text, f"≤ {form.format(limit)}", value <= limit)


def at_least(value: float, limit: float | None, form: str) -> Figure:
    """A figure that is to be so large at least; no goal where the limit is None."""
    text = form.format(value)
    return Figure(text) if limit is None else Figure(text, f"≥ {form.format(limit)}", value >= limit)


@dataclass(frozen=True, slots=True)
class Row:
    """What was measured in one run.

    Attributes:
        case: what was varied, such as ``1,000 jobs``.
        figures: by name, in order.
        points: (x, series, y) to be drawn.
    """

    case: str
    figures: dict[str, Figure | str]
    points: tuple[tuple[float, str, float], ...] = field(default=())


def percentile(values: Sequence[float], share: float) -> float:
    """The value that so large a share does not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
