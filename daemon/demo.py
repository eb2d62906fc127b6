"""``chromadrop demo``: the main job without an account, on the stand-in cloud, in a scratch folder that is kept.

The simulator runs in this program, the daemon is the real one, as a program of its own (``run --once``). What should
have come of it is checked at the end, file by file; nothing is printed here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import daemon
from daemon import app, overview
from daemon.config import load
from daemon.core.display import display
from daemon.core.errors import LedgerUnavailable
from daemon.core.record import dataclass
from daemon.core.video_name import numbered
from daemon.edges import mounts
from daemon.edges.spool import ERROR, RESULT
from daemon.edges.studio.whole import why_not_whole
from daemon.simulator.server import RunningSimulator, Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from daemon.overview import Overview

KEY: Final = "demo-key"
LOG: Final = "chromadrop.log"
CONFIG: Final = "config.yaml"
REFRESH_SECONDS: Final = 0.5
PATIENCE_SECONDS: Final = 60.0
"""So much longer than a render the whole may take before it is called stuck."""
STOP_SECONDS: Final = 5.0
JITTER: Final = 0.25
_MOST_FOLDERS: Final = 10_000
_EXPECTED_EXIT: Final = 1  # one job file is bad on purpose

BAD: Final = "bad-example.yaml"
GOOD: Final = ("three-works.yaml", "spring/greeting.yaml", "two-documents.yaml")
VIDEOS: Final = (
    "three-works-1.mp4",
    "three-works-2.mp4",
    "three-works-3.mp4",
    "spring/greeting.mp4",
    "two-documents-1.mp4",
    "two-documents-2.mp4",
)
DROPS: Final[Mapping[str, str]] = {
    "three-works.yaml": """\
# A list: one video for each entry.
- language: ko
  text: Hello, this is my first work.
  model: M000004017
  clothes: BG00006160
- language: ko
  text: Hello, this is my second work.
  model: M000004017
  clothes: BG00001004
- language: ko
  text: Hello, this is my third work.
  model: M000004017
  clothes: BG00006160
""",
    "spring/greeting.yaml": """\
# One video. Subfolders of inbox/ come back in videos/ and done/.
language: en
text: Spring is here.
model: ysy
clothes: 1
""",
    "two-documents.yaml": """\
# Several YAML documents in one file do, too.
language: ko
text: The first document.
model: M000004017
clothes: BG00001004
---
language: ko
text: The second document.
model: M000004017
clothes: BG00006160
""",
    BAD: """\
# Wrong on purpose: see failed/ for what chromadrop says of it.
- language: ko
  text: This one has a misspelt key.
  modle: M000004017
  model: M000004017
  clothes: BG00006160
- language: ko
  text: This one has no clothes.
  model: M000004017
""",
}
_CONFIG_TEXT: Final = """\
# Made by `chromadrop demo`. The cloud below is the simulator, which ended with the demo; to go on playing with it:
#     chromadrop simulate --port {port}
#     AISTUDIOS_API_KEY={key} chromadrop run --config {config}      (in the folder of this file)
api:
  base_url: {base_url}
watch:
  settle_seconds: 1      # a real one waits a little longer, for slow copies
  grace_seconds: 2
jobs:
  poll_seconds: 0.5
{folders}"""
_MEANT_FOR_OTHERS: Final = ("CHROMADROP_", "AISTUDIOS_", "CREDENTIALS_DIRECTORY", "STATE_DIRECTORY", "NOTIFY_SOCKET")


class DemoFailed(Exception):
    """The demo cannot go on; the text says why."""


@dataclass(frozen=True, slots=True)
class Made:
    """A video that was found at the end.

    Attributes:
        path: relative to the demo's folder.
        bytes: its size.
        flaw: why it is not a whole video; None where it is.
    """

    path: str
    bytes: int
    flaw: str | None


@dataclass(frozen=True, slots=True)
class Ending:
    """What came of it.

    Attributes:
        folder: where it all lies.
        seconds: it took.
        videos: found in videos/.
        done: job files in done/.
        failed: job files in failed/, each with what its error file says.
        unmet: what should have come true and did not; empty where all is well.
    """

    folder: Path
    seconds: float
    videos: tuple[Made, ...]
    done: tuple[str, ...]
    failed: tuple[tuple[str, str], ...]
    unmet: tuple[str, ...]


def make_folder(wanted: Path) -> Path:
    """A new folder of that name, ``demo (2)`` where it is taken; its parents are made.

    Raises:
        DemoFailed: it cannot be made.
    """
    try:
        wanted.parent.mkdir(parents=True, exist_ok=True)
        for number in range(1, _MOST_FOLDERS):
            folder = wanted.with_name(numbered(wanted.name, number))
            try:
                folder.mkdir()
            except FileExistsError:
                continue
            return folder
    except OSError as error:
        raise DemoFailed(
            f"cannot make the folder {display(str(wanted))}: {error.strerror}. Name another one with --folder"
        ) from None
    raise DemoFailed(f"{display(str(wanted))} and thousands of its like are taken. Name another one with --folder")


def play(
    folder: Path, *, render_seconds: float, environ: Mapping[str, str], show: Callable[[Overview], None]
) -> Ending:
    """Simulator, drops, daemon; ends when the daemon has ended. Nothing is left running, whatever happens.

    Args:
        folder: new and empty, absolute.
        render_seconds: how long the simulator's renders take.
        environ: what the daemon inherits, but for everything that is meant for another one.
        show: told what is going on, twice a second.

    Raises:
        DemoFailed: it did not come to an end; the text says why.
    """
    began = time.monotonic()
    settings = Settings(port=0, render_seconds=render_seconds, jitter=JITTER, keys=(KEY,))
    with ExitStack() as stack:
        cloud = stack.enter_context(RunningSimulator(settings))
        state = None
        if not mounts.file_system(folder).is_local:  # a virtual machine's shared folder, as a rule
            state = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chromadrop-demo-")))
        _write_files(folder, cloud.base_url, state)
        code = _watch_daemon(folder, environ, began + render_seconds * (1 + JITTER) + PATIENCE_SECONDS, show)
        paid = cloud.accepted_by_text()
    return _ending(folder, time.monotonic() - began, code, paid)


def _write_files(folder: Path, base_url: str, state: Path | None) -> None:
    port = base_url.partition("://")[2].partition("/")[0].rpartition(":")[2]
    folders = f"folders:\n  state: {json.dumps(str(state))}      # this folder is on no local disk\n" if state else ""
    text = _CONFIG_TEXT.format(base_url=base_url, port=port, key=KEY, config=CONFIG, folders=folders)
    (folder / CONFIG).write_text(text, "utf-8")
    for name, content in DROPS.items():
        path = folder / "inbox" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, "utf-8")


# --- the daemon -----------------------------------------------------------------------------------


def _watch_daemon(folder: Path, environ: Mapping[str, str], end: float, show: Callable[[Overview], None]) -> int:
    """The exit code of the daemon, which is shown at work until then."""
    config = load(Path(CONFIG), {}, folder)
    paths = config.paths({}, folder)
    state = app.find_state(config, paths)
    tick = threading.Event()
    with _running(folder, environ) as process:
        while process.poll() is None:
            if time.monotonic() > end:
                raise DemoFailed(f"it did not come to an end in time; see {display(str(folder / LOG))}")
            with suppress(LedgerUnavailable):  # it is being made; the next look tells
                show(overview.gather(config, paths, state, app.now().wall, is_running=True))
            tick.wait(REFRESH_SECONDS)
        show(overview.gather(config, paths, state, app.now().wall, is_running=False))
    return process.returncode


@contextmanager
def _running(folder: Path, environ: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """The daemon as a program of its own, which has ended afterwards."""
    command = [sys.executable, "-m", "daemon", "run", "--once", "--config", CONFIG]
    with (folder / LOG).open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and our own module
            command,
            cwd=folder,  # so that the current folder cannot have another module of that name
            env=_environment(environ),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C is for us, and we end the daemon
        )
        try:
            yield process
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        process.kill()
        process.wait()


def _environment(environ: Mapping[str, str]) -> dict[str, str]:
    own = {name: value for name, value in environ.items() if not name.startswith(_MEANT_FOR_OTHERS)}
    # A checkout that was never installed is found by no other way; an installed package needs none.
    home = str(Path(daemon.__file__).resolve().parent.parent)
    if not home.endswith(("site-packages", "dist-packages")):
        own["PYTHONPATH"] = os.pathsep.join(filter(None, [home, own.get("PYTHONPATH", "")]))
    return own | {"AISTUDIOS_API_KEY": KEY}


# --- the ending -----------------------------------------------------------------------------------


def _ending(folder: Path, seconds: float, code: int, paid: Mapping[str, int]) -> Ending:
    videos = tuple(_made(folder, path) for path in _files(folder / "videos"))
    done = tuple(path for path in _files(folder / "done") if not path.endswith((RESULT, ERROR)))
    failed = tuple(path for path in _files(folder / "failed") if not path.endswith((RESULT, ERROR)))
    texts = tuple((path, _read(folder / "failed" / f"{path}{ERROR}")) for path in failed)
    unmet = [
        *([f"the daemon ended with {code} instead of {_EXPECTED_EXIT}"] if code != _EXPECTED_EXIT else []),
        *(f"videos/{path} is missing" for path in VIDEOS if f"videos/{path}" not in {made.path for made in videos}),
        *(f"{made.path}: {made.flaw}" for made in videos if made.flaw),
        *(f"done/{path} is missing" for path in GOOD if path not in done),
        *(f"done/{path}{RESULT} is missing" for path in done if not (folder / "done" / f"{path}{RESULT}").is_file()),
        *([f"failed/{BAD} is missing"] if BAD not in failed else []),
        *(f"failed/{path} should not be there" for path in failed if path != BAD),
        *(f"failed/{path}{ERROR} is missing" for path, text in texts if not text),
        *(f'"{text}" was ordered {times} times' for text, times in paid.items() if times != 1),
        *([f"{len(paid)} videos were ordered instead of {len(VIDEOS)}"] if len(paid) != len(VIDEOS) else []),
    ]
    return Ending(folder, seconds, videos, done, texts, tuple(unmet))


def _files(base: Path) -> list[str]:
    paths = (path.relative_to(base) for path in base.rglob("*") if path.is_file())
    return sorted(path.as_posix() for path in paths if not any(part.startswith(".") for part in path.parts))


def _made(folder: Path, name: str) -> Made:
    path = folder / "videos" / name
    with path.open("rb") as opened:
        size = os.fstat(opened.fileno()).st_size
        return Made(f"videos/{name}", size, why_not_whole(opened, size))


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except OSError:
        return ""
