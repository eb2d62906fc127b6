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
from msgspec.structs import asdict

from daemon.config import (
    DEFAULT_FILES,
    KEY_PATHS,
    SECTIONS,
    VARIABLES,
    Api,
    Config,
    Credential,
    Folders,
    Paths,
    config_schema,
    find_credential,
    load,
    read_models_file,
)
from daemon.core import notice
from daemon.core.credential import AppKeys
from daemon.core.errors import BatchInvalid, ConfigInvalid

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
        found = {name: asdict(getattr(Config(), name)) for name in SECTIONS}
        assert {**found, "status_page": Config().status_page} == {
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
                "mode": None,
                "group": None,
            },
            "watch": {"observer": "auto", "settle_seconds": None, "rescan_seconds": None, "grace_seconds": 10},
            "jobs": {
                "max_rendering": 20,
                "poll_seconds": 3,
                "render_timeout_seconds": 3600,
                "max_per_day": None,
                "max_seconds_per_day": None,
                "check_models": True,
                "models_file": None,
                "csv_encoding": None,
            },
            "defaults": {"language": None, "model": None, "clothes": None},
            "videos": {"name": None, "mode": None, "downloads": 4, "max_bytes": 21474836480},
            "ledger": {"url": None, "keep_days": 90},
            "logs": {"level": "info", "format": "auto"},
            "http": {"listen": None},
            "notify": {
                "command": None,
                "url": None,
                "events": ("failed", "in_doubt", "account"),
                "timeout_seconds": 10,
                "tries": 8,
            },
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
        with pytest.raises(AttributeError):
            config.status_page = False  # type: ignore[misc]
        with pytest.raises(AttributeError):
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
            ("videos: {mode: 0664}", "videos.mode", "0664"),
            ("videos: {mode: 664}", "videos.mode_bits", 0o664),
            ("videos: {mode: '0o640'}", "videos.mode_bits", 0o640),
            ("videos: {mode: null}", "videos.mode_bits", None),
            ("folders: {mode: 2775}", "folders.mode_bits", 0o2775),
            ("folders: {mode: '02770'}", "folders.mode_bits", 0o2770),
            ("folders: {group: producers}", "folders.group", "producers"),
            ("folders: {group: 1001}", "folders.group", "1001"),
            ("folders: {group: 4294967294}", "folders.group", "4294967294"),
            ("http: {listen: '127.0.0.1:9188'}", "http.address", ("127.0.0.1", 9188)),
            ("http: {listen: '[::1]:9188'}", "http.address", ("::1", 9188)),
            ("http: {listen: 'monitor-1.example.:0'}", "http.address", ("monitor-1.example.", 0)),
            ("http: {listen: null}", "http.address", None),
            ("notify: {command: [tell, a b, '', no, 12:30]}", "notify.command", ("tell", "a b", "", "no", "12:30")),
            ("notify:\n  command:\n    - /usr/bin/tell\n    - $HOME", "notify.command", ("/usr/bin/tell", "$HOME")),
            ("notify: {command: null}", "notify.command", None),
            ("notify: {url: 'https://x.example/a/?token=b'}", "notify.url", "https://x.example/a/?token=b"),
            ("notify: {url: 'http://[::1]:80/'}", "notify.url", "http://[::1]:80/"),
            ("notify: {events: [done]}", "notify.events", ("done",)),
            ("notify: {events: []}", "notify.events", ()),
            ("notify: {tries: 1}", "notify.tries", 1),
            ("ledger: {url: 'sqlite:////srv/l.db'}", "ledger.path", Path("/srv/l.db")),
            ("ledger: {url: null}", "ledger.path", None),
            ("api: {base_url: 'https://x.example/odin//'}", "api.effective_base_url", "https://x.example/odin"),
            ("api: {base_url: 'http://127.0.0.1:80/a'}", "api.effective_base_url", "http://127.0.0.1:80/a"),
            ("api: {base_url: 'http://127.9.9.9'}", "api.effective_base_url", "http://127.9.9.9"),
            ("api: {base_url: 'http://[::1]:1/'}", "api.effective_base_url", "http://[::1]:1"),
            ("api: {base_url: 'http://LOCALHOST:1/'}", "api.effective_base_url", "http://LOCALHOST:1"),
            ("api: {version: v2}", "api.effective_base_url", "https://v2.aistudios.com/api/odin"),
            ("api: {version: v3}", "api.effective_base_url", "https://app.aistudios.com/api/odin/v3"),
            ("jobs: {check_models: no}", "jobs.check_models", False),
            ("jobs: {models_file: models.json}", "jobs.models_file", "models.json"),
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
            ("videos: {mode: 0689}", "videos.mode", 16, "'0689' is no mode in octal digits; write for"),
            ("videos: {mode: rw-rw-r--}", "videos.mode", 16, "is no mode in octal digits"),
            ("videos: {mode: 10664}", "videos.mode", 16, "is no mode in octal digits"),
            ("videos: {mode: 2664}", "videos.mode", 16, "has bits beyond 0777"),
            ("videos: {mode: 0064}", "videos.mode", 16, 'not let the daemon itself read its videos; write "0464"'),
            ("folders: {mode: 12775}", "folders.mode", 17, "is no mode in octal digits"),
            ("folders: {mode: 2575}", "folders.mode", 17, 'read, change, and enter its folders; write "2775"'),
            ("folders: {group: ''}", "folders.group", 18, "cannot be a group"),
            ("folders: {group: 'a:b'}", "folders.group", 18, "cannot be a group; write its name or its number"),
            ("folders: {group: 4294967295}", "folders.group", 18, "larger than the number of any group"),
            ("api: {version: v4}", "api.version", 16, "'v4' is not accepted; write one of v2, v3 (default v2)"),
            ("api: {version: V3}", "api.version", 16, "write one of v2, v3 (default v2). Did you mean 'v3'?"),
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
            ("jobs: {check_models: perhaps}", "jobs.check_models", 22, "write true or false (default true)"),
            ("jobs: {models_file: ''}", "jobs.models_file", 21, "is empty"),
            ("jobs: {models_file: ~/m.yaml}", "jobs.models_file", 21, "~, which is not expanded"),
            ("jobs: {csv_encoding: euc-kr}", "jobs.csv_encoding", 22, "write cp949 or null"),
            ("defaults: {model: ' '}", "defaults.model", 19, "is empty"),
            ("defaults: {text: hi}", "defaults.text", 12, "unknown key"),
            ("jobs: {models_file: [a]}", "jobs.models_file", 21, "one value, not a list"),
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
            ("ledger: {url: 'postgresql://x/y'}", "ledger.url", 15, "must begin with postgresql+psycopg://"),
            ("ledger: {url: 'postgresql+psycopg://x/'}", "ledger.url", 15, "names no database"),
            ("ledger: {url: 'postgresql+psycopg://u:secret1@h:x/y'}", "ledger.url", 15, "is no address"),
            ("ledger: {url: 'postgresql+psycopg://u:1/secret1@h/y'}", "ledger.url", 15, "write that as %2F"),
            ("ledger: {url: 'postgresql+psycopg://u:1#secret1@h/y'}", "ledger.url", 15, "must hold no #"),
            ("logs: {level: INFO}", "logs.level", 15, "debug, info, warning, error (default info). Did you"),
            ("logs: {format: xml}", "logs.format", 16, "one of auto, console, json (default auto)"),
            ("http: {listen: 9188}", "http.listen", 16, "is not HOST:PORT"),
            ("http: {listen: 'localhost:x'}", "http.listen", 16, "is not HOST:PORT"),
            ("http: {listen: '::1:9188'}", "http.listen", 16, "is not HOST:PORT"),
            ("http: {listen: '127.0.0.1:70000'}", "http.listen", 16, "is not HOST:PORT"),
            ("http: {listen: ':9188'}", "http.listen", 16, "is not HOST:PORT"),
            ("notify: {events: [failed, fail]}", "notify.events", 27, "Did you mean 'failed'?"),
            ("notify: {events: [failed, null]}", "notify.events", 27, "here; write one of failed, in_doubt,"),
            ("notify: {events: failed}", "notify.events", 18, "a list of failed, in_doubt, account, done (default ["),
            ("notify: {events: {failed: yes}}", "notify.events", 18, "not a mapping"),
            ("notify: {events: null}", "notify.events", 18, "null is not accepted here"),
            ("notify: {command: tell me}", "notify.command", 19, "one value, where a list belongs"),
            ("notify: {command: []}", "notify.command", 19, "names no program"),
            ("notify: {command: [' ']}", "notify.command", 19, "names no program"),
            ("notify: {command: [[tell]]}", "notify.command", 20, "a list within the list"),
            ("notify: {command: [./tell]}", "notify.command", 19, "write the whole path"),
            ("notify: {command: [~/tell]}", "notify.command", 19, "write the whole path"),
            ("notify: {url: x.example}", "notify.url", 15, "starts with https://"),
            ("notify: {url: 'http://x.example'}", "notify.url", 15, "plain http"),
            ("notify: {url: 'http://192.168.1.1'}", "notify.url", 15, "plain http"),
            ("notify: {url: 'https://me:x@x.example'}", "notify.url", 15, "must not hold a user name"),
            ("notify: {url: 'https://x.example/#a'}", "notify.url", 15, "must not hold a #"),
            ("notify: {tries: 0}", "notify.tries", 17, "a whole number from 1 to 100 (default 8)"),
            ("jobs: {max_rendering: [1, 2]}", "jobs.max_rendering", 23, "not a list or a mapping"),
            ("http: {listen: '*:9188'}", "http.listen", 16, "0.0.0.0:9188 for all addresses"),
            ("http: {listen: '[]:9188'}", "http.listen", 16, "is not HOST:PORT"),
            ("http: {listen: '[127.0.0.1]:9188'}", "http.listen", 16, "is not HOST:PORT"),
            ("http: {listen: '[::g]:9188'}", "http.listen", 16, "is not HOST:PORT"),
            ("http: {listen: '127.0.0.256:9188'}", "http.listen", 16, "is not HOST:PORT"),
            ("http: {listen: '127.0.0.1:+9188'}", "http.listen", 16, "is not HOST:PORT"),
            ("http: {listen: '127.0.0.1:0009188'}", "http.listen", 16, "is not HOST:PORT"),
            ("http: {listen: 'http://localhost:9188'}", "http.listen", 16, "is not HOST:PORT"),
            ("http: {listen: 'a..b:9188'}", "http.listen", 16, "is not HOST:PORT"),
            ("status_page: maybe", "status_page", 14, "write true or false (default true)"),
            ("status_page: [no]", "status_page", 14, "one value"),
            ("job: {max_rendering: 2}", "job", 1, "unknown key 'job'. Did you mean 'jobs'?"),
            ("jobs: {max_rendring: 2}", "jobs.max_rendring", 8, "Did you mean 'max_rendering'?"),
            ("max_rendering: 2", "max_rendering", 1, "It belongs under `jobs:`."),
            ("jobs: {xyzzy: 2}", "jobs.xyzzy", 8, "check_models, models_file, csv_encoding."),
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
            f"notify: {{url: 'http://x.example/{SECRET}'}}",
            f"notify: {{url: 'https://x.example/{SECRET}#x'}}",
            f"notify: {{command: curl -H {SECRET}}}",
            f"notify: {{command: [./curl, {SECRET}]}}",
            f"notify: {{command: [curl, [{SECRET}]]}}",
            f"api: {{base_url: '{SECRET}'}}",
            f"api: {{key_file: '~{SECRET}'}}",
            f"ledger: {{url: 'postgresql://me:{SECRET}@h/d'}}",
            f"ledger: {{url: 'other://me:{SECRET}@h/d'}}",
        ],
    )
    def test_no_problem_shows_what_may_be_a_secret(self, tmp_path: Path, text: str) -> None:
        """Addresses may hold passwords, and people put keys in the wrong place: such values are not quoted."""
        assert SECRET not in str(only(tmp_path, text))

    def test_what_may_be_a_secret_is_not_in_its_repr(self, tmp_path: Path) -> None:
        """A hook's address, and what a command is given; nor where rich shows it."""
        config = read(tmp_path, f"notify: {{url: 'https://x.example/{SECRET}', command: [tell, {SECRET}]}}")
        assert config.notify.command == ("tell", SECRET)
        assert SECRET not in f"{config!r}{config}{config.notify!r}{dict(config.notify.__rich_repr__())}"


class TestVersion:
    """The address fits the version, where the vendor's hosts tell."""

    @pytest.mark.parametrize(
        ("version", "url"),
        [
            ("v2", "https://v2.aistudios.com/api/odin"),
            ("v2", "https://aistudios.com/api/odin/"),
            ("v2", "https://aistudios.com"),
            ("v3", "https://app.aistudios.com/api/odin/v3"),
            ("v3", "https://app.aistudios.cn/api/odin/v3/"),
            ("v3", "https://app.deepbrain.io/api/odin/v3"),
            ("v3", "https://APP.AISTUDIOS.COM./api/odin/v3"),
            ("v2", "https://gateway.example/odin/v3"),
            ("v3", "https://gateway.example/odin"),
            ("v3", "http://127.0.0.1:8765/api/odin"),
            ("v3", "https://aistudios.com.example/api/odin"),
            ("v2", "https://notaistudios.com/api/odin/v3"),
        ],
    )
    def test_an_address_that_fits_or_is_not_the_vendors_is_taken(self, tmp_path: Path, version: str, url: str) -> None:
        """A simulator or a gateway may have any path."""
        config = read(tmp_path, f"api: {{version: {version}, base_url: '{url}'}}")
        assert config.api.effective_base_url == url.rstrip("/")

    @pytest.mark.parametrize(
        "url",
        [
            "https://app.aistudios.com/api/odin/v3",
            "https://app.aistudios.cn/api/odin/v3/",
            "https://deepbrain.io/v3",
            "https://x.y.DeepBrain.io./api/odin/v3",
        ],
    )
    def test_an_address_of_v3_wants_the_version_changed(self, tmp_path: Path, url: str) -> None:
        """Somebody who writes it wants v3, and has left the version at its default."""
        problem = only(tmp_path, f"api: {{base_url: '{url}'}}")
        assert (problem.path, problem.line) == ("api.base_url", 1)
        assert "Change api.version: write v3" in problem.message

    @pytest.mark.parametrize(
        "url",
        [
            "https://v2.aistudios.com/api/odin",
            "https://app.aistudios.cn/api/odin",
            "https://app.deepbrain.io/api/odin/v3/simple/video",
            "https://app.aistudios.com/api/odin/xv3",
            "https://app.aistudios.com",
        ],
    )
    def test_an_address_of_v2_under_v3_is_to_be_changed(self, tmp_path: Path, url: str) -> None:
        """Both addresses of v3 are told."""
        problem = only(tmp_path, f"api: {{base_url: '{url}'}}", {"CHROMADROP_API__VERSION": "v3"})
        assert problem.path == "api.base_url"
        assert "Change api.base_url: leave it out for https://app.aistudios.com/api/odin/v3" in problem.message
        assert "https://app.aistudios.cn/api/odin/v3 for China" in problem.message

    def test_a_wrong_version_is_the_only_problem_of_its_address(self, tmp_path: Path) -> None:
        """What the address should fit is not known then."""
        assert only(tmp_path, "api: {version: v4, base_url: 'https://app.aistudios.com'}").path == "api.version"

    def test_china_is_told_where_the_address_is_described(self) -> None:
        """Editors show it."""
        described = config_schema()["$defs"]["Api"]["properties"]["base_url"]["description"]
        assert "https://app.aistudios.cn/api/odin/v3" in described


class TestModels:
    """The list of models and clothes."""

    def test_the_file_is_relative_to_the_configuration_file(self, tmp_path: Path) -> None:
        """As the key file is; None where none is named."""
        (tmp_path / "etc").mkdir()
        (tmp_path / "etc" / "c.yaml").write_text("jobs: {models_file: ../models.yaml}")
        config = load(Path("etc/c.yaml"), {}, tmp_path)
        assert config.models_path == tmp_path / "models.yaml"
        assert Config().models_path is None

    def test_the_environment_can_say_all_of_it(self, tmp_path: Path) -> None:
        """A variable for each key; without a configuration file it is relative to the current folder."""
        environ = {
            "CHROMADROP_JOBS__CHECK_MODELS": "false",
            "CHROMADROP_JOBS__MODELS_FILE": "m.json",
            "CHROMADROP_API__VERSION": "v3",
        }
        config = load(None, environ, tmp_path, default_files=[])
        assert (config.jobs.check_models, config.models_path, config.api.version) == (False, tmp_path / "m.json", "v3")

    def test_a_list_is_read(self, tmp_path: Path) -> None:
        """The models and clothes, as they were written."""
        path = tmp_path / "models.yaml"
        path.write_text("M000004017: [BG00006160, BG00001004]\nysy: [1]\n")
        models = read_models_file(path).models
        assert [(model.id, [clothes.id for clothes in model.clothes]) for model in models] == [
            ("M000004017", ["BG00006160", "BG00001004"]),
            ("ysy", ["1"]),
        ]

    @pytest.mark.parametrize(
        ("content", "line"), [(b"M1: [C1]\nM1: [C2]\n", 2), (b"", None), (b"#" * (1024 * 1024 + 1), None)]
    )
    def test_a_list_with_a_mistake_is_refused_with_its_line(
        self, tmp_path: Path, content: bytes, line: int | None
    ) -> None:
        """A list that is half understood would refuse what is right."""
        path = tmp_path / "models.yaml"
        path.write_bytes(content)
        with pytest.raises(BatchInvalid) as caught:
            read_models_file(path)
        assert [problem.line for problem in caught.value.problems] == [line]

    def test_a_list_that_is_not_there_is_an_os_error(self, tmp_path: Path) -> None:
        """The caller knows what that means for it."""
        with pytest.raises(FileNotFoundError):
            read_models_file(tmp_path / "models.yaml")


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

    def test_a_list_is_json(self, tmp_path: Path) -> None:
        """An argument may hold anything but what no argument can; null takes the file's away."""
        environ = {
            "CHROMADROP_NOTIFY__COMMAND": '["tell", "a, b", "\\"x\\""]',
            "CHROMADROP_NOTIFY__EVENTS": '["done"]',
        }
        text = "notify: {command: [other], events: [failed]}"
        config = read(tmp_path, text, environ)
        assert (config.notify.command, config.notify.events) == (("tell", "a, b", '"x"'), ("done",))
        assert read(tmp_path, text, {"CHROMADROP_NOTIFY__COMMAND": "null"}).notify.command is None

    @pytest.mark.parametrize("text", ["tell", '"tell"', '{"tell": 1}', '["tell", 1]', '["tell"', "[" * 100_000])
    def test_what_is_no_list_is_a_problem(self, tmp_path: Path, text: str) -> None:
        """It says how one is written, and shows nothing: there may be a token in it."""
        problem = only(tmp_path, "", {"CHROMADROP_NOTIFY__COMMAND": text})
        assert (problem.where, problem.path) == ("CHROMADROP_NOTIFY__COMMAND", "notify.command")
        assert problem.message.startswith('write a JSON list of texts, such as ["first", "second"]: a list of texts')
        assert "tell" not in problem.message.replace("/usr/local/bin/tell", "")

    @pytest.mark.parametrize("odd", ["\\u0000", "\\ud800"])
    def test_what_no_argument_can_hold_is_a_problem(self, tmp_path: Path, odd: str) -> None:
        """Now, and not when something has to be told."""
        problem = only(tmp_path, "", {"CHROMADROP_NOTIFY__COMMAND": f'["tell", "{odd}"]'})
        assert problem.message == "holds a character that no argument of a program can"

    def test_what_a_notice_says_is_no_setting(self, tmp_path: Path) -> None:
        """A program that notify.command runs may itself call chromadrop."""
        assert read(tmp_path, "", dict.fromkeys(notice.VARIABLES.values(), "x")) == Config()
        assert not set(notice.VARIABLES.values()) & set(VARIABLES)

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
        config = Config(folders=Folders(inbox="done"))
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


V3 = Config(api=Api(version="v3"))
PAIR = {"AISTUDIOS_APP_ID": "app-0123456789", "AISTUDIOS_USER_KEY": SECRET}
KEYS = AppKeys("app-0123456789", SECRET)


def with_key_file(folder: Path, content: str | bytes, version: str = "v3") -> Config:
    """A configuration whose key file, of mode 600, holds this."""
    path = folder / "key.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    path.chmod(0o600)
    return read(folder, f"api: {{version: {version}, key_file: key.txt}}")


def missing(config: Config, environ: Mapping[str, str]) -> list[Problem]:
    """The problems of a search that finds nothing that serves; none of them shows a secret."""
    with pytest.raises(ConfigInvalid) as caught:
        find_credential(config, environ)
    shown = str(caught.getrepr(showlocals=False, style="native"))
    assert SECRET not in shown
    assert PAIR["AISTUDIOS_APP_ID"] not in shown
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    return list(caught.value.problems)


class TestPairOfV3:
    """App id and user key, each from the first of its three places; else a long-lived key."""

    def test_each_half_has_three_places_of_its_own(self, tmp_path: Path) -> None:
        """The variable, then systemd's folder, then the key file; an empty one counts as not there."""
        config = with_key_file(tmp_path, "appId: id-of-file\nuserKey: key-of-file\n")
        file = "the file that api.key_file names"
        found = find_credential(config, {})
        assert (found.reveal(), found.place) == (AppKeys("id-of-file", "key-of-file"), file)
        (tmp_path / "aistudios-app-id").write_text(" id-of-systemd\r\n")
        (tmp_path / "aistudios-user-key").write_text("\n")
        environ = {"CREDENTIALS_DIRECTORY": str(tmp_path), "AISTUDIOS_APP_ID": " "}
        found = find_credential(config, environ)
        assert found.reveal() == AppKeys("id-of-systemd", "key-of-file")
        assert found.place == f"{tmp_path / 'aistudios-app-id'} and {file}"
        found = find_credential(config, environ | {"AISTUDIOS_USER_KEY": "key-of-variable\n"})
        assert found.reveal() == AppKeys("id-of-systemd", "key-of-variable")
        assert found.place == f"{tmp_path / 'aistudios-app-id'} and the environment variable AISTUDIOS_USER_KEY"

    def test_the_pair_comes_before_a_long_lived_key(self, tmp_path: Path) -> None:
        """Wherever either lies."""
        (tmp_path / "aistudios-api-key").write_text("long-lived")
        environ = {"AISTUDIOS_API_KEY": "long-lived", "CREDENTIALS_DIRECTORY": str(tmp_path)}
        config = with_key_file(tmp_path, '{"appId": "a", "userKey": "b"}')
        assert find_credential(V3, environ | PAIR).reveal() == KEYS
        assert find_credential(config, environ).reveal() == AppKeys("a", "b")

    @pytest.mark.parametrize("half", sorted(PAIR))
    def test_half_a_pair_gives_way_to_a_long_lived_key(self, tmp_path: Path, half: str) -> None:
        """Some pages of the vendor describe such a key for v3; it has the same three places as with v2."""
        environ = {half: "half", "AISTUDIOS_API_KEY": "long-lived"}
        found = find_credential(V3, environ)
        assert (found.reveal(), found.place) == ("long-lived", "the environment variable AISTUDIOS_API_KEY")
        config = with_key_file(tmp_path, "long-lived\n")
        assert find_credential(config, {half: "half"}).reveal() == "long-lived"
        assert find_credential(config, {}).reveal() == "long-lived"

    def test_v2_does_not_look_at_the_pair(self) -> None:
        """One key, as ever."""
        assert find_credential(Config(), PAIR | {"AISTUDIOS_API_KEY": "k"}).reveal() == "k"
        (problem,) = missing(Config(), PAIR)
        assert problem.message.startswith(
            "no API key was found (AISTUDIOS_APP_ID and AISTUDIOS_USER_KEY would count with api.version: v3). Put it"
        )
        (problem,) = missing(Config(), {})
        assert problem.message.startswith("no API key was found. Put it")

    @pytest.mark.parametrize(
        "content",
        [
            f"AISTUDIOS_APP_ID=app-0123456789\nAISTUDIOS_USER_KEY={SECRET}\n",
            f"#\n\nexport AISTUDIOS_APP_ID='app-0123456789'  # the id\n  export AISTUDIOS_USER_KEY=\"{SECRET}\" #x\n",
            f"AISTUDIOS_USER_KEY = {SECRET} # last year's was x=y\r\nAISTUDIOS_APP_ID = app-0123456789\r\nOTHER=1\r\n",
            f'[cloud]\napp_id = "app-0123456789"\nuser_key = "{SECRET}"\n',
            f"appId: app-0123456789\nuserKey: {SECRET}\n",
            f"# ours\napp_id: 'app-0123456789'  # the id\nuser_key: \"{SECRET}\"\nother: [1]\n",
            f"---\nAISTUDIOS_APP_ID: app-0123456789\nAISTUDIOS_USER_KEY: {SECRET}\n",
            f"app-id: |\n  app-0123456789\nuser-key: >\n  {SECRET}\n",
            f'{{"appId": "app-0123456789", "userKey": "{SECRET}"}}',
            f'\ufeff{{\r\n\t"userKey": "{SECRET}",\r\n\t"appId": "app\\u002d0123456789",\r\n\t"n": 1\r\n}}\r\n',
        ],
    )
    def test_a_key_file_may_name_the_two(self, tmp_path: Path, content: str) -> None:
        """As environment lines, YAML, or JSON, with quotes and comments as people write them."""
        found = find_credential(with_key_file(tmp_path, content), {})
        assert (found.reveal(), found.is_exposed) == (KEYS, False)

    @pytest.mark.parametrize(
        ("line", "value"),
        [
            ("a#b", "a#b"),
            ("a b", "a b"),
            ("a=b==", "a=b=="),
            ("'a # b' # c", "a # b"),
            ('"it\'s"', "it's"),
            ("$HOME", "$HOME"),
            ("a\\b", "a\\b"),
        ],
    )
    def test_a_line_gives_what_was_written(self, tmp_path: Path, line: str, value: str) -> None:
        """Nothing is expanded; a # begins a comment only behind a blank, as in sh(1)."""
        config = with_key_file(tmp_path, f"AISTUDIOS_APP_ID=a\nAISTUDIOS_USER_KEY={line}\n")
        assert find_credential(config, {}).reveal() == AppKeys("a", value)

    @pytest.mark.parametrize("line", ["", " # soon", "''", '""'])
    def test_a_name_without_a_value_counts_as_not_there(self, tmp_path: Path, line: str) -> None:
        """As an empty variable does."""
        config = with_key_file(tmp_path, f"AISTUDIOS_APP_ID=a\nAISTUDIOS_USER_KEY={line}\n")
        (problem,) = missing(config, {})
        assert problem.message.startswith("the user key is missing")
        assert find_credential(config, {"AISTUDIOS_USER_KEY": "b"}).reveal() == AppKeys("a", "b")

    @pytest.mark.parametrize("value", ["null", "~", "", "''"])
    def test_a_null_in_yaml_counts_as_not_there(self, tmp_path: Path, value: str) -> None:
        """It is no key of four letters."""
        (problem,) = missing(with_key_file(tmp_path, f"appId: {value}\nuserKey: b\n"), {})
        assert problem.message.startswith("the app id is missing")

    @pytest.mark.parametrize("content", [f"AISTUDIOS_API_KEY={SECRET}", f"export AISTUDIOS_API_KEY='{SECRET}' # v2\n"])
    @pytest.mark.parametrize("version", ["v2", "v3"])
    def test_a_key_file_may_name_the_api_key_too(self, tmp_path: Path, content: str, version: str) -> None:
        """Who copies the line for the shell means the key, not the line."""
        assert find_credential(with_key_file(tmp_path, content, version), {}).reveal() == SECRET

    @pytest.mark.parametrize("content", [SECRET, "YWJj==", "a=b", "a: b", "{a}", "app_id", "appid-1:2"])
    def test_a_line_that_names_nothing_known_is_the_key_itself(self, tmp_path: Path, content: str) -> None:
        """Whatever a key may look like."""
        assert find_credential(with_key_file(tmp_path, f"{content}\n"), {}).reveal() == content

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (f"AISTUDIOS_APP_ID=a\nAISTUDIOS_USER_KEY='{SECRET}\n", "quotes around the user key that do not match"),
            (f'AISTUDIOS_APP_ID=a\nAISTUDIOS_USER_KEY="{SECRET}"x\n', "quotes around the user key"),
            (f"AISTUDIOS_APP_ID=a\nAPP_ID={SECRET}\nUSER_KEY=b\n", "gives the app id twice"),
            (f"appId: a\napp_id: {SECRET}\nuserKey: b\n", "gives the app id twice"),
            (f"appId: a\nuserKey: b\nuserKey: {SECRET}\n", "in a way that cannot be read"),
            (f'{{"appId": "a" "userKey": "{SECRET}"}}', "in a way that cannot be read"),
            (f'{{"appId": "a", "userKey": "{SECRET}"', "in a way that cannot be read"),
            (f"cloud:\n  appId: a\n  userKey: {SECRET}\n", "in a way that cannot be read"),
            (f"AISTUDIOS_APP_ID: a\n  user key: {SECRET}\n", "in a way that cannot be read"),
        ],
    )
    @pytest.mark.parametrize("version", ["v2", "v3"])
    def test_a_key_file_that_cannot_be_understood_is_one_problem(
        self, tmp_path: Path, content: str, words: str, version: str
    ) -> None:
        """It is not sent to the cloud as if it were a key; the place is told, the text is not."""
        (problem,) = missing(with_key_file(tmp_path, content, version), {})
        assert (problem.path, problem.line) == ("api.key_file", 1)
        assert words in problem.message

    def test_the_same_twice_is_no_problem(self, tmp_path: Path) -> None:
        """Only what could be either of two is refused."""
        config = with_key_file(tmp_path, "appId: a\nAISTUDIOS_APP_ID: a\nuserKey: b\n")
        assert find_credential(config, {}).reveal() == AppKeys("a", "b")

    @pytest.mark.parametrize("content", [f"appId: a\nuserKey: {SECRET}", f"AISTUDIOS_USER_KEY={SECRET}\n"])
    def test_a_named_half_under_v2_says_what_v2_wants(self, tmp_path: Path, content: str) -> None:
        """The API key alone, or v3."""
        config = with_key_file(tmp_path, content, "v2")
        (problem,) = missing(config, {})
        assert problem.path == "api.key_file"
        assert "v2 wants the API key alone on one line" in problem.message
        assert "api.version: v3" in problem.message
        assert find_credential(config, {"AISTUDIOS_API_KEY": "k"}).reveal() == "k"

    @pytest.mark.parametrize(("half", "other"), [sorted(PAIR), sorted(PAIR, reverse=True)])
    @pytest.mark.parametrize("place", ["variable", "systemd", "file"])
    def test_half_a_pair_alone_says_what_is_missing_and_where_it_could_be(
        self, tmp_path: Path, half: str, other: str, place: str
    ) -> None:
        """Where the other half is, which places are tried, and that a long-lived key would do."""
        words = {"AISTUDIOS_APP_ID": "app id", "AISTUDIOS_USER_KEY": "user key"}
        file_of = {"AISTUDIOS_APP_ID": "aistudios-app-id", "AISTUDIOS_USER_KEY": "aistudios-user-key"}
        config, environ = V3, {}
        if place == "variable":
            environ = {half: SECRET}
        elif place == "systemd":
            (tmp_path / file_of[half]).write_text(SECRET)
            environ = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
        else:
            config = with_key_file(tmp_path, f"{half}={SECRET}")
        where = {"variable": half, "systemd": str(tmp_path / file_of[half]), "file": "api.key_file"}[place]
        (problem,) = missing(config, environ)
        beginning, _, rest = problem.message.partition("Put it into")
        assert beginning.startswith(f"the {words[other]} is missing: the {words[half]} is there (in ")
        assert where in beginning
        for named in (other, f"{file_of[other]} in $CREDENTIALS_DIRECTORY", "api.key_file", "AISTUDIOS_API_KEY"):
            assert named in rest

    def test_none_at_all_names_both_ways(self, tmp_path: Path) -> None:
        """The pair and the long-lived key, with their places, and the demo."""
        (problem,) = missing(V3, {"CREDENTIALS_DIRECTORY": str(tmp_path)})
        for named in (
            "AISTUDIOS_APP_ID and AISTUDIOS_USER_KEY",
            "aistudios-app-id and aistudios-user-key in $CREDENTIALS_DIRECTORY",
            "LoadCredential=aistudios-user-key:",
            "AISTUDIOS_USER_KEY=...",
            "AISTUDIOS_API_KEY; aistudios-api-key; alone in that file",
            "api.key_file",
            "demo",
        ):
            assert named in problem.message
        assert "now is empty" not in problem.message
        (problem,) = missing(with_key_file(tmp_path, " \n"), {})
        assert "the file that it names now is empty" in problem.message

    def test_all_problems_come_at_once(self, tmp_path: Path) -> None:
        """Of both halves and of the key, each place once, and what is missing beside a half that cannot be used."""
        environ = {
            "AISTUDIOS_APP_ID": f"{SECRET}\nx",
            "AISTUDIOS_API_KEY": f"{SECRET}\x1bx",
            "CREDENTIALS_DIRECTORY": str(tmp_path),
        }
        (tmp_path / "aistudios-user-key").mkdir()
        found = missing(V3, environ)
        systemd = str(tmp_path / "aistudios-user-key")
        assert [problem.where for problem in found] == ["AISTUDIOS_APP_ID", systemd, "AISTUDIOS_API_KEY"]
        assert "copy the app id once more" in found[0].message
        assert "cannot be read (Is a directory)" in found[1].message
        found = missing(V3, {"AISTUDIOS_USER_KEY": f"{SECRET}\nx"})
        assert [problem.message.partition(":")[0] for problem in found][1:] == ["the app id is missing"]
        config = read(tmp_path, "api: {version: v3, key_file: nowhere}")
        (problem,) = missing(config, {})
        assert "cannot be read (No such file or directory)" in problem.message

    def test_what_is_found_earlier_leaves_the_key_file_unread(self, tmp_path: Path) -> None:
        """A file that is gone matters only to whoever needs it."""
        config = read(tmp_path, "api: {version: v3, key_file: nowhere}")
        assert find_credential(config, PAIR).reveal() == KEYS

    @pytest.mark.parametrize(("mode", "is_exposed"), [(0o600, False), (0o640, True), (0o604, True)])
    @pytest.mark.parametrize("environ", [{}, {"AISTUDIOS_APP_ID": "a"}, {"AISTUDIOS_USER_KEY": "b"}])
    def test_half_a_pair_that_others_may_read_is_reported(
        self, tmp_path: Path, mode: int, environ: dict[str, str], *, is_exposed: bool
    ) -> None:
        """Where anything came from a key file that they may read; not where nothing did."""
        config = with_key_file(tmp_path, "app_id: a\nuser_key: b")
        (tmp_path / "key.txt").chmod(mode)
        found = find_credential(config, environ)
        assert (found.reveal(), found.is_exposed) == (AppKeys("a", "b"), is_exposed)
        assert not find_credential(config, PAIR).is_exposed

    def test_it_does_not_show_itself(self) -> None:
        """Neither by repr nor by str nor by format, nor in what holds it; a pair is compared as values."""
        credential = find_credential(V3, PAIR)
        for text in (repr(credential), str(credential), f"{credential}", repr([copy.copy(credential)])):
            assert SECRET not in text
            assert PAIR["AISTUDIOS_APP_ID"] not in text
        assert credential == find_credential(V3, PAIR)
        assert credential != find_credential(V3, PAIR | {"AISTUDIOS_APP_ID": "another"})


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
        "print([name for name in ('requests', 'sqlalchemy', 'rich', 'structlog', 'aiohttp')"
        " if name in sys.modules])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, env={**os.environ}
    )
    assert ended.stdout.strip() == "[]"


def test_only_known_default_files() -> None:
    """The two places that the command line's help names."""
    assert [str(path) for path in DEFAULT_FILES] == ["config.yaml", "/etc/chromadrop/config.yaml"]
