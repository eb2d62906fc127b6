"""The benchmarks can be run: each scenario with the smallest sizes; nothing here looks at how long anything takes."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING, Any, Final

import pytest

from bench import __main__ as bench
from bench import downloads, report
from bench.figures import Row, at_least, at_most
from bench.plot import Panel, svg

if TYPE_CHECKING:
    from pathlib import Path

TINY: Final[dict[str, dict[str, Any]]] = {
    "makespan": {"counts": (2,), "render_seconds": 0.0},
    "punctuality": {"counts": (2,), "seconds": 6.5},
    "latency": {"drops": 1},
    "intake": {"counts": (2,)},
    "download": {"video_bytes": 1_000_000, "at_once": (1,), "beside": 2, "tries": 1},
    "memory": {"counts": (2,), "done": 20, "seconds": 0},
    "soak": {"rounds": 2, "files": 1, "jobs_a_file": 2},
    "start": {"tries": 1, "done": (20,)},
    "idle": {"seconds": 1.0},
    "ledger": {"counts": (20,), "tries": 1},
    "growth": {"counts": (10, 20)},
    "engines": {"count": 20, "drops": 1},
}


def test_every_scenario_has_its_small_sizes() -> None:
    """For trying it, and for this test."""
    assert TINY.keys() == bench.QUICK.keys() == bench.SCENARIOS.keys()


@pytest.mark.slow
@pytest.mark.parametrize("name", TINY)
def test_a_scenario_runs(name: str) -> None:
    """Whatever was renamed in the daemon; and its rows make a table."""
    rows = bench.measure(name, TINY[name])
    assert rows
    assert report.table(rows).count("\n") == len(rows) + 1


def test_without_nginx_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a plain word, and the rest is measured all the same."""
    monkeypatch.setenv("PATH", "")
    [row] = bench.measure_rows(downloads.download, None, {})
    assert row.case.startswith("not measured: nginx, openssl, curl not installed")
    assert row.figures == {}


def test_a_goal_stands_beside_its_figure_and_one_that_is_missed_is_named() -> None:
    """Nobody has to look for it."""
    rows = [Row("a case", {"fast": at_most(3.0, 2.0, "{:.0f} s"), "many": at_least(9, 5, "{:.0f}"), "plain": "x"})]
    assert report.table(rows).splitlines()[-1] == "| a case | **3 s** (goal ≤ 2 s: **missed**) | 9 (goal ≥ 5) | x |"
    assert report.missed(rows) == ["a case: fast 3 s instead of ≤ 2 s"]
    assert str(at_most(3.0, None, "{:.0f} s")) == "3 s"


def test_what_was_measured_is_written_with_plots_and_the_readme_follows(tmp_path: Path) -> None:
    """One command makes all three; the README's figures are never copied by hand."""
    rows = [Row("1 job", {"of the limit": at_most(1.0, 1.1, "{:.2f}")}, ((1, "chromadrop", 20.0), (10, "limit", 23.0)))]
    found = {"makespan": rows}
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    text = report.document(found, bench.SCENARIOS, "make bench", (0.0, 0.0))
    report.write(text, found, tmp_path, readme)
    written = (tmp_path / "benchmarks.md").read_text()
    assert "## makespan" in written
    assert "Every goal was met." in written
    assert "| 1 job | 1.00 (goal ≤ 1.10) |" in written
    assert "Not measured in this run, which was broken off: download, engines, growth" in written
    ET.parse(tmp_path / "benchmarks.svg")
    copied = readme.read_text()
    assert copied.startswith("before\n")
    assert copied.endswith(f"{report.END}\nafter\n")
    assert "| makespan, 1 job | of the limit | 1.00 | ≤ 1.10 | yes |" in copied
    assert "old" not in copied


def test_a_plot_takes_any_figures() -> None:
    """One point, none, or zeros, which a logarithmic axis has no place for."""
    for points in ([], [(0, "a", 1.0)], [(1, "a", 1.0)], [(1, "a & b", 2.0), (5000, "a & b", 0.01), (10, "c", 0.0)]):
        ET.fromstring(svg([Panel("<title>", "x", "y", points)]))
