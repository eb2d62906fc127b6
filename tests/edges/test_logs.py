"""logs: one redacted line of UTF-8 an event, whatever is said and whoever says it."""

from __future__ import annotations

import contextlib
import enum
import gc
import io
import json
import logging
import os
import re
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from daemon.core.redact import Redactor
from daemon.edges import logs

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent.parent
SECRET = "sk-0123456789-abcdef"
NOW = 1_770_091_445.6789
STAMP = "2026-02-03T04:04:05.678Z"


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    """Each test begins and ends without a configured log and with Python's own hooks."""
    hooks = (sys.excepthook, threading.excepthook, sys.unraisablehook)
    raises = logging.raiseExceptions
    logging.captureWarnings(capture=False)
    with warnings.catch_warnings():
        yield
        logging.captureWarnings(capture=False)
    sys.excepthook, threading.excepthook, sys.unraisablehook = hooks
    logging.raiseExceptions = raises
    logging.getLogger().removeHandler(logs._library)
    logs._switch.output = logs._Output()


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def configured(
    stream: Any = None, *, level: str = "info", form: logs.Format = "json", environ: dict[str, str] | None = None
) -> Any:
    """A stream that lines go to, and the log set up for it."""
    stream = io.StringIO() if stream is None else stream
    redact = Redactor([SECRET])
    logs.configure(level=level, format=form, redact=redact, stream=stream, clock=lambda: NOW, environ=environ or {})
    return stream


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    """What was written, each line as JSON."""
    text = stream.getvalue()
    assert text == "" or text.endswith("\n")
    return [json.loads(line, parse_constant=pytest.fail) for line in text.split("\n")[:-1]]


def last(stream: io.StringIO) -> dict[str, Any]:
    """The only line that was written."""
    (line,) = lines(stream)
    return line


def fail(error: Exception) -> NoReturn:
    """Raise, some frames down."""
    raise error


class TestJson:
    """Lines for machines."""

    def test_the_fields_have_their_order(self) -> None:
        """Time, level, event, then what was bound, then what was said."""
        stream = configured()
        logs.get_logger(job=7).info("job.exported", project_id="p1", batch="a/b.yaml")
        assert stream.getvalue() == (
            f'{{"timestamp": "{STAMP}", "level": "info", "event": "job.exported", '
            '"job": 7, "project_id": "p1", "batch": "a/b.yaml"}\n'
        )

    @pytest.mark.parametrize(
        ("method", "level"),
        [
            ("debug", "debug"),
            ("info", "info"),
            ("warning", "warning"),
            ("warn", "warning"),
            ("error", "error"),
            ("critical", "critical"),
            ("exception", "error"),
        ],
    )
    def test_the_level_is_the_methods(self, method: str, level: str) -> None:
        """Under one name each."""
        stream = configured(level="debug")
        getattr(logs.get_logger(), method)("daemon.started")
        assert last(stream)["level"] == level

    def test_a_field_cannot_replace_the_first_three(self) -> None:
        """Whoever reads the lines can rely on them."""
        stream = configured()
        logs.get_logger(timestamp="never", level="loud").info("daemon.started")
        assert last(stream) == {"timestamp": STAMP, "level": "info", "event": "daemon.started"}

    @pytest.mark.parametrize(
        ("value", "written"),
        [
            (None, None),
            (True, True),
            (3, 3),
            (-1.5, -1.5),
            (float("nan"), "nan"),
            (float("-inf"), "-inf"),
            (10**30, hex(10**30)),
            (b"\xffa", "\\udcffa"),
            (Path("a/b"), "a/b"),
            (enum.StrEnum("Kind", ["DONE"]).DONE, "done"),  # type: ignore[attr-defined]
            (["a", ("b", {"c": 1})], ["a", ["b", {"c": 1}]]),
            ({1: {b"k": [None]}}, {"1": {"k": [None]}}),
            (ValueError("a\nb"), "a\\nb"),
            ("two\nlines\tand \x1b[31m", "two\\nlines\\tand \\x1b[31m"),
            ("\u2028\u202e\ufeff\x85\udc80", "\\u2028\\u202e\\ufeff\\x85\\udc80"),
            ("한국어 déjà", "한국어 déjà"),
        ],
    )
    def test_a_value_is_written_as_json_knows_it(self, value: object, written: object) -> None:
        """Numbers stay numbers; text is on one line and without surrogates."""
        stream = configured()
        logs.get_logger().info("job.done", value=value)
        assert last(stream)["value"] == written

    def test_a_number_too_long_for_str_is_written(self) -> None:
        """Python itself refuses to print it in decimals."""
        stream = configured()
        logs.get_logger().info("job.done", value=1 << 20_000)
        assert last(stream)["value"].startswith("0x1000")

    def test_a_structure_without_end_is_cut(self) -> None:
        """A list that holds itself is written, to some depth."""
        stream = configured()
        endless: list[Any] = [1]
        endless.append(endless)
        logs.get_logger().info("job.done", value=endless)
        assert last(stream)["value"][0] == 1

    @given(
        st.dictionaries(
            st.text(st.characters()),
            st.recursive(
                st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.binary(),
                lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters()), inner),
                max_leaves=6,
            ),
            max_size=4,
        ),
        st.text(st.characters()),
    )
    def test_every_event_is_one_line_of_valid_json(self, fields: dict[str, Any], event: str) -> None:
        """Whatever characters, surrogates and controls included, keys and nested values included."""
        stream = configured()
        logs.get_logger().info("job.done", fields=fields, event_text=event)
        logs._switch.emit("info", fields | {"event": event})
        written = stream.getvalue()
        assert written.encode("utf-8").decode("utf-8") == written
        assert written.count("\n") == 2
        assert len(written.splitlines()) == 2
        for line in lines(stream):
            assert list(line)[:3] == ["timestamp", "level", "event"]

    @given(st.text(st.characters(), max_size=8), st.text(st.characters(), max_size=8))
    def test_the_secret_is_nowhere(self, before: str, after: str) -> None:
        """Not in the event, a key, a value, a nested value, or an exception, whatever stands around it."""
        stream = configured()
        text = f"{before}{SECRET}{after}"
        error = ValueError(text)
        error.add_note(text)
        logs.get_logger(bound=text).error(
            text, deep=[{text: (text,)}], exc_info=error, **{text: text.encode("utf-8", "surrogatepass")}
        )
        assert SECRET not in stream.getvalue()
        assert len(lines(stream)) == 1

    def test_a_signed_query_is_nowhere(self) -> None:
        """What the redactor takes out of texts it takes out of lines."""
        stream = configured()
        logs.get_logger().warning("job.deferred", reason="GET https://x.example/a.mp4?sig=abc failed")
        assert "abc" not in stream.getvalue()
        assert "https://x.example/a.mp4" in stream.getvalue()

    def test_a_stream_that_is_not_utf_8_gets_plain_ascii(self) -> None:
        """It stays valid JSON, and no character is lost."""
        buffer = io.BytesIO()
        stream = configured(io.TextIOWrapper(buffer, encoding="ascii"))
        logs.get_logger().info("batch.claimed", name="한국어 😀")
        assert json.loads(buffer.getvalue().decode("ascii"))["name"] == "한국어 😀"
        stream.detach()


class TestExceptions:
    """Tracebacks, redacted and without local variables."""

    def test_an_exception_is_one_field_on_one_line(self) -> None:
        """With its chain and its notes; what is local stays out, and the last word is kept."""
        stream = configured()
        try:
            hidden_local = "only-in-a-variable".upper()
            try:
                fail(KeyError(SECRET))
            except KeyError as cause:
                error = ValueError(f"{len(hidden_local)} bad\nhttps://x.example/a?sig=signature")
                error.add_note("a note")
                raise error from cause
        except ValueError:
            logs.get_logger(job=7).exception("job.failed", why="x")
        line = last(stream)
        assert list(line) == ["timestamp", "level", "event", "job", "why", "exception"]
        text = line["exception"]
        assert text.startswith("Traceback (most recent call last):\\n")
        assert "direct cause" in text
        assert text.endswith("a note")
        for secret in (SECRET, "sig=signature", "ONLY-IN-A-VARIABLE"):
            assert secret not in stream.getvalue()

    @pytest.mark.parametrize("kind", ["error", "tuple"])
    def test_an_exception_may_be_handed_over(self, kind: str) -> None:
        """Also outside of an except block."""
        stream = configured()
        error = ValueError("bad")
        handed = error if kind == "error" else (ValueError, error, None)
        logs.get_logger().error("job.failed", exc_info=handed)
        assert last(stream)["exception"] == "ValueError: bad"

    def test_without_an_exception_there_is_no_field(self) -> None:
        """``exc_info=True`` outside of an except block says nothing."""
        stream = configured()
        logs.get_logger().error("job.failed", exc_info=True)
        assert "exception" not in last(stream)

    def test_a_long_traceback_keeps_its_end(self) -> None:
        """What went wrong stands there; the line stays below what the journal takes."""
        stream = configured()
        logs.get_logger().error("job.failed", exc_info=ValueError("x\n" * 100_000 + "the end"))
        assert len(stream.getvalue()) < 48 * 1024
        assert last(stream)["exception"].endswith("the end")


class TestNeverRaises:
    """A log line never stops the caller."""

    def test_a_value_whose_text_raises(self) -> None:
        """The event and the sound fields are written all the same."""

        class Broken:
            def __str__(self) -> str:
                raise ZeroDivisionError

        stream = configured()
        logs.get_logger(job=7).info("job.done", broken=Broken(), name="x")
        assert last(stream) == {
            "timestamp": STAMP,
            "level": "info",
            "event": "job.done",
            "job": 7,
            "name": "x",
            "unloggable": "ZeroDivisionError",
        }

    def test_a_field_that_the_console_cannot_write(self) -> None:
        """``stack`` and ``exception`` have a meaning of their own there; the line comes as JSON then."""
        stream = configured(form="console")
        logs.get_logger(stack=3, exception=[4]).info("job.done")
        assert last(stream)["unloggable"] == "TypeError"

    def test_a_closed_stream(self) -> None:
        """Its line is lost, and that is all."""
        stream = configured()
        stream.close()
        logs.get_logger().info("daemon.stopped")

    def test_a_broken_pipe(self) -> None:
        """Whoever read the log has gone."""
        reading, writing = os.pipe()
        os.close(reading)
        with contextlib.suppress(BrokenPipeError), os.fdopen(writing, "w", encoding="utf-8") as stream:
            configured(stream)
            logs.get_logger().info("daemon.started")
            logs.get_logger().info("daemon.stopped")
            ended = True
        assert ended

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
    def test_a_full_disk(self) -> None:
        """ENOSPC on every write."""
        with contextlib.suppress(OSError), Path("/dev/full").open("w", encoding="utf-8") as stream:
            configured(stream)
            logs.get_logger().info("daemon.started")
            logs.get_logger().info("daemon.stopped")
            ended = True
        assert ended

    def test_no_standard_error_at_all(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A process whose descriptors were closed has none."""
        monkeypatch.setattr(sys, "stderr", None)
        logs.configure(level="info", format="auto", redact=Redactor([]))
        logs.get_logger().info("daemon.started")

    def test_a_warning_that_arises_while_a_line_is_written(self) -> None:
        """The same thread comes back in; it does not wait for itself."""

        class WarningStream(io.StringIO):
            def write(self, text: str) -> int:
                if "py.warnings" not in text:
                    warnings.warn("in between", stacklevel=1)
                return super().write(text)

        stream = WarningStream()
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            configured(stream)
            logs.get_logger().info("daemon.started")
        assert [line["event"] for line in lines(stream)] == ["library.message", "daemon.started"]

    def test_lines_of_many_threads_do_not_mix(self) -> None:
        """Each is written as a whole."""
        stream = configured()
        threads = [
            threading.Thread(target=lambda: [logs.get_logger().info("job.done", n=n) for n in range(200)])
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(lines(stream)) == 800


class TestLevels:
    """What is written, and from when."""

    @pytest.mark.parametrize(("level", "count"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
    def test_what_is_less_important_is_dropped(self, level: str, count: int) -> None:
        """From the level upwards."""
        stream = configured(level=level)
        log = logs.get_logger()
        for method in (log.debug, log.info, log.warning, log.error):
            method("daemon.started")
        assert len(lines(stream)) == count

    def test_the_level_changes_at_run_time_for_loggers_that_exist(self) -> None:
        """Bound ones too, in both directions."""
        stream = configured()
        log = logs.get_logger(a=1)
        bound = log.bind(b=2)
        log.info("daemon.started")
        bound.debug("job.progressed", n=1)
        logs.set_level("debug")
        log.debug("job.progressed", n=2)
        bound.debug("job.progressed", n=3)
        logs.set_level("error")
        log.warning("job.progressed", n=4)
        bound.warning("job.progressed", n=5)
        assert [line.get("n") for line in lines(stream)] == [None, 2, 3]

    def test_a_second_configuration_holds_for_loggers_that_exist(self) -> None:
        """Stream, format, and redactor follow."""
        first = configured()
        log = logs.get_logger().bind(a=1)
        log.info("daemon.started")
        second = configured(form="console")
        log.info("daemon.stopped")
        assert len(lines(first)) == 1
        assert "daemon.stopped" in second.getvalue()

    def test_an_unknown_level_is_a_mistake_of_the_caller(self) -> None:
        """The configuration has checked it."""
        with pytest.raises(KeyError):
            logs.set_level("loud")

    def test_before_it_is_configured_only_warnings_are_written_and_to_standard_error(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """A command that prints JSON on standard output finds nothing else there."""
        logs.get_logger().info("daemon.started")
        logs.get_logger().warning("scan.failed")
        written = capsys.readouterr()
        assert written.out == ""
        assert [json.loads(line)["event"] for line in written.err.splitlines()] == ["scan.failed"]

    def test_structlogs_own_capture_works(self) -> None:
        """Tests of others can look at events."""
        configured()
        log = logs.get_logger(job=1)
        log.info("daemon.started")
        with structlog.testing.capture_logs() as captured:
            log.debug("job.done", n=1)
        assert captured == [{"job": 1, "n": 1, "event": "job.done", "log_level": "debug"}]


class TestConsole:
    """Lines for people."""

    def test_a_terminal_gets_the_console_and_a_pipe_gets_json(self) -> None:
        """``auto`` looks at the stream, the other two do not."""
        for stream, form, is_json in (
            (io.StringIO(), "auto", True),
            (Terminal(), "auto", False),
            (io.StringIO(), "console", False),
            (Terminal(), "json", True),
        ):
            configured(stream, form=form)  # type: ignore[arg-type]
            logs.get_logger().info("daemon.started")
            assert stream.getvalue().startswith("{") is is_json

    def test_a_line_is_time_level_event_and_fields(self) -> None:
        """Short local time; text with blanks or quotes is quoted."""
        stream = configured(form="console")
        logs.get_logger(job=7).info("job.exported", project_id="p1", why='it said "yes"')
        assert re.fullmatch(
            r"""\d\d:\d\d:\d\d \[info     ] job\.exported +job=7 project_id=p1 why='it said "yes"'\n""",
            stream.getvalue(),
        )

    @pytest.mark.parametrize(
        ("environ", "has_colors"),
        [({}, True), ({"NO_COLOR": ""}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)],
    )
    def test_colors_are_for_terminals(self, environ: dict[str, str], *, has_colors: bool) -> None:
        """And only where nobody said no (no-color.org: set and not empty)."""
        terminal = configured(Terminal(), form="auto", environ=environ)
        logs.get_logger().info("daemon.started")
        assert ("\x1b[" in terminal.getvalue()) is has_colors
        pipe = configured(form="console", environ=environ)
        logs.get_logger().info("daemon.started")
        assert "\x1b[" not in pipe.getvalue()

    @given(st.text(st.characters()), st.text(st.characters()))
    def test_an_event_is_one_line(self, key: str, value: str) -> None:
        """No name of a file moves the cursor or begins a line of its own."""
        stream = configured(form="console")
        logs._switch.emit("info", {"event": value, key + "_": value, "list": [value]})
        written = stream.getvalue()
        assert written.encode("utf-8")
        assert written.endswith("\n")
        assert written[:-1].isprintable()

    def test_a_traceback_takes_lines_of_its_own(self) -> None:
        """Readable, and redacted all the same."""
        stream = configured(form="console")
        try:
            fail(ValueError(f"{SECRET}\x1b[31m"))
        except ValueError:
            logs.get_logger().exception("job.failed")
        written = stream.getvalue().splitlines()
        assert written[1] == "Traceback (most recent call last):"
        assert written[-1] == "ValueError: ***\\x1b[31m"

    def test_a_stream_that_is_not_utf_8_gets_escapes(self) -> None:
        """Nothing is lost with an error."""
        buffer = io.BytesIO()
        stream = configured(io.TextIOWrapper(buffer, encoding="ascii"), form="console")
        logs.get_logger().info("batch.claimed", name="déjà")
        assert b"d\\xe9j\\xe0" in buffer.getvalue()
        stream.detach()


class TestLibraries:
    """What libraries and Python say, in the same lines."""

    def test_the_standard_librarys_logging_from_warning(self) -> None:
        """Under ``library.message``, with the logger's name, redacted."""
        stream = configured(level="debug")
        log = logging.getLogger("watchdog.observers")
        log.info("hello")
        log.warning("Retrying %s: /a?sig=%s", SECRET, "signature")
        (line,) = lines(stream)
        assert (line["level"], line["event"], line["logger"]) == (
            "warning",
            "library.message",
            "watchdog.observers",
        )
        assert line["text"].startswith("Retrying ***")
        assert "signature" not in stream.getvalue()

    def test_an_exception_of_a_library(self) -> None:
        """Its traceback comes along."""
        stream = configured()
        try:
            fail(OSError(SECRET))
        except OSError:
            logging.getLogger("watchdog").exception("in a thread")
        assert last(stream)["exception"].endswith("OSError: ***")
        assert last(stream)["level"] == "error"

    def test_arguments_that_do_not_fit(self) -> None:
        """The bare message, and no traceback on standard error."""
        stream = configured()
        logging.getLogger("asyncio").error("%s and %s", *[1])
        assert last(stream)["text"] == "%s and %s"

    def test_an_argument_whose_text_raises(self) -> None:
        """The library does not notice."""

        class Broken:
            def __str__(self) -> str:
                raise ZeroDivisionError

        stream = configured()
        logging.getLogger("asyncio").error("hello %s", Broken())
        logging.getLogger("asyncio").error(Broken())
        assert [line.get("text") for line in lines(stream)] == ["hello %s", None]

    def test_the_level_holds_for_libraries_too(self) -> None:
        """``logs.level: error`` silences their warnings."""
        stream = configured(level="error")
        logging.getLogger("sqlalchemy").warning("hello")
        assert lines(stream) == []

    def test_configured_twice_they_speak_once(self) -> None:
        """The handler is not added again."""
        configured()
        stream = configured()
        logging.getLogger("sqlalchemy").warning("hello")
        assert len(lines(stream)) == 1

    def test_pythons_warnings(self) -> None:
        """They too are one line."""
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            stream = configured()
            warnings.warn(f"old {SECRET}", stacklevel=1)
        assert last(stream)["logger"] == "py.warnings"
        assert "UserWarning: old ***" in last(stream)["text"]
        assert not logging.raiseExceptions


class TestHooks:
    """Exceptions that nobody caught."""

    def test_in_a_thread(self) -> None:
        """The thread is named; leaving by SystemExit is no crash."""

        def crash() -> None:
            raise ValueError(SECRET)

        stream = configured()
        logs.install_excepthooks()
        for target in (crash, sys.exit):
            thread = threading.Thread(target=target, name="worker-1")
            thread.start()
            thread.join()
        line = last(stream)
        assert (line["event"], line["level"], line["thread"]) == ("daemon.crashed", "error", "worker-1")
        assert line["exception"].endswith("ValueError: ***")

    def test_where_python_can_only_ignore_it(self) -> None:
        """An exception in ``__del__``."""

        class Broken:
            def __del__(self) -> None:
                raise ValueError(SECRET)

        stream = configured()
        logs.install_excepthooks()
        Broken()
        gc.collect()
        line = last(stream)
        assert (line["event"], line["logger"]) == ("library.message", "python")
        assert line["exception"].endswith("ValueError: ***")

    @pytest.mark.parametrize("stderr", ["pipe", "closed"])
    def test_at_the_top_of_the_program(self, stderr: str) -> None:
        """It ends with 1, and its traceback is redacted and in one line; without a reader it ends just so."""
        code = (
            "from daemon.core.redact import Redactor\n"
            "from daemon.edges import logs\n"
            f"logs.configure(level='info', format='auto', redact=Redactor(['{SECRET}']))\n"
            "logs.install_excepthooks()\n"
            f"secret = '{SECRET}'\n"
            "raise ValueError(secret)\n"
        )
        reading, writing = os.pipe()
        if stderr == "closed":
            os.close(reading)
        process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stderr=writing)
        os.close(writing)
        if stderr == "pipe":
            with os.fdopen(reading, "rb") as file:
                line = json.loads(file.read())
            assert line["event"] == "daemon.crashed"
            assert line["exception"].endswith("ValueError: ***")
            assert SECRET not in str(line)
        assert process.wait() == 1 or stderr == "closed"


def test_events_are_dotted_names_with_a_meaning_in_one_line() -> None:
    """The README's table is made of them."""
    assert list(logs.EVENTS) == sorted(logs.EVENTS)
    for name, meaning in logs.EVENTS.items():
        assert re.fullmatch(r"[a-z]+\.[a-z_]+", name)
        assert meaning.isprintable()
        assert 10 < len(meaning) < 120
