"""Names as people may see them."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.core.display import display

anything = st.text(st.characters(exclude_categories=[]))  # lone surrogates too


@given(anything)
def test_what_is_shown_is_one_line_of_valid_utf8(name: str) -> None:
    """Whatever a file is called, it cannot forge a second log line or a terminal's control codes."""
    shown = display(name)
    shown.encode("utf-8")
    assert shown.isprintable()
    assert len(shown.splitlines()) <= 1


@given(st.binary(max_size=40))
def test_any_bytes_can_be_shown(name: bytes) -> None:
    """A file name is bytes."""
    display(os.fsdecode(name)).encode("utf-8")


@given(anything.filter(str.isprintable))
def test_what_can_be_read_is_left_alone(name: str) -> None:
    """Every script that prints is fine as it is."""
    assert display(name) == name


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a\nb.yaml", "a\\nb.yaml"),
        ("\x1b[31m.yaml", "\\x1b[31m.yaml"),
        ("\udcff.yaml", "\\udcff.yaml"),
        ("grün \N{FIRE}.yaml", "grün \N{FIRE}.yaml"),
        ("a\u202eb.yaml", "a\\u202eb.yaml"),
    ],
)
def test_what_cannot_be_read_is_escaped(name: str, shown: str) -> None:
    """Newlines, ESC, bytes that are not UTF-8, and marks that turn the text around."""
    assert display(name) == shown
