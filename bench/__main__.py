"""``python -m bench [--quick] [NAME...]``: measure, and say it as Markdown.

All of it, in full size, is written to docs/benchmarks.md and docs/benchmarks.svg too,
and the figures that have a goal into the README.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING, Any, Final

from bench import downloads, engines, report, scenarios, standing
from bench.place import Cloud

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from bench.figures import Row

SCENARIOS: Final[dict[str, Callable[..., Iterator[Row]]]] = {
    each.__name__: each
    for each in (
        scenarios.makespan, scenarios.punctuality, scenarios.latency, scenarios.intake, downloads.download,
        standing.memory, standing.soak, standing.start, standing.idle, standing.ledger, scenarios.growth,
        engines.engines,
    )
}  # fmt: skip
QUICK: Final[Mapping[str, dict[str, Any]]] = {
    "makespan": {"counts": (1, 100), "render_seconds": 3.0},
    "punctuality": {"counts": (100, 500), "seconds": 9.0},
    "latency": {"drops": 10},
    "intake": {"counts": (300,)},
    "download": {"video_bytes": 50_000_000, "beside": 50, "tries": 1},
    "memory": {"counts": (100,), "done": 1000, "seconds": 3},
    "soak": {"rounds": 3, "files": 10},
    "start": {"tries": 3, "done": (0, 1000)},
    "idle": {"seconds": 10.0},
    "ledger": {"counts": (1000, 2000), "tries": 1},
    "growth": {"counts": (50, 200)},
    "engines": {"count": 200, "drops": 5},
}
"""Sizes with which all of it takes some two minutes: to try it, not to judge by it."""


def measure(name: str, sizes: Mapping[str, Any]) -> list[Row]:
    """One scenario, each row told as it comes."""
    with Cloud() as cloud:
        return measure_rows(SCENARIOS[name], cloud, sizes)


def measure_rows(scenario: Callable[..., Iterator[Row]], cloud: Cloud | None, sizes: Mapping[str, Any]) -> list[Row]:
    """The same beside a cloud that is there."""
    rows = []
    for row in scenario(cloud, **sizes):
        rows.append(row)
        figures = ", ".join(f"{figure} {value}" for figure, value in row.figures.items())
        print(f"{scenario.__name__}: {row.case}: {figures}", file=sys.stderr, flush=True)
    return rows


def main(arguments: Sequence[str]) -> int:
    """Measure what is named, or everything."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure; best on an idle machine.")
    parser.add_argument("name", nargs="*", help=f"{', '.join(SCENARIOS)}; all when left out")
    parser.add_argument("--quick", action="store_true", help="small sizes, to try it; nothing is written")
    chosen = parser.parse_args(arguments)
    unknown = [name for name in chosen.name if name not in SCENARIOS]
    if unknown:
        parser.error(f"no such scenario: {', '.join(unknown)}; there are {', '.join(SCENARIOS)}")
    before = os.getloadavg()[0]
    found: dict[str, list[Row]] = {}
    text = ""
    for name in chosen.name or SCENARIOS:
        found[name] = measure(name, QUICK[name] if chosen.quick else {})
        text = report.document(found, SCENARIOS, "make bench", (before, os.getloadavg()[0]))
        if not chosen.name and not chosen.quick:
            report.write(text, found)  # after each: what was measured outlives a run that is broken off
            print("written: docs/benchmarks.md, docs/benchmarks.svg, and the figures in README.md", file=sys.stderr)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
