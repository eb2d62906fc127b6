"""The faults, and when they strike: pure, and repeatable by a seed.

On the command line a fault is ``TARGET:KIND[,NAME=VALUE]...``, such as ``export:503,times=3,retry_after=2``
or ``progress:nan``; over the control API it is a JSON object with the same names. The README tables every kind.
"""

from __future__ import annotations

import csv
import difflib
import random
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

Value = str | float | bool

EXPORT: Final = "export"
PROGRESS: Final = "progress"
PROJECT: Final = "project"
DOWNLOAD: Final = "download"
TOKEN: Final = "token"  # noqa: S105 - an endpoint's name
AUTH: Final = "auth"
MODELS: Final = "models"
PROJECTS: Final = "projects"
ANY: Final = "any"
TARGETS: Final = (EXPORT, PROGRESS, PROJECT, DOWNLOAD, TOKEN, AUTH, MODELS, PROJECTS)

ANYTHING: Final = ""
RENDER: Final = "render"
FINISHED: Final = "finished"
RANGE: Final = "range"
NEEDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        RENDER: "the project exists",
        FINISHED: "its render has ended",
        RANGE: "the request asks for a part of the file",
    }
)

_ALL: Final = frozenset(TARGETS)
_API: Final = _ALL - {DOWNLOAD}
_EXPORT: Final = frozenset({EXPORT})
_LOOK: Final = frozenset({PROGRESS})
_FILE: Final = frozenset({DOWNLOAD})

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_STATUS_CODES: Final = range(200, 600)


class FaultInvalid(ValueError):
    """A fault that nobody knows or that makes no sense; the text says why and names the nearest known one."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One way in which an answer goes wrong.

    Attributes:
        says: what happens, in words.
        targets: what it may strike.
        parameters: their names and what they are when not given, which also fixes their type.
        is_accepted: whether an export that it strikes is accepted, and so paid, when the fault does not say.
        needs: strikes only where there is this (``NEEDS``), so that it is not used up before it can show.
    """

    says: str
    targets: frozenset[str] = _ALL
    parameters: Mapping[str, Value] = field(default_factory=dict)
    is_accepted: bool = False
    needs: str = ANYTHING

    @property
    def strikes(self) -> str:
        """The targets in words."""
        if self.targets == _ALL:
            return "all"
        if self.targets == _API:
            return "all but download"
        return ", ".join(name for name in TARGETS if name in self.targets)


HALF: Final = -1

KINDS: Final[Mapping[str, Kind]] = MappingProxyType(
    {
        # --- an answer that says no ------------------------------------------------------------
        "http": Kind(
            "answers with that HTTP status (a bare number is short for it); body is one of error, msg, "
            "message, string, html, xml, text, empty",
            parameters={
                "code": 500,
                "body": "error",
                "msg": "",
                "vendor_code": 0,
                "retry_after": "",
                "retry_after_date": 0.0,
            },
        ),
        "redirect": Kind(
            "redirects (301, 302, 303, 307, 308 are short for it) to another path or host",
            parameters={"code": 302, "to": "/elsewhere"},
        ),
        "success_false": Kind(
            "answers 200 with success: false",
            _API,
            {"body": "error", "msg": "", "vendor_code": 4000},
        ),
        "unknown": Kind("knows no such project: 404, code 4040", frozenset({PROGRESS, PROJECT})),
        "expired": Kind("says that the link has expired: 403, XML", _FILE),
        # --- an answer that makes no sense ------------------------------------------------------------
        "login": Kind("answers 200 with an HTML login page"),
        "empty": Kind("answers 200 with nothing", is_accepted=True),
        "not_json": Kind("answers 200 with text that is not JSON", _API, is_accepted=True),
        "no_key": Kind(
            "answers 200 without a usable key or token; shape is one of missing, null, blank, number, list, "
            "data_null, data_list, data_missing",
            frozenset({EXPORT, TOKEN}),
            {"shape": "missing"},
            is_accepted=True,
        ),
        "odd_key": Kind("gives the project this key", _EXPORT, {"key": "../a b?c#d%"}, is_accepted=True),
        "deep_json": Kind("answers with deeply nested JSON", _API, {"depth": 100_000}, is_accepted=True),
        "endless_json": Kind("answers with JSON that never ends", _API, is_accepted=True),
        "gzip_bomb": Kind(
            "answers with a little gzip that becomes many megabytes of JSON",
            _API,
            {"megabytes": 200},
            is_accepted=True,
        ),
        "gzip": Kind("compresses the right answer although nobody asked", is_accepted=True),
        # --- connections ------------------------------------------------------------
        "close": Kind("closes the connection without an answer", parameters={"reset": False}),
        "hang": Kind("never answers"),
        "delay": Kind("gives the right answer late", parameters={"seconds": 5.0}, is_accepted=True),
        "refuse": Kind(
            "closes the connection without an answer and takes no new ones for some seconds",
            parameters={"seconds": 5.0},
        ),
        "cut_headers": Kind("cuts the connection inside the response headers", is_accepted=True),
        "short_body": Kind(
            "cuts the connection after some bytes of the body that Content-Length promised",
            parameters={"bytes": HALF, "reset": False},
            is_accepted=True,
        ),
        "cut_body": Kind(
            "names no Content-Length and closes after some bytes",
            parameters={"bytes": HALF},
            is_accepted=True,
        ),
        "cut_chunk": Kind(
            "sends chunked and closes before the last chunk", parameters={"bytes": HALF}, is_accepted=True
        ),
        "stall": Kind("sends some bytes of the body, then nothing", parameters={"bytes": HALF}, is_accepted=True),
        "trickle": Kind(
            "sends a few bytes at a time; part is body or headers",
            parameters={"bytes": 1, "seconds": 1.0, "part": "body"},
            is_accepted=True,
        ),
        # --- projects that come to no good --------------------------------------------------------
        "render_fails": Kind(
            "the render fails at this percent: progress stands still there, and the project says state failed, and msg",
            _EXPORT,
            {"percent": 42.0, "msg": "Rendering failed: the script could not be synthesized."},
            is_accepted=True,
        ),
        "stuck": Kind(
            "progress stays at this percent; struck at the export, it does so for good, and the state stays progress",
            frozenset({EXPORT, PROGRESS}),
            {"percent": 99.0},
            is_accepted=True,
            needs=RENDER,
        ),
        "unlisted": Kind(
            "the project is not in the list, and a look at it is 404, although its progress is told",
            _EXPORT,
            is_accepted=True,
        ),
        "no_text": Kind("the project does not tell the text that was asked for", frozenset({PROJECT}), needs=RENDER),
        # --- the account ------------------------------------------------------------
        "not_authenticated": Kind("answers 200 with isAuthenticated: false", frozenset({AUTH})),
        "empty_list": Kind("answers with a list of nothing", frozenset({MODELS, PROJECTS})),
        # --- progress ------------------------------------------------------------
        "nan": Kind("progress is NaN", _LOOK, needs=RENDER),
        "infinity": Kind("progress is Infinity", _LOOK, needs=RENDER),
        "string": Kind('progress is "fifty"', _LOOK, needs=RENDER),
        "null": Kind("progress is null", _LOOK, needs=RENDER),
        "missing": Kind("there is no progress in the answer", _LOOK, needs=RENDER),
        "negative": Kind("progress is -5", _LOOK, needs=RENDER),
        "over": Kind("progress is 250", _LOOK, needs=RENDER),
        "value": Kind("progress is this text, as it is", _LOOK, {"json": "1e400"}, needs=RENDER),
        "no_url": Kind("progress is 100 and there is no URL", _LOOK, needs=RENDER),
        "dead_link": Kind("the URL has expired already", _LOOK, needs=FINISHED),
        "url": Kind("the URL is this one", _LOOK, {"url": "http://127.0.0.1:9/x.mp4"}, needs=FINISHED),
        "name": Kind(
            "the URL's last segment is this one; also traversal, reserved, long, blank, bare, webm",
            _LOOK,
            {"name": "traversal"},
            needs=FINISHED,
        ),
        # --- download ------------------------------------------------------------
        "new_video": Kind("the video is made anew: other bytes of the same size, another ETag, from now on", _FILE),
        "no_etag": Kind("there is no ETag", _FILE),
        "weak_etag": Kind("the ETag is a weak one", _FILE),
        "no_range": Kind("Range is not supported", _FILE),
        "wrong_range": Kind("sends another range than was asked for, and says so", _FILE, {"shift": 1}, needs=RANGE),
        "lying_range": Kind(
            "sends another range than was asked for, and says it is the right one", _FILE, {"shift": 1}, needs=RANGE
        ),
        "not_video": Kind(
            "sends something else under the type of a video; body is html, garbage, or empty",
            _FILE,
            {"body": "html"},
        ),
        "truncated": Kind("the video itself is cut short, and the answer fits it", _FILE, {"bytes": HALF}),
    }
)

ALIASES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "cut": "short_body",
        "html": "login",
        "expired_link": "dead_link",
        "etag": "new_video",
        "inf": "infinity",
    }
)

CHOICES: Final[Mapping[tuple[str, str], tuple[str, ...]]] = MappingProxyType(
    {
        ("http", "body"): ("error", "msg", "message", "string", "html", "xml", "text", "empty"),
        ("success_false", "body"): ("error", "msg", "message", "string"),
        ("no_key", "shape"): (
            "missing",
            "null",
            "blank",
            "number",
            "list",
            "data_null",
            "data_list",
            "data_missing",
        ),
        ("trickle", "part"): ("body", "headers"),
        ("not_video", "body"): ("html", "garbage", "empty"),
    }
)

NAMES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "traversal": "../../x.mp4",
        "reserved": "CON.mp4",
        "long": "n" * 396 + ".mp4",
        "blank": "",
        "bare": "video",
        "webm": "video.webm",
    }
)

_LIMITS: Final[Mapping[str, Value]] = MappingProxyType(
    {"times": 1, "skip": 0, "rate": 1.0, "match": "", "accepted": False}
)


def _nearest(word: str, known: Iterable[str]) -> str:
    names = tuple(known)
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    return f" Did you mean '{near[0]}'?" if near else f" Known are: {', '.join(names)}."


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault, and which requests it strikes.

    Attributes:
        target: one of ``TARGETS``, or ``any`` of these.
        kind: a name in ``KINDS``, or an HTTP status such as ``503``.
        parameters: the kind's own; those not given are filled in.
        times: how many requests it strikes; 0 means for ever.
        skip: how many requests that it could strike are spared first.
        rate: the probability with which it strikes, 0 to 1.
        match: strikes only where the project's text holds this.
        accepted: whether an export that it strikes is accepted, and so paid; None leaves it to the kind.

    Raises:
        FaultInvalid: on creation.
    """

    target: str
    kind: str
    parameters: Mapping[str, Value] = field(default_factory=dict)
    times: int = 1
    skip: int = 0
    rate: float = 1.0
    match: str = ""
    accepted: bool | None = None

    def __post_init__(self) -> None:
        """Fill in what was not given, refuse what is not known."""
        given = dict(self.parameters)
        kind = self._known_kind(given)
        known = KINDS[kind]
        if self.target not in (*TARGETS, ANY):
            raise FaultInvalid(f"'{self.target}' cannot fail.{_nearest(self.target, (*TARGETS, ANY))}")
        if self.target != ANY and self.target not in known.targets:
            raise FaultInvalid(f"'{kind}' makes no sense for {self.target}, only for: {known.strikes}.")
        if self.times < 0 or self.skip < 0 or not 0 <= self.rate <= 1:
            raise FaultInvalid("times and skip must not be negative, rate must be from 0 to 1.")
        object.__setattr__(self, "kind", kind)
        object.__setattr__(self, "parameters", MappingProxyType(_filled(kind, given)))

    def _known_kind(self, given: dict[str, Value]) -> str:
        kind = ALIASES.get(name := str(self.kind).strip().lower().replace("-", "_"), name)
        if kind.isdigit() and int(kind) in _STATUS_CODES:
            given.setdefault("code", int(kind))
            return "redirect" if int(kind) in _REDIRECTS else "http"
        if kind not in KINDS:
            raise FaultInvalid(f"There is no fault '{self.kind}'.{_nearest(kind, (*KINDS, *ALIASES))}")
        return kind

    @classmethod
    def parse(cls, text: str) -> Self:
        """A fault as written on the command line; a value with a comma goes in quotes: ``"msg=no, never"``.

        Raises:
            FaultInvalid: the text is not a fault.
        """
        head, *settings = next(csv.reader([text])) or [""]
        target, colon, kind = head.partition(":")
        if not colon:
            raise FaultInvalid(f"'{text}' is not TARGET:KIND[,NAME=VALUE]..., such as export:503,times=3.")
        words: dict[str, Any] = {"target": target.strip(), "kind": kind.strip()}
        for setting in settings:
            name, equals, value = setting.partition("=")
            if not equals:
                raise FaultInvalid(f"'{setting}' is not NAME=VALUE.")
            words[name.strip().replace("-", "_")] = value
        return cls.from_mapping(words)

    @classmethod
    def read(cls, words: Any) -> Self:
        """A fault from JSON: an object, or the command line's text.

        Raises:
            FaultInvalid: it is not a fault.
        """
        if isinstance(words, str):
            return cls.parse(words)
        if isinstance(words, dict):
            return cls.from_mapping(words)
        raise FaultInvalid("a fault is an object or a text.")

    @classmethod
    def from_mapping(cls, words: Mapping[str, Any]) -> Self:
        """A fault from JSON: the kind's parameters may stand beside the rest or under ``parameters``.

        Raises:
            FaultInvalid: the words are not a fault.
        """
        rest = dict(words)
        inner = rest.pop("parameters", {})
        if not isinstance(inner, dict):
            raise FaultInvalid("parameters must be an object.")
        try:
            target, kind = str(rest.pop("target")), str(rest.pop("kind"))
        except KeyError as missing:
            raise FaultInvalid(f"a fault needs {missing}.") from None
        limits: dict[str, Any] = {}
        for name, like in _LIMITS.items():
            value = rest.pop(name, None)
            if value is not None:
                limits[name] = _as(name, value, like)
        return cls(target=target, kind=kind, parameters={**inner, **rest}, **limits)

    def to_mapping(self) -> dict[str, Any]:
        """What ``from_mapping`` reads."""
        return {
            "target": self.target,
            "kind": self.kind,
            "parameters": dict(self.parameters),
            "times": self.times,
            "skip": self.skip,
            "rate": self.rate,
            "match": self.match,
            "accepted": self.accepted,
        }

    def __str__(self) -> str:
        """Short, for a log line: ``export:http code=503``."""
        changed = KINDS[self.kind].parameters
        extra = [f"{name}={value}" for name, value in self.parameters.items() if changed[name] != value]
        return " ".join([f"{self.target}:{self.kind}", *extra])

    @property
    def is_accepted(self) -> bool:
        """Whether an export that it strikes is accepted, and so paid."""
        return KINDS[self.kind].is_accepted if self.accepted is None else self.accepted

    @property
    def needs(self) -> str:
        """What must be there for it to strike; see ``NEEDS``."""
        return KINDS[self.kind].needs

    def number(self, name: str) -> float:
        """A parameter that is a number."""
        return float(self.parameters[name])

    def integer(self, name: str) -> int:
        """A parameter that is a whole number."""
        return int(self.parameters[name])

    def word(self, name: str) -> str:
        """A parameter that is a text."""
        return str(self.parameters[name])

    def is_on(self, name: str) -> bool:
        """A parameter that is yes or no."""
        return bool(self.parameters[name])

    def can_strike(self, target: str) -> bool:
        """Whether a request of that sort can be struck at all."""
        return self.target in {target, ANY} and target in KINDS[self.kind].targets


def _filled(kind: str, given: Mapping[str, Value]) -> dict[str, Value]:
    known = KINDS[kind].parameters
    for name in given:
        if name not in known:
            raise FaultInvalid(f"'{kind}' has no '{name}'.{_nearest(name, (*known, *_LIMITS))}")
    filled = {name: _as(name, given.get(name, like), like) for name, like in known.items()}
    for name, value in filled.items():
        choices = CHOICES.get((kind, name))
        if choices is not None and value not in choices:
            raise FaultInvalid(f"{name} cannot be '{value}'.{_nearest(str(value), choices)}")
    return filled


def _as(name: str, value: Any, like: Value) -> Value:
    """The value as the type of ``like``; text from the command line is read as what it should be."""
    try:
        if isinstance(like, bool):
            return _as_bool(value)
        if isinstance(like, int):
            return int(value)
        return float(value) if isinstance(like, float) else str(value)
    except (ValueError, TypeError, KeyError):
        wanted = {bool: "yes or no", int: "a whole number", float: "a number"}[type(like)]
        raise FaultInvalid(f"{name} must be {wanted}, not '{value}'.") from None


def _as_bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    return {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}[str(value).lower()]


@dataclass(slots=True)
class _Rule:
    fault: Fault
    dice: random.Random
    seen: int = 0
    struck: int = 0

    def strikes(self) -> bool:
        """Count one request that could be struck, and say whether it is."""
        self.seen += 1
        if self.seen <= self.fault.skip or (self.fault.times and self.struck >= self.fault.times):
            return False
        if self.fault.rate < 1 and self.dice.random() >= self.fault.rate:
            return False
        self.struck += 1
        return True


class FaultList:
    """The faults in force, in the order in which they were added. The first that strikes is the one."""

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed
        self._rules: list[_Rule] = []

    def add(self, *faults: Fault) -> None:
        """Put faults in force, after those that are."""
        for fault in faults:
            dice = random.Random(f"{self._seed}:{len(self._rules)}")  # noqa: S311 - repeatable, not secret
            self._rules.append(_Rule(fault, dice))

    def clear(self) -> None:
        """No more faults."""
        self._rules.clear()

    def draw(self, target: str, text: str, there: Collection[str] = ()) -> Fault | None:
        """The fault that strikes this request, None where it is spared.

        Args:
            target: one of ``TARGETS``.
            text: of the project, or of the one to be; empty where there is none.
            there: which of ``NEEDS`` are met.
        """
        for rule in self._rules:
            fault = rule.fault
            if not fault.can_strike(target) or fault.match not in text:
                continue
            if fault.needs and fault.needs not in there:
                continue
            if rule.strikes():
                return fault
        return None

    def to_list(self) -> list[dict[str, Any]]:
        """Every fault with how many requests it saw and struck."""
        return [{**rule.fault.to_mapping(), "seen": rule.seen, "struck": rule.struck} for rule in self._rules]
