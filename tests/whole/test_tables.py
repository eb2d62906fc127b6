"""Tables, texts, and folders' defaults in the whole daemon, with a fake clock: what comes back, and what is paid."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

import pytest
from world import World

from daemon.core.errors import CloudInDoubt, CloudRefused
from daemon.dispatcher import Limits

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TABLE = "language,text,model,clothes\r\nko,first,M1,1\r\n\r\nko,second,M1,1\r\nko,third,M1,1\r\n"
WHOLE = "language: ko\nmodel: M000004017\nclothes: 1\n"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A daemon on an empty root."""
    made = World(tmp_path)
    yield made
    made.kill()


def table(world: World, path: str) -> list[dict[str, str]]:
    """The rows of a result table, by the table's path relative to the root."""
    text = (world.root / f"{path}.result.csv").read_bytes().decode("utf-8-sig")
    return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))


def said(world: World, path: str) -> list[tuple[str, str, str, str, str]]:
    return [(row["text"], row["state"], row["video"], row["error"], row["paid"]) for row in table(world, path)]


def test_a_table_comes_back_with_what_became_of_each_row(world: World) -> None:
    """In done/, beside its result; the table itself is untouched."""
    world.drop("spring/works.csv", TABLE)
    world.pass_time(20)
    assert world.files("done") == [
        "spring/works.csv", "spring/works.csv.result.csv", "spring/works.csv.result.json"
    ]  # fmt: skip
    assert (world.root / "done/spring/works.csv").read_bytes() == TABLE.encode()
    assert said(world, "done/spring/works.csv") == [
        ("first", "done", "videos/spring/works-1.mp4", "", "yes"),
        ("second", "done", "videos/spring/works-2.mp4", "", "yes"),
        ("third", "done", "videos/spring/works-3.mp4", "", "yes"),
    ]


def test_a_failed_row_says_why(world: World) -> None:
    """In the cloud's words, which no spreadsheet runs."""
    world.cloud.export_faults += [(CloudRefused("=cmd|'/c calc'!A1"), False), (CloudInDoubt("no answer"), True)]
    world.drop("works.csv", TABLE)
    world.pass_time(60)
    assert world.files("failed") == [
        "works.csv", "works.csv.error.txt", "works.csv.result.csv", "works.csv.result.json"
    ]  # fmt: skip
    first, second, third = said(world, "failed/works.csv")
    assert first == ("first", "failed", "", "'=cmd|'/c calc'!A1", "no")
    assert (second[1], second[4]) == ("failed", "unknown")
    assert third == ("third", "done", "videos/works-3.mp4", "", "yes")
    assert "see that its row has  true  in the column  pay_again" in world.error("failed/works.csv")


def test_a_table_dropped_again_continues(world: World) -> None:
    """The old tables go; only what was never accepted is ordered."""
    world.cloud.export_faults.append((CloudRefused("no"), False))
    world.drop("works.csv", TABLE)
    world.pass_time(60)
    world.drop_again("works.csv")
    world.pass_time(60)
    assert world.files("failed") == []
    assert [row[1] for row in said(world, "done/works.csv")] == ["done"] * 3
    assert len(world.cloud.accepted) == 3


def test_the_result_table_mended_and_renamed_continues_too(world: World) -> None:
    """People mend the rows where they see the error; it must lie under the table's own name."""
    world.cloud.export_faults.append((CloudRefused("no"), False))
    world.drop("works.csv", TABLE)
    world.pass_time(60)
    mended = (world.root / "failed/works.csv.result.csv").read_text().replace("first", "mended")
    (world.root / "failed/works.csv").unlink()
    world.drop("works.csv", mended)
    world.pass_time(60)
    assert [row[:2] for row in said(world, "done/works.csv")] == [
        ("mended", "done"), ("second", "done"), ("third", "done")
    ]  # fmt: skip
    assert len(world.cloud.accepted) == 3
    header = (world.root / "done/works.csv.result.csv").read_text().splitlines()[0]
    assert header == "language,text,model,clothes,state,video,error,paid"


@pytest.mark.parametrize("name", ["again.csv", "works.csv"])
def test_a_result_table_is_never_paid_a_second_time(world: World, name: str) -> None:
    """Under another name, or after all of it was done, its rows would be new orders: refused, with the rows."""
    world.drop("works.csv", TABLE)
    world.pass_time(60)
    world.drop(name, (world.root / "done/works.csv.result.csv").read_bytes())
    world.pass_time(60)
    assert len(world.cloud.accepted) == 3
    assert [(row[1], row[4]) for row in said(world, f"failed/{name}")] == [("done", "yes")] * 3
    error = world.error(f"failed/{name}")
    assert "line 2, column 15 (row 2, state): this row says that it is done or may have been paid" in error
    assert "Nothing was sent, nothing was paid" in error


def test_what_may_have_been_paid_needs_a_persons_word(world: World) -> None:
    """A row in doubt, under another name: ordered again only where the row says so."""
    world.cloud.export_faults.append((CloudInDoubt("no answer"), True))
    world.drop("works.csv", "language,text,model,clothes\nko,first,M1,1\n")
    world.pass_time(60)
    back = (world.root / "failed/works.csv.result.csv").read_text()
    world.drop("other.csv", back)
    world.pass_time(60)
    assert len(world.cloud.accepted) == 1
    header, row = back.splitlines()
    world.drop("third.csv", f"{header},pay_again\n{row},true\n")
    world.pass_time(60)
    assert len(world.cloud.accepted) == 2
    assert said(world, "done/third.csv")[0][1:] == ("done", "videos/third.mp4", "", "yes")


def test_a_table_that_is_not_valid_comes_back_with_its_problems_in_the_rows(world: World) -> None:
    """Nothing is ordered of it."""
    world.drop("works.csv", "language;text;model;clothes;uppercut\nko;a;M1;1;\nko;b;M1;1;much\nko;;M1;1;\n")
    world.pass_time(60)
    text = (world.root / "failed/works.csv.result.csv").read_text()
    rows = list(csv.DictReader(io.StringIO(text), delimiter=";"))
    assert [(row["state"], row["paid"]) for row in rows] == [("", "")] * 3
    assert "'uppercut' must be a number" in rows[1]["error"]
    assert "'text' is missing" in rows[2]["error"]
    assert world.cloud.accepted == {}


def test_a_table_that_is_no_longer_valid_does_not_deny_what_was_paid(world: World) -> None:
    """Its rows say nothing of it; the error file says what is there, and the mended table goes on with that."""
    world.cloud.export_faults += [None, None, (CloudRefused("no"), False)]
    world.drop("works.csv", TABLE)
    world.pass_time(60)
    (world.root / "failed/works.csv").unlink()
    world.drop("works.csv", TABLE.replace("ko,third,M1", "ko,third,"))
    world.pass_time(60)
    assert [row["state"] + row["paid"] for row in table(world, "failed/works.csv")] == [""] * 3
    error = world.error("failed/works.csv")
    assert "of an earlier file of this name 2 videos are made; nothing of that is lost" in error
    (world.root / "failed/works.csv").unlink()
    world.drop("works.csv", TABLE)
    world.pass_time(60)
    assert [row[1] for row in said(world, "done/works.csv")] == ["done"] * 3
    assert len(world.cloud.accepted) == 3


def test_a_blank_before_a_quote_orders_nothing(world: World) -> None:
    """The quote would not hold its cell together, and half a sentence would be paid for."""
    world.drop("works.csv", 'language,model,clothes,text,name\nko,M1,1, "Hello, world"\n')
    world.pass_time(60)
    assert "take the blank before the quote out" in world.error("failed/works.csv")
    assert world.cloud.accepted == {}


def test_what_is_no_table_at_all_has_only_its_explanation(world: World) -> None:
    """There is no row to write it into."""
    world.drop("works.csv", b"\xff\xff\xff")
    world.pass_time(60)
    assert world.files("failed") == ["works.csv", "works.csv.error.txt", "works.csv.result.json"]


def test_a_taken_name_is_never_overwritten(world: World) -> None:
    """Nor that of a result table which somebody left there."""
    (world.root / "done").mkdir(exist_ok=True)
    (world.root / "done/works.csv.result.csv").write_text("mine")
    world.drop("works.csv", TABLE)
    world.pass_time(60)
    assert (world.root / "done/works.csv.result.csv").read_text() == "mine"
    assert "works (2).csv.result.csv" in world.files("done")


def test_a_folders_template_names_its_videos(world: World) -> None:
    """It beats the configuration's, a job's own name beats it; also after a restart."""
    world.dispatcher.limits = Limits(video_name="config-{n}")
    content = "- text: a\n- {text: b, name: mine}\n"
    world.drop_with(WHOLE + "video_name: '{language}-{file}-{n}'", "works.yaml", content)
    world.settle()
    world.kill()
    world.start()
    world.pass_time(60)
    assert world.files("videos") == ["ko-works-1.mp4", "mine.mp4"]


def test_a_text_is_a_job_like_any_other(world: World) -> None:
    """Filed away with its result; dropped again after it failed, it continues."""
    world.cloud.export_faults.append((CloudRefused("no"), False))
    world.drop_with(WHOLE, "hello.txt", "안녕하세요\n")
    world.pass_time(60)
    assert world.files("failed") == ["hello.txt", "hello.txt.error.txt", "hello.txt.result.json"]
    (world.root / "failed/hello.txt").unlink()
    world.drop_with(WHOLE, "hello.txt", "안녕하세요\n")
    world.pass_time(60)
    assert world.files("failed") == []
    assert world.files("videos") == ["hello.mp4"]
    assert [job["request"]["text"] for job in world.result("done/hello.txt")["jobs"]] == ["안녕하세요"]


def test_a_text_in_doubt_is_ordered_again_by_command_only(world: World) -> None:
    """There is no place in it for a person's word, so the explanation names none."""
    world.cloud.export_faults.append((CloudInDoubt("no answer"), True))
    world.drop_with(WHOLE, "hello.txt", "hello")
    world.pass_time(60)
    error = world.error("failed/hello.txt")
    assert "chromadrop retry --pay-again hello.txt" in error
    assert "add the line" not in error


def test_other_defaults_are_another_order_where_a_person_has_changed_the_file(world: World) -> None:
    """A job that failed is matched by the whole of what it asks for."""
    world.cloud.export_faults.append((CloudInDoubt("no answer"), True))
    world.drop_with(WHOLE, "a.yaml", "text: hi")
    world.pass_time(60)
    (world.root / "failed/a.yaml").unlink()
    world.drop_with(WHOLE.replace("ko", "en"), "a.yaml", "text: hi  # in English")
    world.pass_time(60)
    assert [body["language"] for _at, body in world.cloud.accepted.values()] == ["ko", "en"]


@pytest.mark.parametrize(("content", "name"), [("text: hi\n---\ntext: ho", "a.yaml"), ("text\nhi\nho\n", "a.csv")])
def test_other_defaults_do_not_pay_again_for_a_file_that_nobody_has_touched(
    world: World, content: str, name: str
) -> None:
    """Its error text has promised it: neither what is done nor what is in doubt; the old defaults go on with it."""
    world.cloud.export_faults.extend([None, (CloudInDoubt("no answer"), True)])
    world.drop_with(WHOLE, name, content)
    world.pass_time(60)
    assert f"failed/{name}" in [f"failed/{found}" for found in world.files("failed")]
    (world.root / f"failed/{name}").unlink()
    world.drop_with(WHOLE.replace("ko", "en"), name, content)
    world.pass_time(60)
    assert len(world.cloud.asked) == 2
    told = world.error(f"failed/{name}")
    assert "job 1 was ordered" in told
    assert "job 2 was ordered" in told
    (world.root / f"failed/{name}").unlink()
    world.drop_with(WHOLE, name, content.replace("ho", "ho") + ("  # again" if name == "a.yaml" else ""))
    world.pass_time(60)
    assert len(world.cloud.asked) == 2
