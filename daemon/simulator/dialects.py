"""What the API versions disagree about, as a table each: paths, field names, required and optional fields."""

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


def _is_boolean(value: Any) -> bool:
    return isinstance(value, bool)


RESOLUTIONS: Final = ("4k", "1080", "720", "480")


def _is_resolution(value: Any) -> bool:
    return type(value) in {str, int} and str(value) in RESOLUTIONS  # the documentation gives no type


@dataclass(frozen=True, slots=True)
class Dialect:
    """One version of the API.

    Attributes:
        name: ``v2`` or ``v3``.
        prefix: of all its paths.
        key_field: what the answer to an export calls the project.
        url_fields: what a finished answer calls the download link; each of them is there.
        id_field: what a look at the project calls it.
        project_url_fields: what a look at a finished project calls the download link; each of them is there.
        required: fields that must be strings and not empty.
        optional: fields that may be left out, what they must be, and a check.
        export_switch: the optional field that must be true for a render to begin; None where each export renders.
        has_account: whether there are tokens, a check of the credential, a list of models, and one of projects.
    """

    name: str
    prefix: str
    key_field: str
    url_fields: tuple[str, ...]
    id_field: str
    project_url_fields: tuple[str, ...]
    required: tuple[str, ...]
    optional: Mapping[str, tuple[str, Callable[[Any], bool]]]
    export_switch: str | None = None
    has_account: bool = False

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

    def is_exported(self, fields: Mapping[str, Any]) -> bool:
        """Whether an export that is accepted is also rendered."""
        return self.export_switch is None or fields.get(self.export_switch) is True


V2: Final = Dialect(
    name="v2",
    prefix="/api/odin",
    key_field="key",
    url_fields=("url", "videoUrl"),  # the tutorial reads the first, the reference page documents the second
    id_field="key",
    project_url_fields=("url", "videoUrl"),
    required=("language", "text", "model", "clothes"),
    optional={
        "locale": ("a string", _is_string),
        "uppercut": ("a number", _is_number),
        "webhook": ("a URL", _is_url),
    },
)

V3: Final = Dialect(
    name="v3",
    prefix="/api/odin/v3",
    key_field="projectId",
    url_fields=("downloadUrl",),
    id_field="id",
    project_url_fields=("download_url",),
    required=("language", "text", "model", "clothes"),
    optional={
        "isExport": ("true or false", _is_boolean),
        "workspaceId": ("a string", _is_string),
        "resolution": (f"one of {', '.join(RESOLUTIONS)}", _is_resolution),
        "webhookUrl": ("a URL", _is_url),
    },
    export_switch="isExport",  # the documented default is false, the samples send true
    has_account=True,
)
