"""The fault list: how faults are written, and which requests they strike."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import daemon.simulator
from daemon.simulator.faults import (
    ALIASES,
    CHOICES,
    FINISHED,
    KINDS,
    NAMES,
    RANGE,
    TARGETS,
    Fault,
    FaultInvalid,
    FaultList,
)


def test_a_fault_as_written_on_the_command_line() -> None:
    """TARGET:KIND[,NAME=VALUE]..., a bare status for http, hyphens as good as underscores."""
    fault = Fault.parse("export:503,times=3,retry-after=2,skip=1,rate=0.5,match=hello,accepted=yes")
    assert (fault.target, fault.kind, fault.times, fault.skip, fault.rate) == ("export", "http", 3, 1, 0.5)
    assert (fault.match, fault.is_accepted) == ("hello", True)
    assert fault.parameters["code"] == 503
    assert fault.parameters["retry_after"] == "2"


def test_a_value_with_a_comma_goes_in_quotes() -> None:
    """As in a CSV file."""
    assert Fault.parse('export:402,"msg=No credit, sorry",times=0').word("msg") == "No credit, sorry"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("export:hnag", "no fault 'hnag'. Did you mean 'hang'?"),
        ("export:999", "no fault '999'"),
        ("exprot:hang", "'exprot' cannot fail. Did you mean 'export'?"),
        ("download:nan", "'nan' makes no sense for download, only for: progress."),
        ("export:503,tims=3", "'http' has no 'tims'. Did you mean 'times'?"),
        ("export:503,body=htlm", "body cannot be 'htlm'. Did you mean 'html'?"),
        ("export:503,times=often", "times must be a whole number, not 'often'."),
        ("export:hang,accepted=maybe", "accepted must be yes or no, not 'maybe'."),
        ("export:delay,seconds=long", "seconds must be a number, not 'long'."),
        ("export:hang,rate=2", "rate must be from 0 to 1"),
        ("export:hang,times=-1", "must not be negative"),
        ("export", "is not TARGET:KIND"),
        ("", "is not TARGET:KIND"),
        ("export:hang,now", "'now' is not NAME=VALUE."),
    ],
)
def test_a_mistake_is_refused_and_the_nearest_known_named(text: str, words: str) -> None:
    """The text says what is wrong, in words that help."""
    with pytest.raises(FaultInvalid, match=re.escape(words)):
        Fault.parse(text)


@pytest.mark.parametrize(
    "words", [{"kind": "hang"}, {"target": "export"}, {"target": "export", "kind": "hang", "parameters": 1}]
)
def test_json_that_is_no_fault_is_refused(words: dict[str, Any]) -> None:
    """Target and kind must be there, parameters must be an object."""
    with pytest.raises(FaultInvalid):
        Fault.from_mapping(words)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_survives_json(kind: str) -> None:
    """What to_mapping tells, from_mapping reads."""
    fault = Fault(next(iter(KINDS[kind].targets)), kind, times=4, match="x")
    assert Fault.from_mapping(fault.to_mapping()) == fault


@pytest.mark.parametrize("alias", ALIASES)
def test_every_alias_is_a_kind(alias: str) -> None:
    """An alias stands for a kind that there is."""
    assert Fault("any", alias).kind == ALIASES[alias]


def test_every_choice_belongs_to_a_parameter() -> None:
    """The tables fit each other: the default is one of the choices."""
    for (kind, name), choices in CHOICES.items():
        assert KINDS[kind].parameters[name] in choices


def test_a_fault_in_short_tells_only_what_was_changed() -> None:
    """For log lines."""
    assert str(Fault.parse("export:503,body=error")) == "export:http code=503"


def test_redirects_have_a_short_form() -> None:
    """A bare 301, 302, 303, 307, 308 is a redirect."""
    fault = Fault.parse("download:307,to=http://example.com/")
    assert (fault.kind, fault.integer("code"), fault.word("to")) == ("redirect", 307, "http://example.com/")


def _struck(fault: str, count: int = 6, *, seed: int = 0) -> list[bool]:
    faults = FaultList(seed)
    faults.add(Fault.parse(fault))
    return [faults.draw("export", "hello") is not None for _ in range(count)]


def test_times_and_skip() -> None:
    """So many are spared, then so many struck; 0 means for ever."""
    assert _struck("export:hang") == [True, False, False, False, False, False]
    assert _struck("export:hang,times=2,skip=1") == [False, True, True, False, False, False]
    assert _struck("any:hang,times=0,skip=4") == [False, False, False, False, True, True]


def test_rate_is_repeatable_by_the_seed() -> None:
    """The same seed strikes the same requests; rate 0 none."""
    first = _struck("export:hang,times=0,rate=0.3", 500, seed=1)
    assert first == _struck("export:hang,times=0,rate=0.3", 500, seed=1)
    assert first != _struck("export:hang,times=0,rate=0.3", 500, seed=2)
    assert 100 < sum(first) < 200
    assert not any(_struck("export:hang,times=0,rate=0", 50))


def test_a_fault_strikes_only_what_it_is_for() -> None:
    """By target, by text, and by whether it could show at all; what it could not strike does not use it up."""
    faults = FaultList()
    faults.add(Fault.parse("any:nan,match=lo"), Fault.parse("progress:no_url"))
    assert faults.draw("export", "hello") is None
    assert faults.draw("progress", "hello") is None
    no_url = faults.draw("progress", "other", {"render"})
    assert no_url is not None
    assert no_url.kind == "no_url"
    nan = faults.draw("progress", "hello", {"render"})
    assert nan is not None
    assert nan.kind == "nan"
    assert faults.draw("progress", "hello", {"render"}) is None


@pytest.mark.parametrize(
    ("kind", "target", "need"), [("dead_link", "progress", FINISHED), ("wrong_range", "download", RANGE)]
)
def test_a_fault_waits_until_it_can_show(kind: str, target: str, need: str) -> None:
    """A fault of the link waits for the end of the render, one of the range for a range."""
    faults = FaultList()
    faults.add(Fault(target, kind))
    assert faults.draw(target, "x", {"render"}) is None
    assert faults.draw(target, "x", {"render", need}) is not None


def test_the_list_tells_what_it_did() -> None:
    """How many requests each fault saw and struck; and it can be cleared."""
    faults = FaultList()
    faults.add(Fault.parse("export:hang"))
    faults.draw("export", "")
    faults.draw("export", "")
    assert [(each["seen"], each["struck"]) for each in faults.to_list()] == [(2, 1)]
    faults.clear()
    assert faults.to_list() == []


def test_the_readme_tables_every_fault() -> None:
    """The table's first column is the list of kinds, in order, with the words of the code."""
    text = Path(daemon.simulator.__file__).with_name("README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| ([\w, ]+) \| .*? \| (yes|no|-) \|$", text, re.MULTILINE)
    assert [(name, says) for name, says, _, _ in rows] == [(name, kind.says) for name, kind in KINDS.items()]
    for name, _, strikes, paid in rows:
        targets = KINDS[name].targets
        assert strikes == KINDS[name].strikes
        assert paid == ({True: "yes", False: "no"}[KINDS[name].is_accepted] if "export" in targets else "-")
    assert all(f"`{name}`" in text for name in (*ALIASES, *NAMES, *TARGETS))


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("http", "all"),
        ("not_json", "all but download"),
        ("unknown", "progress, project"),
        ("no_key", "export, token"),
        ("not_authenticated", "auth"),
        ("empty_list", "models, projects"),
    ],
)
def test_a_kind_says_what_it_strikes(kind: str, words: str) -> None:
    """In the order of the targets, and in short where it is nearly all of them."""
    assert KINDS[kind].strikes == words


@pytest.mark.parametrize("kind", [kind for kind, known in KINDS.items() if len(known.targets) >= 7])
@pytest.mark.parametrize("target", ["token", "auth", "models", "projects"])
def test_the_account_can_fail_in_every_general_way(target: str, kind: str) -> None:
    """What can go wrong with any answer can go wrong with these."""
    faults = FaultList()
    faults.add(Fault(target, kind))
    assert faults.draw(target, "") is not None
