"""The names of videos and of filed job files: safe on Windows, macOS, and Linux, and never too long.

Rules: https://learn.microsoft.com/windows/win32/fileio/naming-a-file, and NAME_MAX (255 bytes).
"""

from __future__ import annotations

import functools
import hashlib
import re
import unicodedata
from typing import Final
from urllib.parse import unquote, urlsplit

from daemon.core.problem import did_you_mean

FIELDS: Final = ("file", "n", "url", "project", "model", "language")
MAX_STEM_BYTES: Final = 180
MAX_NAME_BYTES: Final = 255
DEFAULT_EXTENSION: Final = ".mp4"
_FALLBACK_STEM: Final = "video"
_LONGEST_SUFFIX_BYTES: Final = 16
_SHOWN_CHARACTERS: Final = 40

# No name may begin or end with any of these: Windows drops some, people overlook the others.
_EDGES: Final = "." + "".join(chr(code) for code in range(0x3001) if chr(code).isspace())
_FORBIDDEN: Final = frozenset('<>:"/\\|?*')
_UNSAFE_CATEGORIES: Final = frozenset({"Cc", "Cs", "Cn", "Co", "Zl", "Zp"})
_RESERVED: Final = frozenset(
    {"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$", "CLOCK$"}
    | {f"{port}{digit}" for port in ("COM", "LPT") for digit in "0123456789¹²³"}
)
_EXTENSION: Final = re.compile(r"\.[0-9A-Za-z]{1,8}\Z")
_PIECE: Final = re.compile(r"(?P<literal>\{\{|\}\})|\{(?P<field>[^{}]*)\}|(?P<brace>[{}])|(?P<text>[^{}]+)")


def safe_stem(text: str, max_bytes: int = MAX_STEM_BYTES) -> str:
    """A file name's stem that every system takes, as near to the text as can be.

    Args:
        text: anything, surrogates of undecodable bytes included.
        max_bytes: of UTF-8, at least 8; nothing is cut within a character.
    """
    stem = _clipped(_clean(text), max_bytes).strip(_EDGES) or _FALLBACK_STEM
    if _is_reserved(stem):
        stem = _clipped(f"_{stem}", max_bytes).strip(_EDGES)
    return stem


def named_stem(name: str, extension: str) -> str:
    """The stem for a name that a person gave a video, whether or not they wrote its extension too."""
    return safe_stem(_without_extension(name, extension))


def safe_extension(segment: str) -> str:
    """The extension of a URL's last segment in lower case; ``.mp4`` where none makes sense."""
    match = _EXTENSION.search(segment)
    return match[0].lower() if match else DEFAULT_EXTENSION


def url_name(url: str) -> str:
    """The last segment of the URL's path, percent-decoded, never with a separator; may be empty."""
    try:
        path = urlsplit(url).path
    except ValueError:
        return ""
    segments = re.split(r"[/\\]", unquote(path))
    return next((segment for segment in reversed(segments) if segment.strip(". ")), "")


def default_template(jobs_in_file: int) -> str:
    """What names videos unless the configuration says otherwise (DESIGN: video names)."""
    return "{file}" if jobs_in_file == 1 else "{file}-{n}"


def check_template(template: str) -> list[str]:
    """What is wrong with a template for video names, in plain words; empty where nothing is."""
    if not template.strip():
        return ["is empty; write a name such as {file}-{n}"]
    problems: list[str] = []
    if "/" in template or "\\" in template:
        problems.append("must not contain / or \\: every video lies in the folder of its job file")
    for piece in _PIECE.finditer(template):
        field = piece["field"]
        if piece["brace"]:
            problems.append(f"a {piece['brace']} stands alone; write it twice where a real one is meant")
        elif field is not None and field not in FIELDS:
            problems.append(_unknown_field(field))
    return problems


def video_stem(template: str, *, file: str, n: int, url: str, project: str, model: str, language: str) -> str:
    """A video's file name without its extension, safe and at most `MAX_STEM_BYTES` long.

    Where it would be longer, the longest value is shortened, so that ``{n}`` keeps its place at the end.

    Args:
        template: one that `check_template` finds nothing wrong with.
        file: the job file's name without folder and extension.
        n: the job's 1-based place in its file.
        url: `url_name` of the download URL; its extension is left off, the caller adds it again.
        project: the cloud's project id.
        model: the request's.
        language: the request's.

    Raises:
        ValueError: the template has problems.
    """
    _refuse_unsound(template)
    values = {
        "file": file,
        "url": _without_extension(url, safe_extension(url)),
        "project": project,
        "model": model,
        "language": language,
    }
    clean = {field: _clean(value) for field, value in values.items() if f"{{{field}}}" in template}
    clean["n"] = str(n)
    return safe_stem(_filled_to_fit(template, clean))


@functools.lru_cache(maxsize=64)
def _refuse_unsound(template: str) -> None:
    problems = check_template(template)
    if problems:
        raise ValueError("; ".join(problems))


def numbered(name: str, number: int, max_bytes: int = MAX_NAME_BYTES, *, room_for: str = "") -> str:
    """The name for the ``number``-th file that wants it: ``x.yaml``, ``x (2).yaml``, ``x (3).yaml``.

    A name that is too long is cut in its stem and gets a hash of the whole, so that two long names stay two.

    Args:
        name: one file's name without folder, surrogates (os.fsdecode) included; not changed otherwise.
        number: from 1, which adds nothing.
        max_bytes: of the answer and ``room_for`` together, as os.fsencode has them; at least 64.
        room_for: the longest suffix that will be put behind the answer, such as ``.result.json``.
    """
    if number == 1 and len(name) * 4 <= max_bytes - len(_encoded(room_for)):
        return name  # short enough in any script: nearly always
    stem, suffix = _split(name)
    mark = "" if number == 1 else f" ({number})"
    room = max_bytes - len(_encoded(mark + suffix + room_for))
    if len(_encoded(stem)) > room:
        digest = "-" + hashlib.sha256(_encoded(name)).hexdigest()[:8]
        stem = _clipped(stem, room - len(digest)) + digest
    return f"{stem}{mark}{suffix}"


def _split(name: str) -> tuple[str, str]:
    stem, dot, suffix = name.rpartition(".")
    if not stem.strip(".") or len(_encoded(suffix)) >= _LONGEST_SUFFIX_BYTES:
        return name, ""
    return stem, dot + suffix


def _encoded(text: str) -> bytes:
    """The bytes of a name; surrogates that stand for no byte cannot be in one and count as three bytes."""
    try:
        return text.encode("utf-8", errors="surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", errors="surrogatepass")


def _clipped(text: str, max_bytes: int) -> str:
    clipped = text[: max(0, max_bytes)]
    while len(_encoded(clipped)) > max_bytes and clipped:
        clipped = clipped[:-1]
    return clipped


def _clean(text: str) -> str:
    """Composed, with everything replaced that some system refuses, without what only steers the display."""
    visible = (character for character in text.strip(_EDGES) if unicodedata.category(character) != "Cf")
    kept = "".join(_safe_character(character) for character in visible)
    return unicodedata.normalize("NFC", kept).strip(_EDGES)


def _safe_character(character: str) -> str:
    is_unsafe = character in _FORBIDDEN or unicodedata.category(character) in _UNSAFE_CATEGORIES
    return "_" if is_unsafe else character


def _is_reserved(stem: str) -> bool:
    return stem.partition(".")[0].rstrip().upper() in _RESERVED


def _without_extension(name: str, extension: str) -> str:
    return name[: -len(extension)] if name.lower().endswith(extension) else name


def _unknown_field(field: str) -> str:
    known = ", ".join(f"{{{name}}}" for name in FIELDS)
    hint = did_you_mean(field[:_SHOWN_CHARACTERS], FIELDS)
    return f"{{{field[:_SHOWN_CHARACTERS]}}} is not known; there are {known}.{hint}"


def _filled(template: str, values: dict[str, str]) -> str:
    def replacement(piece: re.Match[str]) -> str:
        if piece["literal"]:
            return piece["literal"][0]
        return piece["text"] if piece["field"] is None else values[piece["field"]]

    return _PIECE.sub(replacement, template)


def _filled_to_fit(template: str, values: dict[str, str]) -> str:
    values = dict(values)
    while True:
        filled = _filled(template, values)
        excess = len(_encoded(filled)) - MAX_STEM_BYTES
        longest = max(values, key=lambda field: (field != "n", len(_encoded(values[field]))))
        if excess <= 0 or longest == "n" or not values[longest]:
            return filled
        values[longest] = _clipped(values[longest], len(_encoded(values[longest])) - excess)
