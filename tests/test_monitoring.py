"""docs/: the dashboard and the alert rules name figures that are there, and the alerts sound when they should."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from daemon.core.vitals import Peer
from daemon.edges.health.figures import Figures

ROOT = Path(__file__).parent.parent
RULES = ROOT / "docs/prometheus-alerts.yml"
DASHBOARD: dict[str, Any] = json.loads((ROOT / "docs/grafana-dashboard.json").read_text("utf-8"))
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="needs promtool (Debian package prometheus)")
LATER = {"instance", "job", "le"}
"""Labels that Prometheus adds, or that a histogram always has."""


def figures() -> Figures:
    """With all that there can be."""
    return Figures(version="1", booted_at=5.0, clock=lambda: 0.0, peers=lambda: [Peer("mac-a", is_alive=True)])


@cache
def series() -> dict[str, dict[str, set[str]]]:
    """What /metrics has: by name of the series, the values of each label."""
    found: dict[str, dict[str, set[str]]] = {"up": {}}
    for family in figures().registry.collect():
        for sample in family.samples:
            labels = found.setdefault(sample.name, {})
            for name, value in sample.labels.items():
                labels.setdefault(name, set()).add(value)
    return found


def rules() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load(RULES.read_text("utf-8"))["groups"][0]["rules"]
    return found


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = DASHBOARD["panels"]
    return found


def expressions() -> list[str]:
    """Every expression of both."""
    return [rule["expr"] for rule in rules()] + [one["expr"] for panel in panels() for one in panel["targets"]]


SELECTOR = re.compile(r"\b((?:chromadrop|process)_\w+|up\b)(?:\{([^}]*)\})?")
MATCHER = re.compile(r'(\w+)(=~|!=|=)"([^"]*)"')


def wrong(expression: str) -> list[str]:
    """What an expression names that /metrics does not have."""
    found = []
    for name, matchers in SELECTOR.findall(expression):
        if name not in series():
            found.append(name)
            continue
        for label, sign, value in MATCHER.findall(matchers):
            wanted = set(value.split("|")) if sign == "=~" else {value}
            if label not in LATER and not wanted <= series()[name].get(label, set()):
                found.append(f"{name}: {label}={value}")
    return found


@pytest.mark.parametrize("expression", expressions())
def test_what_is_asked_for_is_there(expression: str) -> None:
    """Names, labels, and values of labels: a misspelt alert would never sound."""
    assert SELECTOR.search(expression)
    assert wrong(expression) == []


@pytest.mark.parametrize(
    "expression", ["chromadrop_job > 0", 'chromadrop_jobs{state="queue"}', 'chromadrop_up{prt="x"}']
)
def test_the_check_bites(expression: str) -> None:
    """A figure, a value, or a label that is not there is found."""
    assert len(wrong(expression)) == 1


def test_every_figure_of_ours_is_shown_or_watched() -> None:
    """What nobody looks at need not be counted."""
    asked = {re.sub("_(bucket|sum|count)$", "", name) for text in expressions() for name, _ in SELECTOR.findall(text)}
    told = {re.sub("_(bucket|sum|count|created)$", "", name) for name in series() if name.startswith("chromadrop")}
    assert {name for name in told if f"{name}_total" not in told} <= asked


def test_the_table_of_figures_is_what_there_is() -> None:
    """README names each figure, its type, and the values of its label."""
    readme = (ROOT / "README.md").read_text("utf-8").split("\n## Monitoring\n", 1)[1].split("\n## ", 1)[0]
    rows = re.findall(r"^\| `(chromadrop_\w+)(?:\{([\w,]+)\})?` \| (?:`([^|]+)`)? ?\|", readme, re.MULTILINE)
    written = {name: (label, set(values.split("` `")) - {""}) for name, label, values in rows}
    there = {}
    for family in figures().registry.collect():
        if family.name.startswith("chromadrop"):
            name = {"counter": f"{family.name}_total", "info": f"{family.name}_info"}.get(family.type, family.name)
            pairs = [pair for sample in family.samples for pair in sample.labels.items() if pair[0] != "le"]
            labels = ",".join(dict.fromkeys(label for label, _ in pairs))
            there[name] = (labels, {value for label, value in pairs if label not in {"version", "host"}})
    assert written == there


# --- the dashboard --------------------------------------------------------------------------------


def test_the_dashboard_can_be_imported() -> None:
    """Grafana's own requirements: a schema version that it knows, unique ids, a place for each panel."""
    assert DASHBOARD["schemaVersion"] >= 36
    assert DASHBOARD["uid"] == "chromadrop"
    assert "id" not in DASHBOARD, "Grafana gives that number itself"
    ids = [panel["id"] for panel in panels()]
    assert len(set(ids)) == len(ids) > 10
    for one, other in itertools.combinations([panel["gridPos"] for panel in panels()], 2):
        is_beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        is_above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert is_beside or is_above
    assert max(panel["gridPos"]["x"] + panel["gridPos"]["w"] for panel in panels()) == 24


def test_the_dashboard_asks_the_source_that_a_person_chooses() -> None:
    """Nobody's Prometheus has the uid of ours: a variable stands for it, everywhere."""
    variables = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    assert variables["instance"]["datasource"] == chosen
    assert wrong(variables["instance"]["definition"]) == []
    for panel in panels():
        assert panel["title"]
        assert panel["description"]
        assert panel["datasource"] == chosen
        assert [one["datasource"] for one in panel["targets"]] == [chosen] * len(panel["targets"])
        letters = [one["refId"] for one in panel["targets"]]
        assert len(set(letters)) == len(letters) > 0


def checked(*arguments: str | Path) -> str:
    """What promtool says."""
    assert PROMTOOL is not None
    ended = subprocess.run(
        [PROMTOOL, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout
    return ended.stdout


@needs_promtool
def test_the_dashboards_expressions_are_promql(tmp_path: Path) -> None:
    """Read by Prometheus' own parser, as rules."""
    asked = [one["expr"] for panel in panels() for one in panel["targets"]]
    plain = [text.replace("$__rate_interval", "5m").replace("$instance", ".*") for text in asked]
    recorded = [{"record": f"panel:{n}", "expr": text} for n, text in enumerate(plain)]
    path = tmp_path / "rules.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": recorded}]}))
    assert f"{len(asked)} rules found" in checked("check", "rules", path)


# --- the alerts -----------------------------------------------------------------------------------


def test_every_alert_says_what_to_do() -> None:
    """A name of ours, how grave it is, what is wrong, and what an operator does about it."""
    names = [rule["alert"] for rule in rules()]
    assert len(set(names)) == len(names)
    for rule in rules():
        assert rule["alert"].startswith("Chromadrop")
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}
        assert "$labels.instance" in rule["annotations"]["summary"]
        assert rule["annotations"]["description"].endswith((".", "?"))


@needs_promtool
def test_the_alerts_are_rules() -> None:
    """By Prometheus' own check."""
    assert f"{len(rules())} rules found" in checked("check", "rules", RULES)


@needs_promtool
def test_the_figures_are_named_as_prometheus_likes_them() -> None:
    """Its own lint: units, suffixes, help."""
    assert PROMTOOL is not None
    body, _ = figures().page("")
    ended = subprocess.run([PROMTOOL, "check", "metrics"], input=body, capture_output=True, check=False)
    said = (ended.stdout + ended.stderr).decode().splitlines()
    assert [line for line in said if line.startswith("chromadrop") and "_created" not in line] == []


BUSY = {
    "chromadrop_up{part='account'}": "1x999",
    "chromadrop_up{part='cloud'}": "1x999",
    "chromadrop_up{part='root'}": "1x999",
    "chromadrop_up{part='folders'}": "1x999",
    "chromadrop_up{part='ledger'}": "1x999",
    "chromadrop_up{part='scanner'}": "1x999",
    "chromadrop_up{part='main_loop'}": "1x999",
    "chromadrop_jobs{state='queued'}": "7x999",
    "chromadrop_jobs{state='rendering'}": "20x999",
    "chromadrop_max_rendering{}": "20x999",
    "chromadrop_paused{}": "0x999",
    "chromadrop_limited{}": "0x999",
    "chromadrop_peers{}": "2x999",
    "chromadrop_exports_total{outcome='accepted'}": "0+1x999",
    "chromadrop_jobs_settled_total{outcome='done'}": "0+1x999",
    "chromadrop_jobs_settled_total{outcome='refused'}": "0x999",
    "chromadrop_jobs_settled_total{outcome='in_doubt'}": "0x999",
    "chromadrop_look_lateness_seconds_bucket{le='0.1'}": "0+20x999",
    "chromadrop_look_lateness_seconds_bucket{le='60'}": "0+20x999",
    "chromadrop_look_lateness_seconds_bucket{le='+Inf'}": "0+20x999",
    "chromadrop_last_scan_timestamp_seconds{}": "0+60x999",
    "process_start_time_seconds{}": "-86400x999",
    "up{}": "1x999",
}
"""A day in which all is well, minute by minute, as promtool writes it."""

SOUNDS: dict[str, tuple[dict[str, str], str]] = {
    "ChromadropDown": ({"up{}": "1x9 0x999"}, "20m"),
    "ChromadropAccountTrouble": ({"chromadrop_up{part='account'}": "1x9 0x999"}, "20m"),
    "ChromadropRootLost": ({"chromadrop_up{part='root'}": "1x9 0x999"}, "20m"),
    "ChromadropFoldersIll": ({"chromadrop_up{part='folders'}": "1x9 0x999"}, "20m"),
    "ChromadropLedgerAway": ({"chromadrop_up{part='ledger'}": "1x9 0x999"}, "20m"),
    "ChromadropPeerGone": ({"chromadrop_peers{}": "2x9 1x999"}, "30m"),
    "ChromadropStuck": ({"chromadrop_up{part='scanner'}": "1x9 0x999"}, "20m"),
    "ChromadropCloudAway": ({"chromadrop_up{part='cloud'}": "1x9 0x999"}, "40m"),
    "ChromadropInDoubt": ({"chromadrop_jobs_settled_total{outcome='in_doubt'}": "0x20 1x999"}, "40m"),
    "ChromadropJobsFail": ({"chromadrop_jobs_settled_total{outcome='refused'}": "0+1x999"}, "90m"),
    "ChromadropNothingExported": (
        {
            "chromadrop_exports_total{outcome='accepted'}": "5x999",
            "chromadrop_jobs{state='rendering'}": "0x999",
            "chromadrop_daemon_jobs{host='other',state='rendering'}": "19x999",
        },
        "90m",
    ),
    "ChromadropLooksLate": ({"chromadrop_look_lateness_seconds_bucket{le='0.1'}": "0+10x999"}, "60m"),
    "ChromadropScanOld": ({"chromadrop_last_scan_timestamp_seconds{}": "60x999"}, "20m"),
    "ChromadropPausedLong": ({"chromadrop_paused{}": "1x999"}, "300m"),
}
"""What makes each alert sound, and when it has at the latest."""

SILENT: dict[str, tuple[dict[str, str], str]] = {
    "a short outage": ({"chromadrop_up{part='cloud'}": "1x9 0x10 1x999"}, "25m"),
    "a daemon that is started again": ({"chromadrop_peers{}": "2x9 1x5 2x999"}, "30m"),
    "few jobs fail": ({"chromadrop_jobs_settled_total{outcome='refused'}": "0x30 2x999"}, "60m"),
    "full": ({"chromadrop_exports_total{outcome='accepted'}": "5x999"}, "90m"),
    "paused": (
        {
            "chromadrop_exports_total{outcome='accepted'}": "5x999",
            "chromadrop_jobs{state='rendering'}": "0x999",
            "chromadrop_paused{}": "1x999",
        },
        "90m",
    ),
    "limited": (
        {
            "chromadrop_exports_total{outcome='accepted'}": "5x999",
            "chromadrop_jobs{state='rendering'}": "0x999",
            "chromadrop_limited{}": "1x999",
        },
        "90m",
    ),
    "the other machine renders all that may be": (
        {
            "chromadrop_exports_total{outcome='accepted'}": "5x999",
            "chromadrop_jobs{state='rendering'}": "2x999",
            "chromadrop_daemon_jobs{host='one',state='rendering'}": "2x999",
            "chromadrop_daemon_jobs{host='other',state='rendering'}": "18x999",
        },
        "90m",
    ),
    "an old doubt": ({"chromadrop_jobs_settled_total{outcome='in_doubt'}": "1x999"}, "90m"),
}


def sounding(tmp_path: Path, changes: dict[str, str], at: str, alerts: dict[str, bool]) -> str:
    """Run the rules on a day with these changes; which alerts must have sounded at that moment, by promtool."""

    def labelled(name: str) -> str:
        inside = "instance='a:9188',job='chromadrop'"
        return name.replace("{}", f"{{{inside}}}") if "{}" in name else name.replace("{", f"{{{inside},")

    input_series = [{"series": labelled(name), "values": values} for name, values in (BUSY | changes).items()]
    tests = []
    for name, is_sounding in alerts.items():
        rule = next(rule for rule in rules() if rule["alert"] == name)
        expected = f'count(ALERTS{{alertname="{name}",alertstate="firing"}}) or vector(0)'
        tests.append({"expr": expected, "eval_time": at, "exp_samples": [{"labels": "{}", "value": int(is_sounding)}]})
        assert rule["expr"]
    document = {
        "rule_files": [str(RULES)],
        "evaluation_interval": "1m",
        "tests": [{"interval": "1m", "input_series": input_series, "promql_expr_test": tests}],
    }
    path = tmp_path / "test.yml"
    path.write_text(yaml.safe_dump(document))
    return checked("test", "rules", path)


@needs_promtool
@pytest.mark.parametrize("alert", [rule["alert"] for rule in rules()])
def test_each_alert_sounds(tmp_path: Path, alert: str) -> None:
    """When what it is for happens, it and no other; on a busy day that is well, none."""
    changes, at = SOUNDS[alert]
    everything = {rule["alert"]: rule["alert"] == alert for rule in rules()}
    assert "SUCCESS" in sounding(tmp_path, changes, at, everything)


@needs_promtool
@pytest.mark.parametrize("case", SILENT)
def test_none_sounds_for_nothing(tmp_path: Path, case: str) -> None:
    """An operator who is woken for nothing looks no more."""
    changes, at = SILENT[case]
    assert "SUCCESS" in sounding(tmp_path, changes, at, dict.fromkeys(SOUNDS, False))


@needs_promtool
def test_a_doubt_that_a_start_finds_is_told(tmp_path: Path) -> None:
    """Killed in the middle of an export: the next daemon counts it before anybody has read the 0."""
    changes = {
        "chromadrop_jobs_settled_total{outcome='in_doubt'}": "1x999",
        "process_start_time_seconds{}": "0x999",
    }
    assert "SUCCESS" in sounding(tmp_path, changes, "10m", {"ChromadropInDoubt": True})
    assert "SUCCESS" in sounding(tmp_path, changes, "90m", {"ChromadropInDoubt": False})
