"""The job file parser against anything: a batch or a list of problems, never a traceback, in little time and memory."""

from __future__ import annotations

import json
import os
import random
import resource
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daemon.core.batch import MAX_BYTES, Batch, parse_batch
from daemon.core.errors import BatchInvalid

if TYPE_CHECKING:
    from daemon.core.problem import Problem

CORPUS: Final = {path.name: path.read_bytes() for path in sorted((Path(__file__).parents[1] / "corpus").glob("*.yaml"))}
GOOD: Final = {name: content for name, content in CORPUS.items() if name.endswith(".ok.yaml")}
BAD: Final = {name: content for name, content in CORPUS.items() if name.endswith(".bad.yaml")}
MOST_SECONDS: Final = 1.0
MOST_BYTES: Final = 50 << 20
VERSIONS: Final = ("v2", "v3")


def ending(content: bytes, version: str = "v2") -> Batch | tuple[Problem, ...]:
    """The batch or the problems, both of the kind that the rest of the program can use."""
    try:
        batch = parse_batch(content, version)
    except BatchInvalid as invalid:
        return checked(invalid.problems)
    assert batch.requests
    for request in batch.requests:
        assert {"language", "text", "model", "clothes"} <= request.body.keys()
        json.dumps(dict(request.body), allow_nan=False).encode()
        "".join(map(str, request.body.values())).encode()
    return batch


def checked(problems: tuple[Problem, ...]) -> tuple[Problem, ...]:
    """There are some, and each can be shown."""
    assert problems
    for problem in problems:
        assert problem.message
        assert str(problem).isprintable()
        str(problem).encode()
    return problems


# --- the corpus -----------------------------------------------------------------------------------------------------


def test_the_corpus_is_there() -> None:
    """At least sixty files, each said to be good or bad."""
    assert len(CORPUS) >= 60
    assert len(GOOD) + len(BAD) == len(CORPUS)


@pytest.mark.parametrize("name", GOOD)
def test_job_files_of_the_corpus_are_read(name: str) -> None:
    """However they are written."""
    assert isinstance(ending(GOOD[name]), Batch)


@pytest.mark.parametrize("name", BAD)
def test_the_rest_of_the_corpus_ends_as_problems(name: str) -> None:
    """With words, and in both versions of the API without a traceback."""
    assert isinstance(ending(BAD[name]), tuple)
    ending(BAD[name], "v3")


def test_what_should_have_been_a_job_is_told_by_its_line() -> None:
    """A place in the file wherever there is one."""
    placeless = {name for name, content in BAD.items() if all(p.line is None for p in problems(content))}
    assert placeless <= {
        "empty.bad.yaml",
        "null.bad.yaml",
        "only-comment.bad.yaml",
        "only-separators.bad.yaml",
        "spaces.bad.yaml",
        "i18n-utf16-no-bom.bad.yaml",
        "utf16-odd.bad.yaml",
        "utf32.bad.yaml",
    }


def problems(content: bytes) -> tuple[Problem, ...]:
    end = ending(content)
    assert isinstance(end, tuple)
    return end


# --- anything -------------------------------------------------------------------------------------------------------

KEYS: Final = ("language", "text", "model", "clothes", "name", "pay_again", "uppercut", "jobs", "defaults", "<<", "zzz")
SCALARS: Final = st.one_of(
    st.sampled_from(
        ["", "~", "no", "1", "12:30", ".nan", "1e999", "'x'", '"\\ud800"', '"\\0"', "*a", "&a x", "!!str x"]
    ),
    st.sampled_from(
        ["|\n", ">-\n", "'", '"', "[", "{", "@x", "%x", "# x", "- x", "? x", "a: b", "\t", "\x85", "\u2028"]
    ),
    st.text(max_size=8),
)


def _lines(node: object, indent: int) -> list[str]:
    """A tree of lists, pairs, and scalars as block YAML, which its scalars may well break."""
    pad = " " * indent
    if isinstance(node, list):
        return [line for one in node for line in (f"{pad}-", *_lines(one, indent + 2))]
    if isinstance(node, tuple):
        return [line for key, value in node for line in (f"{pad}{key}:", *_lines(value, indent + 2))]
    return [pad + str(node)]


def _nested(inner: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    pairs = st.lists(st.tuples(st.sampled_from(KEYS), inner), max_size=5).map(tuple)
    return st.lists(inner, max_size=4) | pairs


YAMLISH: Final = st.recursive(SCALARS, _nested, max_leaves=20).map(lambda node: "\n".join(_lines(node, 0)))


@given(
    st.one_of(
        st.binary(max_size=300),
        st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace")),
        YAMLISH.map(lambda text: text.encode("utf-8", "surrogatepass")),
        YAMLISH.map(lambda text: text.encode("utf-16", "surrogatepass")),
    ),
    st.sampled_from(VERSIONS),
)
@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
def test_anything_is_a_batch_or_problems(content: bytes, version: str) -> None:
    """Bytes, text, and what looks like YAML."""
    ending(content, version)


@given(st.sampled_from(sorted(CORPUS)), st.integers(min_value=0), st.sampled_from(VERSIONS))
@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
def test_mutated_files_are_a_batch_or_problems(name: str, seed: int, version: str) -> None:
    """Cut off, doubled, bytes changed, mixed with another: as broken disks and people leave them."""
    ending(mutated(CORPUS[name][:4000], random.Random(seed)), version)


def mutated(content: bytes, chance: random.Random) -> bytes:
    """One to four changes."""
    other = CORPUS[chance.choice(sorted(CORPUS))][:2000]
    for _ in range(chance.randint(1, 4)):
        start, end = sorted((chance.randint(0, len(content)), chance.randint(0, len(content))))
        content = chance.choice(
            [
                content[:start],
                content[start:],
                content[:start] + content[end:],
                content[:end] + content[start:],
                content[:start] + chance.randbytes(chance.randint(1, 3)) + content[start:],
                content[:start] + chance.choice(b":-?[]{}&*!|>'\"%#,\t\n \\").to_bytes() + content[start:],
                content[:start] + other + content[start:],
                content.replace(b"  ", b"\t", 1),
                content.replace(b": ", b":", 1),
            ]
        )
    return content


@given(st.integers(0, len(GOOD["job-list.ok.yaml"])))
def test_every_prefix_of_a_job_file_is_a_batch_or_problems(length: int) -> None:
    """As it looks while it is written."""
    ending(GOOD["job-list.ok.yaml"][:length])


# --- time and memory ------------------------------------------------------------------------------------------------

_JOB: Final = b"{language: en, text: t, model: m, clothes: c}"


def filled(unit: bytes, *, head: bytes = b"", tail: bytes = b"") -> bytes:
    """As large as a job file may be."""
    return head + unit * ((MAX_BYTES - len(head) - len(tail)) // len(unit)) + tail


LARGE: Final = {
    "brackets": filled(b"["),
    "braces": filled(b"{"),
    "dashes": filled(b"- "),
    "questions": filled(b"? "),
    "colons": filled(b":\n"),
    "spaces": filled(b" "),
    "line ends": filled(b"\n"),
    "separators": filled(b"---\n"),
    "comments": filled(b"#\n"),
    "one text": filled(b"x", head=b"language: en\nmodel: m\nclothes: c\ntext: "),
    "one quoted text": filled(b"''", head=b"language: en\nmodel: m\nclothes: c\ntext: '", tail=b"'"),
    "folded lines": filled(b" x\n\n", head=b"language: en\nmodel: m\nclothes: c\ntext: >\n"),
    "escapes": filled(b"\\u0041", head=b'language: en\nmodel: m\nclothes: c\ntext: "', tail=b'"'),
    "unclosed quote": filled(b"x\n", head=b"text: '"),
    "one key": filled(b"k", tail=b": v"),
    "short keys": filled(b"a:\n"),
    "anchors": filled(b"- &a b\n"),
    "aliases": filled(b"- *a\n", head=b"- &a x\n"),
    "dangling aliases": filled(b"- *a\n"),
    "tags": filled(b"- !a b\n"),
    "merges": filled(b"- {<<: *a}\n", head=b"- &a {b: c}\n"),
    "jobs": filled(b"- " + _JOB + b"\n"),
    "bad jobs": filled(b"- {txt: t}\n"),
    "commas": filled(b",", head=b"["),
    "flow": filled(b"a,", head=b"["),
    "flow pairs": filled(b"a: b, ", head=b"{"),
    "utf-16": b"\xff\xfe" + filled("é: ".encode("utf-16-le"), head=b"")[: MAX_BYTES - 2],
    "not UTF-8": filled(b"\xff"),
    "half copied": filled(b"\0", head=b"text: x\n"),
    "unicode breaks": filled("\u2028".encode()),
    "astral": filled("😀".encode(), head=b"text: "),
    "tabs": filled(b"\t"),
    "directives": filled(b"%x\n"),
    **{name: content for name, content in BAD.items() if "bomb" in name},
}

_MEASURE: Final = """
import json, sys
sys.path.insert(0, sys.argv[1])
import test_fuzz
print(json.dumps(test_fuzz.measure()))
"""


def measure() -> dict[str, tuple[float, int]]:
    """Seconds of processor time for each large file, and by how many bytes this process had grown by then.

    The growth is the kernel's word, for libyaml's memory is not Python's.
    """
    _read(GOOD["job-list.ok.yaml"])
    before = _most_bytes()
    return {name: (_read(content), _most_bytes() - before) for name, content in LARGE.items()}


def _read(content: bytes) -> float:
    before = time.process_time()
    with suppress(BatchInvalid):
        parse_batch(content)
    return time.process_time() - before


def _most_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@pytest.fixture(scope="module")
def measured() -> dict[str, tuple[float, int]]:
    """All large files read in a process of its own."""
    command = [sys.executable, "-c", _MEASURE, str(Path(__file__).parent)]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    told = subprocess.run(command, capture_output=True, text=True, check=True, env=environ)
    found: dict[str, tuple[float, int]] = json.loads(told.stdout)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_a_file_as_large_as_may_be_takes_little_time_and_memory(
    measured: dict[str, tuple[float, int]], name: str
) -> None:
    """A second of processor time on an ordinary machine, three on a slow one; 50 MB."""
    seconds, grown = measured[name]
    assert seconds < 3 * MOST_SECONDS
    assert grown < MOST_BYTES
