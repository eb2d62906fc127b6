"""Tables, texts, and folders' defaults with the real program: files as Excel in Korea writes them, real folders."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

from place import Place

if TYPE_CHECKING:
    from pathlib import Path

TEXTS = ("안녕하세요, 첫 번째 작품입니다.", '두 번째; "인용"과\n줄 바꿈', "세 번째 작품입니다.")
DEFAULTS = "language: ko\nmodel: M000004017\nclothes: BG00006160\nvideo_name: 'film-{n}'\n"


def as_excel_in_korea_writes_it() -> bytes:
    """Semicolons, CRLF, CP949, empty columns and rows at the end."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter=";", lineterminator="\r\n")
    rows = [["Text", "Clothes", ""], *([said, "", ""] for said in TEXTS), ["", "", ""]]
    rows[3][1] = "BG00001004"
    writer.writerows(rows)
    return text.getvalue().encode("cp949")


def test_a_table_of_excels_in_a_folder_with_defaults(tmp_path: Path) -> None:
    """Three videos, named by the folder, and the table goes back as Excel there opens it."""
    with Place(tmp_path) as place:
        running = place.start("run", CHROMADROP_JOBS__CSV_ENCODING="cp949")
        running.until("watch.started")
        place.drop("봄/_defaults.yaml", DEFAULTS)
        (tmp_path / "inbox/봄/작품.csv").write_bytes(as_excel_in_korea_writes_it())
        running.until("defaults.read", file="봄/_defaults.yaml")
        running.until("batch.filed", outcome="done")
        assert running.terminate() == 0
        assert place.simulator.accepted_by_text() == dict.fromkeys(TEXTS, 1)
        bodies = [outcome.fields for outcome in place.simulator.outcomes()]
        assert {(body["text"], body["clothes"]) for body in bodies} == {
            (TEXTS[0], "BG00006160"), (TEXTS[1], "BG00006160"), (TEXTS[2], "BG00001004")
        }  # fmt: skip
        assert place.files("videos") == ["봄/film-1.mp4", "봄/film-2.mp4", "봄/film-3.mp4"]
        assert (tmp_path / "done/봄/작품.csv").read_bytes() == as_excel_in_korea_writes_it()
        back = (tmp_path / "done/봄/작품.csv.result.csv").read_bytes().decode("cp949")
        rows = list(csv.reader(io.StringIO(back, newline=""), delimiter=";", strict=True))
        assert [row[-4:] for row in rows[:4]] == [
            ["state", "video", "error", "paid"],
            *(["done", f"videos/봄/film-{n}.mp4", "", "yes"] for n in (1, 2, 3)),
        ]
        assert place.files("inbox") == ["봄/_defaults.yaml"]


def test_broken_defaults_hold_back_until_they_are_mended(tmp_path: Path) -> None:
    """Nothing fails meanwhile, and nobody has to touch what waits; notes stay notes."""
    with Place(tmp_path) as place:
        place.drop("notes.txt", "buy milk")
        running = place.start("run")
        running.until("watch.started")
        place.drop("spring/_defaults.yaml", DEFAULTS.replace("model", "modle"))
        place.drop("spring/hello.txt", "hello")
        running.until("defaults.broken", file="spring/_defaults.yaml")
        place.drop("other.yaml", "text: other\n" + DEFAULTS.partition("video_name")[0])
        running.until("batch.filed", outcome="done")
        lint = place.start("lint", "inbox/spring/hello.txt")
        assert lint.end() == 1
        assert place.files("inbox") == ["notes.txt", "spring/_defaults.yaml", "spring/hello.txt"]
        place.drop("spring/_defaults.yaml", DEFAULTS)
        assert running.until("batch.filed")["file"] == "spring/hello.txt"
        assert running.terminate() == 0
        assert place.files("failed") == []
        assert place.files("inbox") == ["notes.txt", "spring/_defaults.yaml"]
        assert place.files("videos") == ["other.mp4", "spring/film-1.mp4"]


def test_once_ends_with_what_is_held_back_left_lying(tmp_path: Path) -> None:
    """A run that is to end does not wait for a person, and waits for defaults that settle."""
    with Place(tmp_path) as place:
        place.drop("spring/_defaults.yaml", "modle: x\n")
        place.drop("spring/a.csv", "text\nheld\n")
        place.drop("autumn/_defaults.yaml", DEFAULTS)
        place.drop("autumn/b.csv", "text\nmade\n")
        place.drop("autumn/c.txt", "made too")
        assert place.start("run", "--once").end() == 0
        assert place.simulator.accepted_by_text() == {"made": 1, "made too": 1}
        assert place.files("inbox") == ["autumn/_defaults.yaml", "spring/_defaults.yaml", "spring/a.csv"]
