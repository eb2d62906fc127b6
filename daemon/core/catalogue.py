"""The models and clothes that can be ordered: what the list says, and what a job asks for that is not in it.

A list comes from the cloud (API.md, ``GET /model``), which is read tolerantly, or from a file that an operator wrote,
of which every problem is told. Ids are compared exactly, as the cloud does; only hints look further.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections import Counter
from dataclasses import field
from functools import cached_property, partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, TypeGuard
from urllib.parse import urlsplit

from daemon.core import yaml_text
from daemon.core.display import display
from daemon.core.errors import BatchInvalid
from daemon.core.problem import Problem, did_you_mean
from daemon.core.record import dataclass
from daemon.core.yaml_text import MAX_BYTES, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from daemon.core.batch import Request

MAX_MODELS: Final = 20_000
MAX_CLOTHES: Final = 1_000
MAX_CHARACTERS: Final = 300
MAX_LANGUAGES: Final = 20
MAX_ADDRESS_CHARACTERS: Final = 2_000
MAX_PROBLEMS: Final = 100

_MOST_HINTS: Final = 3
_MOST_HINTED: Final = 10  # of one file's wrong values: looking for what was meant takes far longer than telling
_FEW_CLOTHES: Final = 6
_LONGEST_WORD: Final = 80
_LONGEST_NAME: Final = 40
_LONGEST_NUMBER: Final = 10**18
_LIKELY: Final = 200
_NEAR: Final = 0.6
_NEAR_ID: Final = 0.75  # the long ids of one list look much alike
_SHORT: Final = 6
_CONTAINED: Final = 0.9
_UNFIT: Final = re.compile("[\0-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Clothes:
    """What a model can wear.

    Attributes:
        id: what a job file says under ``clothes``.
        labels: names by language (``en``, ``ko``); may be empty.
        thumbnail: web address of a picture; empty where there is none.
    """

    id: str
    labels: Mapping[str, str] = field(default_factory=dict)
    thumbnail: str = ""


@dataclass(frozen=True, slots=True)
class Model:
    """Somebody who can speak.

    Attributes:
        id: what a job file says under ``model``.
        labels: names by language (``en``, ``ko``); may be empty.
        thumbnail: web address of a picture; empty where there is none.
        clothes: what this model can wear, in the list's order.
        is_whole: none of its clothes was left out; where one was, nobody can say that some are missing.
    """

    id: str
    labels: Mapping[str, str] = field(default_factory=dict)
    thumbnail: str = ""
    clothes: tuple[Clothes, ...] = ()
    is_whole: bool = True


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Every model that can be ordered, in the list's order; never empty.

    Attributes:
        models: as far as they could be read.
        is_whole: none was left out; where one was, nobody can say that a model is missing.
    """

    models: tuple[Model, ...]
    is_whole: bool = True


# --- the vendor's form ----------------------------------------------------------------------------


def catalogue_of(models: object) -> Catalogue:
    """The catalogue that the vendor's ``data.models`` describes; what is of no use in it is left out.

    Args:
        models: as JSON has it: a list of mappings with ``id``, ``label``, ``thumbnail``, ``clothes`` (API.md).

    Raises:
        ValueError: nothing usable is in it.
    """
    if not isinstance(models, list):
        raise ValueError("the list of models is not a list")  # noqa: TRY004 - of a foreign answer, not of our types
    found: dict[str, Model] = {}
    is_whole = True
    for entry in models:
        model = _model(entry)
        if model is None or (model.id not in found and len(found) >= MAX_MODELS):
            is_whole = False
            continue
        earlier = found.get(model.id)
        found[model.id] = model if earlier is None else _merged_model(earlier, model)
    if not found:
        raise ValueError("the list of models has no model with an id in it")
    return Catalogue(tuple(found.values()), is_whole)


def document_of(catalogue: Catalogue) -> list[dict[str, Any]]:
    """The vendor's form again: `catalogue_of` makes the same catalogue of it."""
    return [
        {**_document(model), "clothes": [_document(clothes) for clothes in model.clothes]} for model in catalogue.models
    ]


def _document(thing: Model | Clothes) -> dict[str, Any]:
    return {"id": thing.id, "label": dict(thing.labels), "thumbnail": thing.thumbnail}


def _model(entry: object) -> Model | None:
    model_id = _id(entry.get("id")) if isinstance(entry, dict) else None
    if model_id is None or not isinstance(entry, dict):
        return None
    wardrobe, is_whole = _wardrobe(entry)
    return Model(model_id, _labels(entry.get("label")), _address(entry.get("thumbnail")), wardrobe, is_whole)


def _wardrobe(entry: dict[object, object]) -> tuple[tuple[Clothes, ...], bool]:
    """The clothes, and whether these are all that were listed."""
    listed = entry.get("clothes")
    found: dict[str, Clothes] = {}
    is_whole = True
    for each in listed if isinstance(listed, list) else ():
        clothes = _clothes(each)
        if clothes is not None and (clothes.id in found or len(found) < MAX_CLOTHES):
            earlier = found.get(clothes.id)
            found[clothes.id] = clothes if earlier is None else _merged_clothes(earlier, clothes)
        else:
            is_whole = False
    return tuple(found.values()), is_whole


def _clothes(entry: object) -> Clothes | None:
    if not isinstance(entry, dict):
        entry = {"id": entry}
    clothes_id = _id(entry.get("id"))
    if clothes_id is None:
        return None
    return Clothes(clothes_id, _labels(entry.get("label")), _address(entry.get("thumbnail")))


def _merged_model(first: Model, second: Model) -> Model:
    wardrobe = {clothes.id: clothes for clothes in first.clothes}
    for clothes in second.clothes:
        earlier = wardrobe.get(clothes.id)
        wardrobe[clothes.id] = clothes if earlier is None else _merged_clothes(earlier, clothes)
    some = tuple(islice(wardrobe.values(), MAX_CLOTHES))
    is_whole = first.is_whole and second.is_whole and len(some) == len(wardrobe)
    labels = {**second.labels, **first.labels}
    return Model(first.id, labels, first.thumbnail or second.thumbnail, some, is_whole)


def _merged_clothes(first: Clothes, second: Clothes) -> Clothes:
    return Clothes(first.id, {**second.labels, **first.labels}, first.thumbnail or second.thumbnail)


def _id(value: object) -> str | None:
    """An id that a job file could name, None where there is none. Never shortened: it would be another one."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < _LONGEST_NUMBER:
        return str(value)
    if not isinstance(value, str) or not value.strip() or len(value) > MAX_CHARACTERS or _UNFIT.search(value):
        return None
    return value


def _labels(value: object) -> dict[str, str]:
    """Names by language; a plain text counts as English."""
    if not isinstance(value, dict):
        value = {"en": value}
    names = ((_text(language), _text(name)) for language, name in value.items())
    return dict(islice(((language, name) for language, name in names if language and name), MAX_LANGUAGES))


def _text(value: object) -> str:
    """On one line and not too long; empty where it is no text."""
    if not isinstance(value, str):
        return ""
    return " ".join(_UNFIT.sub(" ", value[: 4 * MAX_CHARACTERS]).split())[:MAX_CHARACTERS].rstrip()


def _address(value: object) -> str:
    """The web address, empty where it is none. Never shortened: it would be another one."""
    if not isinstance(value, str) or len(value) > MAX_ADDRESS_CHARACTERS:
        return ""
    try:
        parts = urlsplit(value)
        is_address = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.username is None
    except ValueError:
        return ""
    return value if is_address and value.isprintable() and " " not in value else ""


# --- a file that an operator wrote ----------------------------------------------------------------

# Bytes bound the file; a list has many small values, and aliases are of use in it.
_LIMITS: Final = yaml_text.Limits(nodes=500_000, depth=20)
_LOOKS: Final = "write 'MODEL: [CLOTHES, CLOTHES]' for each model, or the list as the cloud gives it"
_FIELDS: Final = ("id", "label", "thumbnail", "clothes")


def operator_catalogue(content: bytes) -> Catalogue:
    """The catalogue in a file, YAML or JSON, where every scalar is the text that was written.

    It is the vendor's form (a list of models, a mapping with ``models:``, or the whole answer with ``data:``), or
    the short one: a mapping from a model's id to its clothes' ids. A model without clothes can be ordered in any.

    Args:
        content: the file's bytes.

    Raises:
        BatchInvalid: with everything that is wrong; where that is much, the last problem says how much more.
    """
    if len(content) > MAX_BYTES:
        words = f"{len(content):,} bytes, {MAX_BYTES:,} at most; leave thumbnails and labels out"
        raise BatchInvalid([Problem(f"the list of models is too large: {words}")])
    reading = yaml_text.read(yaml_text.decode(content), _LIMITS)
    entries = _Reader(reading.problems).entries(reading.documents) if reading.is_whole else []
    if not entries and not reading.problems:
        at = reading.documents[0] if reading.documents else None
        reading.problems.add(f"there is no model in this file; {_LOOKS}", at)
    if reading.problems:
        raise BatchInvalid(reading.problems.listed())
    return catalogue_of(entries)


class _Reader:
    """One file's nodes to the vendor's form; what is wrong goes to the problems."""

    def __init__(self, problems: yaml_text.Problems) -> None:
        self._problems = problems

    def entries(self, documents: Sequence[yaml_text.Node]) -> list[dict[str, Any]]:
        """The models; meaningless where there are problems afterwards."""
        written = [document for document in documents if not _is_blank(document)]
        for document in written[1:]:
            self._problems.add("the list of models is one document; take the '---' and what is below it away", document)
        found = [entry for document in written[:1] for entry in self._models(document)]
        if len({entry["id"] for entry in found}) > MAX_MODELS:
            self._problems.add(f"there are more than {MAX_MODELS:,} models in this file", written[0])
        return found

    def _models(self, node: yaml_text.Node) -> Iterator[dict[str, Any]]:
        listed, path = _unwrapped(node)
        if isinstance(listed, yaml_text.Sequence):
            for number, each in enumerate(listed.nodes, start=1):
                yield from self._entry(each, f"{path}[{number}]", has_clothes=True)
        elif isinstance(listed, yaml_text.Mapping):
            for key, value in listed.entries:
                yield from self._short(key, value, path)
        elif not _is_blank(listed):
            self._refuse(f"this is {yaml_text.kind_of(listed)}, not a list of models; {_LOOKS}", listed, path)

    def _short(self, key: yaml_text.Scalar, value: yaml_text.Node, path: str) -> Iterator[dict[str, Any]]:
        where = f"{path}.{shown(key.text)[1:-1]}" if path else shown(key.text)[1:-1]
        model_id = self._id(key, where)
        nodes = value.nodes if isinstance(value, yaml_text.Sequence) else ()
        for node in nodes:
            if not isinstance(node, yaml_text.Scalar):
                # Else a misspelt 'models:' would be taken for a model.
                self._refuse(
                    "must be the id of clothes; the list as the cloud gives it begins with 'models:'", node, where
                )
                return
        clothes = [*self._wardrobe(value, where)]
        if model_id is not None:
            yield {"id": model_id, "clothes": clothes}

    def _entry(self, node: yaml_text.Node, path: str, *, has_clothes: bool = False) -> Iterator[dict[str, Any]]:
        """A model, or clothes, in the vendor's form, or an id alone."""
        if isinstance(node, yaml_text.Scalar):
            found = self._id(node, path)
            if found is not None:
                yield {"id": found}
            return
        if not isinstance(node, yaml_text.Mapping):
            self._refuse("must be an id, or a mapping with 'id: '; not a list", node, path)
            return
        fields = {key.text: value for key, value in node.entries}
        self._refuse_near_misses(node, fields, path, _FIELDS if has_clothes else _FIELDS[:-1])
        id_node = fields.get("id")
        found = None if id_node is None else self._id(id_node, f"{path}.id")
        entry = {"id": found, "label": _plain(fields.get("label")), "thumbnail": _plain(fields.get("thumbnail"))}
        if has_clothes:
            entry["clothes"] = [*self._wardrobe(fields.get("clothes"), f"{path}.clothes")]
        if found is not None:
            yield entry

    def _wardrobe(self, node: yaml_text.Node | None, path: str) -> Iterator[dict[str, Any]]:
        if node is None or _is_blank(node):
            return
        if isinstance(node, yaml_text.Mapping):
            self._refuse("the clothes must be a list of ids, such as [BG00006160, BG00001004]", node, path)
            return
        nodes = node.nodes if isinstance(node, yaml_text.Sequence) else (node,)
        if len(nodes) > MAX_CLOTHES:
            self._refuse(f"these are {len(nodes):,} clothes, {MAX_CLOTHES:,} at most", node, path)
        for number, each in enumerate(nodes, start=1):
            yield from self._entry(each, f"{path}[{number}]")

    def _id(self, node: yaml_text.Node, path: str) -> str | None:
        if not isinstance(node, yaml_text.Scalar):
            self._refuse(f"an id must be one text, not {yaml_text.kind_of(node)}", node, path)
        elif node.is_null or not node.text.strip():
            self._refuse("an id is missing here", node, path)
        elif (found := _id(node.text)) is None:
            self._refuse(f"{shown(node.text)} is no id: too long, or with a line break in it", node, path)
        else:
            return found
        return None

    def _refuse_near_misses(
        self, node: yaml_text.Mapping, fields: Mapping[str, object], path: str, known: Sequence[str]
    ) -> None:
        """The vendor may say more than we read, but a key that was misspelt would go unread silently."""
        missing = [name for name in known if name not in fields]
        is_told = False
        for key, _ in node.entries:
            hint = did_you_mean(key.text[:_LONGEST_NAME], missing) if key.text not in known else ""
            if hint:
                self._problems.add(f"the key {shown(key.text)} is not known.{hint}", key, path=path, kind="key")
                is_told |= "'id'" in hint
        if "id" in missing and not is_told:
            self._problems.add("'id' is missing", node, path=path, kind="missing")

    def _refuse(self, words: str, at: yaml_text.Node, path: str) -> None:
        self._problems.add(words, at, path=path, kind="value")


def _unwrapped(node: yaml_text.Node) -> tuple[yaml_text.Node, str]:
    """What stands under ``data:`` and ``models:``, as far as they are there, and its path."""
    path = ""
    for name in ("data", "models"):
        inner = next((value for key, value in _entries(node) if key.text == name), None)
        if inner is not None:
            node, path = inner, f"{path}.{name}" if path else name
    return node, path


def _entries(node: yaml_text.Node) -> Iterable[tuple[yaml_text.Scalar, yaml_text.Node]]:
    return node.entries if isinstance(node, yaml_text.Mapping) else ()


def _is_blank(node: yaml_text.Node) -> bool:
    return isinstance(node, yaml_text.Scalar) and node.is_null


def _plain(node: yaml_text.Node | None) -> object:
    """A label or an address, as `catalogue_of` reads it."""
    if isinstance(node, yaml_text.Mapping):
        return {key.text: value.text for key, value in node.entries if _is_written(value)}
    return node.text if _is_written(node) else None


def _is_written(node: yaml_text.Node | None) -> TypeGuard[yaml_text.Scalar]:
    return isinstance(node, yaml_text.Scalar) and not node.is_null


# --- what jobs ask for that is not in it ----------------------------------------------------------


def problems_of(requests: Iterable[Request], catalogue: Catalogue) -> tuple[Problem, ...]:
    """What requests ask for that is not in the list; see `Checker.problems_of`."""
    return Checker(catalogue).problems_of(requests)


class _Found:
    """The problems so far: the first ones in full, the rest as a number; a value behind ``defaults:`` once."""

    def __init__(self) -> None:
        self._kept: list[Problem] = []
        self._messages: dict[tuple[str, str], str] = {}
        self._seen: set[tuple[object, ...]] = set()

    def add(self, request: Request, name: str, wrong: str, message: Callable[[bool], str]) -> None:
        at = None if request.place is None else request.place.fields.get(name)
        key = (at, name, wrong)
        if key in self._seen:
            return
        self._seen.add(key)
        if len(self._kept) < MAX_PROBLEMS:
            words = self._messages.get((name, wrong)) or message(len(self._messages) < _MOST_HINTED)
            self._messages[name, wrong] = words
            self._kept.append(request.problem(name, words))

    def listed(self) -> tuple[Problem, ...]:
        """As `yaml_text.Problems.listed` has it."""
        kept = sorted(self._kept, key=lambda problem: (problem.line or 0, problem.column or 0))
        more = len(self._seen) - len(kept)
        return (*kept, Problem(f"... and {more:,} more")) if more else tuple(kept)


class Checker:
    """One catalogue, indexed once for all the questions that come."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._is_whole = catalogue.is_whole
        self._models = {model.id: model for model in catalogue.models}
        self._wardrobes: dict[str, frozenset[str]] = {}

    def are_listed(self, requests: Iterable[Request]) -> bool:
        """Whether `problems_of` would find nothing; quick, however much is wrong."""
        return all(self._flaw(request) is None for request in requests)

    def problems_of(self, requests: Iterable[Request]) -> tuple[Problem, ...]:
        """What requests ask for that is not in the list, with what was probably meant; empty where all is well.

        The clothes of a model for which the list names none are not looked at, and nothing is missing from a list that
        could not be read whole.

        Returns:
            In the order of the file; where they are many, the last one says how many more there are.
        """
        found = _Found()
        for request in requests:
            flaw = self._flaw(request)
            if flaw == "model":
                model_id = str(request.body["model"])
                found.add(request, flaw, model_id, partial(self._unknown_model, model_id))
            elif flaw == "clothes":
                model, clothes_id = self._models[str(request.body["model"])], str(request.body["clothes"])
                pair = f"{model.id}\n{clothes_id}"
                found.add(request, flaw, pair, partial(self._unknown_clothes, model, clothes_id))
        return found.listed()

    def _flaw(self, request: Request) -> str | None:
        model_id, clothes_id = request.body.get("model"), request.body.get("clothes")
        if not isinstance(model_id, str):
            return None
        model = self._models.get(model_id)
        if model is None:
            return "model" if self._is_whole else None
        return "clothes" if isinstance(clothes_id, str) and not self._can_wear(model, clothes_id) else None

    def _can_wear(self, model: Model, clothes_id: str) -> bool:
        if model.id not in self._wardrobes:
            self._wardrobes[model.id] = frozenset(clothes.id for clothes in model.clothes)
        return not model.clothes or not model.is_whole or clothes_id in self._wardrobes[model.id]

    def _unknown_model(self, model_id: str, is_hint_wanted: bool) -> str:
        near = self._near_models.to(model_id) if is_hint_wanted else []
        words = f"the model {shown(model_id)} is not in the list of models"
        return f"{words}.{_meant(near)}" if near else f"{words}; look the id up there"

    def _unknown_clothes(self, model: Model, clothes_id: str, is_hint_wanted: bool) -> str:
        near = _Near(model.clothes).to(clothes_id) if is_hint_wanted else []
        words = f"the model {_named(model)} has no clothes {shown(clothes_id)}.{_meant(near)}"
        if len(model.clothes) <= _FEW_CLOTHES:
            return f"{words} It wears {_listed(model.clothes, 'and')}."
        return words if near else f"{words} Look the id up in the list of models."

    @cached_property
    def _near_models(self) -> _Near:
        return _Near(tuple(self._models.values()))


class _Near:
    """Finds by id and by name in any language what a word is near to.

    The pairs of letters that a word shares find the likely ones quickly; only these are compared in earnest.
    """

    def __init__(self, things: Sequence[Model | Clothes]) -> None:
        self._things = things
        self._words: list[tuple[str, int, float]] = []
        self._pairs: dict[str, list[int]] = {}
        for index, thing in enumerate(things):
            self._add(thing.id, index, _NEAR if len(thing.id) <= _SHORT else _NEAR_ID)
            for name in dict.fromkeys(thing.labels.values()):
                self._add(name, index, _NEAR)

    def _add(self, name: str, index: int, least: float) -> None:
        word = _folded(name)
        for pair in _pairs(word):
            self._pairs.setdefault(pair, []).append(len(self._words))
        self._words.append((word, index, least))

    def to(self, word: str) -> list[Model | Clothes]:
        """The nearest, at most three, best first; of two alike the one that the list has first."""
        folded = _folded(word)
        shared: Counter[int] = Counter()
        for pair in _pairs(folded):
            shared.update(self._pairs.get(pair, ()))
        best: dict[int, float] = {}
        for number, _ in shared.most_common(_LIKELY):
            likely, index, least = self._words[number]
            likeness = _likeness(folded, likely)
            if likeness >= max(least, best.get(index, 0.0)):
                best[index] = likeness
        ranked = sorted(best, key=lambda index: (-best[index], index))
        exact = [index for index in ranked if best[index] == 1.0]
        return [self._things[index] for index in (exact or ranked)[:_MOST_HINTS]]


def _folded(word: str) -> str:
    """Without what people do not see, or do not mind: capitals, width, composed or not, spaces."""
    return " ".join(unicodedata.normalize("NFKC", word[:_LONGEST_WORD]).casefold().split())


def _pairs(word: str) -> set[str]:
    padded = f" {word} "
    return {padded[index : index + 2] for index in range(len(padded) - 1)}


def _likeness(word: str, other: str) -> float:
    """From 0 to 1; a first name stands for the whole."""
    if word == other:
        return 1.0
    is_part = word in other.split() or other in word.split()
    return max(_CONTAINED if is_part else 0.0, difflib.SequenceMatcher(None, other, word, autojunk=False).ratio())


def _meant(near: Sequence[Model | Clothes]) -> str:
    return f" Did you mean {_listed(near, 'or')}?" if near else ""


def _listed(things: Sequence[Model | Clothes], conjunction: str) -> str:
    """``'M1' (Jonadan), 'M2' or 'M3' (Sara)``."""
    names = [_named(thing) for thing in things]
    if len(names) <= 1:
        return "".join(names)
    return f"{', '.join(names[:-1])} {conjunction} {names[-1]}"


def _named(thing: Model | Clothes) -> str:
    """The id in quotes, with the name behind it where there is one."""
    name = name_of(thing)
    return f"'{display(thing.id)}' ({name})" if name else f"'{display(thing.id)}'"


def name_of(thing: Model | Clothes) -> str:
    """The English name, else any, not too long and fit to be shown; empty where there is none."""
    name = thing.labels.get("en") or next(iter(thing.labels.values()), "")
    return display(name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}…")
