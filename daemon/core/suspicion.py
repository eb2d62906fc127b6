"""Whose trouble it is: a look that is refused like one without a good credential may be about its project alone.

The first such answer counts as trouble of the account, as API.md has it. Where the account is found well after that,
by another project, the same answer to a look at the same project is that project's own, as long as the account is
still found well each time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class Suspicion:
    """Which jobs' looks have been refused in that way; by their numbers."""

    def __init__(self) -> None:
        self._accused: set[int] = set()
        self._reasons: dict[int, str] = {}

    def is_own(self, job_id: int) -> bool:
        """The account was found well after such an answer to this job, and no other answer has come since."""
        return job_id in self._reasons

    def accuse(self, job_id: int, reason: str) -> None:
        """Such an answer has come."""
        if job_id in self._reasons:
            self._reasons[job_id] = reason
        else:
            self._accused.add(job_id)

    def account_is_well(self) -> None:
        """It was found to be."""
        self._reasons |= dict.fromkeys(self._accused, "")
        self._accused.clear()

    def account_is_not_well(self) -> None:
        """It was found to be in trouble: no project is to blame."""
        self._reasons.clear()

    def reason(self, job_id: int) -> str:
        """What the last such answer said."""
        return self._reasons.get(job_id, "")

    def clear(self, job_id: int) -> None:
        """Another answer has come, or the job has ended."""
        self._accused.discard(job_id)
        self._reasons.pop(job_id, None)

    def unsuspected(self, job_ids: Iterable[int]) -> int | None:
        """The first of these of which nothing of the kind is known; None where there is none."""
        return next((one for one in job_ids if one not in self._accused and one not in self._reasons), None)
