"""config: YAML and environment -> one frozen Config, or every problem at once."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from pydantic import ValidationError

from daemon.config import (
    DEFAULT_FILES,
    KEY_PATHS,
    VARIABLES,
    Config,
    Credential,
    Paths,
    config_schema,
    find_credential,
    load,
)
from daemon.core.errors import ConfigInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping

    from daemon.core.problem import Problem

ROOT = Path(__file__).parent.parent
SECRET = "sk-0123456789-abcdef"


def read(folder: Path, text: str | bytes, environ: Mapping[str, str] | None = None) -> Config:
    """The configuration that a file with this text gives."""
    content = text if isinstance(text, bytes) else text.encode()
    (folder / "config.yaml").write_bytes(content)
    return load(None, environ or {}, folder, default_files=[Path("config.yaml")])


def problems(folder: Path, text: str | bytes, environ: Mapping[str, str] | None = None) -> list[Problem]:
    """What is wrong with a file of this text."""
    with pytest.raises(ConfigInvalid) as caught:
        read(folder, text, environ)
    return list(caught.value.problems)


def only(folder: Path, text: str | bytes, environ: Mapping[str, str] | None = None) -> Problem:
    """The one thing that is wrong with a file of this text."""
    (problem,) = problems(folder, text, environ)
    return problem


class TestDefaults:
    """Every key may be left out."""

    @pytest.mark.parametrize(
        "text", ["", "---\n", "null\n", "# only a comment\n", "jobs:\n", "jobs: ~\napi: null\n", "{}"]
    )
    def test_an_empty_file_or_section_gives_the_defaults(self, tmp_path: Path, text: str) -> None:
        """What is not there is as if it had been written with its default."""
        assert read(tmp_path, text) == Config()

    def test_without_a_file_the_defaults_hold(self, tmp_path: Path) -> None:
        """With neither of the two places, the defaults, and no source."""
        config = load(None, {}, tmp_path, default_files=[Path("config.yaml"), tmp_path / "etc" / "config.yaml"])
        assert config == Config()
        assert config.source is None
        assert config.folder == tmp_path

    def test_the_example_has_every_key_with_its_default(self) -> None:
        """The example documents every key of the model, no other, and its values are the defaults."""
        text = (ROOT / "config.example.yaml").read_text("utf-8")
        tree: dict[str, Any] = yaml.safe_load(text)
        written = [
            (name, key) if isinstance(section, dict) else (name,)
            for name, section in tree.items()
            for key in (section if isinstance(section, dict) else [None])
        ]
        assert written == list(KEY_PATHS)
        assert load(ROOT / "config.example.yaml", {}, ROOT) == Config()
        assert Config.model_validate(tree) == Config()

    def test_every_key_of_the_example_has_a_comment_above_it(self) -> None:
        """No key stands without a sentence that says what it does."""
        lines = (ROOT / "config.example.yaml").read_text("utf-8").splitlines()
        bare = [
            line
            for above, line in zip(["", *lines], lines, strict=False)
            if line.strip() and not line.lstrip().startswith("#") and not above.lstrip().startswith("#")
        ]
        assert bare == []

    def test_the_defaults_are_those_of_the_design(self) -> None:
        """Sections, keys, and defaults are what users rely on."""
        assert Config().model_dump() == {
            "api": {
                "version": "v2",
                "base_url": None,
                "key_file": None,
                "connect_timeout_seconds": 10,
                "read_timeout_seconds": 30,
            },
            "folders": {
                "root": ".",
                "inbox": "inbox",
                "processing": "processing",
                "done": "done",
                "failed": "failed",
                "videos": "videos",
                "state": None,
            },
            "watch": {"observer": "auto", "settle_seconds": None, "rescan_seconds": None, "grace_seconds": 10},
            "jobs": {"max_rendering": 20, "poll_seconds": 3, "render_timeout_seconds": 3600},
            "videos": {"name": None, "downloads": 4, "max_bytes": 21474836480},
            "ledger": {"url": None},
            "logs": {"level": "info", "format": "auto"},
            "http": {"listen": None},
            "status_page": True,
        }


class TestFile:
    """Which file is read, and how."""

    def test_the_current_folder_comes_before_etc(self, tmp_path: Path) -> None:
        """The first of the default files that exists is the only one that is read."""
        first, second = tmp_path / "config.yaml", tmp_path / "etc.yaml"
        second.write_text("jobs: {max_rendering: 2}")
        places = [Path("config.yaml"), second]
        assert load(None, {}, tmp_path, default_files=places).source == second
        first.write_text("videos: {downloads: 1}")
        config = load(None, {}, tmp_path, default_files=places)
        assert (config.source, config.jobs.max_rendering, config.videos.downloads) == (first, 20, 1)

    def test_a_named_file_is_relative_to_the_current_folder(self, tmp_path: Path) -> None:
        """``--config x.yaml`` means the one here."""
        (tmp_path / "x.yaml").write_text("jobs: {max_rendering: 2}")
        config = load(Path("x.yaml"), {}, tmp_path)
        assert (config.jobs.max_rendering, config.source) == (2, tmp_path / "x.yaml")

    def test_a_named_file_that_is_missing_is_a_problem(self, tmp_path: Path) -> None:
        """A person who named a file does not want the defaults."""
        with pytest.raises(ConfigInvalid) as caught:
            load(Path("x.yaml"), {}, tmp_path)
        (problem,) = caught.value.problems
        assert problem.where == str(tmp_path / "x.yaml")
        assert "cannot be read (No such file or directory)" in problem.message

    def test_a_dangling_link_is_a_problem(self, tmp_path: Path) -> None:
        """A default file that is there but leads nowhere is not passed over in silence."""
        (tmp_path / "config.yaml").symlink_to("nowhere")
        with pytest.raises(ConfigInvalid, match="cannot be read"):
            load(None, {}, tmp_path, default_files=[Path("config.yaml")])

    def test_a_folder_in_place_of_a_file_is_a_problem(self, tmp_path: Path) -> None:
        """What cannot be read is told together with the environment's problems."""
        with pytest.raises(ConfigInvalid) as caught:
            load(tmp_path, {"CHROMADROP_JOBS__POLL_SECONDS": "x"}, tmp_path)
        assert [problem.where for problem in caught.value.problems] == [
            str(tmp_path),
            "CHROMADROP_JOBS__POLL_SECONDS",
        ]

    def test_a_name_that_no_file_can_have_is_a_problem(self, tmp_path: Path) -> None:
        """A NUL in the name is no crash, and the message stays on one line."""
        with pytest.raises(ConfigInvalid) as caught:
            load(Path("x\0\n.yaml"), {}, tmp_path)
        assert str(caught.value).isprintable()

    def test_too_large_a_file_is_a_problem(self, tmp_path: Path) -> None:
        """A video in place of the configuration is not parsed."""
        assert "larger than 1 MiB" in only(tmp_path, b"#" * (1024 * 1024 + 1)).message

    def test_bytes_that_are_not_utf_8_are_a_problem(self, tmp_path: Path) -> None:
        """The place is told."""
        problem = only(tmp_path, b"jobs:\n  max_rendering: \xff\n")
        assert (problem.line, problem.column) == (2, 18)

    @pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
    def test_what_windows_editors_save_is_read(self, tmp_path: Path, encoding: str) -> None:
        """Byte-order marks and CRLF are fine."""
        config = read(tmp_path, "jobs:\r\n  max_rendering: 7\r\n".encode(encoding))
        assert config.jobs.max_rendering == 7

    def test_where_it_was_read_does_not_make_it_another_configuration(self, tmp_path: Path) -> None:
        """Values are compared, places are not: a reload can tell whether anything changed."""
        one = read(tmp_path, "jobs: {max_rendering: 7}")
        (tmp_path / "other").mkdir()
        other = read(tmp_path / "other", "# moved down\n\njobs: {max_rendering: '7'}")
        assert one == other
        assert hash(one) == hash(other)
        assert one != read(tmp_path, "jobs: {max_rendering: 8}")

    def test_nothing_can_be_changed_afterwards(self) -> None:
        """A configuration is frozen, in depth."""
        config = Config()
        with pytest.raises(ValidationError):
            config.status_page = False  # type: ignore[misc]
        with pytest.raises(ValidationError):
            config.jobs.max_rendering = 3  # type: ignore[misc]


class TestValues:
    """Text becomes numbers, booleans, and null."""

    @pytest.mark.parametrize(
        ("text", "path", "value"),
        [
            ("jobs: {poll_seconds: 0.05}", "jobs.poll_seconds", 0.05),
            ("jobs: {poll_seconds: '4'}", "jobs.poll_seconds", 4.0),
            ("jobs: {poll_seconds: 1e1}", "jobs.poll_seconds", 10.0),
            ("jobs: {max_rendering: 100000}", "jobs.max_rendering", 100_000),
            ("watch: {settle_seconds: 0}", "watch.settle_seconds", 0.0),
            ("watch: {settle_seconds: }", "watch.settle_seconds", None),
            ("watch: {settle_seconds: ~}", "watch.settle_seconds", None),
            ("watch: {settle_seconds: NULL}", "watch.settle_seconds", None),
            ("status_page: no", "status_page", False),
            ("status_page: on", "status_page", True),
            ("folders: {root: 'null'}", "folders.root", "null"),
            ("folders: {root: 0012}", "folders.root", "0012"),
            ("videos: {name: '{url}'}", "videos.name", "{url}"),
            ("ledger: {url: 'sqlite:////srv/l.db'}", "ledger.path", Path("/srv/l.db")),
            ("ledger: {url: null}", "ledger.path", None),
            ("api: {base_url: 'https://x.example/odin//'}", "api.effective_base_url", "https://x.example/odin"),
            ("api: {base_url: 'http://127.0.0.1:80/a'}", "api.effective_base_url", "http://127.0.0.1:80/a"),
            ("api: {base_url: 'http://127.9.9.9'}", "api.effective_base_url", "http://127.9.9.9"),
            ("api: {base_url: 'http://[::1]:1/'}", "api.effective_base_url", "http://[::1]:1"),
            ("api: {base_url: 'http://LOCALHOST:1/'}", "api.effective_base_url", "http://LOCALHOST:1"),
            ("api: {version: v2}", "api.effective_base_url", "https://v2.aistudios.com/api/odin"),
        ],
    )
    def test_a_value_is_read(self, tmp_path: Path, text: str, path: str, value: object) -> None:
        """The text that was written becomes what the key holds; quoted "null" is text."""
        found: object = read(tmp_path, text)
        for name in path.split("."):
            found = getattr(found, name)
        assert found == value
        assert type(found) is type(value) or isinstance(value, Path)

    @pytest.mark.parametrize(
        ("text", "path", "column", "words"),
        [
            ("jobs: {max_rendering: many}", "jobs.max_rendering", 23, "'many' is not accepted; write a whole number"),
            ("jobs: {max_rendering: 0}", "jobs.max_rendering", 23, "whole number from 1 to 100000"),
            ("jobs: {max_rendering: 100001}", "jobs.max_rendering", 23, "whole number from 1 to 100000"),
            ("jobs: {max_rendering: 1.5}", "jobs.max_rendering", 23, "whole number"),
            ("jobs: {max_rendering: null}", "jobs.max_rendering", 23, "null is not accepted here"),
            ("jobs: {poll_seconds: 0.049}", "jobs.poll_seconds", 22, "of seconds from 0.05 to 3600 (default 3)"),
            ("jobs: {poll_seconds: nan}", "jobs.poll_seconds", 22, "'nan' is not accepted"),
            ("jobs: {poll_seconds: inf}", "jobs.poll_seconds", 22, "'inf' is not accepted"),
            ("jobs: {poll_seconds: [1]}", "jobs.poll_seconds", 22, "one value, not a list or a mapping"),
            ("jobs: {poll_seconds: {a: 1}}", "jobs.poll_seconds", 22, "one value, not a list or a mapping"),
            ("jobs: {render_timeout_seconds: 1y}", "jobs.render_timeout_seconds", 32, "(default 3600)"),
            ("watch: {settle_seconds: -1}", "watch.settle_seconds", 25, "from 0 to 3600 or null (default null)"),
            ("watch: {rescan_seconds: inf}", "watch.rescan_seconds", 25, "or null"),
            ("watch: {grace_seconds: -0.1}", "watch.grace_seconds", 24, "from 0 to 3600 (default 10)"),
            ("watch: {observer: nativ}", "watch.observer", 19, "one of auto, native, polling (default auto). Did"),
            ("videos: {downloads: 0}", "videos.downloads", 21, "whole number from 1"),
            ("videos: {max_bytes: 20GB}", "videos.max_bytes", 21, "a whole number of bytes from 1 to 1125899906842624"),
            ("videos: {name: '{fil}'}", "videos.name", 16, "{fil}"),
            ("videos: {name: 'a/b'}", "videos.name", 16, "/"),
            ("api: {version: v3}", "api.version", 16, "speaks v2 of the cloud's API only; v3 comes later"),
            ("api: {version: V2}", "api.version", 16, "write v2 (default v2). Did you mean 'v2'?"),
            ("api: {connect_timeout_seconds: 0}", "api.connect_timeout_seconds", 32, "seconds from 0.01 to 300"),
            ("api: {base_url: ftp://x.example}", "api.base_url", 17, "starts with https://"),
            ("api: {base_url: 'https:///odin'}", "api.base_url", 17, "names a host"),
            ("api: {base_url: 'https://x.example:99999'}", "api.base_url", 17, "can be understood"),
            ("api: {base_url: 'https://[::1/'}", "api.base_url", 17, "can be understood"),
            ("api: {base_url: 'https://x.example/?'}", "api.base_url", 17, "without ? or #"),
            ("api: {base_url: 'https://x.example/#a'}", "api.base_url", 17, "without ? or #"),
            ("api: {base_url: 'https://x.example/a b'}", "api.base_url", 17, "blank or an unusual character"),
            ("api: {base_url: 'http://x.example'}", "api.base_url", 17, "plain http"),
            ("api: {base_url: 'http://128.0.0.1'}", "api.base_url", 17, "plain http"),
            ("api: {base_url: 'http://localhost.evil.example'}", "api.base_url", 17, "plain http"),
            ("api: {base_url: 'http://127.0.0.1.evil.example'}", "api.base_url", 17, "plain http"),
            ("api: {base_url: ''}", "api.base_url", 17, "starts with https://"),
            ("api: {key_file: ''}", "api.key_file", 17, "is empty"),
            ("folders: {root: }", "folders.root", 17, "null is not accepted here; write text (default .)"),
            ("folders: {root: ~}", "folders.root", 17, "null is not accepted here"),
            ("folders: {root: ~/studio}", "folders.root", 17, "~, which is not expanded"),
            ("folders: {root: ' '}", "folders.root", 17, "is empty"),
            ("ledger: {url: 'sqlite:///l.db'}", "ledger.url", 15, "sqlite:///ABSOLUTE PATH"),
            ("ledger: {url: 'sqlite://'}", "ledger.url", 15, "sqlite:///ABSOLUTE PATH"),
            ("ledger: {url: 'sqlite:////'}", "ledger.url", 15, "sqlite:///ABSOLUTE PATH"),
            ("ledger: {url: 'sqlite:////a?mode=ro'}", "ledger.url", 15, "without ?"),
            ("ledger: {url: '/srv/l.db'}", "ledger.url", 15, "sqlite:///ABSOLUTE PATH"),
            ("ledger: {url: 'mysql://x/y'}", "ledger.url", 15, "sqlite:///ABSOLUTE PATH"),
            ("ledger: {url: 'postgresql+psycopg://x/y'}", "ledger.url", 15, "keeps its ledger in SQLite only"),
            ("ledger: {url: 'postgresql://x/y'}", "ledger.url", 15, "keeps its ledger in SQLite only"),
            ("logs: {level: INFO}", "logs.level", 15, "debug, info, warning, error (default info). Did you"),
            ("logs: {format: xml}", "logs.format", 16, "one of auto, console, json (default auto)"),
            ("http: {listen: 9188}", "http.listen", 16, "is not HOST:PORT"),
            ("http: {listen: 'localhost:x'}", "http.listen", 16, "is not HOST:PORT"),
            ("http: {listen: '::1:9188'}", "http.listen", 16, "is not HOST:PORT"),
            ("http: {listen: '127.0.0.1:70000'}", "http.listen", 16, "is not HOST:PORT"),
            ("http: {listen: '127.0.0.1:9188'}", "http.listen", 16, "no HTTP listener yet"),
            ("http: {listen: '[::1]:9188'}", "http.listen", 16, "no HTTP listener yet"),
            ("status_page: maybe", "status_page", 14, "write true or false (default true)"),
            ("status_page: [no]", "status_page", 14, "one value"),
            ("job: {max_rendering: 2}", "job", 1, "unknown key 'job'. Did you mean 'jobs'?"),
            ("jobs: {max_rendring: 2}", "jobs.max_rendring", 8, "Did you mean 'max_rendering'?"),
            ("max_rendering: 2", "max_rendering", 1, "It belongs under `jobs:`."),
            ("jobs: {xyzzy: 2}", "jobs.xyzzy", 8, "Known are: max_rendering, poll_seconds, render_timeout_seconds."),
            ("jobs: [1]", "jobs", 7, "the section 'jobs' is a mapping"),
            ("jobs: 3", "jobs", 7, "the section 'jobs' is a mapping"),
            ("- jobs", "", 1, "a configuration file is a mapping"),
            ("hello", "", 1, "a configuration file is a mapping"),
        ],
    )  # fmt: skip
    def test_a_problem_says_where_and_what_to_do(
        self, tmp_path: Path, text: str, path: str, column: int, words: str
    ) -> None:
        """File, line, column, the key's path, plain words, and the nearest word where there is one."""
        problem = only(tmp_path, f"# one comment\n{text}\n")
        assert (problem.where, problem.line, problem.path) == (str(tmp_path / "config.yaml"), 2, path)
        assert problem.column == column
        assert words in problem.message

    def test_all_problems_come_at_once_in_reading_order(self, tmp_path: Path) -> None:
        """Syntax, keys, values, folders, and the environment, of one reading."""
        text = (
            "jobs:\n  max_rendering: many\n  max_rendering: 2\n  pol_seconds: 3\n"
            "folders: {inbox: done}\nvideos: {downloads: 0}\n---\nx: 1\n"
        )
        environ = {"CHROMADROP_WATCH__GRACE_SECONDS": "soon", "CHROMADROP_LOG__LEVEL": "info"}
        found = [
            (problem.line, problem.column, problem.path, problem.where) for problem in problems(tmp_path, text, environ)
        ]
        file = str(tmp_path / "config.yaml")
        assert found == [
            (2, 18, "jobs.max_rendering", file),
            (3, 3, "", file),
            (4, 3, "jobs.pol_seconds", file),
            (5, 18, "folders.inbox", file),
            (6, 21, "videos.downloads", file),
            (8, 1, "", file),
            (None, None, "", "CHROMADROP_LOG__LEVEL"),
            (None, None, "watch.grace_seconds", "CHROMADROP_WATCH__GRACE_SECONDS"),
        ]

    def test_a_syntax_error_does_not_hide_the_environment(self, tmp_path: Path) -> None:
        """YAML that ends early is one problem, the environment's are others."""
        found = problems(tmp_path, "jobs: {poll_seconds: 3\n", {"CHROMADROP_JOBS__POLL_SECONDS": "x"})
        assert [problem.where for problem in found] == [
            str(tmp_path / "config.yaml"),
            "CHROMADROP_JOBS__POLL_SECONDS",
        ]
        assert found[0].line == 1

    def test_someone_who_writes_the_key_itself_is_told_where_it_belongs(self, tmp_path: Path) -> None:
        """The value of an unknown key is never shown."""
        problem = only(tmp_path, f"api: {{api_key: {SECRET}}}")
        assert "AISTUDIOS_API_KEY" in problem.message
        assert SECRET not in str(problem)

    @pytest.mark.parametrize(
        "text",
        [
            f"api: {SECRET}",
            f"api: {{base_url: 'https://me:{SECRET}@x.example'}}",
            f"api: {{base_url: 'https://x.example/?token={SECRET}'}}",
            f"api: {{base_url: '{SECRET}'}}",
            f"api: {{key_file: '~{SECRET}'}}",
            f"ledger: {{url: 'postgresql://me:{SECRET}@h/d'}}",
            f"ledger: {{url: 'other://me:{SECRET}@h/d'}}",
        ],
    )
    def test_no_problem_shows_what_may_be_a_secret(self, tmp_path: Path, text: str) -> None:
        """Addresses may hold passwords, and people put keys in the wrong place: such values are not quoted."""
        assert SECRET not in str(only(tmp_path, text))

    def test_a_model_built_by_hand_hides_its_input_too(self) -> None:
        """Pydantic's own error text does not quote values."""
        with pytest.raises(ValidationError) as caught:
            Config.model_validate({"api": {"base_url": f"https://me:{SECRET}@x.example"}})
        assert SECRET not in str(caught.value)


class TestEnvironment:
    """``CHROMADROP_SECTION__KEY`` wins over the file."""

    def test_every_key_has_its_variable(self) -> None:
        """One for each key, and one without a section."""
        assert len(VARIABLES) == len(KEY_PATHS)
        assert VARIABLES["CHROMADROP_JOBS__MAX_RENDERING"] == ("jobs", "max_rendering")
        assert VARIABLES["CHROMADROP_STATUS_PAGE"] == ("status_page",)

    def test_a_variable_wins_over_the_file(self, tmp_path: Path) -> None:
        """Only the keys that it names."""
        environ = {"CHROMADROP_JOBS__MAX_RENDERING": "7", "CHROMADROP_STATUS_PAGE": "off", "PATH": "/bin"}
        config = read(tmp_path, "jobs: {max_rendering: wrong, poll_seconds: 9}", environ)
        assert (config.jobs.max_rendering, config.jobs.poll_seconds, config.status_page) == (7, 9.0, False)

    def test_an_empty_variable_is_not_set_and_null_is_null(self, tmp_path: Path) -> None:
        """``X=`` in a unit file leaves the file's value; ``X=null`` takes it away."""
        text = "watch: {settle_seconds: 1, rescan_seconds: 2}"
        environ = {
            "CHROMADROP_WATCH__SETTLE_SECONDS": "",
            "CHROMADROP_WATCH__RESCAN_SECONDS": "null",
            "CHROMADROP_NO_SUCH_THING": "",
        }
        config = read(tmp_path, text, environ)
        assert (config.watch.settle_seconds, config.watch.rescan_seconds) == (1.0, None)

    def test_an_unknown_variable_is_a_problem(self, tmp_path: Path) -> None:
        """With the nearest one; what it holds is not shown."""
        problem = only(tmp_path, "", {"CHROMADROP_JOBS__MAX_RENDRING": SECRET})
        assert problem.where == "CHROMADROP_JOBS__MAX_RENDRING"
        assert problem.message == "unknown variable. Did you mean 'CHROMADROP_JOBS__MAX_RENDERING'?"

    def test_an_unknown_variable_far_from_all_others_is_to_be_unset(self, tmp_path: Path) -> None:
        """Names with odd characters stay on one line."""
        problem = only(tmp_path, "", {"CHROMADROP_\n\udcff": "1"})
        assert problem.message == "unknown variable. Unset it."
        assert str(problem).isprintable()

    def test_a_bad_variable_is_named(self, tmp_path: Path) -> None:
        """The place is the variable, not the line of the value that it replaces."""
        problem = only(tmp_path, "jobs: {poll_seconds: 3}", {"CHROMADROP_JOBS__POLL_SECONDS": "x\udcff"})
        assert (problem.where, problem.line, problem.path) == (
            "CHROMADROP_JOBS__POLL_SECONDS",
            None,
            "jobs.poll_seconds",
        )
        assert str(problem).isprintable()

    def test_nothing_but_the_mapping_is_looked_at(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The process's own environment plays no part."""
        monkeypatch.setenv("CHROMADROP_JOBS__MAX_RENDERING", "7")
        assert read(tmp_path, "") == Config()


class TestPaths:
    """Where the folders are."""

    def test_root_is_relative_to_the_current_folder_and_the_others_to_root(self, tmp_path: Path) -> None:
        """All of them come out absolute and without dots."""
        config = read(tmp_path, "folders: {root: drive/./x/.., videos: /mnt/videos, done: ../out, state: s}")
        drive = tmp_path / "drive"
        assert config.paths({}, tmp_path) == Paths(
            root=drive,
            inbox=drive / "inbox",
            processing=drive / "processing",
            done=tmp_path / "out",
            failed=drive / "failed",
            videos=Path("/mnt/videos"),
            state=drive / "s",
        )

    @pytest.mark.parametrize(
        ("text", "environ", "state"),
        [
            ("", {}, None),
            ("", {"STATE_DIRECTORY": ""}, None),
            ("", {"STATE_DIRECTORY": "/var/lib/one"}, Path("/var/lib/one")),
            ("", {"STATE_DIRECTORY": "/var/lib/one:/var/lib/two"}, Path("/var/lib/one")),
            ("folders: {state: /srv/s}", {"STATE_DIRECTORY": "/var/lib/one"}, Path("/srv/s")),
        ],
    )
    def test_state_is_what_was_said_else_systemds(
        self, tmp_path: Path, text: str, environ: dict[str, str], state: Path | None
    ) -> None:
        """With null it is the first of $STATE_DIRECTORY, else None: the mount decides."""
        assert read(tmp_path, text).paths(environ, tmp_path).state == state

    @pytest.mark.parametrize(
        ("text", "path", "column", "words"),
        [
            ("folders: {inbox: done}", "folders.inbox", 18, "is the same folder as folders.done"),
            ("folders: {inbox: DONE}", "folders.inbox", 18, "is the same folder as folders.done"),
            ("folders: {inbox: done/in}", "folders.inbox", 18, "lies inside folders.done"),
            ("folders: {videos: processing/.downloads}", "folders.videos", 19, "lies inside folders.processing"),
            ("folders: {inbox: x, done: x/y/..}", "folders.done", 27, "is the same folder as folders.inbox"),
            ("folders: {inbox: a/b, done: a}", "folders.done", 29, "holds folders.inbox"),
            ("folders: {inbox: .}", "folders.inbox", 18, "is folders.root itself or holds it"),
            ("folders: {videos: ..}", "folders.videos", 19, "is folders.root itself or holds it"),
            ("folders: {state: inbox/s}", "folders.state", 18, "lies inside folders.inbox"),
            ("folders: {state: videos}", "folders.state", 18, "lies inside folders.videos"),
        ],
    )
    def test_folders_must_differ(self, tmp_path: Path, text: str, path: str, column: int, words: str) -> None:
        """The one that somebody wrote is named, where it was written."""
        problem = only(tmp_path, text)
        assert (problem.path, problem.line, problem.column) == (path, 1, column)
        assert words in problem.message

    def test_a_ledger_inside_a_folder_of_ours_is_a_problem(self, tmp_path: Path) -> None:
        """The same as for the state folder."""
        problem = only(tmp_path, f"ledger: {{url: 'sqlite:///{tmp_path}/done/l.db'}}")
        assert problem.path == "ledger.url"

    def test_systemds_state_inside_a_folder_of_ours_is_a_problem(self, tmp_path: Path) -> None:
        """Wherever it comes from."""
        problem = only(tmp_path, "", {"STATE_DIRECTORY": str(tmp_path / "inbox")})
        assert problem.path == "folders.state"

    def test_state_may_be_root_or_hold_it(self, tmp_path: Path) -> None:
        """``StateDirectory=`` that is the working directory too is a usual unit file."""
        config = read(tmp_path, "", {"STATE_DIRECTORY": str(tmp_path)})
        assert config.paths({"STATE_DIRECTORY": str(tmp_path)}, tmp_path).state == tmp_path

    def test_a_twin_in_another_normal_form_is_the_same_folder(self, tmp_path: Path) -> None:
        """A network drive may not tell NFC from NFD."""
        text = 'folders: {inbox: "caf\\u00e9", done: "cafe\\u0301"}'
        assert "is the same folder as" in only(tmp_path, text).message

    def test_paths_can_be_asked_for_without_a_file(self, tmp_path: Path) -> None:
        """A configuration made by hand tells its problems without places."""
        config = Config.model_validate({"folders": {"inbox": "done"}})
        with pytest.raises(ConfigInvalid) as caught:
            config.paths({}, tmp_path)
        (problem,) = caught.value.problems
        assert (problem.path, problem.where, problem.line) == ("folders.done", "", None)

    def test_others_can_tell_a_problem_with_its_place(self, tmp_path: Path) -> None:
        """``check`` says which line names the folder that may not be written."""
        config = read(tmp_path, "folders:\n  root: drive\n")
        assert str(config.problem_at("folders.root", "is read-only")) == (
            f"{tmp_path / 'config.yaml'}, line 2, column 9 (folders.root): is read-only"
        )


class TestCredential:
    """Three places, first found, and never shown."""

    def test_the_places_are_tried_in_order(self, tmp_path: Path) -> None:
        """The variable, then systemd's folder, then the file; an empty one counts as not there."""
        config = read(tmp_path, "api: {key_file: key.txt}")
        key_file, systemd = tmp_path / "key.txt", tmp_path / "aistudios-api-key"
        key_file.write_text("third\n")
        environ = {"AISTUDIOS_API_KEY": " \n", "CREDENTIALS_DIRECTORY": str(tmp_path)}
        assert find_credential(config, environ).reveal() == "third"
        systemd.write_text("\n")
        assert find_credential(config, environ).reveal() == "third"
        systemd.write_text("\ufeff second \r\n", "utf-8")
        found = find_credential(config, environ)
        assert (found.reveal(), found.place) == ("second", str(systemd))
        found = find_credential(config, environ | {"AISTUDIOS_API_KEY": "first\n"})
        assert (found.reveal(), found.place) == ("first", "the environment variable AISTUDIOS_API_KEY")

    def test_none_at_all_names_the_three_places(self, tmp_path: Path) -> None:
        """The newcomer learns what to do, and of the demo."""
        with pytest.raises(ConfigInvalid) as caught:
            find_credential(Config(), {"CREDENTIALS_DIRECTORY": str(tmp_path)})
        text = str(caught.value)
        assert "AISTUDIOS_API_KEY" in text
        assert "aistudios-api-key in $CREDENTIALS_DIRECTORY" in text
        assert "api.key_file" in text
        assert "demo" in text

    def test_an_empty_key_file_is_mentioned(self, tmp_path: Path) -> None:
        """Nothing was found, though a file was named."""
        (tmp_path / "key.txt").write_text("  \n")
        with pytest.raises(ConfigInvalid, match="the file that it names now is empty"):
            find_credential(read(tmp_path, "api: {key_file: key.txt}"), {})

    def test_a_key_file_is_relative_to_the_configuration_file(self, tmp_path: Path) -> None:
        """Not to wherever the daemon was started."""
        (tmp_path / "etc").mkdir()
        (tmp_path / "etc" / "key").write_text("k")
        (tmp_path / "etc" / "c.yaml").write_text("api: {key_file: key}")
        config = load(Path("etc/c.yaml"), {}, tmp_path)
        assert find_credential(config, {}).reveal() == "k"

    def test_a_key_file_without_a_configuration_file_is_relative_to_the_current_folder(self, tmp_path: Path) -> None:
        """The environment alone can name it."""
        (tmp_path / "key").write_text("k")
        config = load(None, {"CHROMADROP_API__KEY_FILE": "key"}, tmp_path, default_files=[])
        assert find_credential(config, {}).reveal() == "k"

    @pytest.mark.parametrize(("mode", "is_exposed"), [(0o600, False), (0o400, False), (0o640, True), (0o604, True)])
    def test_a_key_file_that_others_may_read_is_reported(self, tmp_path: Path, mode: int, *, is_exposed: bool) -> None:
        """Reported, not refused."""
        path = tmp_path / "key"
        path.write_text("k")
        path.chmod(mode)
        assert find_credential(read(tmp_path, "api: {key_file: key}"), {}).is_exposed is is_exposed

    def test_the_variable_and_systemds_file_are_never_exposed(self, tmp_path: Path) -> None:
        """The file of systemd has permissions of its own."""
        (tmp_path / "aistudios-api-key").write_text("k")
        (tmp_path / "aistudios-api-key").chmod(0o644)
        assert not find_credential(Config(), {"CREDENTIALS_DIRECTORY": str(tmp_path)}).is_exposed
        assert not find_credential(Config(), {"AISTUDIOS_API_KEY": "k"}).is_exposed

    @pytest.mark.parametrize(
        "wrong", [f"{SECRET}\nsecond", f"{SECRET}\x00x", f"{SECRET}\x1bx", f"{SECRET}\u2028x", f"키{SECRET}"]
    )
    @pytest.mark.parametrize("place", ["variable", "systemd", "file"])
    def test_what_cannot_be_a_credential_is_refused_unseen(self, tmp_path: Path, wrong: str, place: str) -> None:
        """Several lines and control characters: the place is told, the text is not."""
        config, environ = Config(), {}
        where = {"variable": "AISTUDIOS_API_KEY", "systemd": str(tmp_path / "aistudios-api-key")}
        if place == "variable":
            environ = {"AISTUDIOS_API_KEY": wrong}
        elif place == "systemd":
            (tmp_path / "aistudios-api-key").write_text(wrong, "utf-8")
            environ = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
        else:
            (tmp_path / "key").write_text(wrong, "utf-8")
            config = read(tmp_path, "api: {key_file: key}")
        with pytest.raises(ConfigInvalid) as caught:
            find_credential(config, environ)
        (problem,) = caught.value.problems
        assert problem.where == where.get(place, str(tmp_path / "config.yaml"))
        assert SECRET not in str(caught.getrepr(showlocals=False, style="native"))
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None

    def test_bytes_that_are_no_text_are_refused_unseen(self, tmp_path: Path) -> None:
        """A key file that is a picture."""
        (tmp_path / "key").write_bytes(b"\xff\xfe" + SECRET.encode())
        with pytest.raises(ConfigInvalid) as caught:
            find_credential(read(tmp_path, "api: {key_file: key}"), {})
        assert SECRET not in str(caught.value)

    @pytest.mark.parametrize("name", ["missing", ".", "a/b", "x" * 300])
    def test_a_key_file_that_cannot_be_read_is_a_problem_at_its_line(self, tmp_path: Path, name: str) -> None:
        """Its name is not shown: somebody may have put the key itself there."""
        config = read(tmp_path, f"api:\n  key_file: {name}\n")
        with pytest.raises(ConfigInvalid) as caught:
            find_credential(config, {})
        (problem,) = caught.value.problems
        assert (problem.line, problem.column, problem.path) == (2, 13, "api.key_file")
        assert "cannot be read (" in problem.message
        assert name == "." or name not in problem.message

    def test_systemds_file_that_cannot_be_read_is_a_problem(self, tmp_path: Path) -> None:
        """It is there, so that passing it over would use another key than the operator thinks."""
        (tmp_path / "aistudios-api-key").mkdir()
        with pytest.raises(ConfigInvalid, match="cannot be read"):
            find_credential(Config(), {"CREDENTIALS_DIRECTORY": str(tmp_path)})

    def test_it_does_not_show_itself(self) -> None:
        """Neither by repr nor by str nor by format, nor in what holds it; and it cannot be changed."""
        credential = find_credential(Config(), {"AISTUDIOS_API_KEY": SECRET})
        for text in (
            repr(credential),
            str(credential),
            f"{credential}",
            repr([credential]),
            repr(copy.copy(credential)),
        ):
            assert SECRET not in text
        with pytest.raises(FrozenInstanceError):
            credential.place = "x"  # type: ignore[misc]
        assert isinstance(credential, Credential)
        assert credential == find_credential(Config(), {"AISTUDIOS_API_KEY": SECRET})


class TestSchema:
    """For completion in editors."""

    def test_every_key_is_described(self) -> None:
        """With its default, and nothing else is allowed."""
        schema = config_schema()
        assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
        assert schema["additionalProperties"] is False
        for path in KEY_PATHS:
            found = schema["properties"][path[0]]
            assert len(found["description"]) > 20
            if len(path) > 1:
                reference = found["anyOf"][0]["$ref"].rpartition("/")[2]
                section = schema["$defs"][reference]
                assert section["additionalProperties"] is False
                found = section["properties"][path[1]]
            assert len(found["description"]) > 20
            assert "default" in found

    def test_numbers_are_numbers_and_null_is_allowed_where_it_is(self) -> None:
        """With their ranges; a section may be empty."""
        schema = config_schema()
        watch = schema["$defs"]["Watch"]["properties"]
        assert {"minimum": 0.0, "maximum": 3600.0, "type": "number"} in watch["settle_seconds"]["anyOf"]
        assert {"type": "null"} in watch["settle_seconds"]["anyOf"]
        assert watch["grace_seconds"]["type"] == "number"
        assert watch["observer"]["enum"] == ["auto", "native", "polling"]
        assert {"type": "null"} in schema["properties"]["watch"]["anyOf"]
        assert schema["properties"]["status_page"]["type"] == "boolean"

    def test_each_call_gives_a_schema_of_its_own(self) -> None:
        """Nobody can spoil the next one, and the problems' words stay right."""
        config_schema()["properties"].clear()
        assert "api" in config_schema()["properties"]


def test_a_configuration_can_be_copied_and_pickled(tmp_path: Path) -> None:
    """It is plain values; the place it came from goes with it."""
    config = read(tmp_path, "jobs: {max_rendering: 7}")
    again = pickle.loads(pickle.dumps(config))
    assert (again, again.source) == (config, config.source)


def test_the_module_needs_nothing_heavy() -> None:
    """``--help`` and ``lint`` must be quick: no HTTP, no SQL, no terminal library comes with the configuration."""
    code = (
        "import sys, daemon.config;"
        "print([name for name in ('requests', 'sqlalchemy', 'rich', 'structlog', 'aiohttp', 'pydantic_settings')"
        " if name in sys.modules])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, env={**os.environ}
    )
    assert ended.stdout.strip() == "[]"


def test_only_known_default_files() -> None:
    """The two places that the command line's help names."""
    assert [str(path) for path in DEFAULT_FILES] == ["config.yaml", "/etc/chromadrop/config.yaml"]
