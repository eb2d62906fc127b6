"""``models.html``: who can speak and what they wear, with pictures, for people who only see the folder.

One file for both languages, opened from a network drive: nothing is loaded but the pictures, and its own policy
forbids the rest (https://www.w3.org/TR/CSP3/). It is whole without its script, which adds searching, copying, Korean,
and local time.
"""

from __future__ import annotations

import json
import re
from html import escape
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from daemon.core.page import LANGUAGE, LANGUAGE_BUTTON, STYLE, both, head, many, utc

if TYPE_CHECKING:
    from collections.abc import Iterator

    from daemon.core.catalogue import Catalogue, Clothes, Model

_PLAIN: Final = re.compile(r"[A-Za-z0-9][\w.\-]*")
_NULLS: Final = frozenset({"null", "Null", "NULL"})

_STYLE: Final = (
    STYLE
    + """\
.copy::after { content: "Copy" }
html[lang=ko] .copy::after { content: "복사" }
.copied, .copied:hover { background: var(--mark); border-color: var(--mark); color: var(--on-mark) }
.copied::after { content: "Copied" }
html[lang=ko] .copied::after { content: "복사됨" }
article { display: grid; grid-template-columns: 160px 1fr; gap: 20px; margin: 0 0 14px; padding: 16px;
  background: var(--card); border: 1px solid var(--line); border-radius: 12px;
  content-visibility: auto; contain-intrinsic-size: auto 340px }
article > header { display: flex; flex-direction: column; align-items: flex-start; gap: 3px; min-width: 0 }
.picture { position: relative; width: 100%; aspect-ratio: 3 / 4; margin-bottom: 6px; overflow: hidden;
  border-radius: 8px; background: var(--frame) center / 56% no-repeat }
article > header .picture { background-image: url("data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' \
viewBox='0 0 24 24' fill='none' stroke='%23999' stroke-width='1.2' stroke-linecap='round'%3E%3Ccircle cx='12' cy='8' \
r='4'/%3E%3Cpath d='M4 21c0-4.4 3.6-7 8-7s8 2.6 8 7'/%3E%3C/svg%3E") }
li .picture { background-image: url("data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' \
viewBox='0 0 24 24' fill='none' stroke='%23999' stroke-width='1.2' stroke-linejoin='round'%3E%3Cpath \
d='M8.5 3.5 3 6.5l1.8 4 2.2-1V20.5h10V9.5l2.2 1 1.8-4-5.5-3c-.6 1.4-1.9 2.2-3.5 2.2s-2.9-.8-3.5-2.2z'/%3E%3C/svg%3E") }
.picture img { position: absolute; inset: 0; width: 100%; height: 100%; object-fit: cover; object-position: top;
  background: var(--frame) }
h2 { display: flex; flex-direction: column; margin: 0; font-size: 16px; line-height: 1.3; max-width: 100%;
  overflow-wrap: anywhere }
h2 bdi + bdi, .names bdi + bdi { color: var(--soft); font-weight: 400; font-size: .9em }
html[lang=ko] bdi[lang=ko] { order: -1; color: inherit; font-weight: inherit; font-size: inherit }
html[lang=ko] bdi[lang=en]:not(:only-child) { color: var(--soft); font-weight: 400; font-size: .9em }
ul { display: grid; grid-template-columns: repeat(auto-fill, minmax(128px, 1fr)); gap: 16px 14px; align-content: start;
  margin: 0; padding: 0; list-style: none; min-width: 0 }
li { display: flex; flex-direction: column; align-items: flex-start; gap: 2px; min-width: 0; font-size: 14px }
.names { display: flex; flex-direction: column; line-height: 1.3; max-width: 100%; overflow-wrap: anywhere }
code { color: var(--soft) }
.copy { margin-top: 4px }
#said { position: fixed; inset: auto 0 0; max-width: none; padding: 12px 20px; background: var(--card);
  border-top: 1px solid var(--line); box-shadow: 0 -4px 16px #0002; display: flex; gap: 8px 20px; align-items: center;
  justify-content: center; flex-wrap: wrap }
#said pre { margin: 0; font: 13px/1.4 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; white-space: pre-wrap;
  overflow-wrap: anywhere }
#said.by-hand .done, #said:not(.by-hand) .by-hand { display: none }
footer { height: 90px }
@media (max-width: 640px) { body > * { padding: 0 12px } nav { padding: 10px 12px } h1 { margin-top: 18px }
  article { grid-template-columns: 1fr; gap: 14px; padding: 12px }
  article > header { display: grid; grid-template-columns: 96px 1fr; column-gap: 14px; align-content: start }
  article > header .picture { grid-row: 1 / 5; margin: 0 } article > header .copy { justify-self: start }
  ul { grid-template-columns: repeat(auto-fill, minmax(96px, 1fr)); gap: 14px 10px } }
@media print { nav, button, #said { display: none !important } article { break-inside: avoid } }
"""
)

_SCRIPT: Final = (
    """
"use strict";
(() => {"""
    + LANGUAGE
    + """\
  root.lang = spoken(remembered());
  document.addEventListener("error", event => {
    if (event.target instanceof HTMLImageElement) event.target.hidden = true;
  }, true);

  const begin = () => {
    const field = document.querySelector("input");
    const shown = document.querySelector("nav output");
    const nothing = document.getElementById("nothing");
    const said = document.getElementById("said");
    const articles = [...document.querySelectorAll("article")];
    let index = null;

    const speak = () => {
      field.placeholder = field.dataset[root.lang];
      field.setAttribute("aria-label", field.placeholder);
      document.title = document.querySelector(`h1 .${root.lang}`).textContent;
      for (const time of document.querySelectorAll("time")) {
        const format = { dateStyle: "long", timeStyle: "short" };
        time.textContent = new Date(time.dateTime).toLocaleString(root.lang, format);
      }
    };

    const indexed = () => articles.map(article => ({
      article,
      head: fold(article.querySelector("header").textContent),
      clothes: [...article.querySelectorAll("li")].map(element => ({ element, text: fold(element.textContent) })),
    }));

    const search = () => {
      index ||= indexed();
      const words = fold(field.value).split(/\\s+/).filter(Boolean);
      let count = 0;
      for (const { article, head, clothes } of index) {
        const isModel = words.every(word => head.includes(word));
        let isShown = isModel;
        for (const { element, text } of clothes) {
          const isFound = isModel || words.every(word => head.includes(word) || text.includes(word));
          element.hidden = !isFound;
          isShown ||= isFound;
        }
        article.hidden = !isShown;
        count += isShown;
      }
      shown.textContent = words.length ? `${count} / ${articles.length}` : "";
      nothing.hidden = count > 0;
    };

    const linesFor = button => {
      const lines = [button.closest("article").dataset.lines];
      const clothes = button.closest("li");
      if (clothes) lines.push(clothes.dataset.lines);
      return lines.join("\\n") + "\\n";
    };

    const copyOldWay = text => {
      const area = document.createElement("textarea");
      area.value = text;
      area.readOnly = true;
      said.append(area);
      area.select();
      let isCopied = false;
      try { isCopied = document.execCommand("copy"); } catch { /* then by hand */ }
      area.remove();
      return isCopied;
    };

    const say = (text, isCopied) => {
      const pre = said.querySelector("pre");
      pre.textContent = text;
      said.classList.toggle("by-hand", !isCopied);
      said.hidden = false;
      if (!isCopied) getSelection().selectAllChildren(pre);
    };

    const copy = async button => {
      const text = linesFor(button);
      said.hidden = false;
      let isCopied = true;
      try { await navigator.clipboard.writeText(text); } catch { isCopied = copyOldWay(text); }
      document.querySelector(".copied")?.classList.remove("copied");
      button.classList.toggle("copied", isCopied);
      say(text, isCopied);
    };

    document.addEventListener("click", event => {
      const button = event.target.closest("button");
      if (!button) return;
      if (button.id === "language") {
        root.lang = root.lang === "ko" ? "en" : "ko";
        remember(root.lang);
        speak();
      } else if (button.id === "close") {
        said.hidden = true;
      } else if (button.closest("article")) {
        copy(button);
      }
    });
    field.addEventListener("input", search);
    speak();
    if (field.value) search();
  };
  document.addEventListener("DOMContentLoaded", begin);
})();
"""
)


def page(catalogue: Catalogue, *, read_at: float, base: str) -> str:
    """The page, whole; to be written as UTF-8.

    Args:
        catalogue: what it shows.
        read_at: when the list was read, wall-clock seconds.
        base: where the list is from: the cloud's address, of which the host is shown, or a file's name.
    """
    return "\n".join(
        [
            *head("Models and clothes", _STYLE, _SCRIPT, "img-src http: https: data:"),
            *_intro(catalogue, read_at, base),
            *_models(catalogue),
            *_foot(),
        ]
    )


def _intro(catalogue: Catalogue, read_at: float, base: str) -> Iterator[str]:
    models, clothes = len(catalogue.models), sum(len(model.clothes) for model in catalogue.models)
    moment = utc(read_at)
    time = f'<time datetime="{moment:%Y-%m-%dT%H:%M:%SZ}">{moment:%Y-%m-%d %H:%M} (UTC)</time>'
    where = f'<bdi dir="ltr">{escape(_host(base) or base)}</bdi>'
    yield "<header>"
    yield f"<h1>{both('Models and clothes', '모델과 의상')}</h1>"
    counted = f"{many(models, 'model')} and {clothes:,} clothes, as of {time}, from {where}"
    yield f"<p>{both(counted, f'모델 {models:,}명, 의상 {clothes:,}벌 · {time} 기준 · 출처: {where}')}</p>"
    hint = "<code>model</code> and <code>clothes</code> in a job file are the ids below."
    korean = "작업 파일의 <code>model</code>과 <code>clothes</code>에는 아래 ID를 적습니다."
    yield f"<p>{both(hint, korean)}</p>"
    yield "</header>"
    yield (
        '<nav class="scripted"><input type="search" autocomplete="off" spellcheck="false" '
        'data-en="Search by name or id" data-ko="이름 또는 ID로 검색"><output></output>'
        f"{LANGUAGE_BUTTON}</nav>"
    )


def _host(base: str) -> str:
    try:
        return urlsplit(base).hostname or ""
    except ValueError:
        return ""


def _models(catalogue: Catalogue) -> Iterator[str]:
    yield "<main>"
    for model in catalogue.models:
        yield f'<article data-lines="{_line("model", model.id)}">'
        yield f"<header>{_picture(model)} <h2>{_names(model)}</h2> {_id(model)} {_COPY}</header>"
        yield "<ul>" if model.clothes else f"<p>{both('The list names no clothes.', '목록에 의상이 없습니다.')}</p>"
        yield from map(_clothes, model.clothes)
        yield "</ul></article>" if model.clothes else "</article>"
    yield f'<p id="nothing" hidden>{both("Nothing is found.", "찾은 결과가 없습니다.")}</p>'
    yield "</main>"


_COPY: Final = '<button type="button" class="copy scripted"></button>'


def _clothes(clothes: Clothes) -> str:
    names = f'<span class="names">{_names(clothes)}</span>'
    return f'<li data-lines="{_line("clothes", clothes.id)}">{_picture(clothes)} {names} {_id(clothes)} {_COPY}</li>'


def _foot() -> Iterator[str]:
    copied = both("Copied; paste it into the job file.", "복사했습니다. 작업 파일에 붙여 넣으세요.")
    by_hand = both("Selected; copy it with Ctrl+C or ⌘C.", "선택했습니다. Ctrl+C 또는 ⌘C로 복사하세요.")
    yield (
        f'<div id="said" role="status" hidden><pre></pre><span class="done">{copied}</span>'
        f'<span class="by-hand">{by_hand}</span><button type="button" id="close">'
        f"{both('Close', '닫기')}</button></div>"
    )
    yield "<footer></footer>"
    yield "</body>"
    yield "</html>"
    yield ""


def _picture(thing: Model | Clothes) -> str:
    """Its picture; what is drawn behind it is seen where there is none, or none comes."""
    if not thing.thumbnail:
        return '<div class="picture"></div>'
    source = escape(thing.thumbnail)
    return f'<div class="picture"><img src="{source}" alt="" loading="lazy" referrerpolicy="no-referrer"></div>'


def _names(thing: Model | Clothes) -> str:
    """The English and the Korean name, else whichever there is; isolated, for one may run from right to left."""
    known = {language: thing.labels[language] for language in ("en", "ko") if thing.labels.get(language)}
    known = known or dict(list(thing.labels.items())[:1])
    if len(set(known.values())) == 1:
        return f"<bdi>{escape(next(iter(known.values())))}</bdi>"
    return " ".join(f'<bdi lang="{escape(language)}">{escape(name)}</bdi>' for language, name in known.items())


def _id(thing: Model | Clothes) -> str:
    return f'<code dir="ltr">{escape(thing.id)}</code>'


def _line(field: str, value: str) -> str:
    """A line of a job file, in an attribute; in quotes where YAML needs them."""
    is_plain = bool(_PLAIN.fullmatch(value)) and value not in _NULLS
    return escape(f"{field}: {value if is_plain else json.dumps(value, ensure_ascii=False)}")
