"""What the pages for people have in common: one file each, no other file needed, both languages in it.

Opened from a network drive, a page has no server behind it. So its own policy forbids what it does not need
(https://www.w3.org/TR/CSP3/), everything that somebody else wrote is escaped, and it is whole without its script.
"""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

STATUS_PAGE: Final = "status.html"
"""Its name in the root."""
STYLE: Final = """
:root { color-scheme: light dark; --page: #f6f6f4; --card: #fff; --ink: #1c1d1f; --soft: #65676b; --line: #dddcd8;
  --frame: #ecebe7; --mark: #14713f; --on-mark: #fff }
@media (prefers-color-scheme: dark) { :root { --page: #17181a; --card: #202124; --ink: #e9e8e5; --soft: #a2a29d;
  --line: #36373a; --frame: #2b2c2f; --mark: #6fcf97; --on-mark: #10241a } }
* { box-sizing: border-box }
[hidden], html:not(.scripted) .scripted { display: none !important }
html[lang=en] .ko, html[lang=ko] .en { display: none }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.45 system-ui, -apple-system, "Segoe UI",
  "Apple SD Gothic Neo", "Malgun Gothic", "Noto Sans KR", "Noto Sans CJK KR", sans-serif }
body > * { max-width: 1120px; margin: 0 auto; padding: 0 20px }
h1 { margin: 28px 0 4px; font-size: 24px; line-height: 1.25; letter-spacing: -.01em }
p { margin: 0 0 6px; color: var(--soft) }
code { font: 13px/1.4 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; overflow-wrap: anywhere;
  user-select: all; -webkit-user-select: all }
nav { position: sticky; top: 0; z-index: 1; display: flex; gap: 10px; align-items: center; padding: 12px 20px;
  background: var(--page) }
input { flex: 1; min-width: 0; padding: 9px 12px; border: 1px solid var(--line); border-radius: 8px;
  background: var(--card); color: inherit; font: inherit }
nav output:empty { display: none }
nav output { color: var(--soft); white-space: nowrap; font-variant-numeric: tabular-nums }
button { padding: 5px 12px; border: 1px solid var(--line); border-radius: 7px; background: var(--card); color: inherit;
  font: inherit; font-size: 13px; cursor: pointer; white-space: nowrap }
button:hover { border-color: var(--soft) }
nav button { padding: 9px 12px }
:focus-visible { outline: 2px solid var(--mark); outline-offset: 1px }
"""

LANGUAGE: Final = """
  const root = document.documentElement;
  const KEY = "chromadrop-language";
  const remembered = () => { try { return localStorage.getItem(KEY); } catch { return null; } };
  const remember = language => { try { localStorage.setItem(KEY, language); } catch { /* not on this drive */ } };
  const fold = text => text.normalize("NFKC").toLowerCase();
  const isKorean = (navigator.language || "").toLowerCase().startsWith("ko");
  const spoken = chosen => ({ en: "en", ko: "ko" })[chosen] || (isKorean ? "ko" : "en");
  root.classList.add("scripted");
"""
"""The beginning of a page's script: what language its reader speaks, and ``fold`` for searching.

The rest sets ``root.lang`` before anything is drawn.
"""

LANGUAGE_BUTTON: Final = (
    '<button type="button" id="language"><span class="en" lang="ko">한국어</span>'
    '<span class="ko" lang="en">English</span></button>'
)


def head(title: str, style: str, script: str, sources: str) -> Iterator[str]:
    """All up to the body.

    Args:
        title: plain, in English; nobody else's words.
        style: whole.
        script: whole; no other runs.
        sources: what else the policy allows, such as ``img-src data:``.
    """
    policy = (
        f"default-src 'none'; {sources}; style-src {_source(style)}; "
        f"script-src {_source(script)}; base-uri 'none'; form-action 'none'"
    )
    yield "<!doctype html>"
    yield '<html lang="en">'
    yield "<head>"
    yield '<meta charset="utf-8">'
    yield '<meta name="generator" content="chromadrop">'
    yield f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield '<meta name="referrer" content="no-referrer">'
    yield '<meta name="color-scheme" content="light dark">'
    yield f"<title>{title}</title>"
    yield f"<style>{style}</style>"
    yield f"<script>{script}</script>"
    yield "</head>"
    yield "<body>"


def _source(text: str) -> str:
    """For a policy: this inline text, and no other (CSP3, hash-source)."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def both(english: str, korean: str) -> str:
    """HTML in both languages, of which one is shown."""
    return f'<span class="en" lang="en">{english}</span><span class="ko" lang="ko">{korean}</span>'


def many(count: int, what: str) -> str:
    """A count and its noun, in English."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def utc(wall: float) -> datetime:
    """A moment, from wall-clock seconds."""
    return datetime.fromtimestamp(wall, UTC)
