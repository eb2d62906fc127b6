"""What a start loads: nothing that this daemon has no use for, since each library takes time and memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CODE = """
import gc, json, sys
from daemon.cli import commands
try:
    commands(["run", "--once"], standalone_mode=False)
except SystemExit as ended:
    print(json.dumps({"code": ended.code, "is_collecting": gc.isenabled(), "loaded": sorted(sys.modules)}))
"""
UNUSED = {
    "rich": "structlog's tracebacks for a terminal",
    "charset_normalizer": "guesses encodings for requests",
    "sqlalchemy.dialects.postgresql": "the ledger is a file",
    "sqlalchemy.orm": "the ledger is rows",
    "psycopg": "the ledger is a file",
    "daemon.edges.ledger.postgres": "the ledger is a file",
    "daemon.edges.health": "nobody listens",
    "prometheus_client": "nobody listens",
    "daemon.edges.notifier": "nobody is told",
    "daemon.status_source": "no page is wanted",
    "daemon.overview": "no page is wanted",
    "daemon.simulator": "there is a cloud",
    "aiohttp": "there is a cloud",
}


def ended(folder: Path, **settings: str) -> dict[str, object]:
    """What is loaded when a daemon has been at work in a process of its own, with nothing to do."""
    (folder / "inbox").mkdir()
    environ = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "AISTUDIOS_API_KEY": "any-word",
        "CHROMADROP_API__BASE_URL": "http://127.0.0.1:1",
        **settings,
    }
    process = subprocess.run([sys.executable, "-c", CODE], cwd=folder, env=environ, capture_output=True, check=True)
    found: dict[str, object] = json.loads(process.stdout)
    return found


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """A daemon with a file for a ledger, and nothing that is told, served, or painted."""
    return ended(tmp_path_factory.mktemp("plain"), CHROMADROP_STATUS_PAGE="false")


@pytest.mark.parametrize("module", UNUSED)
def test_a_start_loads_nothing_that_has_no_use(plain: dict[str, object], module: str) -> None:
    """Neither do the libraries load it by themselves."""
    loaded = plain["loaded"]
    assert isinstance(loaded, list)
    assert [name for name in loaded if name == module or name.startswith(f"{module}.")] == [], UNUSED[module]


def test_the_daemon_was_at_work(plain: dict[str, object]) -> None:
    """Else nothing would be loaded, and all would be well."""
    loaded = plain["loaded"]
    assert isinstance(loaded, list)
    assert {"structlog", "requests", "sqlalchemy.dialects.sqlite", "daemon.dispatcher"} <= set(loaded)
    assert plain["code"] == 0


def test_garbage_is_looked_for_again_once_all_is_loaded(plain: dict[str, object]) -> None:
    """A daemon runs for months."""
    assert plain["is_collecting"]


def test_what_makes_the_page_is_loaded_where_one_is_wanted(tmp_path: Path) -> None:
    """And the page hangs there."""
    loaded = ended(tmp_path)["loaded"]
    assert isinstance(loaded, list)
    assert "daemon.status_source" in loaded
    assert (tmp_path / "status.html").is_file()


@pytest.mark.parametrize("library", ["rich", "charset_normalizer"])
def test_what_a_library_was_loaded_without_can_still_be_had(library: str) -> None:
    """By whoever wants it: our own screens want rich."""
    code = f"import daemon.edges.studio, sys; assert {library!r} not in sys.modules; import {library}"
    subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=ROOT, check=True)
