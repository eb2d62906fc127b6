"""Failed job files go back into inbox/, and what will happen to them is said beforehand."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from story import Story, job_yaml

from daemon.app import places
from daemon.core.job import (
    Downloaded,
    Event,
    Exported,
    ExportStarted,
    Failure,
    GaveUp,
    InDoubt,
    Refused,
    State,
    Video,
)
from daemon.defaults_on_disk import DefaultsOnDisk
from daemon.retry import NotThere, Retried, find, retry

if TYPE_CHECKING:
    from daemon.edges.ledger import Ledger

DONE = (ExportStarted(), Exported("P"), Downloaded(Video("videos/a.mp4", 3, "00")))
REFUSED = (ExportStarted(), Refused("no such model"))
IN_DOUBT = (ExportStarted(), InDoubt("no answer came"))
GAVE_UP = (ExportStarted(), Exported("P"), GaveUp("no end"))
REFUSED_AFTER = (ExportStarted(), Exported("P"), Refused("gone"))


def _fail(story: Story, name: str, *histories: tuple[Event, ...]) -> None:
    job_file, jobs = story.claim(name, *(f"text {n}" for n in range(len(histories))))
    after = [story.advance(job, *events) for job, events in zip(jobs, histories, strict=True)]
    story.file_away(job_file, after)


def _retry(story: Story, *names: str, may_pay_again: bool = False, ledger: Ledger | None = None) -> list[Retried]:
    return [
        *retry(
            names,
            places=places(story.paths),
            ledger=ledger or story.ledger,
            defaults=DefaultsOnDisk(story.config.grammar, story.paths.inbox),
            may_pay_again=may_pay_again,
            cwd=story.paths.root,
        )
    ]


# --- which file is meant --------------------------------------------------------------------------


@pytest.fixture
def failed(tmp_path: Path) -> Path:
    """failed/ with a file, one in a subfolder, and what lies beside them."""
    folder = tmp_path / "root" / "failed"
    (folder / "sub").mkdir(parents=True)
    for name in ("x.yaml", "x.yaml.error.txt", "sub/y.yml", "sub/greeting (2).yaml", "notes.md"):
        (folder / name).write_text("text")
    (tmp_path / "root" / "outside.yaml").write_text("text")
    return folder


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("x.yaml", "x.yaml"),
        ("x", "x.yaml"),
        ("failed/x.yaml", "x.yaml"),
        ("failed/x", "x.yaml"),
        ("./x.yaml", "x.yaml"),
        ("sub/y", "sub/y.yml"),
        ("failed/sub/y.yml", "sub/y.yml"),
        ("x.yaml.error.txt", "x.yaml"),
        ("failed/x.yaml.result.json", "x.yaml"),
        ("sub/../x.yaml", "x.yaml"),
        ("sub/greeting (2)", "sub/greeting (2).yaml"),
    ],
)
def test_a_name_may_be_written_in_many_ways(failed: Path, given: str, found: str) -> None:
    """With or without folder, extension, or what the shell's star has added."""
    assert find(given, failed, failed.parent) == found


def test_a_path_that_leads_into_failed_is_understood(failed: Path, tmp_path: Path) -> None:
    """Absolute, from the current folder, and through a link to the root."""
    assert find(str(failed / "x.yaml"), failed, Path("/")) == "x.yaml"
    assert find("root/failed/x.yaml", failed, tmp_path) == "x.yaml"
    (tmp_path / "link").symlink_to(tmp_path / "root")
    assert find(str(tmp_path / "link/failed/x.yaml"), failed, Path("/")) == "x.yaml"


@pytest.mark.parametrize(
    "given", ["../outside.yaml", "failed/../outside.yaml", "/etc/passwd", "out/outside.yaml", "", ".", "a\0b", "gone"]
)
def test_nothing_outside_failed_is_ever_meant(failed: Path, given: str) -> None:
    """Neither by dots nor by an absolute path nor by a link that leads out."""
    (failed / "out").symlink_to(failed.parent)
    with pytest.raises(NotThere):
        find(given, failed, failed)


@pytest.mark.parametrize("given", ["notes.md", "sub", "link.yaml"])
def test_only_plain_job_files_are_meant(failed: Path, given: str) -> None:
    """Neither another file, nor a folder, nor a symbolic link."""
    (failed / "link.yaml").symlink_to(failed / "x.yaml")
    with pytest.raises(NotThere):
        find(given, failed, failed)


@pytest.mark.parametrize(("given", "near"), [("greting", "sub/greeting (2).yaml"), ("X", "x.yaml"), ("y", "sub/y.yml")])
def test_an_unknown_name_is_told_what_is_near(failed: Path, given: str, near: str) -> None:
    """A misspelt name, another case, a forgotten folder."""
    with pytest.raises(NotThere, match="Did you mean") as raised:
        find(given, failed, failed)
    assert f"'{near}'" in str(raised.value)


# --- what happens ---------------------------------------------------------------------------------


def test_a_file_goes_back_to_its_own_folder(tmp_path: Path) -> None:
    """The subfolder is made where it is missing, and the content stays as it is."""
    with Story(tmp_path) as story:
        _fail(story, "spring/x.yaml", REFUSED)
        [retried] = _retry(story, "spring/x")
        assert retried.is_back
        assert (story.paths.inbox / "spring/x.yaml").read_text() == job_yaml("text 0")
        assert not (story.paths.failed / "spring/x.yaml").exists()


def test_nothing_in_inbox_is_overwritten(tmp_path: Path) -> None:
    """Where a file of that name has been dropped meanwhile, both stay where they are, and nobody may pay again."""
    with Story(tmp_path) as story:
        _fail(story, "x.yaml", IN_DOUBT)
        (story.paths.inbox / "x.yaml").write_text("another")
        [retried] = _retry(story, "x.yaml", may_pay_again=True)
        assert not retried.is_back
        assert "already" in retried.texts[0]
        assert (story.paths.inbox / "x.yaml").read_text() == "another"
        assert (story.paths.failed / "x.yaml").exists()
        [job] = story.ledger.earlier("x.yaml", "failed/x.yaml").jobs
        assert not job.is_pay_again_allowed


def test_a_star_of_the_shell_counts_a_file_once(tmp_path: Path) -> None:
    """The result and error files beside a job file mean the job file; what is not there fails for itself."""
    with Story(tmp_path) as story:
        _fail(story, "x.yaml", REFUSED)
        names = sorted(f"failed/{path.name}" for path in story.paths.failed.iterdir())
        assert len(names) == 3
        found = {retried.name: retried.is_back for retried in _retry(story, *names, "nobody")}
    assert found == {"x.yaml": True, "nobody": False}


@pytest.mark.parametrize(
    ("history", "text"),
    [
        (REFUSED, "not accepted before, nothing was paid; ordered again"),
        (GAVE_UP, "the render that was paid goes on; nothing more is paid"),
        (REFUSED_AFTER, "the render that was paid goes on; nothing more is paid"),
        (IN_DOUBT, "whether paid or not is not known; not ordered again"),
    ],
)
def test_it_says_what_will_be_paid(tmp_path: Path, history: tuple[Event, ...], text: str) -> None:
    """By the rule that the daemon itself follows at the claim."""
    with Story(tmp_path) as story:
        _fail(story, "x.yaml", history)
        [retried] = _retry(story, "x")
        assert retried.texts[0].startswith(text)


@pytest.mark.parametrize("history", [IN_DOUBT, REFUSED_AFTER])
def test_a_persons_word_lets_pay_again(tmp_path: Path, history: tuple[Event, ...]) -> None:
    """With --pay-again the next claim exports what may have been paid, and it is said beforehand."""
    with Story(tmp_path) as story:
        _fail(story, "x.yaml", history, DONE)
        [retried] = _retry(story, "x", may_pay_again=True)
        assert retried.texts == (
            "1 video that may have been paid already may now be ordered, and paid, again",
            "1 video: made already; not made again, and nothing more is paid",
            "1 video: ordered again, and perhaps paid a second time",
        )
        _, jobs = story.claim("x.yaml", "text 0", "text 1")
    assert [job.state for job in jobs] == [State.QUEUED, State.DONE]


def test_without_that_word_a_job_in_doubt_stays_in_doubt(tmp_path: Path) -> None:
    """Putting a file back is no word to pay."""
    with Story(tmp_path) as story:
        _fail(story, "x.yaml", IN_DOUBT)
        _retry(story, "x")
        _, [job] = story.claim("x.yaml", "text 0")
    assert job.failure is Failure.IN_DOUBT


def test_pay_again_where_nothing_is_in_doubt_says_so(tmp_path: Path) -> None:
    """The word is not needed where nothing may have been paid."""
    with Story(tmp_path) as story:
        _fail(story, "x.yaml", REFUSED)
        [retried] = _retry(story, "x", may_pay_again=True)
    assert "changes nothing" in retried.texts[0]


def test_an_edited_job_is_new(tmp_path: Path) -> None:
    """Requests are matched by what they ask for."""
    with Story(tmp_path) as story:
        _fail(story, "x.yaml", GAVE_UP)
        (story.paths.failed / "x.yaml").write_text(job_yaml("other words"))
        [retried] = _retry(story, "x")
    assert retried.texts == ("new or changed; ordered and paid",)


def test_a_file_that_is_still_bad_is_put_back_with_a_warning(tmp_path: Path) -> None:
    """It will be back in failed/, and why is said with line and column."""
    with Story(tmp_path) as story:
        (story.paths.failed / "x.yaml").write_text("language: ko\ntexd: hello\n")
        [retried] = _retry(story, "x")
        assert retried.is_back
    assert "still not valid" in retried.texts[0]
    assert any("line 2" in text and "text" in text for text in retried.texts)


def test_what_the_folder_gives_is_foretold_too(tmp_path: Path) -> None:
    """With what inbox/ says now; broken, and it will wait; nothing, and a text will be a note."""
    story = Story(tmp_path)
    for folder in (story.paths.failed / "spring", story.paths.inbox / "spring"):
        folder.mkdir(parents=True)
    for name in ("a.csv", "b.txt", "c.txt"):
        (story.paths.failed / "spring" / name).write_text("text\nhello\n")
    given = story.paths.inbox / "spring/_defaults.yaml"

    def foretold(name: str, text: str) -> str:
        given.write_text(text)
        defaults = DefaultsOnDisk(story.config.grammar, story.paths.inbox)
        [retried] = retry(
            [name], places=places(story.paths), ledger=None, defaults=defaults, may_pay_again=False, cwd=tmp_path
        )  # fmt: skip
        assert retried.is_back
        return "\n".join(retried.texts)

    assert "1 video will be ordered" in foretold("spring/a", "language: ko\nmodel: M1\nclothes: 1\n")
    assert f"mended:\n  {given}, line 1, column 1 (modle)" in foretold("spring/b.txt", "modle: M1\n")
    assert "left lying" in foretold("spring/c.txt", "model: M1\n")


def test_a_row_that_was_paid_is_foretold_as_refused(tmp_path: Path) -> None:
    """By the rule of the claim."""
    with Story(tmp_path) as story:
        (story.paths.failed / "x.csv").write_text("language,text,model,clothes,state\nko,a,M1,1,done\n")
        [retried] = _retry(story, "x.csv.result.csv")
        assert "still not valid" in retried.texts[0]
        assert "this row says that it is done" in retried.texts[1]


def test_without_a_ledger_everything_is_new(tmp_path: Path) -> None:
    """A failed/ that came from elsewhere: nobody knows what was paid, so it is said that it will be."""
    story = Story(tmp_path)
    story.paths.failed.mkdir()
    story.paths.inbox.mkdir()
    (story.paths.failed / "x.yaml").write_text(job_yaml("one", "two"))
    defaults = DefaultsOnDisk(story.config.grammar, story.paths.inbox)
    [retried] = retry(
        ["x"], places=places(story.paths), ledger=None, defaults=defaults, may_pay_again=False, cwd=tmp_path
    )  # fmt: skip
    assert retried == Retried(
        "x.yaml", is_back=True, texts=("there is no ledger here that knows it: 2 videos will be ordered and paid",)
    )
