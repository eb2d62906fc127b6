"""Export: whatever comes back, or does not, has exactly one meaning."""

from __future__ import annotations

import pytest
from orders import Cloud, job

from daemon.core.errors import AccountTroubled, CloudDeferred, CloudInDoubt, CloudRefused
from daemon.core.job import Deferred, Exported, ExportStarted, InDoubt, Refused
from daemon.core.report import ExportEnded, Troubled
from daemon.pipeline.export import export

ASKED = job(ExportStarted())


def test_an_accepted_export_has_a_project() -> None:
    """It was asked once, with the request's fields and nothing else."""
    cloud = Cloud()
    assert export(cloud, ASKED) == ExportEnded(1, Exported("p1"))
    assert cloud.asked == [{"language": "en", "text": "Hello", "model": "ysy", "clothes": "1"}]


@pytest.mark.parametrize(
    ("trouble", "outcome"),
    [
        (
            CloudDeferred("busy", retry_after_seconds=7.0, is_outage=True),
            Deferred("busy", retry_after_seconds=7.0, is_outage=True),
        ),
        (CloudDeferred("later"), Deferred("later")),
        (CloudRefused("bad model"), Refused("bad model")),
        (CloudInDoubt("no answer"), InDoubt("no answer")),
        (AccountTroubled("no credit", is_credential=False), Troubled("no credit", is_credential=False)),
        (AccountTroubled("bad key", is_credential=True), Troubled("bad key", is_credential=True)),
    ],
)
def test_each_refusal_keeps_its_meaning(trouble: Exception, outcome: object) -> None:
    """API.md's table, told on."""
    cloud = Cloud(trouble)
    ended = export(cloud, ASKED)
    assert (ended.job_id, ended.outcome) == (1, outcome)
    assert len(cloud.asked) == 1


@pytest.mark.parametrize("trouble", [RuntimeError("secret-key"), OSError("x"), KeyError("data"), RecursionError()])
def test_what_nobody_foresaw_is_doubt(trouble: Exception) -> None:
    """It may have been asked; and the words of a foreign error, which may hold the key, are not told on."""
    ended = export(Cloud(trouble), ASKED)
    assert isinstance(ended.outcome, InDoubt)
    assert ended.outcome.reason == f"an error in chromadrop itself while asking: {type(trouble).__name__}"
