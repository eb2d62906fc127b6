"""``chromadrop simulate``: what it says it is, it is."""

from __future__ import annotations

import re
import signal
import subprocess
import sys

import pytest
import requests
from click.testing import CliRunner
from simulator_client import HEADERS, JOB

from daemon.cli import commands
from daemon.simulator.faults import KINDS, TARGETS


def variables_of(line: str) -> dict[str, str]:
    """The environment in a printed command line."""
    return dict(re.findall(r"(\w+)=(\S+)", line))


@pytest.mark.parametrize(
    ("arguments", "key", "app"),
    [
        ((), "any-word", ("any-word", "any-word")),
        (("--key", "k1", "--app", "a1:u1:x", "--app", "a2:u2", "--token-seconds", "60"), "k1", ("a1", "u1:x")),
    ],
)
def test_what_is_printed_works(arguments: tuple[str, ...], key: str, app: tuple[str, str]) -> None:
    """The variables for chromadrop, v2 and v3, and the hosts that the vendor's samples name."""
    command = [sys.executable, "-W", "error", "-m", "daemon", "simulate", "--port", "0", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines: list[str] = []
        while not lines or not lines[-1].startswith("Ctrl-C"):
            lines.append(process.stdout.readline().strip())
        v2, v3 = (variables_of(next(line for line in lines if f"chromadrop, {name}" in line)) for name in ("v2", "v3"))
        headers = HEADERS | {"Authorization": v2["AISTUDIOS_API_KEY"]}
        accepted = requests.post(
            f"{v2['CHROMADROP_API__BASE_URL']}/simple/video", json=JOB, headers=headers, timeout=10
        )
        pair = {"appId": v3["AISTUDIOS_APP_ID"], "userKey": v3["AISTUDIOS_USER_KEY"]}
        token = requests.post(f"{v3['CHROMADROP_API__BASE_URL']}/auth/token", json=pair, timeout=10)
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
    assert (accepted.status_code, token.status_code) == (200, 200)
    assert (v2["AISTUDIOS_API_KEY"], tuple(pair.values()), v3["CHROMADROP_API__VERSION"]) == (key, app, "v3")
    text = "\n".join(lines)
    for host in ("v2.aistudios.com", "app.aistudios.com", "app.aistudios.cn", "app.deepbrain.io"):
        assert f"https://{host}" in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--app", "nothing"), "'nothing' is not APPID:USERKEY."),
        (("--token-seconds", "0"), "token_seconds positive"),
        (("--fault", "token:nan"), "'nan' makes no sense for token, only for: progress."),
    ],
)
def test_wrong_usage_is_said_and_nothing_starts(arguments: tuple[str, ...], words: str) -> None:
    """2, with what is wrong."""
    result = CliRunner().invoke(commands, ["simulate", *arguments])
    assert (result.exit_code, words in result.output) == (2, True)


def test_the_list_of_faults_is_complete() -> None:
    """Every kind with its words and what it strikes, every target."""
    output = CliRunner().invoke(commands, ["simulate", "--list-faults"]).output
    for name, kind in KINDS.items():
        assert re.search(
            rf"^{name} +{re.escape(kind.says)}\n +strikes: {re.escape(kind.strikes)}", output, re.MULTILINE
        )
    assert all(target in output.partition("\n")[0] for target in TARGETS)
