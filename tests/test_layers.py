"""The shape of the code (DESIGN, section 5), read from its imports and calls."""

from __future__ import annotations

import ast
import sys
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
FRONT = (
    "cli",
    "app",
    "config",
    "checkup",
    "overview",
    "screens",
    "retry",
    "demo",
    "lint",
    "models",
    "completion",
    "lifetime",
    "pages",
    "status_source",
    "health",
    "__main__",
)
"""What stands before the dispatcher, for people; of these only can import the configuration and read a clock."""

PARTS = (
    "daemon.allowance",
    "daemon.lending",
    "daemon.models_watch",
    "daemon.notifying",
    "daemon.pruning",
    "daemon.room",
    "daemon.status_watch",
    "daemon.tracing",
)
"""Parts of the dispatcher that have a file of their own."""

PURE_LIBRARIES = {"yaml"}
IMPURE = {
    "asyncio", "concurrent", "fcntl", "ftplib", "glob", "http", "io", "logging", "mmap", "multiprocessing", "os",
    "pathlib", "queue", "random", "sched", "secrets", "select", "selectors", "shutil", "signal", "socket",
    "socketserver", "sqlite3", "ssl", "subprocess", "sys", "tempfile", "threading", "time",
}  # fmt: skip
MAKER_OF_CLASSES = "daemon.core.record"
"""It has an ``__init__`` compiled for each class, as `dataclasses` does."""

CLOCKS = {"time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "now", "utcnow", "today"}


@dataclass(frozen=True)
class Import:
    """One import of one module.

    Attributes:
        module: dotted, as far as it is a module.
        line: where.
        is_for_types: below ``if TYPE_CHECKING``.
        is_late: within a function.
    """

    module: str
    line: int
    is_for_types: bool
    is_late: bool


@cache
def modules() -> dict[str, Path]:
    """Every module of the daemon, by its dotted name."""
    found = {}
    for path in sorted((ROOT / "daemon").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"), str(path))


def imports_in(tree: ast.Module) -> list[Import]:
    return list(_imports(tree, is_for_types=False, is_late=False))


def _imports(node: ast.AST, *, is_for_types: bool, is_late: bool) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield Import(alias.name, node.lineno, is_for_types, is_late)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, "relative imports hide what is imported"
        for alias in node.names:
            full = f"{node.module}.{alias.name}"
            module = full if full in modules() else str(node.module)
            yield Import(module, node.lineno, is_for_types, is_late)
    elif isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
        for statement in node.body:
            yield from _imports(statement, is_for_types=True, is_late=is_late)
        for statement in node.orelse:
            yield from _imports(statement, is_for_types=is_for_types, is_late=is_late)
    else:
        inside = is_late or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for child in ast.iter_child_nodes(node):
            yield from _imports(child, is_for_types=is_for_types, is_late=inside)


def _is_in(module: str, *packages: str) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def allowed_for(module: str) -> tuple[str, ...]:
    """What of the daemon a module may import; each with all that is below it."""
    if _is_in(module, "daemon.core"):
        return ("daemon.core",)
    if _is_in(module, "daemon.edges"):
        return ("daemon.core", ".".join(module.split(".")[:3]))
    if _is_in(module, "daemon.pipeline"):
        return ("daemon.core", "daemon.edges", "daemon.pipeline")
    if _is_in(module, "daemon.simulator"):
        return ("daemon.simulator",)
    return {
        "daemon": (),
        "daemon.crew": ("daemon.core",),
        "daemon.dispatcher": ("daemon.core", "daemon.edges", "daemon.pipeline", *PARTS),
        **dict.fromkeys(PARTS, ("daemon.core", "daemon.edges", "daemon.pipeline")),
        "daemon.config": ("daemon.core",),
        "daemon.__main__": ("daemon.cli",),
    }.get(module, ("daemon",))


def wrong_imports(module: str, tree: ast.Module) -> list[str]:
    """The imports that the module's layer does not allow, in words."""
    allowed = allowed_for(module)
    wrong = []
    for found in imports_in(tree):
        is_version = found.module == "daemon" and not _is_in(module, "daemon.core", "daemon.simulator")
        if _is_in(found.module, "daemon") and not is_version and not _is_in(found.module, *allowed):
            wrong.append(f"line {found.line}: {module} imports {found.module}")
    return wrong


@pytest.mark.parametrize("module", sorted(modules()))
def test_a_module_imports_only_what_lies_below_it(module: str) -> None:
    """The order is cli -> app -> dispatcher -> pipeline -> edges -> core; edges know nothing of each other."""
    assert wrong_imports(module, tree_of(modules()[module])) == []


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("daemon.core.job", "from daemon.edges.spool import Spool"),
        ("daemon.core.job", "import daemon"),
        ("daemon.edges.spool", "from daemon.edges import ledger"),
        ("daemon.edges.spool", "from daemon.edges.studio.wire import Wire"),
        ("daemon.edges.studio.wire", "def f():\n    import daemon.config"),
        ("daemon.pipeline.claim", "if TYPE_CHECKING:\n    from daemon.dispatcher import Dispatcher"),
        ("daemon.dispatcher", "from daemon import config"),
        ("daemon.simulator.app", "from daemon.core.display import display"),
        ("daemon.simulator.app", "from daemon import VERSION"),
    ],
)
def test_the_rule_bites(module: str, line: str) -> None:
    """Wherever the import stands, and however it is written."""
    assert len(wrong_imports(module, ast.parse(line))) == 1


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("daemon.edges.studio.client", "from daemon.edges.studio.wire import Wire"),
        ("daemon.edges.spool", "from daemon import VERSION"),
        ("daemon.dispatcher", "from daemon.pipeline import claim"),
        ("daemon.app", "from daemon.config import Config"),
    ],
)
def test_the_rule_lets_through_what_is_right(module: str, line: str) -> None:
    """Its own package, what lies below, and the version."""
    assert wrong_imports(module, ast.parse(line)) == []


def test_only_the_front_sees_the_configuration() -> None:
    """The rest is given what it needs."""
    readers = {
        module.removeprefix("daemon.")
        for module, path in modules().items()
        if any(found.module == "daemon.config" for found in imports_in(tree_of(path)))
    }
    assert readers <= set(FRONT), "a new module at the front belongs into FRONT"


def test_only_the_front_uses_the_simulator() -> None:
    """The daemon knows one cloud, wherever that is."""
    users = {
        module
        for module, path in modules().items()
        if any(_is_in(found.module, "daemon.simulator") for found in imports_in(tree_of(path)))
    }
    assert {user for user in users if not _is_in(user, "daemon.simulator")} <= {"daemon.cli", "daemon.demo"}


CORE = sorted(module for module in modules() if _is_in(module, "daemon.core"))


@pytest.mark.parametrize("module", CORE)
def test_the_core_is_pure(module: str) -> None:
    """No I/O, no clock, no thread, no logger; of the libraries only those that parse and validate."""
    tree = tree_of(modules()[module])
    for found in imports_in(tree):
        top = found.module.partition(".")[0]
        is_known = top in {"daemon", *PURE_LIBRARIES} or (top in sys.stdlib_module_names and top not in IMPURE)
        assert is_known or found.is_for_types, f"line {found.line}: {found.module}"
    wrong = {"open", "print", "input", "exec", "eval"} - ({"exec"} if module == MAKER_OF_CLASSES else set())
    assert [call.lineno for call, name in calls_in(tree) if name in wrong] == []


def test_no_import_cycles() -> None:
    """At run time; what is only imported for its types, or late, makes none."""
    graph = {
        module: {
            found.module
            for found in imports_in(tree_of(path))
            if found.module in modules() and not found.is_for_types and not found.is_late
        }
        - {module}
        for module, path in modules().items()
    }
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(" -> ".join(reversed(error.args[1])))


# --- calls ----------------------------------------------------------------------------------------


def calls_in(tree: ast.AST) -> list[tuple[ast.Call, str]]:
    """Every call with the name that it calls, dotted as it is written."""
    return [(node, _dotted(node.func)) for node in ast.walk(tree) if isinstance(node, ast.Call)]


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    return f"{_dotted(node.value)}.{node.attr}" if isinstance(node, ast.Attribute) else ""


def test_only_the_command_line_prints() -> None:
    """Everything else returns, logs, or is given a console."""
    printing = {
        module
        for module, path in modules().items()
        if any(name in {"print", "click.echo", "click.secho", "pprint"} for _, name in calls_in(tree_of(path)))
    }
    assert printing <= {"daemon.cli"}


def sleeps_in(tree: ast.AST) -> list[int]:
    """The lines where something sleeps, or is about to."""
    lines = [call.lineno for call, name in calls_in(tree) if name.rpartition(".")[2] == "sleep"]
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            lines += [node.lineno for alias in node.names if alias.name == "sleep"]
    return lines


PYTHON_FILES = sorted([*(ROOT / "daemon").rglob("*.py"), *(ROOT / "tests").rglob("*.py")])


def test_nothing_sleeps() -> None:
    """Neither the daemon nor a test: what waits, waits for something."""
    sleeping = {path.relative_to(ROOT).as_posix(): sleeps_in(tree_of(path)) for path in PYTHON_FILES}
    assert {name: lines for name, lines in sleeping.items() if lines} == {}


@pytest.mark.parametrize(
    "text", ["import time\ntime.sleep(1)", "from time import sleep", "async def f():\n    await asyncio.sleep(0)"]
)
def test_a_sleep_is_found(text: str) -> None:
    """However it is written."""
    assert len(sleeps_in(ast.parse(text))) == 1


def clocks_in(tree: ast.AST) -> list[int]:
    """The lines where the real clock is read, or is about to be; handing a clock on is no reading."""
    lines = []
    for call, name in calls_in(tree):
        owner, _, last = name.rpartition(".")
        is_reading = last in CLOCKS and owner.rpartition(".")[2] in {"time", "datetime", "date"}
        is_reading |= name in {"time.localtime", "time.gmtime", "time.ctime"} and not call.args
        is_reading |= name == "time.strftime" and len(call.args) == 1
        if is_reading:
            lines.append(call.lineno)
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module == "time"]
    return lines + [node.lineno for node in imports]


def test_only_the_front_reads_the_clock() -> None:
    """Time comes in as an argument, or a clock does; the simulator is a cloud of its own."""
    reading = {
        module: clocks_in(tree_of(path))
        for module, path in modules().items()
        if module.removeprefix("daemon.") not in FRONT and not _is_in(module, "daemon.simulator")
    }
    assert {module: lines for module, lines in reading.items() if lines} == {}


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("time.monotonic()", 1),
        ("time.time()", 1),
        ("datetime.now(UTC)", 1),
        ("datetime.datetime.utcnow()", 1),
        ("date.today()", 1),
        ("from time import monotonic", 1),
        ("time.localtime()", 1),
        ("time.localtime(now)", 0),
        ("def f(clock=time.monotonic): clock()", 0),
        ("self.now()", 0),
        ("datetime.fromtimestamp(now, UTC)", 0),
    ],
)
def test_a_clock_that_is_read_is_found(text: str, count: int) -> None:
    """And one that is only handed on is not."""
    assert len(clocks_in(ast.parse(text))) == count


def test_the_whole_daemon_was_looked_at() -> None:
    """A rule over nothing would always hold."""
    assert {"daemon", "daemon.core.job", "daemon.edges.studio.wire", "daemon.dispatcher"} <= set(modules())
    assert len(CORE) > 10
