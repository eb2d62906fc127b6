"""Names and texts as people may see them."""

from __future__ import annotations


def display(name: str) -> str:
    """A file name on one line of valid UTF-8: what cannot be printed is escaped."""
    if name.isprintable():
        return name
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode("ascii") for char in name
    )
