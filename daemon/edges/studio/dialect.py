"""What differs between the API's generations, as one table (API.md: two generations, one flow)."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Dialect:
    """One generation of the API.

    Attributes:
        base_url: where the vendor serves it.
        export_path: asked with POST, it costs money.
        progress_path: asked with GET, ``{}`` stands for the project id.
        project_id_keys: under ``data`` in the answer to the export, the first one there counts.
        url_keys: under ``data`` in a finished progress, the first usable one counts.
        probe_project_id: asked for where the credential is to be tested and no project is known: it never exists.
    """

    base_url: str
    export_path: str
    progress_path: str
    project_id_keys: tuple[str, ...]
    url_keys: tuple[str, ...]
    probe_project_id: str = "chromadrop-probe"

    def progress_path_of(self, project_id: str) -> str:
        """The path to the progress of one project; the id cannot leave its segment."""
        return self.progress_path.format(quote(project_id, safe=""))


DIALECTS: Final[Mapping[str, Dialect]] = MappingProxyType(
    {
        "v2": Dialect(
            base_url="https://v2.aistudios.com/api/odin",
            export_path="/simple/video",
            progress_path="/editor/progress/{}",
            project_id_keys=("key",),
            url_keys=("url", "videoUrl"),  # the tutorial's working code reads the first, the reference the second
        ),
    }
)
