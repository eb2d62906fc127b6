"""API v3 from end to end: a real daemon process against the simulator over a real socket."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from place import Place, job, wait_until

from daemon.edges.spool import PAGE_MARK

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

APP_ID = "app-id-0123456789"
USER_KEY = "user-key-0123456789"
QUICK = {"CHROMADROP_API__CONNECT_TIMEOUT_SECONDS": "1", "CHROMADROP_API__READ_TIMEOUT_SECONDS": "3"}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """A root whose daemon speaks v3 and has an app id and a user key."""
    with Place(tmp_path, apps=((APP_ID, USER_KEY),), render_seconds=0.5) as made:
        del made.environ["AISTUDIOS_API_KEY"]
        made.environ |= {
            "AISTUDIOS_APP_ID": APP_ID,
            "AISTUDIOS_USER_KEY": USER_KEY,
            "CHROMADROP_API__VERSION": "v3",
            "CHROMADROP_API__BASE_URL": made.simulator.base_url_v3,
        }
        yield made


def three(text: str, **more: str) -> str:
    """A job of v3: a model and clothes that the simulator's list has."""
    extra = "".join(f"{key}: {value}\n" for key, value in more.items())
    return job(text).replace("M000004017", "M000045058").replace("BG00006160", "BG00002320") + extra


def exports(place: Place) -> list[str]:
    return [outcome.text for outcome in place.simulator.outcomes()]


def test_a_job_of_v3_becomes_a_video(place: Place) -> None:
    """With a token that was fetched once, the optional fields, and isExport without anybody saying so."""
    place.drop("x.yaml", three("Hello.", resolution="720", workspaceId="w1"))
    running = place.start("run", "--once")
    assert running.end() == 0
    assert place.files("videos") == ["x.mp4"]
    (outcome,) = place.simulator.outcomes()
    assert outcome.fields == {
        "language": "ko", "text": "Hello.", "model": "M000045058", "clothes": "BG00002320",
        "resolution": "720", "workspaceId": "w1", "isExport": True,
    }  # fmt: skip
    assert place.simulator.state()["tokens"]["issued"] == 1
    everything = "".join(running.lines)
    assert APP_ID not in everything
    assert USER_KEY not in everything


def test_a_token_that_was_revoked_is_renewed_and_nobody_notices(place: Place) -> None:
    """Once, though every render in flight finds its token refused."""
    place.drop("x.yaml", "---\n".join(three(f"Text {number}.") for number in range(8)))
    place.simulator.add_fault("export:stuck,times=8,percent=10")
    running = place.start("run")
    for _ in range(8):
        running.until("job.exported")
    place.simulator.revoke_tokens()
    wait_until(lambda: place.simulator.state()["tokens"]["issued"] > 1, "another token")
    before = place.simulator.state()["polls"]
    wait_until(lambda: place.simulator.state()["polls"] >= before + 16, "two more looks at every render")
    assert place.simulator.state()["tokens"]["issued"] == 2
    assert running.said("account.trouble") == []
    assert running.terminate() == 0


def test_keys_that_are_refused_are_account_trouble_and_no_job_fails(place: Place) -> None:
    """As with the API's second generation."""
    place.environ["AISTUDIOS_USER_KEY"] = "wrong-user-key-0123"
    place.drop("x.yaml", three("Hello."))
    running = place.start("run", "--once")
    assert "refused" in running.until("account.trouble")["reason"]
    assert running.terminate() == 77
    assert place.files("failed") == []
    assert exports(place) == []


@pytest.mark.parametrize(
    "fault", ["close,accepted=yes", "hang,accepted=yes", "500,accepted=yes", "not_json,accepted=yes"]
)
def test_an_export_whose_answer_was_lost_is_found_and_adopted(place: Place, fault: str) -> None:
    """The cloud lists it, with our text: the video comes, paid once, and nobody is asked."""
    place.simulator.add_fault(f"export:{fault}")
    place.drop("x.yaml", three("Where am I?"))
    running = place.start("run", "--once", **QUICK)
    assert running.end() == 0
    assert exports(place) == ["Where am I?"]
    (found,) = place.result("done/x.yaml")["jobs"]
    assert (found["adopted"], found["paid"]) == (True, "yes")
    assert running.said("job.adopted")


@pytest.mark.slow
@pytest.mark.parametrize(
    "faults",
    [
        pytest.param(["export:close"], id="it was never accepted"),
        pytest.param(["export:close,accepted=yes", "project:no_text,times=0"], id="the text is not told"),
        pytest.param(["export:close,accepted=yes", "projects:404,times=0"], id="there is no list"),
    ],
)
def test_an_export_that_cannot_be_found_stays_in_doubt(place: Place, faults: list[str]) -> None:
    """A person is asked; looking has cost nothing."""
    for fault in faults:
        place.simulator.add_fault(fault)
    text = "Where am I, and is there anybody else here who was never answered?"  # more than the project's name shows
    place.drop("x.yaml", three(text))
    running = place.start("run", "--once", **QUICK)
    assert running.end() == 1
    assert exports(place) == [text]
    (found,) = place.result("failed/x.yaml")["jobs"]
    assert (found["failure"], found["paid"]) == ("in_doubt", "unknown")
    assert "looked for among the account's projects" in (place.root / "failed/x.yaml.error.txt").read_text()


def test_killed_between_asking_and_hearing_it_finds_its_render_again(place: Place) -> None:
    """The next daemon adopts what the last one asked for."""
    place.simulator.add_fault("export:hang,accepted=yes")
    place.drop("x.yaml", three("Where am I?"))
    running = place.start("run")
    wait_until(lambda: exports(place), "an export")
    running.kill()
    again = place.start("run", "--once")
    assert again.end() == 0
    assert exports(place) == ["Where am I?"]
    assert place.files("videos") == ["x.mp4"]


def test_a_render_that_failed_ends_with_the_vendors_words(place: Place) -> None:
    """Its progress only stands still; the project's state says why."""
    place.simulator.add_fault("export:render_fails")
    place.drop("x.yaml", three("Hello."))
    assert place.start("run", "--once").end() == 1
    told = (place.root / "failed/x.yaml.error.txt").read_text()
    assert "Rendering failed: the script could not be synthesized." in told
    assert "by its credit of 0 perhaps nothing was taken" in told


def test_a_model_that_does_not_exist_costs_nothing(place: Place) -> None:
    """It is refused with the nearest name, before the cloud is asked; the page of models lies in the root."""
    place.drop_at_once("x.yaml", three("Hello.").replace("M000045058", "M000045085"))
    assert place.start("run", "--once").end() == 1
    assert exports(place) == []
    assert "M000045058" in (place.root / "failed/x.yaml.error.txt").read_text()
    page = (place.root / "models.html").read_bytes()
    assert PAGE_MARK in page[:4096]
    assert b"BG00002320" in page


@pytest.mark.parametrize(
    "fault", ["models:500,times=0", "models:hang,times=0", "models:404,times=0", "models:login,times=0"]
)
def test_a_list_of_models_that_cannot_be_had_is_no_hindrance(place: Place, fault: str) -> None:
    """Neither for good jobs nor for bad ones, which the cloud itself may refuse."""
    place.simulator.add_fault(fault)
    place.drop_at_once("x.yaml", three("Hello.").replace("M000045058", "M000045085"))
    running = place.start("run", "--once", CHROMADROP_API__READ_TIMEOUT_SECONDS="30")
    assert running.end() == 0
    assert place.files("videos") == ["x.mp4"]


def test_an_operators_list_checks_v2_too(tmp_path: Path) -> None:
    """In the short form."""
    with Place(tmp_path) as place:
        (tmp_path / "models.yaml").write_text("M000004017: [BG00006160]\nysy: 1\n")
        (tmp_path / "config.yaml").write_text("jobs: {models_file: models.yaml}\n")
        place.drop("good.yaml", job("Hello."))
        place.drop("bad.yaml", job("Hello.", "BG00001004"))
        assert place.start("run", "--once").end() == 1
        assert place.job_files("done") == ["good.yaml"]
        assert place.job_files("failed") == ["bad.yaml"]
        assert len(exports(place)) == 1
