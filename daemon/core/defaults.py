"""What is taken for what a job does not say: the values, wherever they were written."""

from __future__ import annotations

import hashlib
import json
from dataclasses import field
from functools import cached_property
from typing import TYPE_CHECKING, Final

from daemon.core.record import dataclass
from daemon.core.yaml_text import Scalar

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from daemon.core.yaml_text import Node

VIDEO_NAME: Final = "video_name"
"""The key of the template that names a folder's videos, as ``videos.name`` in the configuration."""


@dataclass(frozen=True, slots=True)
class Given:
    """A value that was not written in the job file.

    Attributes:
        node: the value, with its place in the file that it was written in; line 0 where it has none.
        where: that file, as a person would look for it.
        path: the key's path there.
    """

    node: Node
    where: str
    path: str


@dataclass(frozen=True)
class Defaults:
    """What holds for one folder, the nearest word for each field.

    Attributes:
        values: by the field's name; also a null, which takes back what is said farther out.
    """

    values: Mapping[str, Given] = field(default_factory=dict)

    @property
    def fields(self) -> dict[str, Given]:
        """The values that are fields of a job."""
        return {name: given for name, given in self.values.items() if name != VIDEO_NAME}

    @property
    def video_name(self) -> str | None:
        """The template that names videos; None for the configured one."""
        given = self.values.get(VIDEO_NAME)
        is_text = given is not None and isinstance(given.node, Scalar) and not given.node.is_null
        return given.node.text if is_text else None  # type: ignore[union-attr]  # is_text says so

    @cached_property
    def mark(self) -> str:
        """The same for two that say the same, whatever their places."""
        said = {name: repr(_said(given)) for name, given in self.values.items()}
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest() if said else ""

    def over(self, outer: Defaults) -> Defaults:
        """These, and what they do not say by the outer ones."""
        return Defaults({**outer.values, **self.values})

    def gives(self, names: Iterable[str]) -> bool:
        """Whether each of these fields has a value."""
        return all(name in self.values for name in names)


def _said(given: Given) -> tuple[str, bool] | None:
    return (given.node.text, given.node.is_null) if isinstance(given.node, Scalar) else None


NO_DEFAULTS: Final = Defaults()
