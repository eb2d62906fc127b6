"""YAML text -> Batch of requests, or BatchInvalid(problems).

The forms of a job file: one mapping; a list of mappings; several documents; a mapping with ``jobs:`` and, if wanted,
``defaults:``, which a job's own fields beat. Either every job of a file is valid, or all that is wrong is told at once.
Tables and texts (`daemon.core.table`, `daemon.core.plain_text`) have their jobs made here too, by `JobReader`.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from dataclasses import field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from daemon.core import yaml_text
from daemon.core.defaults import NO_DEFAULTS, VIDEO_NAME, Defaults, Given
from daemon.core.errors import BatchInvalid
from daemon.core.problem import Problem, did_you_mean
from daemon.core.record import dataclass
from daemon.core.video_name import check_template
from daemon.core.yaml_text import MAX_BYTES, is_half_copied, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

__all__ = [
    "MAX_BYTES",
    "Batch",
    "JobReader",
    "Request",
    "all_fields",
    "hint_for",
    "is_half_copied",
    "job_schema",
    "parse_batch",
    "parse_defaults",
]

MAX_NAME_CHARACTERS: Final = 200
RESOLUTIONS: Final = ("4k", "1080", "720", "480")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a request stands in its job file.

    Attributes:
        path: such as ``jobs[2]``, or ``row 3`` of a table; empty where the file is one job.
        fields: line and column of each field's value, 1-based.
        given: the values that were not written in the file.
        joint: between the path and a field's name.
    """

    path: str
    fields: Mapping[str, tuple[int, int]]
    given: Mapping[str, Given] = field(default_factory=dict)
    joint: str = "."


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of the cloud for one video.

    Attributes:
        body: the fields as the API wants them: strings, but for what API.md documents as number or boolean.
        name: the video's file name as a person wished it, without making it safe yet.
        may_pay_again: a person's word (``pay_again: true``) that a job in doubt may be exported again.
        place: where it stands in the job file; None where the file is not at hand (the ledger does not keep it).
        template: of the video's name, where the folder has one and the job has no name.
        is_marked_paid: a row of a table of results, which says that it is done, or may have been paid.
    """

    body: Mapping[str, str | float | bool]
    name: str | None = None
    may_pay_again: bool = False
    place: Place | None = field(default=None, compare=False, repr=False)
    template: str | None = None
    is_marked_paid: bool = field(default=False, compare=False, repr=False)
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        """Requests are matched by what they ask for: name and pay_again are not part of it."""
        text = json.dumps(dict(self.body), sort_keys=True, ensure_ascii=True, separators=(",", ":"))
        object.__setattr__(self, "digest", hashlib.sha256(text.encode()).hexdigest())

    def problem(self, name: str, message: str) -> Problem:
        """Something that is wrong with the value of a field, at its place where that is known."""
        if self.place is None:
            return Problem(message, path=name)
        given = self.place.given.get(name)
        if given is not None:
            return Problem(message, given.node.line or None, given.node.column or None, given.path, given.where)
        line, column = self.place.fields.get(name, (None, None))
        return Problem(message, line, column, _joined(self.place.path, name, self.place.joint))


@dataclass(frozen=True, slots=True)
class Batch:
    """One job file's requests, in the order of the file; never empty."""

    requests: tuple[Request, ...]


# --- values: from what was written to what the API wants ------------------------------------------------------

_NUMBER: Final = re.compile(r"[-+]?(\d{1,20}(\.\d{0,20})?|\.\d{1,20})([eE][-+]?\d{1,3})?", re.ASCII)
_FLAGS: Final = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


class _WrongError(Exception):
    """A value that cannot be meant; says why, to stand behind the field's name."""


def _text(node: object) -> str:
    if not isinstance(node, yaml_text.Scalar):
        what = "a list" if isinstance(node, yaml_text.Sequence) else "a mapping (key: value)"
        raise _WrongError(f"must be one text, not {what}; put it in quotes if it begins with [ or {{")
    if not node.text or node.text.isspace():
        raise _WrongError("is empty; write a value behind the colon")
    return node.text


def _name(node: object) -> str:
    text = _text(node)
    if len(text) > MAX_NAME_CHARACTERS:
        raise _WrongError(f"is too long: {len(text):,} characters, {MAX_NAME_CHARACTERS} at most")
    return text


def _flag(node: object) -> bool:
    text = _text(node)
    flag = _FLAGS.get(text.strip().lower())
    if flag is None:
        raise _WrongError(f"must be true or false, not {shown(text)}")
    return flag


def _is_export(node: object) -> bool:
    """Every API call of ours says true; a person who writes it too asks for nothing else."""
    if not _flag(node):
        raise _WrongError("must be true, or left out: false would make a project in the account, and no video")
    return True


def _number(node: object) -> float:
    text = _text(node)
    number = float(text) if _NUMBER.fullmatch(text) else math.inf
    if not math.isfinite(number):
        raise _WrongError(f"must be a number such as 20 or 0.5, not {shown(text)}")
    # The same number is the same request, however it was written.
    return int(number) if number.is_integer() else number


def _resolution(node: object) -> str:
    text = _text(node)
    if text.lower() not in RESOLUTIONS:
        raise _WrongError(f"must be 4k, 1080, 720, or 480, not {shown(text)}.{did_you_mean(text[:9], RESOLUTIONS)}")
    return text.lower()


def _web_address(node: object) -> str:
    text = _text(node)
    try:
        parts = urlsplit(text)
        is_address = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_address = False
    if not is_address or not text.isprintable() or " " in text:
        raise _WrongError(f"must be a web address such as https://example.com/done, not {shown(text)}")
    return text


# Every scalar is read as the text that was written, so an editor must not complain of a number or a boolean.
_ANY_SCALAR: Final = {"type": ["string", "number", "boolean"], "minLength": 1, "pattern": r"\S"}
_OR_NULL: Final = {**_ANY_SCALAR, "type": ["string", "number", "boolean", "null"]}
_WEB_ADDRESS: Final = {"type": ["string", "null"], "pattern": "^[Hh][Tt][Tt][Pp][Ss]?://"}


@dataclass(frozen=True, slots=True)
class _Field:
    """What a job may say under one name.

    Attributes:
        description: in a sentence.
        read: what the API wants of what was written; raises `_WrongError`.
        schema: JSON Schema of what may be written.
        is_required: every job says it; anything else may be null, which is as if it were left out.
        is_sent: the API gets it.
    """

    description: str
    read: Callable[[yaml_text.Node], str | float | bool]
    schema: Mapping[str, Any]
    is_required: bool = False
    is_sent: bool = True

    def value(self, node: yaml_text.Node) -> str | float | bool | None:
        """What was meant; None for nothing."""
        if not self.is_required and _is_blank(node):
            return None
        return self.read(node)


_EVERY: Final = {
    "language": _Field("The language that is spoken, such as en, ko, or zh.", _text, _ANY_SCALAR, is_required=True),
    "text": _Field("What is said.", _text, _ANY_SCALAR, is_required=True),
    "model": _Field("Who says it: the model's id, such as M000004017.", _text, _ANY_SCALAR, is_required=True),
    "clothes": _Field(
        "What the model wears: the clothes' id, such as BG00006160.", _text, _ANY_SCALAR, is_required=True
    ),
    "name": _Field(
        "The video's file name, without its extension.",
        _name,
        {**_OR_NULL, "maxLength": MAX_NAME_CHARACTERS},
        is_sent=False,
    ),
    "pay_again": _Field(
        "true: if it is unknown whether an earlier try was paid, order the video again.",
        _flag,
        {"type": ["boolean", "null"]},
        is_sent=False,
    ),
}
_CALLED: Final = "A web address that the cloud calls once the video is made."
_FIELDS: Final[dict[str, dict[str, _Field]]] = {  # API.md
    "v2": {
        **_EVERY,
        "locale": _Field("The service's region: zh from China.", _text, _OR_NULL),
        "uppercut": _Field("How much is cropped above the model.", _number, {"type": ["number", "null"]}),
        "webhook": _Field(_CALLED, _web_address, _WEB_ADDRESS),
    },
    "v3": {
        **_EVERY,
        "isExport": _Field(
            "May be left out: every video is rendered at once.", _is_export, {"enum": [True, None]}, is_sent=False
        ),
        "workspaceId": _Field("The workspace that pays.", _text, _OR_NULL),
        "resolution": _Field(
            "The video's height: 4k, 1080, 720, or 480.",
            _resolution,
            {"enum": [*RESOLUTIONS, 1080, 720, 480, None]},
        ),
        "webhookUrl": _Field(_CALLED, _web_address, _WEB_ADDRESS),
    },
}


def _fields_of(version: str) -> dict[str, _Field]:
    if version not in _FIELDS:
        raise ValueError(f"no such API version: {version}")
    return _FIELDS[version]


# --- the file ---------------------------------------------------------------------------------------------------

_JOB_LOOKS: Final = "a job has four lines: 'language: ', 'text: ', 'model: ', and 'clothes: '"
_FORMS: Final = ("jobs", "defaults")
_NEARLY_FORMS: Final = frozenset({"job", "jobs", "default", "defaults"})


def parse_batch(content: bytes, version: str = "v2", defaults: Defaults = NO_DEFAULTS) -> Batch:
    """The requests of a job file.

    Args:
        content: the file's bytes.
        version: of the API, ``v2`` or ``v3``: decides which fields there are.
        defaults: what the file's folder gives.

    Raises:
        BatchInvalid: with everything that is wrong; where that is much, the last problem says how much more.
        ValueError: there is no such version.
    """
    reading = yaml_text.read(yaml_text.decode(content))
    requests: list[Request] = []
    if reading.is_whole:
        requests = _Reader(version, reading, defaults).requests()
    if reading.problems:
        raise BatchInvalid(reading.problems.listed())
    return Batch(tuple(requests))


def parse_defaults(content: bytes, version: str, where: str) -> Defaults:
    """What a ``_defaults.yaml`` gives for what is dropped in its folder and below.

    Args:
        content: the file's bytes.
        version: of the API.
        where: the file, as a person would look for it; stands in problems that come of its values later.

    Raises:
        BatchInvalid: with everything that is wrong.
        ValueError: there is no such version.
    """
    reading = yaml_text.read(yaml_text.decode(content))
    values: dict[str, yaml_text.Node] = {}
    if reading.is_whole:
        values = _DefaultsReader(version, reading.problems).values(reading.documents)
    if reading.problems:
        raise BatchInvalid(reading.problems.listed())
    return Defaults({name: Given(node, where, name) for name, node in values.items()})


@dataclass(frozen=True, slots=True)
class _Candidate:
    """Something that should be a job, and the defaults that hold for it."""

    node: yaml_text.Node
    defaults: dict[str, yaml_text.Node]


class JobReader:
    """The fields of single jobs to requests; what is wrong goes to the problems.

    Args:
        version: of the API.
        problems: to be added to.
        defaults: what the file's folder gives.

    Raises:
        ValueError: there is no such version.
    """

    def __init__(self, version: str, problems: yaml_text.Problems, defaults: Defaults = NO_DEFAULTS) -> None:
        self._known = _fields_of(version)
        self._problems = problems
        self._given = defaults.fields
        self._template = defaults.video_name
        self.fields = tuple(self._known)
        self.required = tuple(name for name, known in self._known.items() if known.is_required)

    def request(
        self,
        node: yaml_text.Mapping,
        path: str,
        *,
        defaults: Mapping[str, yaml_text.Node] | None = None,
        joint: str = ".",
    ) -> Request | None:
        """One job; None where something is wrong with it.

        Args:
            node: its own fields.
            path: of the job in its file.
            defaults: of its file, which beat the folder's.
            joint: between the path and a field's name.
        """
        own = {**(defaults or {}), **{key.text: value for key, value in node.entries}}
        given = {name: found for name, found in self._given.items() if name not in own}
        fields = {name: found.node for name, found in given.items()} | own
        values, flaws = self._read(fields)
        missing = [name for name in self.required if name not in fields]
        if flaws or missing:
            self._report(flaws, missing, fields, node, path, joint=joint)
            return None
        place = Place(path, {name: (value.line, value.column) for name, value in own.items()}, given, joint)
        name = values.get("name")
        template = None if name else self._template
        body = {name: value for name, value in values.items() if self._known[name].is_sent}
        return Request(body, None if name is None else str(name), bool(values.get("pay_again")), place, template)

    def _read(
        self, fields: Mapping[str, yaml_text.Node]
    ) -> tuple[dict[str, str | float | bool], dict[str, str | None]]:
        """What is meant, and what is wrong by the name of the field: why, or None where there is no such field."""
        values: dict[str, str | float | bool] = {}
        flaws: dict[str, str | None] = {}
        for name in [name for name in self._known if name in fields]:
            try:
                value = self._known[name].value(fields[name])
            except _WrongError as error:
                flaws[name] = str(error)
            else:
                if value is not None:
                    values[name] = value
        flaws.update(dict.fromkeys(name for name in fields if name not in self._known))
        return values, flaws

    def _check_some(self, fields: dict[str, yaml_text.Node], node: yaml_text.Mapping, path: str) -> None:
        """Note what is wrong with fields that are not yet a whole job."""
        _, flaws = self._read(fields)
        self._report(flaws, [], fields, node, path)

    def _report(
        self,
        flaws: Mapping[str, str | None],
        missing: list[str],
        fields: Mapping[str, yaml_text.Node],
        node: yaml_text.Mapping,
        path: str,
        *,
        joint: str = ".",
    ) -> None:
        """What is wrong, at the places where it can be mended."""
        if self._problems.is_full:
            # Telling costs far more than counting, and nothing more will be told.
            self._problems.count(len(flaws) + bool(missing))
            return
        if missing:
            verb = "is" if len(missing) == 1 else "are"
            words = f"{yaml_text.words_of(missing)} {verb} missing; every job needs {_pronoun(missing)}"
            self._problems.add(words, node, path=path, kind="missing")
        keys = {key.text: key for key, _ in node.entries}
        for name, why in flaws.items():
            if why is None:
                self._refuse_key(keys[name], path, self.fields)
            else:
                self._problems.add(f"'{name}' {why}", fields[name], path=_joined(path, name, joint), kind="value")

    def _refuse_key(self, key: yaml_text.Scalar, path: str, known: Iterable[str]) -> None:
        self._problems.add(
            lambda: f"the key {shown(key.text)} is not known.{hint_for(key.text, known)}",
            key,
            path=_joined(path, shown(key.text)[1:-1]),
            kind="key",
        )


class _Reader(JobReader):
    """One YAML file's nodes to requests."""

    def __init__(self, version: str, reading: yaml_text.Reading, defaults: Defaults) -> None:
        super().__init__(version, reading.problems, defaults)
        self._documents = [document for document in reading.documents if not _is_blank(document)]

    def requests(self) -> list[Request]:
        """The requests; meaningless where there are problems afterwards."""
        candidates = [found for document in self._documents for found in self._candidates(document)]
        is_lone = len(self._documents) == 1 and not _is_list_of_jobs(self._documents[0])
        requests = [
            self._request(candidate, "" if is_lone else f"jobs[{number}]")
            for number, candidate in enumerate(candidates, start=1)
        ]
        if not requests and not self._problems:
            at = self._documents[0] if self._documents else None
            self._problems.add(f"there is no job in this file; {_JOB_LOOKS}", at)
        return [request for request in requests if request is not None]

    def _candidates(self, document: yaml_text.Node) -> Iterator[_Candidate]:
        if isinstance(document, yaml_text.Sequence):
            yield from (_Candidate(node, {}) for node in document.nodes)
        elif isinstance(document, yaml_text.Mapping) and _is_list_of_jobs(document):
            yield from self._candidates_under_jobs(document)
        else:
            yield _Candidate(document, {})

    def _candidates_under_jobs(self, document: yaml_text.Mapping) -> Iterator[_Candidate]:
        fields: dict[str, yaml_text.Node] = {}
        for key, node in document.entries:
            fields[key.text] = node
            if key.text in self.fields:
                self._problems.add(
                    f"'{key.text}' belongs into each job, or under 'defaults:' for all of them", key, kind="key"
                )
            elif key.text not in _FORMS:
                self._refuse_key(key, "", _FORMS)
        defaults = self._defaults(fields.get("defaults"))
        jobs = fields.get("jobs")
        if jobs is None:
            self._problems.add("'jobs' is missing: a list of jobs, each begun with '- '", document, kind="missing")
        elif isinstance(jobs, yaml_text.Sequence) and jobs.nodes:
            yield from (_Candidate(node, defaults) for node in jobs.nodes)
        elif isinstance(jobs, yaml_text.Mapping):
            self._problems.add("must be a list: begin each job with '- '", jobs, path="jobs", kind="value")
        else:
            self._problems.add(f"must be a list of jobs; {_JOB_LOOKS}", jobs, path="jobs", kind="value")

    def _defaults(self, node: yaml_text.Node | None) -> dict[str, yaml_text.Node]:
        if node is None or _is_blank(node):
            return {}
        if not isinstance(node, yaml_text.Mapping):
            self._problems.add("must be a mapping, such as 'language: en'", node, path="defaults", kind="value")
            return {}
        fields = {key.text: value for key, value in node.entries}
        self._check_some(fields, node, "defaults")
        return {name: value for name, value in fields.items() if name in self.fields}

    def _request(self, candidate: _Candidate, path: str) -> Request | None:
        node = candidate.node
        if not isinstance(node, yaml_text.Mapping):
            self._problems.add(lambda: _not_a_job(node), node, path=path, kind="value")
            return None
        return self.request(node, path, defaults=candidate.defaults)


_OF_ONE_JOB: Final = ("text", "name", "pay_again")


class _DefaultsReader(JobReader):
    """A ``_defaults.yaml``'s nodes to values by field."""

    def values(self, documents: Iterable[yaml_text.Node]) -> dict[str, yaml_text.Node]:
        """The values; meaningless where there are problems afterwards."""
        written = [document for document in documents if not _is_blank(document)]
        for extra in written[1:]:
            self._problems.add("a second document; a folder has one set of defaults, remove the ---", extra)
        found: dict[str, yaml_text.Node] = {}
        for document in written[:1]:
            if isinstance(document, yaml_text.Mapping):
                found = self._values(document)
            else:
                words = f"this is {yaml_text.kind_of(document)}; write lines such as 'language: en'"
                self._problems.add(words, document, kind="value")
        return found

    def _values(self, document: yaml_text.Mapping) -> dict[str, yaml_text.Node]:
        fields = {key.text: value for key, value in document.entries}
        known = [*(name for name in self.fields if name not in _OF_ONE_JOB), VIDEO_NAME]
        for key, _ in document.entries:
            if key.text in _OF_ONE_JOB:
                hint = f"; the template of the folder's videos is '{VIDEO_NAME}'" if key.text == "name" else ""
                self._problems.add(f"'{key.text}' belongs into each job, not into the defaults{hint}", key, kind="key")
            elif key.text in _NEARLY_FORMS:
                self._problems.add(f"write the fields themselves, without '{key.text}:' around them", key, kind="key")
            elif key.text not in known:
                self._refuse_key(key, "", known)
        if VIDEO_NAME in fields:
            self._check_template(fields[VIDEO_NAME])
        kept = {name: node for name, node in fields.items() if name in known}
        self._check_some({name: node for name, node in kept.items() if name != VIDEO_NAME}, document, "")
        return kept

    def _check_template(self, node: yaml_text.Node) -> None:
        if not isinstance(node, yaml_text.Scalar):
            wrong = [f"must be one text such as {{file}}-{{n}}, not {yaml_text.kind_of(node)}; put it in quotes"]
        else:
            wrong = [] if node.is_null else check_template(node.text)
        if wrong:
            self._problems.add(f"'{VIDEO_NAME}' {'; '.join(wrong)}", node, path=VIDEO_NAME, kind="value")


def _is_blank(node: yaml_text.Node) -> bool:
    return isinstance(node, yaml_text.Scalar) and node.is_null


def _is_list_of_jobs(document: yaml_text.Node) -> bool:
    """A list, or a mapping that says ``jobs:`` or ``defaults:``, or nearly so."""
    if isinstance(document, yaml_text.Mapping):
        return any(key.text.casefold() in _NEARLY_FORMS for key, _ in document.entries)
    return isinstance(document, yaml_text.Sequence)


def _not_a_job(node: yaml_text.Node) -> str:
    if _is_blank(node):
        return f"this job is empty; {_JOB_LOOKS}"
    return f"this is {yaml_text.kind_of(node)}, not a job; {_JOB_LOOKS}, with a space behind each colon"


def hint_for(name: str, known: Iterable[str]) -> str:
    """What a person who wrote a name that is not known probably meant, with a leading space; may be empty."""
    others = (version for version, known in _FIELDS.items() if name in known)
    belongs = next((f" It is for the API's {version}, which is not the one in use." for version in others), "")
    return did_you_mean(name[:40], known) or belongs


def _pronoun(names: list[str]) -> str:
    return "it" if len(names) == 1 else "them"


def all_fields() -> frozenset[str]:
    """The fields of every version."""
    return frozenset(name for known in _FIELDS.values() for name in known)


def _joined(path: str, name: str, joint: str = ".") -> str:
    return f"{path}{joint}{name}" if path else name


# --- the schema ---------------------------------------------------------------------------------------------------


def job_schema(version: str = "v2") -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a job file, for completion in editors.

    Raises:
        ValueError: there is no such version.
    """
    known = _fields_of(version)
    properties = {name: {"description": one.description, **one.schema} for name, one in known.items()}
    fields = {"type": "object", "properties": properties, "additionalProperties": False}
    required = [name for name, one in known.items() if one.is_required]
    job = {**fields, "description": "One video.", "required": required}
    defaults = {**fields, "description": "Fields of every job that does not say otherwise."}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"chromadrop job file ({version})",
        "$defs": {
            "job": job,
            "defaults": defaults,
            "jobs": _list_of("job"),
            "rest_of_job": {**fields, "description": "One video: what the defaults do not say."},
            "jobs_with_defaults": _list_of("rest_of_job"),
        },
        "anyOf": [
            _reference("job"),
            _reference("jobs"),
            _object({"jobs": _reference("jobs")}),
            _object({"defaults": _reference("defaults"), "jobs": _reference("jobs_with_defaults")}),
        ],
    }


def _reference(name: str) -> dict[str, str]:
    return {"$ref": f"#/$defs/{name}"}


def _list_of(name: str) -> dict[str, Any]:
    return {"type": "array", "description": "One video each.", "items": _reference(name), "minItems": 1}


def _object(properties: dict[str, dict[str, str]]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
