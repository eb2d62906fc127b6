"""The redactor: what comes out can stand in any log."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.core.redact import LEARNED_LIMIT, LIMIT, MASK, Redactor, clean_credential, link_secrets

SECRETS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0xFF, exclude_characters="*"), min_size=4)
URL_LETTERS = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~%!$&'()*+,;=:@/", max_size=30)


@given(SECRETS, st.text(), st.text())
def test_no_text_keeps_a_secret(secret: str, before: str, after: str) -> None:
    """A secret does not come out of any text around it, however it is written."""
    redact = Redactor([secret])
    for written in (secret, quote(secret, safe=""), json.dumps(secret), repr(secret), f" {secret}\n"):
        cleaned = redact(before + written + after)
        assert secret not in cleaned
        assert quote(secret, safe="") not in cleaned


def test_a_text_about_a_link_hides_what_the_link_is_signed_with() -> None:
    """In whatever shape it is quoted; nothing is learned by it."""
    redact = Redactor([])
    link = "https://h/x.mp4?Expires=17&Policy=a%2Fb%2Bcdefgh&Key-Pair-Id=K2"
    hidden = redact.hiding(link_secrets(link))
    assert hidden("it said 17: a/b+cdefgh is no a%2Fb%2Bcdefgh") == f"it said 17: {MASK} is no {MASK}"
    assert redact("it said a/b+cdefgh") == "it said a/b+cdefgh"
    for nothing in ("", "https://h/x.mp4", "https://[h/x?a=12345678"):
        assert redact.hiding(link_secrets(nothing))("as it was") == "as it was"


@given(st.text())
def test_one_message_is_one_bounded_printable_line(text: str) -> None:
    """No control character, no line separator, no surrogate, and no more than the limit comes out."""
    cleaned = Redactor([])(text)
    assert len(cleaned) <= LIMIT
    assert len(cleaned.splitlines()) <= 1
    cleaned.encode()


@given(URL_LETTERS, st.sampled_from("?#"), URL_LETTERS)
def test_a_url_loses_its_query_and_fragment(path: str, mark: str, query: str) -> None:
    """Whatever a URL has after ? or # is gone, host and path before it stay."""
    cleaned = Redactor([])(f"see https://h.example/{path.replace('@', '').replace('%', '')}{mark}SIGNATURE{query} now")
    assert "SIGNATURE" not in cleaned
    assert cleaned.startswith("see https://h.example/")
    assert cleaned.endswith(f"{mark}{MASK} now")


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("https://h/p?X-Amz-Signature=abc", "https://h/p?***"),
        ("https://user:pass@h/p", "https://***@h/p"),
        ("https://user:p@ss@h/p?x#y", "https://***@h/p?***"),
        (
            "Max retries exceeded with url: /videos/x.mp4?Signature=a'b (Caused by X)",
            "Max retries exceeded with url: /videos/x.mp4?*** (Caused by X)",
        ),
        ('{"url":"https:\\/\\/u:p@h\\/p?sig=1","msg":"no"}', '{"url":"https:\\/\\/***@h\\/p?***","msg":"no"}'),
        ("x.mp4?Signature=abc", "x.mp4?***"),
        ("Is it 5 or 6? Really?", "Is it 5 or 6? Really?"),
        ("for https%3A%2F%2Fh%2Fx.mp4%3FX-Amz-Signature%3Dabc today", "for https%3A%2F%2Fh%2Fx.mp4%3F*** today"),
        ("https%253A%252F%252Fh%252Fx%253fs%253dabc", "https%253A%252F%252Fh%252Fx%253f***"),
        ('{"url":"https://h/x.mp4\\u003fs\\u003dabc"}', '{"url":"https://h/x.mp4\\u003f***"}'),
        (
            "<Code>No</Code><SignatureProvided>abc</SignatureProvided>",
            "<Code>No</Code><SignatureProvided>***</SignatureProvided>",
        ),
        (
            "GET /x.mp4 X-Amz-Credential=AK%2F1&X-Amz-Date=2026&x-amz-signature=abc",
            "GET /x.mp4 X-Amz-Credential=***&X-Amz-Date=2026&x-amz-signature=***",
        ),
        ("your signature is wrong, 100%23 sure", "your signature is wrong, 100%23 sure"),
        ("job #3 is wrong", "job #3 is wrong"),
        ("one\ntwo\x1b[31m\u202e", "one\\ntwo\\x1b[31m\\u202e"),
    ],
)
def test_what_urls_and_control_characters_become(text: str, cleaned: str) -> None:
    """The forms that requests, urllib3, and vendors really write."""
    assert Redactor([])(text) == cleaned


def test_a_short_secret_is_masked_as_a_word_only() -> None:
    """A secret of a letter or two does not eat every text."""
    redact = Redactor(["ab"])
    assert redact("table ab, (ab)") == "table ***, (***)"


def test_empty_secrets_change_nothing() -> None:
    """An empty or blank secret is none."""
    assert Redactor(["", "  \n"])("a b") == "a b"


def test_a_learned_secret_is_masked_from_then_on() -> None:
    """A token comes while the program runs; those before it may still be quoted, as far back as the last few."""
    redact = Redactor(["given-key"])
    redact("nothing of note")
    texts = [f"learned-{number}" for number in range(LEARNED_LIMIT + 1)]
    for text in texts:
        assert redact(text) == text
        redact.learn(text)
        assert redact(f"({text})") == f"({MASK})"
    assert [text for text in texts if redact(text) == text] == texts[:1]
    assert redact("given-key") == MASK


def test_a_learned_secret_around_another_is_masked_whole() -> None:
    """A token may have the key in it."""
    redact = Redactor(["inner-key"])
    redact.learn("head.inner-key.tail")
    assert redact("<head.inner-key.tail>") == f"<{MASK}>"


def test_threads_may_teach_and_use_a_redactor_at_once() -> None:
    """What a thread has taught is masked in the very next text, whoever else teaches."""
    start = threading.Barrier(LEARNED_LIMIT)
    redactors = [Redactor([]) for _ in range(50)]

    def teach(number: int) -> set[str]:
        said = set()
        for redact in redactors:
            start.wait(30)
            redact.learn(f"secret-{number}-end")
            said.add(redact(f"secret-{number}-end"))
        return said

    with ThreadPoolExecutor(LEARNED_LIMIT) as pool:
        assert set().union(*pool.map(teach, range(LEARNED_LIMIT))) == {MASK}


@pytest.mark.parametrize("secret", ["", " ", "***"])
def test_an_empty_secret_teaches_nothing(secret: str) -> None:
    """As where it is given from the start."""
    redact = Redactor([])
    redact.learn(secret)
    assert redact("a b *** c") == "a b *** c"


def test_repr_shows_no_secret() -> None:
    """A redactor can itself be logged."""
    redact = Redactor(["hunter22"])
    redact.learn("hunter33")
    assert repr(redact) == "Redactor(2 secrets)"


def test_a_credential_is_stripped() -> None:
    """Editors leave line breaks at the end of key files."""
    assert clean_credential("  key\r\n") == "key"


@pytest.mark.parametrize("text", ["", " \n", "top\nsecret", "top\x00secret", "top\x7fsecret", "topsecret€"])
def test_a_credential_that_no_header_can_carry_is_refused_unseen(text: str) -> None:
    """The refusal does not repeat the credential."""
    with pytest.raises(ValueError, match="the credential") as caught:
        clean_credential(text)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None
