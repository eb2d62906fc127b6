"""The simulator's pure parts that only v3 has: credentials, models, portraits, projects that come to no good."""

from __future__ import annotations

import itertools
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from daemon.simulator import catalogue
from daemon.simulator.cloud import Cloud, Fate
from daemon.simulator.credentials import BEARER, EXPIRED, MISSING, NOT_VALID, Credentials, Tokens
from daemon.simulator.dialects import V3
from daemon.simulator.portraits import portrait
from daemon.simulator.server import app_from

JOB = {"language": "ko", "text": "Hello", "model": "M000045058", "clothes": "BG00002320"}
NOW = 1_700_000_000.0
PAIR = ("app", "user-key")


def tokens(seconds: float = 60) -> Tokens:
    """Tokens t1, t2, and so on."""
    numbers = itertools.count(1)
    return Tokens(seconds, lambda: f"t{next(numbers)}")


def test_a_token_is_good_until_it_expires() -> None:
    """Each is another one, and has its own time."""
    given = tokens()
    assert [given.issue(NOW), given.issue(NOW + 30)] == ["t1", "t2"]
    assert [given.is_good("t1", NOW + after) for after in (0, 59, 60)] == [True, True, False]
    assert (given.issued, given.count_good(NOW + 60)) == (2, 1)
    assert given.is_ours("t1")
    assert not given.is_ours("t3")


def test_a_revoked_token_is_remembered_as_ours() -> None:
    """All so far, not those to come; a reset begins to count anew and revokes too."""
    given = tokens()
    given.issue(NOW)
    given.revoke()
    given.issue(NOW)
    assert (given.is_ours("t1"), given.is_good("t1", NOW), given.is_good("t2", NOW)) == (True, False, True)
    given.reset()
    assert (given.issued, given.count_good(NOW), given.is_ours("t2")) == (0, 0, True)


def test_what_was_given_out_is_not_shown() -> None:
    """No credential in a repr."""
    given = Credentials(frozenset({"a-key"}), frozenset({PAIR}), tokens())
    given.tokens.issue(NOW)
    assert not any(secret in repr(given) for secret in ("a-key", "user-key", "t1"))


@pytest.mark.parametrize("keys", [(), ("key",)])
@pytest.mark.parametrize("apps", [(), (PAIR,)])
@pytest.mark.parametrize("takes_tokens", [True, False])
@pytest.mark.parametrize("credential", ["", "Bearer key", "bearer good", "key", "good", "old", "word"])
def test_who_is_let_in(
    credential: str, apps: tuple[tuple[str, str], ...], keys: tuple[str, ...], *, takes_tokens: bool
) -> None:
    """The README's table of credentials, cell by cell."""
    ends = {"good": NOW + 1, "old": NOW - 1}
    given = Credentials(frozenset(keys), frozenset(apps), Tokens(60, str, _ends_at=ends))
    if not credential:
        expected: str | None = MISSING
    elif credential.lower().startswith("bearer "):
        expected = BEARER
    elif credential in keys:
        expected = None
    elif takes_tokens and credential in ends:
        expected = None if credential == "good" else EXPIRED
    elif takes_tokens:
        expected = NOT_VALID if keys or apps else None
    else:
        expected = NOT_VALID if keys or (apps and credential in ends) else None
    assert given.problem_of(credential, NOW, takes_tokens=takes_tokens) == expected


def test_which_pairs_are_given_a_token() -> None:
    """Those that were named; any when none was."""
    named, unnamed = (Credentials((), apps, tokens()) for apps in ((PAIR,), ()))
    assert named.is_app(*PAIR)
    assert not named.is_app("app", "other")
    assert unnamed.is_app("app", "other")


@pytest.mark.parametrize(("text", "pair"), [("app:key", ("app", "key")), ("a:b:c", ("a", "b:c"))])
def test_a_pair_is_written_with_a_colon(text: str, pair: tuple[str, str]) -> None:
    """The key may hold further ones."""
    assert app_from(text) == pair


@pytest.mark.parametrize("text", ["", "app", "app:", ":key"])
def test_half_a_pair_is_refused(text: str) -> None:
    """In words that say how it is written."""
    with pytest.raises(ValueError, match="is not APPID:USERKEY"):
        app_from(text)


# --- models ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "clothes"),
    [("M000045058", "BG00002320"), ("M000004017", "BG00006160"), ("M000004017", "BG00001004"), ("ysy", "1")],
)
def test_the_documented_samples_are_there(model: str, clothes: str) -> None:
    """API.md: "The documented samples"."""
    assert catalogue.problem_of(JOB | {"model": model, "clothes": clothes}) is None


def test_the_catalogue_is_plausible() -> None:
    """Eight models, one to four clothes each, no id twice."""
    assert len({model.id for model in catalogue.MODELS}) == len(catalogue.MODELS) == 8
    for model in catalogue.MODELS:
        assert 1 <= len({clothes.id for clothes in model.clothes}) == len(model.clothes) <= 4


def test_what_is_not_there_is_named() -> None:
    """The model, or the clothes of a model that is there."""
    assert catalogue.problem_of(JOB | {"model": "M1"}) == "there is no model M1"
    assert catalogue.problem_of(JOB | {"clothes": "1"}) == "model M000045058 has no clothes 1"


def test_a_portrait_is_an_svg_of_its_own() -> None:
    """Well-formed, the same each time, no two alike; the clothes change the coat."""
    names = [(model.id, clothes.id) for model in catalogue.MODELS for clothes in model.clothes]
    drawn = [portrait(*name) for name in names]
    assert drawn == [portrait(*name) for name in names]
    assert len(set(drawn)) == len(drawn)
    assert {ET.fromstring(each).tag for each in drawn} == {"{http://www.w3.org/2000/svg}svg"}


# --- the request, and its project -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"isExport": "true"}, "isExport must be true or false"),
        ({"isExport": 1}, "isExport must be true or false"),
        ({"workspaceId": 5}, "workspaceId must be a string"),
        ({"resolution": 1080.0}, "resolution must be one of 4k, 1080, 720, 480"),
        ({"resolution": "2160"}, "resolution must be one of 4k, 1080, 720, 480"),
        ({"webhookUrl": "example.com"}, "webhookUrl must be a URL"),
        ({"text": " "}, "text must not be empty"),
        ({"clothes": 1}, "clothes must be a string"),
        ({"isExport": False, "workspaceId": "w", "resolution": "4k", "webhookUrl": "https://example.com/x"}, None),
        ({"resolution": "480"}, None),
        ({"resolution": 1080}, None),
        ({}, None),
    ],
)
def test_the_fields_of_v3_are_checked_as_documented(change: dict[str, Any], words: str | None) -> None:
    """API.md: the four of v2, and v3's own optional ones."""
    assert V3.problem_of(JOB | change) == words


@pytest.mark.parametrize(
    ("fields", "is_exported"), [({}, False), ({"isExport": False}, False), ({"isExport": True}, True)]
)
def test_only_what_is_exported_is_rendered(fields: dict[str, Any], *, is_exported: bool) -> None:
    """API.md: isExport's documented default is false."""
    assert V3.is_exported(JOB | fields) is is_exported


@pytest.mark.parametrize(
    ("is_exported", "fate", "told"),
    [
        (True, Fate(), [(0, "progress", 1), (50, "progress", 1), (100, "exported", 1)]),
        (False, Fate(), [(0, "created", 0), (0, "created", 0), (0, "created", 0)]),
        (True, Fate(stands_at=50), [(0, "progress", 1), (50, "progress", 1), (50, "progress", 1)]),
        (True, Fate(stands_at=100), [(0, "progress", 1), (50, "progress", 1), (100, "progress", 1)]),
        (True, Fate(stands_at=60, failure="no"), [(0, "progress", 1), (50, "progress", 1), (60, "failed", 0)]),
        (True, Fate(stands_at=0, failure="no"), [(0, "failed", 0), (0, "failed", 0), (0, "failed", 0)]),
        (False, Fate(stands_at=0, failure="no"), [(0, "created", 0), (0, "created", 0), (0, "created", 0)]),
    ],
)
def test_what_becomes_of_a_project(*, is_exported: bool, fate: Fate, told: list[tuple[float, str, int]]) -> None:
    """Progress, state, and credit at the start, half way, and after the end of the render."""
    project = Cloud(render_seconds=20).accept(JOB, NOW, is_exported=is_exported, fate=fate)
    moments = (NOW, NOW + 10, NOW + 30)
    assert [(project.progress_at(now), project.state_at(now), project.credit_at(now)) for now in moments] == told


def test_the_list_is_of_one_version_and_newest_first() -> None:
    """Unlisted ones are left out."""
    cloud = Cloud(render_seconds=20)
    first = cloud.accept(JOB, NOW, version="v3")
    cloud.accept(JOB, NOW, version="v2")
    cloud.accept(JOB, NOW, version="v3", fate=Fate(is_listed=False))
    last = cloud.accept(JOB, NOW, version="v3")
    assert cloud.listed("v3") == [last, first]


def test_the_date_of_a_project() -> None:
    """ISO 8601 with milliseconds, in UTC; also where they are none."""
    cloud = Cloud(render_seconds=20)
    dates = [cloud.accept(JOB, at).created_at for at in (NOW, NOW + 0.25)]
    assert dates == ["2023-11-14T22:13:20.000Z", "2023-11-14T22:13:20.250Z"]
