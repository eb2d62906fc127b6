"""``docs/benchmarks.md`` and ``docs/benchmarks.svg``: what was measured, where, and how to do it again."""

from __future__ import annotations

import inspect
import os
import platform
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench.plot import Panel, svg

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from bench.figures import Row

DOCS: Final = Path(__file__).parents[1] / "docs"
README: Final = DOCS.parent / "README.md"
BEGIN: Final = "<!-- figures of docs/benchmarks.md, put here by make bench -->"
END: Final = "<!-- end of figures -->"
PANELS: Final = {
    "makespan": ("N jobs with a render of 20 s", "jobs", "seconds until the last video"),
    "punctuality": ("How far polls are off 3 s", "jobs in flight", "milliseconds"),
    "memory": ("Memory", "jobs in flight", "MB"),
    "growth": ("Cost of one job", "jobs in one run", "milliseconds"),
}


def machine() -> str:
    """What this was measured on, in one line."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        "unknown",
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{os.cpu_count()} cores of {model}, {memory:.0f} GiB, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}, {time.strftime('%Y-%m-%d', time.gmtime())}"
    )


def table(rows: Sequence[Row]) -> str:
    """One scenario's rows as Markdown."""
    names = list(dict.fromkeys(name for row in rows for name in row.figures))
    lines = [f"| | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    lines += [f"| {row.case} | {' | '.join(str(row.figures.get(name, '')) for name in names)} |" for row in rows]
    return "\n".join(lines)


def missed(rows: Sequence[Row]) -> list[str]:
    """The goals that were missed."""
    return [
        f"{row.case}: {name} {figure.text} instead of {figure.goal}"
        for row in rows
        for name, figure in row.figures.items()
        if not isinstance(figure, str) and figure.is_met is False
    ]


def document(
    found: Mapping[str, Sequence[Row]],
    scenarios: Mapping[str, Callable[..., object]],
    command: str,
    loads: Sequence[float],
) -> str:
    """The whole page."""
    how = (
        f"Made by `{command}`; do not edit. Everything was measured in one run, the daemon as a process of its own "
        "against a stand-in cloud on the same machine, which costs next to nothing but shares its cores."
    )
    where = f"Machine: {machine()}. Load average before and after: {loads[0]:.2f}, {loads[1]:.2f}."
    parts = ["# Benchmarks", how, where, "![plots](benchmarks.svg)"]
    failures = {name: missed(rows) for name, rows in found.items() if missed(rows)}
    if failures:
        parts += [
            "Goals that were missed:",
            "\n".join(f"- {name}: {one}" for name, all_ in failures.items() for one in all_),
        ]
    else:
        parts.append("Every goal was met.")
    if left := scenarios.keys() - found.keys():
        parts.append(f"Not measured in this run, which was broken off: {', '.join(sorted(left))}.")
    for name, rows in found.items():
        parts += [f"## {name}", inspect.getdoc(scenarios[name]) or "", table(rows)]
    return "\n\n".join(parts) + "\n"


def promises(found: Mapping[str, Sequence[Row]]) -> str:
    """Every figure that has a goal, as one table."""
    lines = ["| | | measured | goal | met |", "|---|---|---|---|---|"]
    lines += [
        f"| {name}, {row.case} | {what} | {figure.text} | {figure.goal} | {'yes' if figure.is_met else '**no**'} |"
        for name, rows in found.items()
        for row in rows
        for what, figure in row.figures.items()
        if not isinstance(figure, str) and figure.is_met is not None
    ]
    return "\n".join(lines)


def write(text: str, found: Mapping[str, Sequence[Row]], folder: Path = DOCS, readme: Path = README) -> None:
    """Put both files into the folder, and what was promised into the README."""
    before, _, rest = readme.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    readme.write_text(f"{before}{BEGIN}\n{machine()}\n\n{promises(found)}\n{END}{after}")
    panels = [
        Panel(*PANELS[name], [point for row in rows for point in row.points])
        for name, rows in found.items()
        if name in PANELS
    ]
    (folder / "benchmarks.md").write_text(text)
    (folder / "benchmarks.svg").write_text(svg(panels))
