"""``dataclass``, made in a third of the time: the daemon has two hundred, and is not ready before all are there.

For each frozen class the standard library writes six functions and has each compiled by itself. Here only ``__init__``
is; what compares, hashes, shows, and refuses to be changed does so by the names of the fields. Fields, defaults, slots,
and all that `dataclasses` offers (``replace``, ``fields``, ``asdict``) are the standard library's, and so is every
class that is not frozen. What a class defines itself, it keeps. There are no keyword-only fields, nor an order.

Source: https://docs.python.org/3/library/dataclasses.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import dataclass

    __all__ = ["dataclass"]
else:
    import dataclasses
    from dataclasses import MISSING, Field, FrozenInstanceError
    from functools import partial
    from operator import attrgetter
    from typing import Any, Never

    def dataclass(cls: type | None = None, *, frozen: bool = False, slots: bool = False) -> Any:
        """As `dataclasses.dataclass`."""
        make = partial(_frozen if frozen else dataclasses.dataclass, slots=slots)
        return make if cls is None else make(cls)

    def _frozen(cls: type, *, slots: bool) -> type:
        own = set(vars(cls))
        if vars(cls).get("__hash__") is None:  # as Python leaves it in a class that says how it is compared
            own.discard("__hash__")
        if cls.__doc__ is None:
            cls.__doc__ = cls.__name__  # else one is made from the signature, which takes as long as the class
        made = dataclasses.dataclass(cls, init=False, repr=False, eq=False, slots=slots)
        fields = dataclasses.fields(made)
        for name, method in (_methods(fields) | {"__init__": _initialiser(made, fields)}).items():
            if name not in own:
                setattr(made, name, method)
        return made

    def _initialiser(made: type, fields: tuple[Field, ...]) -> Any:
        known, parameters, lines = {"_set": object.__setattr__, "_missing": MISSING}, ["self"], []
        for field in fields:
            name = value = field.name
            if not field.init and field.default is field.default_factory is MISSING:
                continue  # __post_init__ sets it
            if field.default is not MISSING:
                known[f"_default_{name}"] = field.default
                parameter, unasked = f"{name}=_default_{name}", f"_default_{name}"
            elif field.default_factory is not MISSING:
                known[f"_make_{name}"] = field.default_factory
                parameter, unasked = f"{name}=_missing", f"_make_{name}()"
                value = f"{unasked} if {name} is _missing else {name}"
            else:
                parameter = unasked = name
            if field.init:
                parameters.append(parameter)
            lines.append(f" _set(self, {name!r}, {value if field.init else unasked})")
        if hasattr(made, "__post_init__"):
            lines.append(" self.__post_init__()")
        exec("\n".join([f"def __init__({', '.join(parameters)}):", *(lines or [" pass"])]), known)  # noqa: S102 - our names
        found = known["__init__"]
        found.__qualname__ = f"{made.__qualname__}.__init__"
        found.__module__ = made.__module__
        found.__annotations__ = {field.name: field.type for field in fields if field.init} | {"return": "None"}
        return found

    def _methods(fields: tuple[Field, ...]) -> dict[str, Any]:
        """What all frozen classes can."""
        names = [field.name for field in fields]
        values = _values_of([field.name for field in fields if field.compare])
        shown = [field.name for field in fields if field.repr]

        def is_equal(self: Any, other: object) -> bool:
            if other.__class__ is not self.__class__:
                return NotImplemented
            return values(self) == values(other)

        def hash_of(self: Any) -> int:
            return hash(values(self))

        def show(self: Any) -> str:
            return f"{self.__class__.__qualname__}({', '.join(f'{name}={getattr(self, name)!r}' for name in shown)})"

        def state_of(self: Any) -> list[object]:
            return [getattr(self, name) for name in names]

        def set_state(self: Any, state: list[object]) -> None:
            for name, value in zip(names, state, strict=True):
                object.__setattr__(self, name, value)

        return {
            "__eq__": is_equal,
            "__hash__": hash_of,
            "__repr__": show,
            "__setattr__": _refuse,
            "__delattr__": _refuse,
            "__getstate__": state_of,
            "__setstate__": set_state,
        }

    def _values_of(names: list[str]) -> Any:
        """What gives the values of these fields as a tuple."""
        if len(names) > 1:
            return attrgetter(*names)
        return lambda self: tuple([getattr(self, name) for name in names])

    def _refuse(self: Any, name: str, *_: object) -> Never:
        raise FrozenInstanceError(f"cannot change {name!r} of {self.__class__.__qualname__}")
