"""Our ``dataclass`` against the standard library's: what is so with one is so with the other."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
from dataclasses import FrozenInstanceError, field, replace
from typing import Any, Generic, TypeVar

import pytest

from daemon.core import record

MAKERS: list[Any] = [dataclasses.dataclass, record.dataclass]
both = pytest.mark.parametrize("dataclass", MAKERS, ids=["the standard library's", "ours"])
_Kind = TypeVar("_Kind")


@record.dataclass(frozen=True, slots=True)
class Kept:
    """For pickle, which needs a name to find it by."""

    number: int
    texts: tuple[str, ...] = ()


def point(dataclass: Any, **options: Any) -> Any:
    """A class of all kinds of fields."""

    @dataclass(frozen=True, **options)
    class Point:
        x: int
        y: int = 2
        tags: list[str] = field(default_factory=list)
        note: str = field(default="", compare=False)
        secret: str = field(default="hidden", repr=False)
        both: int = field(init=False)

        def __post_init__(self) -> None:
            object.__setattr__(self, "both", self.x + self.y)

    return Point


@both
@pytest.mark.parametrize("slots", [True, False])
def test_fields_are_given_by_place_and_by_name(dataclass: Any, *, slots: bool) -> None:
    """Or have their default; a list is each instance's own, and what is computed comes last."""
    made = point(dataclass, slots=slots)
    first, second = made(1), made(3, y=4, tags=["a"], secret="s")
    assert (first.x, first.y, first.tags, first.note, first.secret, first.both) == (1, 2, [], "", "hidden", 3)
    assert (second.x, second.y, second.tags, second.secret, second.both) == (3, 4, ["a"], "s", 7)
    assert made(1).tags is not first.tags
    assert hasattr(first, "__dict__") is not slots


@both
def test_what_is_missing_or_too_much_is_refused(dataclass: Any) -> None:
    """As any call is."""
    made = point(dataclass)
    for arguments, names in (((), {}), ((1, 2, [], "", "", 6), {}), ((1,), {"x": 2}), ((1,), {"z": 2})):
        with pytest.raises(TypeError):
            made(*arguments, **names)


@both
def test_nothing_can_be_changed(dataclass: Any) -> None:
    """Neither a field, nor what is none."""
    found = point(dataclass, slots=True)(1)
    for name in ("x", "both"):
        with pytest.raises(FrozenInstanceError):
            setattr(found, name, 5)
    with pytest.raises(
        (FrozenInstanceError, TypeError)
    ):  # the second is a mistake of the standard library's, with slots
        found.other = 5
    with pytest.raises(FrozenInstanceError):
        del found.x
    assert found.x == 1


@both
def test_equal_is_what_has_the_same_values_and_the_same_class(dataclass: Any) -> None:
    """But for fields that do not count; what is equal has one hash."""

    @dataclass(frozen=True, slots=True)
    class Pair:
        x: float
        note: str = field(default="", compare=False)

    class Other(Pair):
        pass

    @dataclass(frozen=True)
    class Nothing:
        pass

    nan = float("nan")
    assert Pair(1, "a") == Pair(1, "b")
    assert hash(Pair(1, "a")) == hash(Pair(1, "b"))
    assert Pair(1) != Pair(2)
    assert Pair(1) != Other(1)
    assert Pair(nan) == Pair(nan)
    assert Nothing() == Nothing()
    assert len({Nothing(), Nothing(), Pair(1), Pair(1), Pair(2)}) == 3


@both
def test_it_shows_its_fields(dataclass: Any) -> None:
    """But for those that are not to be seen."""
    text = repr(point(dataclass)(1, tags=["a"], secret="s3cret"))
    assert text == "point.<locals>.Point(x=1, y=2, tags=['a'], note='', both=3)"


@both
def test_what_a_class_defines_itself_is_kept(dataclass: Any) -> None:
    """A hash of its own, too, beside a comparison of its own; without one there is that of the fields."""

    @dataclass(frozen=True, slots=True)
    class Own:
        x: int

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Own) and self.x % 10 == other.x % 10

        def __hash__(self) -> int:
            return self.x % 10

        def __repr__(self) -> str:
            return "mine"

    @dataclass(frozen=True)
    class Half:  # noqa: PLW1641 - that it gets a hash is what is tried
        x: int

        def __eq__(self, other: object) -> bool:
            return True

    assert Own(1) == Own(11)
    assert hash(Own(11)) == 1
    assert repr(Own(1)) == "mine"
    assert Half(1) == Half(2)
    assert hash(Half(1)) != hash(Half(2))


@both
def test_a_class_below_has_the_fields_of_those_above(dataclass: Any) -> None:
    """In their order; a default may be another one."""

    @dataclass(frozen=True, slots=True)
    class Above(Generic[_Kind]):
        x: _Kind
        y: int = 2

    @dataclass(frozen=True, slots=True)
    class Below(Above[int]):
        z: int = 3
        y: int = 5

    assert repr(Below(1)).endswith("Below(x=1, y=5, z=3)")
    assert Below(1, 2, 3) == Below(x=1, y=2, z=3)
    match Below(7, 8, 9):
        case Below(x, y, z):
            assert (x, y, z) == (7, 8, 9)


@both
def test_the_standard_librarys_functions_know_it(dataclass: Any) -> None:
    """Replaced, listed, made a dictionary, inspected."""
    made = point(dataclass, slots=True)
    found = replace(made(1), y=9)
    assert found.both == 10
    assert [one.name for one in dataclasses.fields(made)] == ["x", "y", "tags", "note", "secret", "both"]
    assert dataclasses.asdict(found)["y"] == 9
    signature = inspect.signature(made)
    assert list(signature.parameters) == ["x", "y", "tags", "note", "secret"]
    assert signature.parameters["y"].default == 2
    assert signature.parameters["x"].annotation == "int"


@both
def test_what_is_not_asked_for_has_its_default(dataclass: Any) -> None:
    """A list is each instance's own here, too; and an ``__init__`` of the class's own is kept."""

    @dataclass(frozen=True, slots=True)
    class Given:
        x: int
        y: int = field(default=5, init=False)
        z: list[int] = field(default_factory=list, init=False)

    @dataclass(frozen=True)
    class Own:
        x: int

        def __init__(self) -> None:
            object.__setattr__(self, "x", 7)

    assert (Given(1).y, Given(1).z) == (5, [])
    assert Given(1).z is not Given(1).z
    with pytest.raises(TypeError):
        Given(1, 2)  # type: ignore[call-arg]
    assert Own().x == 7


@both
def test_it_can_be_copied(dataclass: Any) -> None:
    """Deeply, too."""
    found = point(dataclass, slots=True)(1, tags=["a"])
    assert copy.copy(found) == found == copy.deepcopy(found)
    assert copy.deepcopy(found).tags is not found.tags


def test_it_can_be_pickled() -> None:
    """Slots and all."""
    found = Kept(1, ("a", "b"))
    assert pickle.loads(pickle.dumps(found)) == found


def test_what_is_not_frozen_is_the_standard_librarys() -> None:
    """With slots or without."""

    @record.dataclass(slots=True)
    class Loose:
        x: int = 1

    @record.dataclass
    class Plain:
        x: int = 1

    loose, plain = Loose(), Plain()
    loose.x = plain.x = 5
    assert (loose.x, plain.x) == (5, 5)
    assert not hasattr(loose, "__dict__")
