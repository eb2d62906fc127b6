"""Names: safe on every system, never too long, never two for one."""

from __future__ import annotations

import os
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.core.video_name import (
    MAX_STEM_BYTES,
    check_template,
    default_template,
    named_stem,
    numbered,
    safe_extension,
    safe_stem,
    url_name,
    video_stem,
)

WORDS = {
    "file": "spring",
    "n": 2,
    "url": "abc.mp4",
    "project": "p1",
    "model": "M1",
    "language": "en",
}
RESERVED = {"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"} | {
    f"{port}{digit}" for port in ("COM", "LPT") for digit in "0123456789¹²³"
}


def stem(template: str, **words: str | int) -> str:
    """A video's stem from ordinary words, some of them replaced."""
    return video_stem(template, **{**WORDS, **words})  # type: ignore[arg-type]


# --- stems ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("hello", "hello"),
        ("Frühling 한글 😀", "Frühling 한글 😀"),
        ("e\u0301", "é"),
        ('a<b>c:d"e/f\\g|h?i*j', "a_b_c_d_e_f_g_h_i_j"),
        ("a\nb\tc\x1bd\x7fe\x85f", "a_b_c_d_e_f"),
        ("a\udcffb\ud800c", "a_b_c"),
        ("a\u2028b\ufffec\ue000d\U000e0fffe", "a_b_c_d_e"),
        ("invoice\u202egpj.exe", "invoicegpj.exe"),
        ("a\u200bb\ufeffc\u2066d", "abcd"),
        ("..hidden", "hidden"),
        ("  . .x. . ", "x"),
        ("hello\n", "hello"),
        ("x...", "x"),
        ("\u3000x\u00a0", "x"),
        ("a b", "a b"),
        ("-rf", "-rf"),
        ("", "video"),
        ("...", "video"),
        (" \u200b. ", "video"),
        ("../../etc/passwd", "_.._etc_passwd"),
        ("C:\\x", "C__x"),
    ],
)
def test_safe_stems(text: str, safe: str) -> None:
    """What some system refuses becomes ``_``, what is only there to deceive the eye goes, the rest stays."""
    assert safe_stem(text) == safe


@pytest.mark.parametrize(
    "reserved",
    ["CON", "con", "Prn", "AUX", "nul", "COM1", "com0", "LPT9", "COM¹", "lpt³", "CONIN$", "conout$", "clock$"],
)
def test_reserved_names_get_a_prefix(reserved: str) -> None:
    """Windows opens a device instead, whatever stands behind a dot."""
    assert safe_stem(reserved) == f"_{reserved}"
    assert safe_stem(f"{reserved}.x.y") == f"_{reserved}.x.y"
    assert safe_stem(f"{reserved} .x") == f"_{reserved} .x"
    assert safe_stem(f"{reserved}x") == f"{reserved}x"


@pytest.mark.parametrize(
    ("text", "max_bytes", "safe"),
    [
        ("한" * 100, 180, "한" * 60),
        ("한" * 100, 179, "한" * 59),
        ("😀" * 3, 11, "😀" * 2),
        ("abcdefg . hij", 10, "abcdefg"),
        ("CONSOLES", 3, "_CO"),
    ],
)
def test_stems_are_bounded_in_bytes(text: str, max_bytes: int, safe: str) -> None:
    """No character is cut, and what the cut lays bare is made safe too."""
    assert safe_stem(text, max_bytes) == safe


@pytest.mark.parametrize(
    ("name", "extension", "named"),
    [
        ("Hello", ".mp4", "Hello"),
        ("Hello.mp4", ".mp4", "Hello"),
        ("Hello.MP4", ".mp4", "Hello"),
        ("v1.5", ".mp4", "v1.5"),
        ("Hello.mp4", ".webm", "Hello.mp4"),
        ("a/b", ".mp4", "a_b"),
        (".mp4", ".mp4", "video"),
    ],
)
def test_named_stems(name: str, extension: str, named: str) -> None:
    """A person may write the extension; it is not there twice then."""
    assert named_stem(name, extension) == named


# --- URLs -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "name", "extension"),
    [
        ("https://h/a/b/abc.mp4?X-Sig=a/b.webm#f", "abc.mp4", ".mp4"),
        ("https://h/a/ABC.MP4", "ABC.MP4", ".mp4"),
        ("https://h/abc.webm", "abc.webm", ".webm"),
        ("https://h/a%20b%C3%A9.mov", "a bé.mov", ".mov"),
        ("https://h/o/videos%2Fabc.mp4", "abc.mp4", ".mp4"),
        ("https://h/a%5C..%5Cx.mp4", "x.mp4", ".mp4"),
        ("https://h/a/%2e%2e", "a", ".mp4"),
        ("https://h/a.mp4/", "a.mp4", ".mp4"),
        ("https://h", "", ".mp4"),
        ("https://h/..", "", ".mp4"),
        ("https://h/abc", "abc", ".mp4"),
        ("https://h/abc.averylongone", "abc.averylongone", ".mp4"),
        ("https://h/abc.m_4", "abc.m_4", ".mp4"),
        ("https://h/abc.mp4\u0661", "abc.mp4\u0661", ".mp4"),
        ("https://h/%FF.mp4", "\ufffd.mp4", ".mp4"),
        ("https://[x/abc.mp4", "", ".mp4"),
    ],
)
def test_url_names(url: str, name: str, extension: str) -> None:
    """The last segment of the path, never the query, never a folder."""
    assert url_name(url) == name
    assert safe_extension(url_name(url)) == extension


# --- templates --------------------------------------------------------------------------------------------------


def test_default_templates() -> None:
    """One job needs no number."""
    assert default_template(1) == "{file}"
    assert default_template(2) == "{file}-{n}"
    assert check_template(default_template(1)) == check_template(default_template(2)) == []


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("{file}", "spring"),
        ("{file}-{n}", "spring-2"),
        ("{url}", "abc"),
        ("{project}_{model}_{language}", "p1_M1_en"),
        ("{{{file}}}", "{spring}"),
        ("{{file}}", "{file}"),
        ("plain", "plain"),
        ("{n}{n}", "22"),
        ("{file}: {n}?", "spring_ 2_"),
    ],
)
def test_templates(template: str, name: str) -> None:
    """Fields are filled in, doubled braces are braces, and the whole is made safe."""
    assert check_template(template) == []
    assert stem(template) == name


@pytest.mark.parametrize(
    ("template", "part"),
    [
        ("", "empty"),
        ("  ", "empty"),
        ("a/{file}", "must not contain /"),
        ("a\\{file}", "must not contain /"),
        ("{fil}", "Did you mean 'file'?"),
        ("{File}", "Did you mean 'file'?"),
        ("{n:03}", "{n:03} is not known"),
        ("{}", "{} is not known"),
        ("{file", "a { stands alone"),
        ("file}", "a } stands alone"),
    ],
)
def test_wrong_templates(template: str, part: str) -> None:
    """What is wrong is told in words, and such a template names nothing."""
    (problem,) = check_template(template)
    assert part in problem
    with pytest.raises(ValueError, match=r"\S"):
        stem(template)


def test_all_problems_of_a_template_are_told() -> None:
    """One look is enough to mend it."""
    assert len(check_template("{a}/{b}{")) == 4


@pytest.mark.parametrize("letter", ["a", "한", "\udcff", "😀", "*"])
def test_a_long_value_gives_way_to_the_number(letter: str) -> None:
    """However long the file's name is, its videos stay apart."""
    long = letter * 250
    name = stem("{file}-{n}", file=long, n=1234)
    assert name.endswith("-1234")
    assert MAX_STEM_BYTES - 4 <= len(name.encode()) <= MAX_STEM_BYTES
    twice = stem("{file}{file}-{model}-{n}", file=long, model=long, n=7)
    assert twice.endswith("-7")
    assert len(twice.encode()) <= MAX_STEM_BYTES


def test_a_long_template_is_cut() -> None:
    """There is nothing else to give way."""
    assert stem("x" * 300 + "{n}") == "x" * MAX_STEM_BYTES


# --- numbers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "number", "result"),
    [
        ("x.yaml", 1, "x.yaml"),
        ("x.yaml", 2, "x (2).yaml"),
        ("x.y.yaml", 13, "x.y (13).yaml"),
        ("x", 2, "x (2)"),
        ("x.", 2, "x (2)."),
        (".yaml", 2, ".yaml (2)"),
        ("..yaml", 2, "..yaml (2)"),
        ("Mr. Averylongnamewithoutend", 2, "Mr. Averylongnamewithoutend (2)"),
        ("\udcff\n.yml", 2, "\udcff\n (2).yml"),
    ],
)
def test_numbers_stand_before_the_extension(name: str, number: int, result: str) -> None:
    """A taken name gets a number, and is not changed otherwise."""
    assert numbered(name, number) == result


@pytest.mark.parametrize("letter", ["a", "한", "\udcff", "😀"])
@pytest.mark.parametrize("number", [1, 2, 12345])
@pytest.mark.parametrize("room_for", ["", ".result.json"])
def test_long_names_are_shortened(letter: str, number: int, room_for: str) -> None:
    """They fit with what is put behind them, keep number and extension, and stay different."""
    names = [letter * 400 + last + ".yaml" for last in "xy"]
    shortened = [numbered(name, number, room_for=room_for) for name in names]
    assert len(set(shortened)) == 2
    for name in shortened:
        assert 251 <= len(os.fsencode(name + room_for)) <= 255
        assert name.startswith(letter * 20)
        assert name.endswith((f" ({number})" if number > 1 else "") + ".yaml")
        assert numbered(name, 1, room_for=room_for) == name


def test_surrogates_that_stand_for_no_byte_are_counted_too() -> None:
    """No file has such a name, so nothing more than an end is asked for."""
    assert numbered("\ud800" * 200 + ".yaml", 1).endswith(".yaml")


def test_all_files_of_a_batch_share_a_stem() -> None:
    """NAME.yaml, NAME.yaml.result.json, and NAME.yaml.error.txt fit and sort together."""
    base = numbered("a" * 250 + ".yaml", 2, room_for=".result.json")
    assert all(len(base + suffix) <= 255 for suffix in ("", ".result.json", ".error.txt"))
    assert base.endswith(" (2).yaml")


# --- properties -------------------------------------------------------------------------------------------------

ANY = st.text() | st.text(st.sampled_from("conCON.: \u202e\udcff\ud800e\u0301한/\\1¹"), max_size=80)


def is_safe(name: str) -> bool:
    """Whether every system takes the name as it is."""
    return (
        name == unicodedata.normalize("NFC", name)
        and name.strip(" .") == name != ""
        and name.partition(".")[0].rstrip().upper() not in RESERVED
        and not any(
            character in '<>:"/\\|?*' or unicodedata.category(character) in {"Cc", "Cf", "Cs", "Cn", "Zl", "Zp"}
            for character in name
        )
    )


@given(ANY, st.integers(8, 255))
def test_stems_are_always_safe_and_bounded(text: str, max_bytes: int) -> None:
    """Whatever comes in; and what is safe stays as it is."""
    name = safe_stem(text, max_bytes)
    assert is_safe(name)
    assert len(name.encode()) <= max_bytes
    assert safe_stem(name, max_bytes) == name


@given(ANY, ANY, ANY, ANY, ANY, st.integers(1, 10**6))
def test_filled_templates_are_always_safe_and_bounded(
    file: str, url: str, project: str, model: str, language: str, n: int
) -> None:
    """Whatever the fields hold."""
    name = video_stem(
        "{file}{url}.{project} {model}-{language}-{n}",
        file=file,
        n=n,
        url=url,
        project=project,
        model=model,
        language=language,
    )
    assert is_safe(name)
    assert len(name.encode()) <= MAX_STEM_BYTES
    assert name.endswith(f"-{n}")


@given(ANY)
def test_url_names_never_leave_the_folder(path: str) -> None:
    """Nothing in a URL is a path for us."""
    name = url_name(f"https://h/{path}")
    assert not {"/", "\\"} & set(name)
    assert name not in {".", ".."}
    assert safe_extension(name)[1:].isalnum()


@given(st.text(st.characters(exclude_categories=["Cs"])).map(str.strip), st.text(max_size=20))
def test_templates_are_told_or_filled(before: str, inside: str) -> None:
    """A template that nothing is said about names a video; the check never raises."""
    template = f"{before}{{{inside}}}"
    if not check_template(template):
        assert is_safe(stem(template))


@given(st.binary(min_size=1, max_size=300).map(os.fsdecode), st.integers(1, 9999), st.integers(64, 255))
def test_numbered_names_are_bounded_and_apart(name: str, number: int, max_bytes: int) -> None:
    """Any bytes are a name; each number makes another."""
    result = numbered(name, number, max_bytes, room_for=".result.json")
    assert len(os.fsencode(result + ".result.json")) <= max_bytes
    assert result != numbered(name, number + 1, max_bytes, room_for=".result.json")
    if number == 1 and len(os.fsencode(name)) <= max_bytes - 12:
        assert result == name
