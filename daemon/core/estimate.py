"""How long a text takes to be spoken, and how long its video will be awaited: estimates, for people and for limits.

**Spoken seconds.** A voice that narrates, in units of the script: syllables of Hangul, characters of Chinese and
Japanese, letters of all other writing. Letters, for among alphabets they differ less than words do (IReST, below).

========  ===========================  ==========================================================================
language  a minute                     from
========  ===========================  ==========================================================================
en        650 letters (150 words)      narrators and audiobooks, 150 words (National Center for Voice and Speech);
                                       987 letters and 228 words were read aloud in a minute by IReST's readers
others    their letters by IReST,      ar 400, de 610, es 670, fi 710, fr 660, he 550, it 620, nl 640, pl 600,
          times 150 / 228              pt 600, ru 650, sl 580, sv 600, tr 690
ko        280 syllables                7.1 read in a second (Coupé et al.), slowed down as English is
zh        245 characters               what listeners follow well, 240 to 250; news, 250 to 270
ja        300 characters               broadcasters' rule of thumb
script    630 letters                  any other language: what its letters belong to; Arabic 400, Hebrew 550
========  ===========================  ==========================================================================

IReST: Trauzettel-Klosinski and Dietz, Invest. Ophthalmol. Vis. Sci. 2012;53(9):5452, https://doi.org/10.1167/iovs.11-8284.
Coupé, Oh, Dediu, Pellegrino, Science Advances 2019;5(9), https://doi.org/10.1126/sciadv.aaw2594.
These figures have the usual pauses in them. Between its pauses a voice is an eighth faster, and it rests for half a
second where a sentence ends, a sixth where a comma stands (DECtalk's defaults). A digit or a sign such as % is a short
word. Expect to be wrong by a fifth either way: models differ as people do.

**Render time.** The median of what this ledger's last renders took; by the second of speech where that fits better.
Before there are any, nobody knows: the vendor says 1 to 10 minutes a video.
"""

from __future__ import annotations

import re
import statistics
import unicodedata
from collections import Counter
from typing import TYPE_CHECKING, Final

from daemon.core.job import State
from daemon.core.record import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from daemon.core.batch import Request
    from daemon.core.job import Job

MOST_CHARACTERS: Final = 20_000
"""So much of a text is looked at; what is longer is taken to go on like that."""
MOST_SAMPLES: Final = 200
"""So many of the last renders count."""
FEWEST_SAMPLES: Final = 5
"""From so many on it is asked whether longer texts take longer."""
VENDORS_WORD: Final = "AI Studios says 1 to 10 minutes a video"
VENDORS_WORD_KOREAN: Final = "AI Studios에 따르면 영상당 1~10분"

LATIN, CYRILLIC, GREEK, ARABIC, HEBREW = "Latin", "Cyrillic", "Greek", "Arabic", "Hebrew"
HANGUL, HAN, KANA, OTHER = "Hangul", "Han", "Kana", "other"

_SCRIPTS: Final = (  # first code point, last one (The Unicode Standard, Blocks.txt)
    (0x0041, 0x024F, LATIN),
    (0x0370, 0x03FF, GREEK),
    (0x0400, 0x052F, CYRILLIC),
    (0x0590, 0x05FF, HEBREW),
    (0x0600, 0x077F, ARABIC),
    (0x1100, 0x11FF, HANGUL),
    (0x1E00, 0x1EFF, LATIN),
    (0x3005, 0x3007, HAN),
    (0x3040, 0x30FF, KANA),
    (0x3130, 0x318F, HANGUL),
    (0x3400, 0x9FFF, HAN),
    (0xAC00, 0xD7A3, HANGUL),
    (0xF900, 0xFAFF, HAN),
    (0xFB50, 0xFDFF, ARABIC),
    (0xFF21, 0xFF5A, LATIN),
    (0xFF66, 0xFF9D, KANA),
    (0x20000, 0x3FFFF, HAN),
)
_BY_SCRIPT: Final = {HANGUL: 280.0, HAN: 245.0, KANA: 300.0, ARABIC: 400.0, HEBREW: 550.0}
_DEFAULT: Final = 630.0
_BY_LANGUAGE: Final[Mapping[str, Mapping[str, float]]] = {
    "ar": {ARABIC: 400.0},
    "de": {LATIN: 610.0},
    "en": {LATIN: 650.0},
    "es": {LATIN: 670.0},
    "fi": {LATIN: 710.0},
    "fr": {LATIN: 660.0},
    "he": {HEBREW: 550.0},
    "it": {LATIN: 620.0},
    "ja": {KANA: 300.0, HAN: 300.0},
    "ko": {HANGUL: 280.0, HAN: 280.0},
    "nl": {LATIN: 640.0},
    "pl": {LATIN: 600.0},
    "pt": {LATIN: 600.0},
    "ru": {CYRILLIC: 650.0},
    "sl": {LATIN: 580.0},
    "sv": {LATIN: 600.0},
    "tr": {LATIN: 690.0},
    "zh": {HAN: 245.0},
}

_FASTER: Final = 1.125
_STOP_SECONDS: Final = 0.5
_COMMA_SECONDS: Final = 1 / 6
_SIGN_SECONDS: Final = 0.35
_SIGNS: Final = frozenset("%&@#°")
# Runs that begin where none has begun, so that no character is looked at twice. A full stop in 3.5 is none; those of
# Chinese, Japanese, Arabic, and Indic writing need no blank behind them.
_STOP: Final = re.compile(
    r"""(?<![.!?\u2026])[.!?\u2026]++(?=["'\u201d\u2019\xbb)\]]{0,3}(?:\s|$))"""
    r"|(?<![\u3002\uff01\uff1f\uff61\u061f\u0964])[\u3002\uff01\uff1f\uff61\u061f\u0964]++"
)
_COMMA: Final = re.compile(r"(?<![,;:\u2013\u2014-])[,;:\u2013\u2014-]++(?=\s|$)|[\u3001\uff0c\uff1b\uff1a\u060c]")
_FIRST_MARK, _LAST_MARK = 0x0900, 0xFE00  # vowels of Indic and Thai writing; before them stand mere accents


# --- spoken seconds -------------------------------------------------------------------------------


def spoken_seconds(text: str, language: str) -> float:
    """How long it takes to say a text.

    Args:
        text: what is said.
        language: as a job names it, such as ``ko`` or ``en-US``; any word will do.
    """
    seen = unicodedata.normalize("NFC", text[:MOST_CHARACTERS])  # a Mac takes letters apart
    share = len(text) / MOST_CHARACTERS if len(text) > MOST_CHARACTERS else 1.0
    rates = _BY_LANGUAGE.get(re.split(r"[-_]", language.strip().lower()[:40], maxsplit=1)[0], {})
    sounds = sum(count * _seconds_of(sign, rates) for sign, count in Counter(seen).items())
    return share * (sounds + _pauses(seen))


def spoken_seconds_of(request: Request) -> float:
    """How long it takes to say what a job asks for."""
    return spoken_seconds(str(request.body.get("text", "")), str(request.body.get("language", "")))


def _seconds_of(sign: str, rates: Mapping[str, float]) -> float:
    category = unicodedata.category(sign)
    if category[0] == "N" or category in {"Sc", "Sm"} or sign in _SIGNS:
        return _SIGN_SECONDS
    if category[0] == "L" or (category[0] == "M" and _FIRST_MARK <= ord(sign) < _LAST_MARK):
        script = _script(ord(sign))
        return 60.0 / (_FASTER * (rates.get(script) or _BY_SCRIPT.get(script, _DEFAULT)))
    return 0.0


def _script(code: int) -> str:
    return next((script for first, last, script in _SCRIPTS if first <= code <= last), OTHER)


def _pauses(text: str) -> float:
    """Where a line ends without a stop there is a short rest: texts are broken for the eye, too."""
    stops = sum(1 for _ in _STOP.finditer(text))
    commas = sum(1 for _ in _COMMA.finditer(text))
    lines = [line for line in text.splitlines() if line and not line.isspace()]
    return _STOP_SECONDS * stops + _COMMA_SECONDS * (commas + max(0, len(lines) - 1))


# --- what the past tells --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Experience:
    """What renders took.

    Attributes:
        count: of the renders that it is made of.
        typical_seconds: of one render, from its acceptance until its video is there; 0 without any.
        per_spoken_second: such seconds for each second of speech, where they fit better; else None.
    """

    count: int = 0
    typical_seconds: float = 0.0
    per_spoken_second: float | None = None

    def render_seconds(self, spoken: float) -> float:
        """How long a render of so many spoken seconds will take."""
        return self.typical_seconds if self.per_spoken_second is None else self.per_spoken_second * spoken


NO_EXPERIENCE: Final = Experience()


def learn(samples: Sequence[tuple[float, float]]) -> Experience:
    """What the last renders tell.

    Args:
        samples: spoken seconds, and the seconds that the render took.
    """
    found = [(spoken, took) for spoken, took in samples[:MOST_SAMPLES] if took >= 0.0]
    if not found:
        return NO_EXPERIENCE
    typical = statistics.median(took for _spoken, took in found)
    spoken = [pair for pair in found if pair[0] > 0.0]
    pace = statistics.median(took / length for length, took in spoken) if spoken else 0.0
    even = sum(abs(took - typical) for _length, took in found)
    scaled = sum(abs(took - pace * length) for length, took in found)
    is_scaled = len(found) >= FEWEST_SAMPLES and scaled < even
    return Experience(len(found), typical, pace if is_scaled else None)


@dataclass(frozen=True, slots=True)
class Outlook:
    """What can be expected of one job file.

    Attributes:
        spoken_seconds: of all its videos together.
        ready_seconds: until the last of them is there; None where that cannot be told.
        is_guess: there is no experience yet.
    """

    spoken_seconds: float
    ready_seconds: float | None = None
    is_guess: bool = False

    @property
    def english(self) -> str:
        """In a few words, such as ``about 40 s of video, ready in about 3 minutes``."""
        words = f"{about(self.spoken_seconds)} of video"
        if self.ready_seconds is not None:
            words += ", ready any moment" if self.ready_seconds <= 0 else f", ready in {about(self.ready_seconds)}"
        elif self.is_guess:
            words += f"; how long it takes is not known yet, {VENDORS_WORD}"
        return words

    @property
    def korean(self) -> str:
        """The same in Korean."""
        words = f"영상 {about_korean(self.spoken_seconds)}"
        if self.ready_seconds is not None:
            when = "곧 완료" if self.ready_seconds <= 0 else f"{about_korean(self.ready_seconds)} 후 완료 예상"
            words += f", {when}"
        elif self.is_guess:
            words += f", 소요 시간은 아직 알 수 없음 ({VENDORS_WORD_KOREAN})"
        return words


def outlook(spoken: Sequence[float], experience: Experience, *, ahead: int, max_rendering: int) -> Outlook:
    """What can be expected of videos that come behind all that is in work.

    Args:
        spoken: seconds of each.
        experience: of this ledger.
        ahead: videos that come first, those that are rendered now among them.
        max_rendering: as many at once are rendered.
    """
    total = sum(spoken)
    if not experience.count:
        return Outlook(total, None, is_guess=True)
    wait = _wait(ahead + len(spoken), experience, max_rendering)
    return Outlook(total, wait + experience.render_seconds(max(spoken, default=0.0)))


def _wait(place: int, experience: Experience, max_rendering: int) -> float:
    """How long the so-manieth in line waits until its render begins."""
    return max(0, place - max_rendering) / max_rendering * experience.typical_seconds


@dataclass(frozen=True, slots=True)
class Line:
    """What stands in line.

    Attributes:
        experience: of this ledger.
        max_rendering: as many at once are rendered.
        now: wall-clock seconds.
        is_held: nothing new is ordered now, so that nobody knows when what is queued will be ready.
    """

    experience: Experience
    max_rendering: int
    now: float
    is_held: bool = False

    def outlooks(self, files: Iterable[tuple[Sequence[Job], Mapping[str, int]]]) -> Iterator[Outlook]:
        """What can be expected of each file, in the order of their exports.

        Args:
            files: those of its jobs that are at hand, and how many of all of them are in each state.
        """
        ahead = 0
        for jobs, counts in files:
            unsettled = sum(counts.get(state, 0) for state in (State.QUEUED, State.EXPORTING, State.RENDERING))
            yield self._outlook(jobs, counts, ahead + unsettled)
            ahead += unsettled

    def _outlook(self, jobs: Sequence[Job], counts: Mapping[str, int], place: int) -> Outlook:
        spoken = {job.id: spoken_seconds_of(job.request) for job in jobs}
        total = sum(spoken.values()) * (sum(counts.values()) / len(spoken) if spoken else 0.0)
        moving = [job for job in jobs if job.state in {State.EXPORTING, State.RENDERING}]
        has_queued = bool(counts.get(State.QUEUED))
        if not (moving or has_queued):
            return Outlook(total)
        if not self.experience.count or (has_queued and self.is_held):
            return Outlook(total, None, is_guess=not self.experience.count)
        left = [self._left(job, spoken[job.id]) for job in moving]
        if has_queued:
            longest = max((spoken[job.id] for job in jobs if job.state is State.QUEUED), default=0.0)
            wait = _wait(place, self.experience, self.max_rendering)
            left.append(wait + self.experience.render_seconds(longest))
        return Outlook(total, max(left))

    def _left(self, job: Job, spoken: float) -> float:
        elapsed = 0.0 if job.exported_at is None else max(0.0, self.now - job.exported_at)
        return max(0.0, self.experience.render_seconds(spoken) - elapsed)


# --- words ----------------------------------------------------------------------------------------

_MINUTE, _HOUR = 60, 3600
_FINE, _COARSE = 20, 120  # from so many seconds on they are told by fives, and from so many on by minutes


def about(seconds: float) -> str:
    """A time as people say it, such as ``about 3 minutes``."""
    count, unit, rest = _rounded(seconds)
    if unit == "s":
        return f"about {count} s"
    if unit == "min":
        return f"about {count} minutes"
    return f"about {count:,} h" + (f" {rest} min" if rest else "")


def about_korean(seconds: float) -> str:
    """The same in Korean."""
    count, unit, rest = _rounded(seconds)
    if unit == "s":
        return f"약 {count}초"
    if unit == "min":
        return f"약 {count}분"
    return f"약 {count:,}시간" + (f" {rest}분" if rest else "")


def _rounded(seconds: float) -> tuple[int, str, int]:
    if seconds < _COARSE - 2.5:
        step = 1 if seconds < _FINE else 5
        return max(1, step * round(seconds / step)), "s", 0
    minutes = round(seconds / _MINUTE)
    if minutes < 2 * _MINUTE:
        return minutes, "min", 0
    tens = round(seconds / (10 * _MINUTE))
    return tens // 6, "h", tens % 6 * 10
