"""Where the list of models comes from: an operator's file, the cloud, or the daemon's copy."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from daemon import models
from daemon.config import Config, Paths, load
from daemon.core.catalogue import Catalogue, Model, catalogue_of, document_of
from daemon.core.errors import ConfigInvalid
from daemon.edges.ledger import Ledger
from daemon.models import COPY_SECONDS, NOTE, NoList, find, find_at_hand
from daemon.simulator.server import RunningSimulator, Settings

if TYPE_CHECKING:
    from pathlib import Path

NOW = 1_763_883_600.0
HOUR = 3600.0
KEY = {"AISTUDIOS_API_KEY": "a-secret-key"}
COPY = [{"id": "M7", "label": {"en": "Copied"}, "thumbnail": "", "clothes": []}]
CLOSED = "http://127.0.0.1:9/api/odin/v3"  # port 9: discard (RFC 863), where nothing listens


def configured(folder: Path, **settings: str) -> tuple[Config, Paths]:
    """A configuration in which the environment sets these keys."""
    environ = {f"CHROMADROP_{name.upper()}": value for name, value in settings.items()}
    config = load(None, environ, folder, default_files=())
    return config, config.paths({}, folder)


def note(folder: Path, value: Any) -> None:
    """The daemon has kept a copy."""
    ledger = Ledger(folder / "state")
    ledger.note(NOTE, value)
    ledger.close()


def kept(at: float) -> dict[str, Any]:
    """A copy as the daemon notes it."""
    return {"at": at, "models": COPY}


# --- an operator's file ---------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["v2", "v3"])
def test_a_file_comes_first(tmp_path: Path, version: str) -> None:
    """Whatever the API, without the network and without a credential; it is as old as its last change."""
    (tmp_path / "models.yaml").write_text("M1: [1]\n")
    os.utime(tmp_path / "models.yaml", (NOW, NOW - HOUR))
    config, paths = configured(
        tmp_path, api__version=version, api__base_url=CLOSED, jobs__models_file="models.yaml"
    )  # fmt: skip
    note(tmp_path, kept(NOW))
    for found in (find(config, paths, {}, NOW), find_at_hand(config, paths, NOW)):
        assert found is not None
        assert (found.source, found.at, found.where) == ("file", NOW - HOUR, str(tmp_path / "models.yaml"))
        assert [model.id for model in found.catalogue.models] == ["M1"]


def test_a_file_lies_beside_the_configuration(tmp_path: Path) -> None:
    """A relative path means the same wherever the command is called."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/config.yaml").write_text("jobs: {models_file: models.yaml}\n")
    (tmp_path / "etc/models.yaml").write_text("M1: [1]\n")
    config = load(tmp_path / "etc/config.yaml", {}, tmp_path)
    assert find(config, config.paths({}, tmp_path), {}, NOW).catalogue.models[0].id == "M1"


@pytest.mark.parametrize(
    ("content", "words"), [(None, "cannot be read"), ("M1: {1: x}\nM2: [[]]\n", "is not valid:\n  line 1, column 5")]
)
def test_a_file_of_no_use_is_told_and_nothing_stands_in_for_it(tmp_path: Path, content: str | None, words: str) -> None:
    """Exit code 1, with every problem; the cloud's list is not what the operator asked for."""
    if content is not None:
        (tmp_path / "models.yaml").write_text(content)
    note(tmp_path, kept(NOW))
    config, paths = configured(tmp_path, api__version="v3", jobs__models_file="models.yaml")
    with pytest.raises(NoList, match=words) as error:
        find(config, paths, KEY, NOW)
    assert error.value.exit_code == 1
    assert "jobs.models_file" in str(error.value)
    with pytest.raises(NoList, match=words):
        find_at_hand(config, paths, NOW)


# --- the cloud ------------------------------------------------------------------------------------


def test_v2_has_no_list(tmp_path: Path) -> None:
    """The sentence says what to set."""
    config, paths = configured(tmp_path)
    with pytest.raises(NoList, match=r"no list of models: set api.version to v3, or jobs.models_file") as error:
        find(config, paths, KEY, NOW)
    assert error.value.exit_code == 1


def test_the_cloud_is_asked(tmp_path: Path) -> None:
    """v3: now, and with what it says; also where there is a copy."""
    note(tmp_path, kept(NOW - HOUR))
    with RunningSimulator() as cloud:
        config, paths = configured(tmp_path, api__version="v3", api__base_url=cloud.base_url_v3)
        found = find(config, paths, KEY, NOW)
    assert (found.source, found.at, found.where, found.remark) == ("cloud", NOW, cloud.base_url_v3, "")
    assert "M000045058" in {model.id for model in found.catalogue.models}


def test_a_refused_credential_is_77(tmp_path: Path) -> None:
    """No copy stands in: somebody must see to it. The credential is not shown."""
    note(tmp_path, kept(NOW))
    with RunningSimulator(Settings(port=0, keys=("another-key",))) as cloud:
        config, paths = configured(tmp_path, api__version="v3", api__base_url=cloud.base_url_v3)
        with pytest.raises(NoList) as error:
            find(config, paths, KEY, NOW)
    assert error.value.exit_code == 77
    assert "a-secret-key" not in str(error.value)


def test_without_a_credential_the_configuration_is_not_valid(tmp_path: Path) -> None:
    """As for every command that asks the cloud."""
    config, paths = configured(tmp_path, api__version="v3", api__base_url=CLOSED)
    with pytest.raises(ConfigInvalid):
        find(config, paths, {}, NOW)


# --- the copy -------------------------------------------------------------------------------------


def test_while_the_cloud_is_away_the_copy_serves(tmp_path: Path) -> None:
    """However old, and it says why and how old."""
    note(tmp_path, kept(NOW - 26 * HOUR))
    config, paths = configured(tmp_path, api__version="v3", api__base_url=CLOSED)
    found = find(config, paths, KEY, NOW)
    assert (found.source, found.at) == ("copy", NOW - 26 * HOUR)
    assert found.catalogue == catalogue_of(COPY)
    assert "cannot reach 127.0.0.1" in found.remark
    assert found.remark.endswith("this is the daemon's copy of 2025-11-22 05:40 UTC, 26 hours old")


@pytest.mark.parametrize(
    ("hours", "age"),
    [(0.5, "less than an hour old"), (-1, "less than an hour old"), (1, "1 hour old"), (50, "2 days old")],
)
def test_the_age_is_told_in_words(tmp_path: Path, hours: float, age: str) -> None:
    """Also where a clock was set back."""
    note(tmp_path, kept(NOW - hours * HOUR))
    config, paths = configured(tmp_path, api__version="v3", api__base_url=CLOSED)
    assert find(config, paths, KEY, NOW).remark.endswith(age)


@pytest.mark.parametrize(
    "value",
    [None, "x", [], {}, {"at": NOW}, {"at": NOW, "models": []}, {"at": "x", "models": COPY}, {"models": COPY}],
)
def test_a_copy_that_makes_no_sense_is_none(tmp_path: Path, value: Any) -> None:
    """The cloud's reason is told, exit code 69; and lint has no list."""
    note(tmp_path, value)
    config, paths = configured(tmp_path, api__version="v3", api__base_url=CLOSED)
    with pytest.raises(NoList, match="cannot reach") as error:
        find(config, paths, KEY, NOW)
    assert error.value.exit_code == 69
    assert find_at_hand(config, paths, NOW) is None


def test_without_a_ledger_there_is_no_copy(tmp_path: Path) -> None:
    """And none is made; nor does a ledger that cannot be read do harm."""
    config, paths = configured(tmp_path, api__version="v3", api__base_url=CLOSED)
    with pytest.raises(NoList, match="no copy"):
        find(config, paths, KEY, NOW)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "state").mkdir()
    (tmp_path / "state/ledger.sqlite3").write_bytes(b"no database, for sure" * 100)
    assert find_at_hand(config, paths, NOW) is None


@pytest.mark.parametrize(
    ("settings", "age", "is_there"),
    [
        ({"api__version": "v3"}, COPY_SECONDS, True),
        ({"api__version": "v3"}, COPY_SECONDS + 1, False),
        ({"api__version": "v3", "jobs__check_models": "false"}, 0.0, False),
        ({"api__version": "v2"}, 0.0, False),
    ],
)
def test_at_hand_is_only_a_copy_that_is_young(
    tmp_path: Path, settings: dict[str, str], age: float, *, is_there: bool
) -> None:
    """Of 48 hours at most, for the API in use, and where models are to be checked."""
    note(tmp_path, kept(NOW - age))
    config, paths = configured(tmp_path, **settings)
    assert (find_at_hand(config, paths, NOW) is not None) == is_there


def test_the_document_is_the_vendors_form() -> None:
    """With its moment in UTC, and where it is from."""
    catalogue = Catalogue((Model("M1", {"en": "x"}),))
    document = models.document(models.Found(catalogue, NOW, "cloud", "https://a"))
    assert document == {"as_of": "2025-11-23T07:40:00Z", "source": "cloud", "models": document_of(catalogue)}
