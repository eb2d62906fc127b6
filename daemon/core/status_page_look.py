"""How ``status.html`` looks, and what its script does; see `status_page`."""

from __future__ import annotations

from typing import Final

from daemon.core.page import LANGUAGE
from daemon.core.page import STYLE as COMMON_STYLE

STYLE: Final = (
    COMMON_STYLE
    + """\
:root { --bad: #b3261e; --bad-page: #fdecea; --warn: #8a5a00; --warn-page: #fdf3dc; --good-page: #e6f4ec }
@media (prefers-color-scheme: dark) { :root { --bad: #ff8f86; --bad-page: #3a2120; --warn: #f1c04e;
  --warn-page: #352c18; --good-page: #1c2f25 } }
html.scripted .unscripted { display: none }
header, main { overflow-wrap: anywhere }
a { color: inherit; text-decoration-color: var(--soft); text-underline-offset: 2px }
a:hover { text-decoration-color: currentColor }
h2 { margin: 30px 0 10px; font-size: 18px; line-height: 1.3; scroll-margin-top: 70px }
h3 { margin: 0; font-size: 15px; line-height: 1.35; overflow-wrap: anywhere }
section { scroll-margin-top: 62px }
section:first-child h2 { margin-top: 12px }
section:target h2 { text-decoration: underline; text-underline-offset: 5px }
small, .small { font-size: 13px; color: var(--soft); overflow-wrap: anywhere }
time, b { font-variant-numeric: tabular-nums }
q { quotes: "\\201c" "\\201d"; overflow-wrap: anywhere }
code { font-size: 11.5px; color: inherit }
.sign { margin: 0 }
.folder { color: var(--ink); font-weight: 600 }
.banner { margin: 12px 0 0; padding: 11px 16px; border-radius: 10px; border-left: 5px solid; overflow-wrap: anywhere }
.banner strong { display: block; font-size: 16px }
.banner p { margin: 3px 0 0; color: var(--ink) }
.banner .quoted { display: block; margin: 0 0 4px; font-style: italic }
.banner.bad { background: var(--bad-page); border-color: var(--bad) }
.banner.bad strong { color: var(--bad) }
.banner.wait { background: var(--warn-page); border-color: var(--warn) }
.banner.wait strong { color: var(--warn) }
.banner.good { background: var(--good-page); border-color: var(--mark) }
.banner.good strong { font-size: 15px; font-weight: 600; color: var(--mark) }
#stale { padding: 18px 20px }
#stale strong { font-size: 28px; line-height: 1.2 }
html.stale #well, html.stale .file .since { display: none }
html.stale main { filter: grayscale(1) }
.figures { display: grid; grid-template-columns: repeat(5, 1fr); gap: 10px; margin: 16px 0 0; padding: 0;
  list-style: none }
.figures a { display: block; height: 100%; padding: 10px 14px; border: 1px solid var(--line); border-radius: 10px;
  background: var(--card); color: var(--soft); font-size: 13px; text-decoration: none }
.figures a:hover { border-color: var(--soft) }
.figures b { display: block; font-size: 24px; line-height: 1.25; color: var(--ink); font-weight: 650 }
.figures b small { font-weight: 400 }
.figures .bad b { color: var(--bad) }
nav { margin-top: 4px }
article, .card { margin: 0 0 12px; padding: 13px 16px; background: var(--card); border: 1px solid var(--line);
  border-radius: 12px }
article { content-visibility: auto; contain-intrinsic-size: auto 130px }
article > header { display: flex; flex-wrap: wrap; gap: 0 14px; justify-content: space-between;
  align-items: baseline }
article p { margin: 2px 0 0 }
article.failed { border-left: 4px solid var(--bad) }
.jobs, .problems, .list, .cards { margin: 0; padding: 0; list-style: none }
.jobs > li { padding: 9px 0 2px }
.jobs > li + li { border-top: 1px solid var(--line); margin-top: 7px }
.what { color: var(--ink) }
.what .n, .n { display: inline-block; min-width: 1.7em; padding: 0 5px; border-radius: 5px; background: var(--frame);
  color: var(--soft); font-size: 12px; text-align: center; font-variant-numeric: tabular-nums }
.jobs .reason, .problems li { color: var(--ink) }
.jobs .reason { padding: 3px 0 }
.problems { margin: 6px 0; padding-left: 18px; list-style: disc }
.bar { display: flex; align-items: center; gap: 10px; margin: 5px 0 1px }
.bar b { min-width: 3.7em; text-align: right; font-weight: 600; font-size: 13px }
progress { flex: 1; width: 100%; min-width: 0; height: 8px; border: 0; border-radius: 4px; overflow: hidden;
  background: var(--frame); color: var(--mark); appearance: none; -webkit-appearance: none }
progress::-webkit-progress-bar { background: var(--frame) }
progress::-webkit-progress-value { background: var(--mark); border-radius: 4px }
progress::-moz-progress-bar { background: var(--mark); border-radius: 4px }
progress:indeterminate { background: repeating-linear-gradient(-45deg, var(--frame) 0 8px, var(--line) 8px 16px) }
progress:indeterminate::-webkit-progress-bar { background: none }
progress:indeterminate::-moz-progress-bar { background: none }
details { margin-top: 9px }
summary { cursor: pointer; color: var(--soft); font-size: 14px }
.line { margin: 6px 0 0; padding-left: 38px; color: var(--soft); font-size: 14px }
.line li { padding: 1px 0 }
.card.list { padding: 13px 16px }
.list > li { padding: 10px 0 }
.list > li:first-child { padding-top: 0 } .list > li:last-child { padding-bottom: 0 }
.list > li + li { border-top: 1px solid var(--line) }
.list p { margin: 1px 0 0; overflow-wrap: anywhere }
.list .warn h3::before { content: "!"; display: inline-block; width: 1.35em; margin-right: 7px; border-radius: 50%;
  background: var(--warn); color: var(--card); font-size: 13px; line-height: 1.35em; text-align: center }
.paid { padding: 1px 7px; border-radius: 5px; background: var(--frame); color: var(--ink) }
.paid.yes, .paid.unknown { background: var(--warn-page); color: var(--warn); font-weight: 600 }
.todo { color: var(--ink); padding: 5px 0 3px; overflow-wrap: anywhere }
.links { display: flex; gap: 14px; font-size: 13px; padding-top: 4px }
.empty, .more { padding: 4px 0 }
.head { display: flex; flex-wrap: wrap; gap: 0 18px; align-items: baseline; justify-content: space-between }
.grounds { display: flex; flex-wrap: wrap; gap: 8px; align-items: center; margin: 0 0 10px; padding: 0; border: 0 }
.grounds legend { float: left; margin-right: 4px; font-size: 13px; color: var(--soft) }
.grounds label { position: relative; cursor: pointer }
.grounds input { position: absolute; opacity: 0; width: 100%; height: 100%; margin: 0; cursor: pointer }
.grounds .name { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%);
  white-space: nowrap }
.swatch { display: block; width: 30px; height: 30px; border: 1px solid var(--line); border-radius: 8px }
.grounds input:checked + .swatch { outline: 2px solid var(--mark); outline-offset: 2px }
.grounds input:focus-visible + .swatch { outline: 3px solid var(--ink); outline-offset: 2px }
.green .swatch { background: #00b140 }
.white .swatch, html[data-ground=white] .stage { background: #fff }
.black .swatch, html[data-ground=black] .stage { background: #000 }
.sky .swatch, html[data-ground=sky] .stage { background: linear-gradient(#8fc7f3, #f4e3cf) }
.checks .swatch, .stage { background: repeating-conic-gradient(#c9c9c9 0 25%, #fff 0 50%) 0 0 / 20px 20px }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(250px, 1fr)); gap: 20px 16px }
.cards > li { min-width: 0; content-visibility: auto; contain-intrinsic-size: auto 250px }
.cards .day { grid-column: 1 / -1; margin: 0 0 -6px; color: var(--soft); font-weight: 600; font-size: 14px;
  content-visibility: visible }
.cards h3 { margin-top: 7px }
.cards .text { margin: 1px 0; color: var(--ink); font-size: 14px; display: -webkit-box; -webkit-line-clamp: 2;
  -webkit-box-orient: vertical; overflow: hidden }
.cards .small { margin: 0 }
.stage { position: relative; aspect-ratio: 16 / 9; border-radius: 10px; overflow: hidden;
  border: 1px solid var(--line) }
video { display: block; width: 100%; height: 100%; object-fit: contain }
html[data-ground] video { filter: url(#key) }
.gone { position: absolute; inset: 0; display: grid; place-items: center; margin: 0; background: var(--frame) }
#held { position: fixed; inset: auto 0 0; z-index: 2; max-width: none; padding: 10px 20px; background: var(--card);
  border-top: 1px solid var(--line); box-shadow: 0 -4px 16px #0002; display: flex; flex-wrap: wrap; gap: 6px 16px;
  align-items: center; justify-content: center }
footer { height: 110px; padding-top: 30px }
svg { position: absolute }
@media (max-width: 640px) { body > * { padding: 0 12px } nav { padding: 10px 12px } h1 { margin-top: 18px }
  #stale strong { font-size: 22px }
  .figures { grid-template-columns: repeat(6, 1fr); gap: 8px } .figures li { grid-column: span 2 }
  .figures li:nth-child(-n + 2) { grid-column: span 3 } .figures a { padding: 8px 10px }
  .figures b { font-size: 20px } article, .card, .card.list { padding: 12px } .cards { grid-template-columns: 1fr } }
@media (min-width: 400px) and (max-width: 640px) { .cards { grid-template-columns: 1fr 1fr; gap: 18px 10px } }
@media print { nav, button, .grounds, #held { display: none !important } article { break-inside: avoid } }
"""
)

SCRIPT: Final = (
    """
"use strict";
(() => {"""
    + LANGUAGE
    + """\
  const RELOAD = 10000, TOUCHED = 4000, SKEWED = 20000;
  const MARK = "chromadrop-status " + location.pathname + " ";
  // Kept twice, and the later counts: a busy Chromium now and then cuts a page that asks early off from its storage,
  // so that it reads what is old and writes in vain; and the history has nothing of a page that is opened anew.
  const parsed = read => { try { return JSON.parse(read()) || {}; } catch { return {}; } };
  const entry = parsed(() => history.state[MARK]);
  const stored = parsed(() => sessionStorage.getItem(MARK));
  const before = entry.at > (stored.at || 0) ? entry : stored;
  let at = before.at || 0;
  const keep = value => {
    at = Math.max(at + 1, Date.now()); // later than all before, also when the clock was set back
    const text = JSON.stringify({ ...value, at });
    try { history.replaceState({ [MARK]: text }, ""); } catch { /* not on this drive */ }
    try { sessionStorage.setItem(MARK, text); } catch { /* with neither it begins anew each time */ }
  };
  root.lang = spoken(entry.at ? before.language : remembered() ?? before.language);
  const loaded = Date.now();
  try { history.scrollRestoration = "manual"; } catch { /* it jumps, then */ }

  const begin = () => {
    const top = document.getElementById("top");
    const field = document.getElementById("search");
    const made = Date.parse(top.dataset.at);
    const span = Number(top.dataset.stale) * 1000;

    // How far the reader's clock is from the writer's: known once the page was seen to move on.
    const sign = before.made === made ? { made, first: before.first, skew: before.skew } : { made, first: loaded };
    if (before.made < made) {
      sign.skew = before.skew;
      const lag = loaded - made;
      if (loaded - before.loaded < span) sign.skew = Math.min(before.skew ?? lag, lag);
    }
    const skew = Math.abs(sign.skew ?? 0) < SKEWED ? 0 : sign.skew;
    const isStale = loaded - made - skew > span || loaded - sign.first > span;

    const numbers = { en: ["d", "h", "min", "s"], ko: ["일", "시간", "분", "초"] };
    const lasting = seconds => {
      const whole = (size, most) => Math.floor(seconds / size) % most;
      const parts = [whole(86400, Infinity), whole(3600, 24), whole(60, 60), whole(1, 60)];
      const first = Math.min(parts.findIndex(part => part > 0) >>> 0, 3);
      const gap = root.lang === "ko" ? "" : " ";
      return parts.slice(first, first + 2).map((part, n) => `${part}${gap}${numbers[root.lang][first + n]}`).join(" ");
    };
    const spans = [...document.querySelectorAll("time.since")];
    const count = () => {
      for (const time of spans) {
        const passed = Math.floor((Date.now() - skew - Date.parse(time.dateTime)) / 1000);
        time.textContent = lasting(Math.max(0, passed));
      }
    };

    const dayOf = date => date.toDateString();
    const nameOfDay = date => {
      const today = new Date(Date.now() - skew);
      const yesterday = new Date(today.getFullYear(), today.getMonth(), today.getDate() - 1);
      if (dayOf(date) === dayOf(today)) return root.lang === "ko" ? "오늘" : "Today";
      if (dayOf(date) === dayOf(yesterday)) return root.lang === "ko" ? "어제" : "Yesterday";
      return date.toLocaleDateString(root.lang, { weekday: "long", month: "long", day: "numeric" });
    };
    const momentOf = date => {
      const isToday = dayOf(date) === dayOf(new Date(Date.now() - skew));
      const format = isToday ? { timeStyle: "medium" } : { dateStyle: "medium", timeStyle: "short" };
      return date.toLocaleString(root.lang, format);
    };
    const markDays = () => {
      const list = document.querySelector(".cards");
      if (!list) return;
      let last = null, today = 0;
      for (const card of list.querySelectorAll(".entry")) {
        const time = card.querySelector("time");
        const name = time ? nameOfDay(new Date(time.dateTime)) : last;
        if (name !== last) {
          const heading = document.createElement("li");
          heading.className = "day";
          heading.textContent = name;
          card.before(heading);
        }
        last = name;
        today += time && dayOf(new Date(time.dateTime)) === dayOf(new Date(Date.now() - skew));
      }
      const figure = document.getElementById("today");
      figure.textContent = today.toLocaleString(root.lang);
    };

    const speak = () => {
      field.placeholder = field.dataset[root.lang];
      field.setAttribute("aria-label", field.placeholder);
      document.title = document.querySelector(`h1 .${root.lang}`).textContent;
      for (const time of document.querySelectorAll("time:not(.since)")) {
        time.textContent = momentOf(new Date(time.dateTime));
        time.title = new Date(time.dateTime).toLocaleString(root.lang, { dateStyle: "full", timeStyle: "long" });
      }
      document.querySelectorAll(".cards .day").forEach(heading => heading.remove());
      markDays();
      count();
    };

    let index = null;
    const search = () => {
      index ||= [...document.querySelectorAll("main .entry")].map(element => {
        const file = element.closest("article");
        const name = file ? file.querySelector("header").textContent : "";
        return { element, file, text: fold(`${name} ${element.textContent}`) };
      });
      const words = fold(field.value).split(/\\s+/).filter(Boolean);
      const files = new Map([...document.querySelectorAll("article")].map(file => [file, fold(file.textContent)]));
      let found = 0;
      const full = new Set();
      for (const { element, file, text } of index) {
        const isFound = words.every(word => text.includes(word));
        element.hidden = !isFound;
        found += isFound;
        if (isFound && file) full.add(file);
      }
      for (const [file, text] of files) {
        const isBare = !file.querySelector(".entry") && words.every(word => text.includes(word));
        file.hidden = words.length > 0 && !full.has(file) && !isBare;
        found += isBare;
        const line = file.querySelector("details");
        if (line) line.hidden = words.length > 0 && !line.querySelector(".entry:not([hidden])");
      }
      for (const element of document.querySelectorAll("main .empty:not(#nothing), main .more, .cards .day")) {
        element.hidden = words.length > 0;
      }
      for (const section of document.querySelectorAll("main > section")) {
        section.hidden = words.length > 0 && !section.querySelector(".entry:not([hidden]), article:not([hidden])");
      }
      document.getElementById("found").textContent = words.length ? found.toLocaleString(root.lang) : "";
      document.getElementById("nothing").hidden = !words.length || found > 0;
    };

    // --- videos: none is loaded before it is looked at ---
    const videos = [...document.querySelectorAll("video")];
    const isPlaying = () => videos.some(video => !video.paused && !video.ended);
    const near = new IntersectionObserver(entries => {
      for (const { target, isIntersecting } of entries) {
        if (!isIntersecting) continue;
        near.unobserve(target);
        target.preload = "metadata";
      }
    }, { rootMargin: "100px" });
    for (const video of videos) {
      near.observe(video);
      video.addEventListener("error", () => {
        video.hidden = true;
        video.nextElementSibling.hidden = false;
      });
      video.addEventListener("play", () => {
        for (const other of videos) if (other !== video) other.pause();
      });
    }
    const ground = value => {
      if (value === "green") delete root.dataset.ground; else root.dataset.ground = value;
    };

    // --- made new by loading again, which must cost the reader nothing ---
    const opened = new Set(before.opened || []);
    const TOP = 80;
    const anchor = () => {
      const seen = [...document.querySelectorAll("article, .cards .entry")];
      const first = scrollY > TOP && seen.find(element => element.getBoundingClientRect().bottom > TOP);
      return first ? { id: first.id, top: first.getBoundingClientRect().top } : null;
    };
    const scrollBack = (turns, last) => {
      const element = before.anchor && document.getElementById(before.anchor.id);
      if (!element || element.hidden) { scrollTo(0, before.y || 0); return; }
      const onPage = () => scrollY + element.getBoundingClientRect().top;
      // The element is where it was, the view is not: its reader has scrolled meanwhile.
      if (last && last.y !== scrollY && Math.abs(last.onPage - onPage()) < 1) return;
      scrollBy(0, element.getBoundingClientRect().top - before.anchor.top);
      const now = { y: scrollY, onPage: onPage() };
      // What was not drawn before may be of another height than was thought.
      if (turns > 0) requestAnimationFrame(() => scrollBack(turns - 1, now));
    };
    const moment = () => {
      const half = videos.find(video => video.currentTime > 0 && !video.ended);
      const at = document.activeElement;
      return {
        ...sign, loaded, language: root.lang, query: field.value, ground: root.dataset.ground,
        y: scrollY, anchor: anchor(),
        opened: [...document.querySelectorAll("details[open]")].map(element => element.id),
        focus: at && at.id, from: at === field ? field.selectionStart : null,
        video: half && { id: half.closest(".entry").id, time: half.currentTime },
      };
    };
    const restore = () => {
      for (const element of document.querySelectorAll("details")) element.open = opened.has(element.id);
      if (before.query) field.value = before.query;
      const choice = before.ground && document.querySelector(`.grounds input[value="${CSS.escape(before.ground)}"]`);
      if (choice) { choice.checked = true; ground(before.ground); }
      const half = before.video && document.getElementById(before.video.id)?.querySelector("video");
      if (half) { half.preload = "metadata"; half.currentTime = before.video.time; }
      const focused = before.focus && document.getElementById(before.focus);
      if (focused) focused.focus({ preventScroll: true });
      if (focused === field && before.from !== null) field.setSelectionRange(before.from, before.from);
    };
    let touched = 0;
    const isHeld = () => isPlaying() || document.fullscreenElement || document.pictureInPictureElement
      || Date.now() - touched < TOUCHED || !getSelection().isCollapsed;
    const again = () => { keep(moment()); location.reload(); };
    const tick = () => {
      count();
      keep(moment());
      if (Math.abs(Date.now() - loaded) < RELOAD || document.hidden) return;
      if (isHeld()) document.getElementById("held").hidden = false; else again();
    };

    root.classList.toggle("stale", isStale);
    document.getElementById("stale").hidden = !isStale || "ended" in top.dataset;
    restore();
    speak();
    if (field.value) search();
    scrollBack(5);
    keep(moment());
    setInterval(tick, 1000);
    document.addEventListener("visibilitychange", () => { if (!document.hidden) tick(); });
    addEventListener("pagehide", () => keep(moment()));
    for (const kind of ["keydown", "pointerdown", "input", "wheel", "touchmove"]) {
      addEventListener(kind, () => { touched = Date.now(); }, { passive: true });
    }
    field.addEventListener("input", search);
    document.addEventListener("change", event => {
      if (event.target.name === "ground") ground(event.target.value);
    });
    document.addEventListener("click", event => {
      const button = event.target.closest("button");
      if (!button) return;
      if (button.id === "refresh") again();
      if (button.id === "language") {
        root.lang = root.lang === "ko" ? "en" : "ko";
        remember(root.lang);
        speak();
        if (field.value) search();
        keep(moment());
      }
    });
  };
  document.addEventListener("DOMContentLoaded", begin);
})();
"""
)
