"""What the API versions disagree about, as a table each: paths, field names, required and optional fields.

v3 gets its own table beside v2, and its own endpoints where it has some that v2 has not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def _is_string(value: Any) -> bool:
    return isinstance(value, str)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_url(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    try:
        parts = urlsplit(value)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.netloc)


@dataclass(frozen=True, slots=True)
class Dialect:
    """One version of the API.

    Attributes:
        name: ``v2``.
        prefix: of all its paths.
        key_field: what the answer to an export calls the project.
        url_fields: what a finished answer calls the download link; each of them is there.
        required: fields that must be strings and not empty.
        optional: fields that may be left out, what they must be, and a check.
    """

    name: str
    prefix: str
    key_field: str
    url_fields: tuple[str, ...]
    required: tuple[str, ...]
    optional: Mapping[str, tuple[str, Callable[[Any], bool]]]

    def problem_of(self, fields: Any) -> str | None:
        """What is wrong with an export's body, None where nothing is."""
        if not isinstance(fields, dict):
            return "the body must be a JSON object"
        for name in self.required:
            if name not in fields:
                return f"{name} is required"
            if not _is_string(fields[name]):
                return f"{name} must be a string"
            if not fields[name].strip():
                return f"{name} must not be empty"
        for name, (kind, is_right) in self.optional.items():
            if name in fields and not is_right(fields[name]):
                return f"{name} must be {kind}"
        return None


V2: Final = Dialect(
    name="v2",
    prefix="/api/odin",
    key_field="key",
    url_fields=("url", "videoUrl"),  # the tutorial reads the first, the reference page documents the second
    required=("language", "text", "model", "clothes"),
    optional={
        "locale": ("a string", _is_string),
        "uppercut": ("a number", _is_number),
        "webhook": ("a URL", _is_url),
    },
)
