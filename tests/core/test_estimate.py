"""Estimates: how long a text takes to be spoken, how long its video is awaited, and how that is said."""

from __future__ import annotations

import unicodedata
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.core.batch import Request
from daemon.core.estimate import (
    FEWEST_SAMPLES,
    MOST_CHARACTERS,
    NO_EXPERIENCE,
    Experience,
    Line,
    Outlook,
    about,
    about_korean,
    learn,
    outlook,
    spoken_seconds,
)
from daemon.core.job import Job, State

if TYPE_CHECKING:
    from collections.abc import Callable

NEWS = {
    "en": "The minister said on Monday that the bridge will be closed for repairs, and asked drivers for patience. ",
    "ko": "국토교통부는 오늘 다리를 보수하기 위해 통행을 막는다고 밝혔습니다. 운전자들에게는 양해를 구했습니다. ",
    "zh": "交通部今天表示，这座大桥将因维修而关闭。司机们请耐心等待，并选择其他道路通行。",  # noqa: RUF001 - as it is written
    "ja": "国土交通省はきょう、橋の補修のため通行止めにすると発表しました。運転する人に理解を求めています。",
    "es": "El ministro dijo el lunes que el puente se cerrará por obras, y pidió paciencia a los conductores. ",
    "de": "Der Minister sagte am Montag, die Brücke werde wegen Bauarbeiten gesperrt, und bat um Geduld. ",
    "ru": "Министр сообщил в понедельник, что мост закроют на ремонт, и попросил водителей о терпении. ",  # noqa: RUF001 - as it is written
    "hi": "मंत्री ने सोमवार को कहा कि पुल मरम्मत के लिए बंद रहेगा, और चालकों से धैर्य रखने को कहा। ",
    "th": "รัฐมนตรีกล่าวเมื่อวันจันทร์ว่าสะพานจะปิดเพื่อซ่อมแซม และขอให้ผู้ขับขี่อดทน ",
    "ar": "قال الوزير يوم الاثنين إن الجسر سيغلق للصيانة، وطلب من السائقين الصبر. ",
}
"""One sentence or two, as a newsreader has them; each takes some five to ten seconds."""

PER_MINUTE: dict[str, tuple[Callable[[str], int], int, int]] = {
    "en": (lambda text: len(text.split()), 130, 170),
    "ko": (lambda text: sum("가" <= sign <= "힣" for sign in text), 255, 300),
    "zh": (lambda text: sum(unicodedata.category(sign) == "Lo" for sign in text), 215, 265),
    "ja": (lambda text: sum(unicodedata.category(sign) == "Lo" for sign in text), 260, 320),
}


@pytest.mark.parametrize("language", sorted(PER_MINUTE))
def test_running_text_is_spoken_at_the_documented_rate(language: str) -> None:
    """What a narrator says in a minute, the usual pauses in it."""
    count, least, most = PER_MINUTE[language]
    text = NEWS[language] * 10
    assert least <= count(text) / spoken_seconds(text, language) * 60 <= most


@pytest.mark.parametrize("language", sorted(NEWS))
def test_the_same_news_take_about_as_long_in_every_language(language: str) -> None:
    """Languages differ in letters and words, and hardly in how long it takes to say a thing (Coupé et al., 2019)."""
    assert 4.5 <= spoken_seconds(NEWS[language], language) <= 11.0


@pytest.mark.parametrize("language", sorted(NEWS))
def test_a_language_that_nobody_knows_is_judged_by_its_letters(language: str) -> None:
    """A code of the vendor's own, or a misspelling, makes an estimate coarser and never absurd."""
    known, unknown = (spoken_seconds(NEWS[language], code) for code in (language, "xx-vendor"))
    assert unknown == pytest.approx(known, rel=0.3)


@pytest.mark.parametrize("code", ["en", "EN", "en-US", "en_GB", " en "])
def test_a_region_does_not_change_the_language(code: str) -> None:
    """``en-US`` is English."""
    assert spoken_seconds(NEWS["en"], code) == spoken_seconds(NEWS["en"], "en")


def test_letters_that_were_taken_apart_are_the_same_letters() -> None:
    """As a Mac writes them."""
    for language, text in NEWS.items():
        apart = unicodedata.normalize("NFD", text)
        assert spoken_seconds(apart, language) == pytest.approx(spoken_seconds(text, language)), language


def test_stops_and_commas_are_rests() -> None:
    """Half a second for a stop, a sixth for a comma; a point within a number is none."""
    plain = spoken_seconds("one two three", "en")
    assert spoken_seconds("one, two three", "en") == pytest.approx(plain + 1 / 6)
    assert spoken_seconds("one. two three!", "en") == pytest.approx(plain + 1.0)
    assert spoken_seconds('"one..." two three', "en") == pytest.approx(plain + 0.5)
    assert spoken_seconds("one\ntwo\n\nthree\n", "en") == pytest.approx(plain + 2 / 6)
    assert spoken_seconds("3.5", "en") == spoken_seconds("35", "en") > 0


def test_nothing_takes_no_time() -> None:
    """Blanks are not spoken."""
    assert spoken_seconds("", "en") == 0.0
    assert spoken_seconds(" \n\t ", "ko") == 0.0


@given(st.text(), st.text(max_size=10))
def test_any_text_has_a_length(text: str, language: str) -> None:
    """Never negative, never without end, whatever somebody wrote."""
    assert 0.0 <= spoken_seconds(text, language) <= 2.0 * len(text)


def test_of_a_very_long_text_the_beginning_is_looked_at() -> None:
    """And the rest is taken to go on like that."""
    text = NEWS["en"] * (MOST_CHARACTERS // len(NEWS["en"]) + 1)
    whole, much = text[:MOST_CHARACTERS], text[:MOST_CHARACTERS] * 50
    assert spoken_seconds(much, "en") == pytest.approx(50 * spoken_seconds(whole, "en"))


# --- what the past tells --------------------------------------------------------------------------


def test_without_a_past_nobody_knows() -> None:
    """The vendor's word is quoted, as such."""
    assert learn([]) == NO_EXPERIENCE
    found = outlook([40.0], NO_EXPERIENCE, ahead=0, max_rendering=20)
    assert found.ready_seconds is None
    assert "not known yet, AI Studios says 1 to 10 minutes a video" in found.english
    assert "1~10분" in found.korean


def test_the_median_counts_where_length_says_nothing() -> None:
    """One render that took for ever spoils nothing."""
    experience = learn([(10.0, 100.0), (60.0, 110.0), (20.0, 90.0), (50.0, 100.0), (30.0, 9000.0)])
    assert (experience.count, experience.typical_seconds, experience.per_spoken_second) == (5, 100.0, None)
    assert experience.render_seconds(500.0) == 100.0


def test_renders_that_follow_the_length_are_scaled() -> None:
    """Where a second of speech takes three, two minutes take six."""
    experience = learn([(length, 3.0 * length) for length in (10.0, 20.0, 40.0, 60.0, 120.0)])
    assert experience.per_spoken_second == pytest.approx(3.0)
    assert experience.render_seconds(120.0) == pytest.approx(360.0)


def test_few_renders_prove_no_pace() -> None:
    """Two points lie on a line always."""
    samples = [(length, 3.0 * length) for length in (10.0, 100.0, 50.0, 20.0)]
    assert len(samples) < FEWEST_SAMPLES
    assert learn(samples).per_spoken_second is None


def test_a_clock_that_was_set_back_teaches_nothing() -> None:
    """A render cannot have ended before it began."""
    assert learn([(10.0, -5.0), (10.0, 60.0)]).typical_seconds == 60.0


# --- the line -------------------------------------------------------------------------------------

USUAL = Experience(10, 100.0)


def job(number: int, state: State, exported_at: float | None = None) -> Job:
    request = Request({"language": "en", "text": NEWS["en"]})
    return Job(number, 1, number, request, state, exported_at=exported_at)


def outlooks_of(*files: list[Job], is_held: bool = False, max_rendering: int = 2) -> list[Outlook]:
    line = Line(USUAL, max_rendering, now=1000.0, is_held=is_held)
    return list(line.outlooks((jobs, Counter(one.state.value for one in jobs)) for jobs in files))


@pytest.mark.parametrize(("ahead", "count", "expected"), [(0, 1, 100), (0, 2, 100), (0, 4, 200), (2, 2, 200)])
def test_what_comes_first_is_waited_for(ahead: int, count: int, expected: float) -> None:
    """With two at once, the fourth video is ready after two renders."""
    found = outlook([10.0] * count, USUAL, ahead=ahead, max_rendering=2)
    assert found.ready_seconds == expected
    assert found.spoken_seconds == 10.0 * count


def test_a_render_under_way_needs_only_the_rest() -> None:
    """And one that takes longer than usual may be ready any moment."""
    young, old = outlooks_of([job(1, State.RENDERING, 970.0)], [job(2, State.RENDERING, 500.0)])
    assert young.ready_seconds == 70.0
    assert old.ready_seconds == 0.0
    assert "ready any moment" in old.english
    assert "곧 완료" in old.korean


def test_a_file_waits_for_those_before_it() -> None:
    """In the order of their exports; what is done or failed is ahead of nobody."""
    first = [job(n, State.RENDERING, 1000.0) for n in (1, 2)] + [job(3, State.DONE), job(4, State.FAILED)]
    second = [job(5, State.QUEUED), job(6, State.QUEUED)]
    found = outlooks_of(first, second)
    assert [one.ready_seconds for one in found] == [100.0, 200.0]


def test_nothing_is_promised_while_nothing_is_ordered() -> None:
    """A pause, a daily limit: what is rendered goes on, what is queued waits, nobody knows until when."""
    moving, waiting = outlooks_of([job(1, State.RENDERING, 990.0)], [job(2, State.QUEUED)], is_held=True)
    assert moving.ready_seconds == 90.0
    assert waiting.ready_seconds is None
    assert waiting.english == f"{about(waiting.spoken_seconds)} of video"


def test_of_a_file_with_very_many_jobs_those_at_hand_stand_for_all() -> None:
    """The ledger gives the first thousands."""
    line = Line(USUAL, 2, now=0.0)
    [found] = line.outlooks([([job(1, State.QUEUED)], {"queued": 10_000})])
    assert found.spoken_seconds == pytest.approx(10_000 * spoken_seconds(NEWS["en"], "en"))


def test_a_settled_file_has_a_length_and_no_wait() -> None:
    """It is only waiting to be moved; and a file with problems has no jobs at all."""
    done, empty = outlooks_of([job(1, State.DONE)], [])
    assert (done.ready_seconds, done.is_guess) == (None, False)
    assert empty == Outlook(0.0)


# --- words ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "english", "korean"),
    [
        (0.0, "about 1 s", "약 1초"),
        (7.4, "about 7 s", "약 7초"),
        (41.0, "about 40 s", "약 40초"),
        (119.0, "about 2 minutes", "약 2분"),
        (178.0, "about 3 minutes", "약 3분"),
        (7190.0, "about 2 h", "약 2시간"),
        (9100.0, "about 2 h 30 min", "약 2시간 30분"),
    ],
)
def test_times_are_told_as_people_tell_them(seconds: float, english: str, korean: str) -> None:
    """Nobody believes a second in an hour."""
    assert (about(seconds), about_korean(seconds)) == (english, korean)


def test_the_words_of_an_outlook() -> None:
    """The very words that were asked for."""
    found = Outlook(40.0, 180.0)
    assert found.english == "about 40 s of video, ready in about 3 minutes"
    assert found.korean == "영상 약 40초, 약 3분 후 완료 예상"
    assert replace(found, ready_seconds=None).english == "about 40 s of video"
