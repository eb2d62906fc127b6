"""``python -m bench [NAME...]``: measure, and print a Markdown table for each scenario."""

from __future__ import annotations

import sys

from bench.place import Cloud
from bench.scenarios import SCENARIOS, Row, machine


def table(rows: list[Row]) -> str:
    """One scenario's rows as Markdown."""
    names = list(rows[0].figures)
    lines = [f"| {rows[0].scenario} | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    lines += [f"| {row.case} | {' | '.join(row.figures[name] for name in names)} |" for row in rows]
    return "\n".join(lines)


def main(names: list[str]) -> int:
    """Measure what is named, or everything."""
    unknown = [name for name in names if name not in SCENARIOS]
    if unknown:
        print(f"no such scenario: {', '.join(unknown)}; there are {', '.join(SCENARIOS)}", file=sys.stderr)
        return 2
    print(machine(), flush=True)
    for name in names or SCENARIOS:
        with Cloud() as cloud:
            rows = []
            for row in SCENARIOS[name](cloud):
                rows.append(row)
                print(f"{row.scenario}: {row.case}: {row.figures}", file=sys.stderr, flush=True)
        print(f"\n{table(rows)}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
