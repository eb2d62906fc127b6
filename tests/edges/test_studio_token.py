"""Tokens of 24 hours, on real sockets: had once, renewed in time, renewed when refused, never seen by anybody."""

from __future__ import annotations

import json
import logging
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

import pytest
from wire_server import WireServer, header

from daemon.core.credential import AppKeys, secrets_of
from daemon.core.errors import AccountTroubled, CloudDeferred, CloudInDoubt, StudioError
from daemon.core.redact import Redactor
from daemon.edges.studio import Studio
from daemon.edges.studio.token import Tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wire_server import Peer

KEYS = AppKeys("app-4711", "us3r/key+secret")
BODY = {"language": "en", "text": "Hello", "model": "M1", "clothes": "C1"}
HOUR = 3600.0
YES = json.dumps({"success": True, "data": {"projectId": "p1", "progress": 12}}).encode()
UNAUTHORIZED = json.dumps({"success": False, "error": {"code": 4010, "msg": "who are you?"}}).encode()


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


class Clock:
    """Monotonic seconds that go on only when they are told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def token(number: int) -> str:
    """The text of the n-th token: as long as such are, so that a text that quotes it is cut in the middle of it."""
    return f"eyJ{number:03d}." + "t0k3n" * 120


def issued(text: object) -> bytes:
    return json.dumps({"success": True, "data": {"token": text}}).encode()


def says(body: bytes, *, line: str = "200 OK", headers: dict[str, str] | None = None) -> Callable[[Peer, object], None]:
    """An answer that is always the same."""
    return lambda peer, _: peer.answer(body, line=line, headers=headers)


def issues(peer: Peer, number: int) -> None:
    """Answer the n-th request for a token with the n-th token."""
    peer.answer(issued(token(number)))


class Cloud:
    """A v3 cloud.

    Attributes:
        exchange: answers the n-th request for a token.
        answer: answers anything else, by its Authorization.
        exchanges: the requests for a token.
        asked: method, path, and Authorization of all others, in order.
        bodies: of these.
    """

    def __init__(self) -> None:
        self.exchange: Callable[[Peer, int], None] = issues
        self.answer: Callable[[Peer, str], None] = says(YES)
        self.lock = threading.Lock()
        self.exchanges: list[bytes] = []
        self.asked: list[tuple[str, str | None]] = []
        self.bodies: list[bytes] = []

    def __call__(self, peer: Peer) -> None:
        while request := peer.read_request():
            method, path = request.decode("latin-1").split(" ")[:2]
            with self.lock:
                if path == "/auth/token":
                    self.exchanges.append(request)
                    number = len(self.exchanges)
                else:
                    self.asked.append((f"{method} {path}", header(request, "Authorization")))
                    self.bodies.append(request.partition(b"\r\n\r\n")[2])
                    number = 0
            if number:
                self.exchange(peer, number)
            else:
                self.answer(peer, header(request, "Authorization") or "")

    def sent(self) -> list[str | None]:
        """The Authorization of every request but those for a token, in order."""
        return [authorization for _, authorization in self.asked]


@pytest.fixture
def cloud() -> Cloud:
    return Cloud()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def made(base_url: str, clock: Callable[[], float], **options: Any) -> Studio:
    """A client with an application's keys."""
    credential = options.setdefault("credential", KEYS)
    settings: dict[str, Any] = {
        "version": "v3",
        "redactor": Redactor(secrets_of(credential)),
        "connect_timeout_seconds": 20,
        "read_timeout_seconds": 20,
        "max_video_bytes": 1,
        "clock": clock,
    }
    return Studio(base_url=base_url, **(settings | options))


@pytest.fixture
def studio(cloud: Cloud, clock: Clock) -> Iterator[Studio]:
    """A client of the cloud."""
    with WireServer(cloud) as server, closing(made(server.url, clock)) as client:
        yield client


def refuses(*refused: str, line: str = "401 Unauthorized") -> Callable[[Peer, str], None]:
    """Answers that take every token but these."""

    def answer(peer: Peer, authorization: str) -> None:
        if authorization in refused:
            peer.answer(UNAUTHORIZED, line=line)
        else:
            peer.answer(YES)

    return answer


def ordered(studio: Studio) -> str:
    """An export as the daemon makes it: once what it needs is at hand."""
    if not studio.can_export:
        studio.warm_up()
    return studio.export(BODY)


# --- had, and renewed in time ---------------------------------------------------------------------------------------


def test_keys_are_exchanged_for_the_token_that_is_sent(cloud: Cloud, studio: Studio) -> None:
    """``appId`` and ``userKey`` as JSON and without Authorization; then the bare token with every call."""
    assert ordered(studio) == "p1"
    assert studio.look("p1").percent == 12
    (exchange,) = cloud.exchanges
    assert exchange.startswith(b"POST /auth/token ")
    assert header(exchange, "Authorization") is None
    assert header(exchange, "Content-Type") == "application/json"
    assert json.loads(exchange.partition(b"\r\n\r\n")[2]) == {"appId": KEYS.app_id, "userKey": KEYS.user_key}
    assert cloud.sent() == [token(1), token(1)]


def test_many_threads_at_once_have_one_token(cloud: Cloud, studio: Studio) -> None:
    """Whoever comes while it is being had, waits for it."""
    start = threading.Barrier(8)

    def work(number: int) -> float:
        start.wait(30)
        return studio.look(str(number)).percent

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(8))) == [12] * 8
    assert len(cloud.exchanges) == 1
    assert set(cloud.sent()) == {token(1)}


def test_a_token_is_renewed_when_it_is_23_hours_old(cloud: Cloud, studio: Studio, clock: Clock) -> None:
    """Before the cloud would refuse it."""
    for seconds in (0.0, 23 * HOUR - 1, 1.0, 22 * HOUR, HOUR):
        clock.now += seconds
        studio.look("p1")
    assert cloud.sent() == [token(1), token(1), token(2), token(2), token(3)]


@pytest.mark.parametrize("line", ["503 Busy", "500 Oops", "200 OK", "403 No"])
def test_an_ageing_token_is_used_on_while_it_cannot_be_renewed(
    cloud: Cloud, studio: Studio, clock: Clock, line: str
) -> None:
    """For want of a better one, up to 24 hours; tried again after a minute, and not before."""
    studio.look("p1")
    cloud.exchange = says(b"{}", line=line)
    clock.now += 23 * HOUR
    exchanges = []
    for seconds in (0.0, 30.0, 29.0, 1.0, 59.0, 1.0):
        clock.now += seconds
        assert studio.look("p1").percent == 12
        exchanges.append(len(cloud.exchanges))
    assert exchanges == [2, 2, 2, 3, 3, 4]
    assert set(cloud.sent()) == {token(1)}
    clock.now += HOUR
    with pytest.raises(StudioError):
        studio.look("p1")
    cloud.exchange = issues
    clock.now += 10
    studio.look("p1")
    assert cloud.sent()[-1] == token(6)


def test_nobody_waits_while_an_ageing_token_is_renewed(cloud: Cloud, studio: Studio, clock: Clock) -> None:
    """One thread renews it, the others go on with the old one, which is still good."""
    studio.look("p1")
    clock.now += 23 * HOUR
    is_asked, may_answer = threading.Event(), threading.Event()

    def slowly(peer: Peer, number: int) -> None:
        is_asked.set()
        may_answer.wait(30)
        peer.answer(issued(token(number)))

    cloud.exchange = slowly
    with ThreadPoolExecutor(1) as pool:
        renewing = pool.submit(studio.look, "p1")
        assert is_asked.wait(30)
        studio.look("p1")
        assert cloud.sent() == [token(1), token(1)]
        may_answer.set()
        renewing.result(30)
    assert cloud.sent()[2:] == [token(2)]
    assert len(cloud.exchanges) == 2


def test_nobody_waits_for_ever_for_a_token(clock: Clock) -> None:
    """Where another thread's exchange does not end, a call ends all the same: deferred, an outage."""
    is_asked, may_answer = threading.Event(), threading.Event()

    def exchange() -> str:
        is_asked.set()
        may_answer.wait(30)
        return token(1)

    tokens = Tokens(exchange, redactor=Redactor([]), clock=clock, patience_seconds=0.01)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(tokens.current)
        assert is_asked.wait(30)
        with pytest.raises(CloudDeferred) as caught:
            tokens.current()
        may_answer.set()
        assert first.result(30) == token(1)
    assert caught.value.is_outage


# --- refused --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("line", ["401 Unauthorized", "403 Forbidden", "400 Bad", "200 OK"])
def test_a_refused_token_is_renewed_and_the_call_made_again(
    cloud: Cloud, studio: Studio, clock: Clock, line: str
) -> None:
    """A 401, or the vendor's 4010 under another HTTP status."""
    studio.look("p1")
    cloud.answer = refuses(token(1), line=line)
    clock.now += 10
    assert studio.look("p1").percent == 12
    assert studio.look("p1").percent == 12
    assert cloud.sent() == [token(1), token(1), token(2), token(2)]
    assert len(cloud.exchanges) == 2


def test_a_probe_renews_a_token_that_is_not_good_any_more(cloud: Cloud, studio: Studio, clock: Clock) -> None:
    """A cloud that says so with a 200 is understood too; else the trouble would last until the token is a day old."""
    studio.look("p1")
    clock.now += 10
    cloud.answer = lambda peer, authorization: peer.answer(
        json.dumps({"success": True, "data": {"isAuthenticated": authorization == token(2)}}).encode()
    )
    studio.probe(None)
    assert cloud.asked[1:] == [("GET /auth", token(1)), ("GET /auth", token(2))]


def test_a_second_refusal_is_account_trouble(cloud: Cloud, studio: Studio, clock: Clock) -> None:
    """Once for each call: another token would be no better."""
    studio.look("p1")
    cloud.answer = refuses(token(1), token(2))
    clock.now += 10
    with pytest.raises(AccountTroubled, match="who are you") as caught:
        studio.look("p1")
    assert caught.value.is_credential
    assert cloud.sent() == [token(1), token(1), token(2)]
    assert len(cloud.exchanges) == 2


def test_a_token_just_fetched_is_not_fetched_anew(cloud: Cloud, studio: Studio, clock: Clock) -> None:
    """An account that was taken away refuses every token: no storm, however many jobs ask."""
    cloud.answer = refuses(*map(token, range(1, 9)))
    exchanges = []
    for seconds in (0.0, 5.0, 4.9, 0.1, 9.9):
        clock.now += seconds
        with pytest.raises(AccountTroubled):
            studio.look("p1")
        exchanges.append(len(cloud.exchanges))
    assert exchanges == [1, 1, 1, 2, 2]


def test_a_token_that_was_accepted_once_may_be_short_lived(cloud: Cloud, studio: Studio, clock: Clock) -> None:
    """Revoked or expired a moment after it was had: it is renewed, however young, but once a second at most."""
    studio.look("p1")
    clock.now += 1
    cloud.answer = refuses(token(1))
    assert studio.look("p1").percent == 12
    assert cloud.sent() == [token(1), token(1), token(2)]


def test_the_same_token_again_is_no_better(cloud: Cloud, studio: Studio, clock: Clock) -> None:
    """Where the vendor gives the refused one once more, the call is not made once more."""
    cloud.answer = refuses(token(1))
    cloud.exchange = says(issued(token(1)))
    for seconds in (0.0, 10.0):
        clock.now += seconds
        with pytest.raises(AccountTroubled):
            studio.look("p1")
    assert len(cloud.exchanges) == 2
    assert len(cloud.asked) == 2


def test_many_threads_whose_token_was_refused_renew_it_once(cloud: Cloud, studio: Studio, clock: Clock) -> None:
    """Who finds that it has been replaced, uses the new one."""
    studio.look("p1")
    clock.now += 10
    start = threading.Barrier(8)

    def once_all_have_asked(peer: Peer, authorization: str) -> None:
        if authorization == token(1):
            start.wait(30)
        refuses(token(1))(peer, authorization)

    cloud.answer = once_all_have_asked
    with ThreadPoolExecutor(8) as pool:
        assert [look.percent for look in pool.map(studio.look, map(str, range(8)))] == [12] * 8
    assert len(cloud.exchanges) == 2


def test_a_key_is_never_exchanged(cloud: Cloud, clock: Clock) -> None:
    """A long-lived key is sent as it is, in v3 too, and a 401 is account trouble at once."""
    cloud.answer = refuses("long-lived")
    with (
        WireServer(cloud) as server,
        closing(made(server.url, clock, credential="long-lived")) as studio,
        pytest.raises(AccountTroubled),
    ):
        studio.export(BODY)
    assert cloud.sent() == ["long-lived"]
    assert cloud.exchanges == []


# --- the export: never ordered twice --------------------------------------------------------------------------------


def test_an_export_never_waits_for_a_token(cloud: Cloud, studio: Studio) -> None:
    """Killed meanwhile, nobody could tell whether it was sent: it is deferred, and nothing is asked at all."""
    assert not studio.can_export
    with pytest.raises(CloudDeferred):
        studio.export(BODY)
    assert (cloud.asked, cloud.exchanges) == ([], [])
    studio.warm_up()
    assert studio.can_export
    assert studio.export(BODY) == "p1"


def test_an_export_that_was_refused_with_401_may_be_asked_for_again(cloud: Cloud, studio: Studio, clock: Clock) -> None:
    """Nothing was accepted; another token is had first, between the two."""
    studio.look("p1")
    cloud.answer = refuses(token(1))
    clock.now += 10
    with pytest.raises(CloudDeferred) as caught:
        studio.export(BODY)
    assert not caught.value.is_outage
    assert not studio.can_export
    assert ordered(studio) == "p1"
    assert cloud.sent() == [token(1), token(1), token(2)]
    assert cloud.bodies[1] == cloud.bodies[2]


def test_an_export_whose_new_token_is_refused_too_is_account_trouble(
    cloud: Cloud, studio: Studio, clock: Clock
) -> None:
    """A second new one would be no better."""
    studio.look("p1")
    cloud.answer = refuses(token(1), token(2))
    clock.now += 10
    with pytest.raises(CloudDeferred):
        studio.export(BODY)
    with pytest.raises(AccountTroubled):
        ordered(studio)
    assert len(cloud.exchanges) == 2


def test_an_export_whose_second_answer_is_lost_is_in_doubt(cloud: Cloud, studio: Studio, clock: Clock) -> None:
    """The first was a plain no; the second may have been accepted."""
    studio.look("p1")
    refuse = refuses(token(1))

    def lose(peer: Peer, authorization: str) -> None:
        if authorization == token(1):
            refuse(peer, authorization)
        else:
            peer.reset()

    cloud.answer = lose
    clock.now += 10
    with pytest.raises(CloudDeferred):
        studio.export(BODY)
    with pytest.raises(CloudInDoubt):
        ordered(studio)
    assert cloud.sent() == [token(1), token(1), token(2)]


@pytest.mark.parametrize(
    ("line", "body"),
    [
        ("500 Oops", UNAUTHORIZED),
        ("302 Found", UNAUTHORIZED),
        ("200 OK", b'{"success": false, "error": {"code": 4010}, "data": {"projectId": "p1"}}'),
        ("200 OK", b'{"success": true, "error": {"code": 4010}}'),
        ("200 OK", b'{"success": false, "error": {"code": 4010}'),
    ],
)
def test_only_a_plain_401_lets_an_export_be_asked_again(
    cloud: Cloud, studio: Studio, clock: Clock, line: str, body: bytes
) -> None:
    """Where it could have been accepted all the same, it is in doubt, whatever code stands beside that."""
    studio.look("p1")
    cloud.answer = says(body, line=line)
    clock.now += 10
    with pytest.raises(CloudInDoubt):
        studio.export(BODY)
    assert len(cloud.asked) == 2
    assert len(cloud.exchanges) == 1


def test_two_programs_that_void_each_others_tokens_do_not_storm(cloud: Cloud, studio: Studio, clock: Clock) -> None:
    """However many looks there are, a token is replaced once a second at most."""
    newest: list[str] = []

    def take_the_newest(peer: Peer, authorization: str) -> None:
        # somebody else has had a token since: every one of ours is good for one call
        is_good = authorization not in newest
        newest.append(authorization)
        peer.answer(YES if is_good else UNAUTHORIZED, line="200 OK" if is_good else "401 Unauthorized")

    cloud.answer = take_the_newest
    for _ in range(200):
        clock.now += 0.05
        with suppress(CloudDeferred):
            studio.look("p1")
    assert len(cloud.exchanges) <= 11


# --- no token to be had ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "body"),
    [
        ("408 Slow", b""),
        ("429 Many", b"{}"),
        ("503 Busy", UNAUTHORIZED),
        ("400 Bad", b'{"success": false, "error": {"code": 4290}}'),
        ("500 Oops", UNAUTHORIZED),
        ("502 Bad gateway", b"<html>"),
        ("302 Found", b""),
        ("200 OK", b""),
        ("200 OK", b"<html>hotel wifi</html>"),
        ("200 OK", b"[]"),
        ("200 OK", b"[" * 100_000),
        ("200 OK", b'{"success": false, "error": {"code": 5000}}'),
        ("200 OK", b'{"success": true}'),
        ("200 OK", b'{"success": true, "data": "t"}'),
        ("200 OK", issued("")),
        ("200 OK", issued(None)),
        ("200 OK", issued(4711)),
        ("200 OK", issued({"a": "b"})),
        ("200 OK", issued("two words")),
        ("200 OK", issued("a\nb")),
        ("200 OK", issued("€")),
        ("200 OK", issued("t" * 100_000)),
        ("200 OK", issued("t")[:-2]),
        ("200 OK", issued("t") + b" " * (1 << 20)),
    ],
)
def test_where_no_token_is_to_be_had_nothing_is_sent(cloud: Cloud, studio: Studio, line: str, body: bytes) -> None:
    """Busy, broken, not JSON, no usable token: deferred, an outage, which never counts against a job."""
    cloud.exchange = says(body, line=line)
    with pytest.raises(CloudDeferred) as caught:
        ordered(studio)
    assert (caught.value.is_outage, caught.value.is_bounded) == (True, False)
    assert cloud.asked == []


@pytest.mark.parametrize("script", [lambda peer: peer.reset(), lambda peer: (peer.read_request(), peer.reset())])
def test_a_lost_exchange_is_no_doubt(script: Callable[[Peer], None], clock: Clock) -> None:
    """A token costs nothing, and the export itself was never sent."""
    with (
        WireServer(script) as server,
        closing(made(server.url, clock)) as studio,
        pytest.raises(CloudDeferred) as caught,
    ):
        ordered(studio)
    assert caught.value.is_outage


def test_a_cloud_that_cannot_be_reached_gives_no_token(clock: Clock) -> None:
    """Nobody listens: deferred, an outage."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with closing(made(f"http://127.0.0.1:{port}", clock)) as studio, pytest.raises(CloudDeferred) as caught:
        studio.look("p1")
    assert caught.value.is_outage


@pytest.mark.parametrize(
    ("line", "body"),
    [
        ("400 Bad", b""),
        ("401 Unauthorized", UNAUTHORIZED),
        ("403 No", b"<html>no</html>"),
        ("404 Not found", b""),
        ("402 Pay", b'{"success": false, "msg": "no credit"}'),
        ("200 OK", b'{"success": false, "msg": "unknown user"}'),
        ("200 OK", b'{"success": false, "data": {"token": "t"}}'),
    ],
)
def test_keys_that_are_refused_are_account_trouble(cloud: Cloud, studio: Studio, line: str, body: bytes) -> None:
    """A plain no: no job fails, and a free probe will tell when it is over."""
    cloud.exchange = says(body, line=line)
    with pytest.raises(AccountTroubled) as caught:
        ordered(studio)
    assert caught.value.is_credential
    assert cloud.asked == []


@pytest.mark.parametrize(
    ("line", "retry_after", "seconds", "exchanges"),
    [
        ("500 Oops", "", (0, 0.5, 0.5), [1, 1, 2]),
        ("429 Many", "30", (0, 29, 1), [1, 1, 2]),
        ("403 No", "", (0, 9, 1), [1, 1, 2]),
    ],
)
def test_who_comes_right_after_a_failure_is_told_the_same(
    cloud: Cloud,
    studio: Studio,
    clock: Clock,
    line: str,
    retry_after: str,
    seconds: tuple[float, ...],
    exchanges: list[int],
) -> None:
    """A thousand looks that wait for a token ask for it once, not a thousand times one after another."""
    headers = {"Retry-After": retry_after}
    cloud.exchange = says(b"{}", line=line, headers=headers)
    seen = []
    for wait in seconds:
        clock.now += wait
        with pytest.raises(AccountTroubled if line == "403 No" else CloudDeferred) as caught:
            studio.look("p1")
        seen.append(len(cloud.exchanges))
        assert "HTTP " + line[:3] in str(caught.value)
    assert seen == exchanges


def test_a_busy_exchange_says_how_long_is_left(cloud: Cloud, studio: Studio, clock: Clock) -> None:
    """Retry-After counts from the cloud's answer, whoever hears of it."""
    busy = {"Retry-After": "30"}
    cloud.exchange = says(b"", line="503 Busy", headers=busy)
    waits = []
    for seconds in (0, 20):
        clock.now += seconds
        with pytest.raises(CloudDeferred) as caught:
            studio.look("p1")
        waits.append(caught.value.retry_after_seconds)
    assert waits == [30, 10]


# --- secrets --------------------------------------------------------------------------------------------------------


def leaks(text: str) -> list[str]:
    """What of the secrets a text has in it: a piece of a token is one as well."""
    return [secret for secret in (*secrets_of(KEYS), "t0k3n") if secret in text]


def test_no_text_has_a_token_or_the_keys(
    cloud: Cloud, studio: Studio, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """However the cloud repeats them: in words, cut off, in what is no JSON; nor is any logged, or shown by repr."""
    caplog.set_level(logging.DEBUG)
    studio.look("p1")

    def answer(peer: Peer, authorization: str) -> None:
        words = f"{'well, ' * len(cloud.asked)} {authorization} of {KEYS.user_key} of {KEYS.app_id}"
        peer.answer(json.dumps({"success": False, "msg": words}).encode(), line="400 Bad")

    cloud.answer = answer
    texts = [repr(studio), repr(vars(studio)), repr(KEYS)]
    for number in range(60):
        clock.now += 10
        with pytest.raises(StudioError) as caught:
            studio.export(BODY) if number % 2 else studio.look("p1")
        texts += [str(caught.value), repr(caught.value), repr(vars(caught.value))]
    assert leaks("\n".join([*texts, caplog.text])) == []
    assert any("***" in text for text in texts)


@pytest.mark.parametrize(
    ("line", "body"),
    [
        ("200 OK", issued(token(1))[:-2]),
        ("200 OK", issued([token(1)])),
        ("500 Oops", issued(token(1))),
        ("200 OK", f"token={token(1)}".encode()),
        ("403 No", json.dumps({"message": f"{KEYS.user_key} is not of {KEYS.app_id}"}).encode()),
        ("403 No", f"<p>{KEYS.user_key}</p>".encode()),
    ],
)
def test_an_answer_with_a_token_in_it_is_not_quoted(cloud: Cloud, studio: Studio, line: str, body: bytes) -> None:
    """It may hold one that nobody knows to be one yet."""
    cloud.exchange = says(body, line=line)
    with pytest.raises(StudioError) as caught:
        studio.look("p1")
    assert leaks(f"{caught.value} {caught.value!r}") == []


def test_the_redactor_knows_a_token_before_anybody_else(clock: Clock) -> None:
    """And the one before it still."""
    redactor, numbers = Redactor([]), iter((1, 2))
    tokens = Tokens(lambda: token(next(numbers)), redactor=redactor, clock=clock, patience_seconds=1)
    assert redactor(f"it is {tokens.current()}.") == "it is ***."
    clock.now += 23 * HOUR
    assert redactor(f"it is {tokens.current()}, it was {token(1)}.") == "it is ***, it was ***."


# --- what is refused at once ----------------------------------------------------------------------------------------


def test_v2_takes_no_application_keys(clock: Clock) -> None:
    """It has no exchange for a token."""
    with pytest.raises(ValueError, match="v2") as caught:
        made("https://cloud.example", clock, version="v2")
    assert leaks(str(caught.value)) == []


@pytest.mark.parametrize("keys", [AppKeys("", "secret"), AppKeys("secret", " \n"), AppKeys("a", "secret\nsecret")])
def test_keys_that_cannot_be_used_are_refused_unseen(clock: Clock, keys: AppKeys) -> None:
    """The refusal does not repeat them."""
    with pytest.raises(ValueError, match="the credential") as caught:
        made("https://cloud.example", clock, credential=keys)
    assert "secret" not in str(caught.value)


def test_white_space_around_the_keys_is_taken_off(cloud: Cloud, clock: Clock) -> None:
    """As editors leave it."""
    keys = AppKeys(f" {KEYS.app_id}\n", f"{KEYS.user_key}\r\n")
    with WireServer(cloud) as server, closing(made(server.url, clock, credential=keys)) as studio:
        studio.look("p1")
    sent = json.loads(cloud.exchanges[0].partition(b"\r\n\r\n")[2])
    assert sent == {"appId": KEYS.app_id, "userKey": KEYS.user_key}
