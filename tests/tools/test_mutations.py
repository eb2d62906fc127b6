"""The tests of kills and faults notice when the daemon is broken on purpose (mutations.py runs all of it)."""

from __future__ import annotations

import os
from datetime import UTC, datetime

import pytest
from mutations import BREAKAGES, ROOT, judge

AT_A_TIME = 2


def test_every_breakage_fits_the_code() -> None:
    """What is to be replaced stands in its file exactly once; else the script would break nothing, in silence."""
    for breakage in BREAKAGES:
        for edit in breakage.edits:
            assert (ROOT / edit.file).read_text("utf-8").count(edit.old) == 1, f"{breakage.name}: {edit.file}"


@pytest.mark.slow
def test_breakages_are_noticed() -> None:
    """Two of them, others each day; all with `MUTATIONS=all`, or by `tests/tools/mutations.py`, in some minutes."""
    day = datetime.now(UTC).date().toordinal()
    names = [breakage.name for breakage in BREAKAGES]
    some = [names[(day * AT_A_TIME + n) % len(names)] for n in range(AT_A_TIME)]
    is_all = os.environ.get("MUTATIONS") == "all"
    assert judge(names if is_all else some, has_baseline=is_all) == 0
