"""What differs between the API's generations, as one table (API.md: two generations, one flow)."""

from __future__ import annotations

from dataclasses import field
from types import MappingProxyType
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from daemon.core.record import dataclass

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
        defaults: fields that an export's body has where the job does not say.
        project_path: asked with GET, ``{}`` stands for the project id.
        projects_path: the list of projects; None where there is none.
        models_path: the list of models; None where there is none.
        auth_path: tells whether the credential is good; None where nothing does.
        token_path: where an application's keys are exchanged for a token, with POST; None where a key is all there is.
        probe_project_id: asked for where the credential is to be tested and no project is known: it never exists.
    """

    base_url: str
    export_path: str
    progress_path: str
    project_id_keys: tuple[str, ...]
    url_keys: tuple[str, ...]
    project_path: str
    defaults: Mapping[str, str | float | bool] = field(default_factory=lambda: MappingProxyType({}))
    projects_path: str | None = None
    models_path: str | None = None
    auth_path: str | None = None
    token_path: str | None = None
    probe_project_id: str = "chromadrop-probe"

    def progress_path_of(self, project_id: str) -> str:
        """The path to the progress of one project; the id cannot leave its segment."""
        return self.progress_path.format(quote(project_id, safe=""))

    def project_path_of(self, project_id: str) -> str:
        """The path to one project; the id cannot leave its segment."""
        return self.project_path.format(quote(project_id, safe=""))


DIALECTS: Final[Mapping[str, Dialect]] = MappingProxyType(
    {
        "v2": Dialect(
            base_url="https://v2.aistudios.com/api/odin",
            export_path="/simple/video",
            progress_path="/editor/progress/{}",
            project_id_keys=("key", "projectId"),
            url_keys=(
                "url",
                "videoUrl",
                "downloadUrl",
            ),  # the tutorial's code reads the first, the reference the second
            project_path="/editor/project/{}",
        ),
        "v3": Dialect(
            base_url="https://app.aistudios.com/api/odin/v3",
            export_path="/simple/video",
            progress_path="/editor/progress/{}",
            project_id_keys=("projectId", "key"),  # the other generation's name costs nothing to know
            url_keys=("downloadUrl", "url", "videoUrl"),
            project_path="/editor/project/{}",
            defaults=MappingProxyType({"isExport": True}),  # the documented default would make a project, no video
            projects_path="/editor/project",
            models_path="/model",
            auth_path="/auth",
            token_path="/auth/token",  # noqa: S106 - a path
        ),
    }
)
