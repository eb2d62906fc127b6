"""How lines are laid out where a terminal is narrow."""

from __future__ import annotations

import pytest

from daemon.layout import folded, wrapped


@pytest.mark.parametrize(
    ("line", "width", "expected"),
    [
        ("", 20, [""]),
        ("  7    as long as it may be", 27, ["  7    as long as it may be"]),
        ("  7    a meaning goes on below", 20, ["  7    a meaning", "       goes on below"]),
        (
            "  command --with-option    what it does",
            30,
            ["  command --with-option", "      what it does"],
        ),
        ("  command --with a-very-long-argument", 20, ["  command --with a-very-long-argument"]),
        ("prose goes on below where it began", 20, ["prose goes on below", "where it began"]),
    ],
)
def test_a_line_that_is_too_long_goes_on_below(line: str, width: int, expected: list[str]) -> None:
    """In its second column, if there is room; a command is left in one piece."""
    assert folded(line, width) == expected


def test_what_is_quoted_stays_marked() -> None:
    """And a word that has no room anywhere is not cut."""
    assert wrapped("  | it says averylongwordindeed here", 14, below="  | ") == [
        "  | it says",
        "  | averylongwordindeed",
        "  | here",
    ]
