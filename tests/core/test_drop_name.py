"""Which names are drops."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.core.drop_name import Kind, folders_of, is_ignored_folder, kind


@pytest.mark.parametrize(
    "name",
    [
        "a.yaml",
        "a.yml",
        "Job.YAML",
        "spring/day 1/a.Yml",
        "-x.yaml",
        "'\".yaml",
        "a\nb.yaml",
        "a\x1b[31m.yaml",
        "\udcff.yaml",
        "cafe\u0301.yaml",
        "x.part.yaml",
        "#x.yaml",
        "x (1).yaml",
        "x - Copy.yaml",
        "a" * 250 + ".yaml",
    ],
)
def test_yaml_names_are_drops(name: str) -> None:
    """Names that end in .yaml or .yml in any case are drops, whatever else is in them."""
    assert kind(name) is Kind.DROP


@pytest.mark.parametrize(
    "name",
    [
        "._x.yaml",
        ".x.yaml.Xy12Zz",
        ".DS_Store",
        ".#x.yaml",
        "#x.yaml#",
        "~$x.yaml",
        "x.yaml~",
        "x.yaml.part",
        "x.yaml.partial",
        "x.yaml.tmp",
        "x.yaml.crdownload",
        ".x.yaml.swp",
        "4913",
        "Thumbs.db",
        "desktop.ini",
        ".nfs000",
        ".smbdeleteAAA1",
        ".syncthing.x.yaml.tmp",
        ".yaml",
        "notes.md",
        "yaml",
        "@eaDir/x.yaml",
        "a/.stversions/x.yaml",
        "__MACOSX/x.yaml",
        ".Trash-1000/files/x.yaml",
        ".~tmp~/x.yaml",
        "#recycle/x.yaml",
        "$RECYCLE.BIN/x.yaml",
    ],
)
def test_what_programs_leave_for_themselves_is_ignored(name: str) -> None:
    """Temporary, hidden, and lock files, and all that lies in folders of bins and versions, are no drops."""
    assert kind(name) is Kind.IGNORED


@pytest.mark.parametrize(
    "name",
    [
        "x (John's conflicted copy 2024-01-02).yaml",
        "a/x (conflicted copy 2024-01-02 123456).yaml",
        "x (MacBook (2)'s conflicted copy 2024-01-02) (1).yaml",
        "x (Case Conflict).yaml",
        "x (case clash from anna).yml",
        "x (SFConflict anna@example.com 2024-01-02-12-34-56).yaml",
        "x.sync-conflict-20240102-123456-ABCDEFG.yaml",
        "x_conflict-20240102-123456.yaml",
        "x_DiskStation_Jan-09-1234-2020_Conflict.yaml",
        "x.Conflict.yaml",
        "x [conflicted].yaml",
        "x-DESKTOP-AB12345.yaml",
        "x-LAPTOP-AB123456-2.yaml",
        "x-WIN-AB123456789.yaml",
        "x (conflicted copy 2026-11-23).yaml",
        "x (conflicted copy anna 2026-11-23 101010).yaml",
        "x (Case Conflict (1)).yaml",
        "x (Unicode Encoding Conflict).yaml",
        "x (conflicted).yaml",
        "x.conflict1.yaml",
        "x-anna-pc-safeBackup-0001.yaml",
        "x.sync-conflict-20261123-101010.yaml",
        "x (In Konflikt stehende Kopie von Anna 2026-11-23).yaml",
        "x (Annas in Konflikt stehende Kopie 2026-11-23) (1).yaml",
        "x (Copie en conflit de Anna 2026-11-23).yaml",
        "x (Copia en conflicto de Ana 2026-11-23).yaml",
        "x (Conflicto de mayúsculas y minúsculas (1)).yaml",
        "x (Copia in conflitto di MBP-di-Marco 2026-11-23).yaml",
        "x (Cópia em conflito de Ana 2026-11-23).yaml",
        "x (kopia powodująca konflikt użytkownika Jan 2026-11-23).yaml",
        "x (Конфликтующая копия пользователя Анна 2026-11-23).yaml",
        "광고 (김의 충돌된 사본 2026-11-23).yaml",
        "광고 (충돌된 사본).yml",
        "x (平川 の競合コピー 2026-11-23).yaml",
        "x (某人的冲突副本 2026-11-23).yaml",
        "x (某人的衝突複本 2026-11-23).yaml",
    ],
)
def test_conflict_copies_are_told_from_drops(name: str) -> None:
    """The copies that synchronising programs make of a file that two people changed are not run.

    Nor where a Mac took the letters of the name apart, as HFS+ and rsync from it do.
    """
    assert kind(name) is Kind.CONFLICT
    assert kind(unicodedata.normalize("NFD", name)) is Kind.CONFLICT


@pytest.mark.parametrize(
    "name",
    [
        "conflict.yaml",
        "the conflicted copy.yaml",
        "conflict (part 2).yaml",
        "school-conflict-2024.yaml",
        "x-desktop-tourism.yaml",
        "x-DESKTOP-ABC.yaml",
        "x-OFFICE.yaml",
        "x-win-win.yaml",
        "x (1).yaml",
        "x(1).yaml",
        "x 2.yaml",
        "x_conf(1).yaml",
        "x (Kopie).yaml",
        "x - 복사본.yaml",
        "충돌된 사본.yaml",
        "충돌 (2부).yaml",
        "conflicted.yaml",
        "x safeBackup.yaml",
        "DESKTOP-AB12345/x.yaml",
        "x (conflicted copy)/y.yaml",
        "merge [conflict resolved]/x.yaml",
    ],
)
def test_innocent_names_are_no_conflict_copies(name: str) -> None:
    """A word in a person's own name for a file does not make it a conflict copy."""
    assert kind(name) is Kind.DROP


def test_pause_is_one_exact_name_at_the_top() -> None:
    """Only ``PAUSE`` in inbox/ itself pauses."""
    assert kind("PAUSE") is Kind.PAUSE
    assert {kind("a/PAUSE"), kind("pause"), kind("PAUSE.txt")} == {Kind.IGNORED}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.csv", Kind.DROP),
        ("spring/A.CSV", Kind.DROP),
        ("hello.txt", Kind.DROP),
        ("spring/안녕.TXT", Kind.DROP),
        ("readme of mine.txt", Kind.DROP),
        ("README.txt", Kind.IGNORED),
        ("spring/ReadMe (2).TXT", Kind.IGNORED),
        ("HOWTO.txt", Kind.IGNORED),
        ("PAUSE.txt", Kind.IGNORED),
        ("example.yaml.txt", Kind.IGNORED),
        ("a.yml.txt", Kind.IGNORED),
        ("a.csv.txt", Kind.IGNORED),
        ("a.yaml.error.txt", Kind.IGNORED),
        ("_defaults.txt", Kind.IGNORED),
        ("_defaults.csv", Kind.IGNORED),
        ("_defaults.yaml.txt", Kind.IGNORED),
        ("~$a.csv", Kind.IGNORED),
        (".a.txt", Kind.IGNORED),
        ("__MACOSX/a.csv", Kind.IGNORED),
        ("@eaDir/_defaults.yaml", Kind.IGNORED),
        ("a.tsv", Kind.IGNORED),
        ("_defaults.yaml", Kind.DEFAULTS),
        ("spring/_DEFAULTS.Yml", Kind.DEFAULTS),
        ("x_defaults.yaml", Kind.DROP),
        ("_defaults (2).yaml", Kind.IGNORED),
        ("_defaults (conflicted copy 2024-01-02).yaml", Kind.CONFLICT),
        ("a (conflicted copy 2024-01-02).csv", Kind.CONFLICT),
        ("a.csv.result.csv", Kind.RESULT),
        ("spring/a.csv.result - Copy (2).csv", Kind.RESULT),
        ("a.csv.result(1).csv", Kind.RESULT),
        ("a.csv.result - 복사본.csv", Kind.RESULT),
        (unicodedata.normalize("NFD", "a.csv.result - 복사본.csv"), Kind.RESULT),
        ("the result.csv", Kind.DROP),
        ("a.csv.result.json", Kind.IGNORED),
    ],
)
def test_tables_texts_and_defaults(name: str, expected: Kind) -> None:
    """Tables and texts are drops but for what people and chromadrop lay there to be read; results are never any."""
    assert kind(name) is expected


COPIED = [" - Copy", " - Copy (2)", " (1)", "(1)", "_1", " - 복사본", " - 복사본 (2)", " - Kopie", " copy", " copy 2"]


@pytest.mark.parametrize("copied", COPIED)
@pytest.mark.parametrize(
    ("stem", "ending", "expected"),
    [
        ("hello.txt.error", ".txt", Kind.IGNORED),
        ("spring/hello.yaml.error", ".TXT", Kind.IGNORED),
        ("example.yaml", ".txt", Kind.IGNORED),
        ("HOWTO", ".txt", Kind.IGNORED),
        ("README", ".txt", Kind.IGNORED),
        ("PAUSE", ".txt", Kind.IGNORED),
        ("x.csv.result", ".csv", Kind.RESULT),
        ("_defaults", ".yaml", Kind.IGNORED),
        ("spring/_Defaults", ".YML", Kind.IGNORED),
        ("_defaults", ".csv", Kind.IGNORED),
        ("_defaults", ".txt", Kind.IGNORED),
        ("hello", ".txt", Kind.DROP),
        ("x", ".csv", Kind.DROP),
        ("x", ".yaml", Kind.DROP),
        ("x.csv.result of mine", ".csv", Kind.DROP),
        ("readme of mine", ".txt", Kind.DROP),
    ],
)
def test_a_copy_of_what_is_no_drop_is_none(stem: str, ending: str, expected: Kind, copied: str) -> None:
    """However a system names it: our own texts, put into a folder with defaults, would be spoken, and paid."""
    assert kind(f"{stem}{copied}{ending}") is expected
    assert kind(unicodedata.normalize("NFD", f"{stem}{copied}{ending}")) is expected


def test_the_folders_whose_defaults_hold() -> None:
    """Outermost first."""
    assert folders_of("a.yaml") == ("",)
    assert folders_of("spring/day/a.yaml") == ("", "spring", "spring/day")


@pytest.mark.parametrize("base", [".git", "@eaDir", "@EADIR", "__MACOSX", "~$x", "lost+found"])
def test_folders_of_programs_are_ignored(base: str) -> None:
    """Nothing below such a folder is looked at."""
    assert is_ignored_folder(base)


@given(st.text())
def test_every_name_is_of_some_kind(name: str) -> None:
    """No name raises; only the four endings make drops and conflict copies."""
    found = kind(name)
    if found in {Kind.DROP, Kind.CONFLICT}:
        assert name.lower().endswith((".yaml", ".yml", ".csv", ".txt"))
