"""Projects as the cloud describes them (API.md: ``GET /editor/project``), read from answers whose form is not promised.

Pure. Nothing is guessed: what is not there, or makes no sense, is not told; only ids that are plainly ids count.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from daemon.core.project import Project, even
from daemon.edges.studio.values import id_of, moment_of, number_of, percent_of, quotation, url_of, written

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from daemon.core.redact import Redactor

_LISTS: Final = ("projects", "list", "items", "results", "rows", "docs", "data")
_IDS: Final = ("id", "_id", "projectId", "key")
_URLS: Final = ("download_url", "downloadUrl", "videoUrl")  # a plain `url` may be the project's own page
_MODELS: Final = frozenset({"model", "modelid", "model_id", "aimodel", "ai_model"})
_CLOTHES: Final = frozenset({"clothes", "clothesid", "clothes_id", "cloth", "clothid", "cloth_id"})
_MOMENTS: Final = ("createdAt", "created_at")
_CREDITS: Final = ("creditSubstracted", "creditSubtracted")
_COMPLAINTS: Final = ("error", "errorMessage", "failReason", "reason", "stateMessage", "message", "msg")
_LONGEST_STATE: Final = 64
_MOST_VALUES: Final = 100_000
"""So many values of one project are looked at for texts."""


def listed(content: object) -> list[tuple[str, Mapping[str, Any]]] | None:
    """The projects under ``data``, each with its id; None where nothing like a list of projects is there.

    What has no id is left out; but where nothing of what is there has one, it is no list of projects.
    """
    entries = _entries(content)
    if entries is None:
        return None
    found: list[tuple[str, Mapping[str, Any]]] = [
        (key, entry) for entry in entries if isinstance(entry, dict) and (key := _id_in(entry))
    ]
    return found if found or not entries else None


def _entries(content: object) -> Sequence[object] | None:
    if isinstance(content, list):
        return content
    if not isinstance(content, dict):
        return None
    for inner in map(content.get, _LISTS):
        if isinstance(inner, list):
            return inner
    return [content] if _id_in(content) else None


def _id_in(entry: Mapping[str, Any]) -> str | None:
    return next((found for key in _IDS if (found := id_of(entry.get(key)))), None)


def single(content: object) -> Mapping[str, Any] | None:
    """The one project under ``data``; None where there is none."""
    if not isinstance(content, dict):
        return None
    inner = content.get("project")
    return inner if isinstance(inner, dict) else content


def project_of(entry: Mapping[str, Any], project_id: str, *, lead_seconds: float | None, redactor: Redactor) -> Project:
    """What an entry tells.

    Args:
        entry: as JSON has it.
        project_id: which one it is.
        lead_seconds: by how much our clock is ahead of the cloud's; None where that is not known.
        redactor: the words of a failure go through it.
    """
    created_at = next((moment for key in _MOMENTS if (moment := moment_of(entry.get(key))) is not None), None)
    return Project(
        id=project_id,
        state=_state_of(entry.get("state")),
        percent=percent_of(entry.get("progress")),
        url=next((url for key in _URLS if (url := url_of(entry.get(key)))), None),
        created_at=None if created_at is None else created_at + (lead_seconds or 0.0),
        texts=frozenset(_texts_in(entry)),
        models=frozenset(_named_in(entry, _MODELS)),
        clothes=frozenset(_named_in(entry, _CLOTHES)),
        credit=next((credit for key in _CREDITS if (credit := number_of(entry.get(key))) is not None), None),
        words=quotation(_complaint(entry), redactor),
    )


def _state_of(value: object) -> str:
    state = even(value).lower() if isinstance(value, str) else ""
    return state if len(state) <= _LONGEST_STATE and state.isprintable() else ""


def _texts_in(entry: Mapping[str, Any]) -> Iterator[str]:
    """Every text, however deep; but no link with a query, which may be signed and is nobody's words."""
    waiting: list[object] = [entry]
    for _ in range(_MOST_VALUES):
        if not waiting:
            return
        value = waiting.pop()
        if isinstance(value, dict):
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
        elif isinstance(value, str) and (text := even(value)) and not ("?" in text and url_of(text)):
            yield text


def _named_in(entry: Mapping[str, Any], names: frozenset[str]) -> Iterator[str]:
    """What stands under keys of these names, however deep: the text itself, or the id of a mapping."""
    waiting: list[object] = [entry]
    for _ in range(_MOST_VALUES):
        if not waiting:
            return
        value = waiting.pop()
        if isinstance(value, list):
            waiting.extend(value)
        elif isinstance(value, dict):
            waiting.extend(value.values())
            named = [inner for key, inner in value.items() if key.lower() in names]
            ids = (id_of(inner.get("id")) if isinstance(inner, dict) else id_of(inner) for inner in named)
            yield from (found for found in ids if found is not None)


def _complaint(entry: Mapping[str, Any]) -> str:
    found = next((value for key in _COMPLAINTS if (value := entry.get(key)) and isinstance(value, str | dict)), "")
    if isinstance(found, dict):
        inner = next((value for key in _COMPLAINTS if (value := found.get(key)) and isinstance(value, str)), None)
        return written(found) if inner is None else inner
    return found
