"""/healthz, /metrics, /status of a real daemon: at work, in trouble, and gone when it has ended."""

from __future__ import annotations

import json
import signal
import socket
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, build_opener

from place import KEY, NEVER, PATIENCE_SECONDS, Place, Running, job, listed, wait_until
from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from pathlib import Path

PAGES = ("/healthz", "/metrics", "/status")
_opener = build_opener(ProxyHandler({}))


class Pages:
    """The pages of a daemon that has said where they are."""

    def __init__(self, running: Running) -> None:
        [self.address] = running.until("http.started")["addresses"]

    def ask(self, path: str) -> tuple[int, str]:
        """Code and text."""
        try:
            with _opener.open(f"http://{self.address}{path}", timeout=PATIENCE_SECONDS) as answer:
                return answer.status, answer.read().decode()
        except HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def ill(self) -> dict[str, str]:
        """What /healthz complains about: reasons by part."""
        code, text = self.ask("/healthz")
        found = json.loads(text)
        assert found["ok"] is (code == 200)
        return {one["part"]: one["reason"] for one in found.get("reasons", [])}

    def status(self) -> dict[str, Any]:
        """What /status says."""
        code, text = self.ask("/status")
        assert code == 200
        found: dict[str, Any] = json.loads(text)
        return found

    def figures(self) -> dict[str, float]:
        """What /metrics says: every sample by name and label values."""
        _, text = self.ask("/metrics")
        families = text_string_to_metric_families(text)
        samples = (sample for family in families for sample in family.samples)
        return {" ".join((one.name, *one.labels.values())): one.value for one in samples}


def start(place: Place, **environ: str) -> tuple[Running, Pages]:
    """A daemon with its pages on a free port."""
    running = place.start("run", CHROMADROP_HTTP__LISTEN="127.0.0.1:0", **environ)
    return running, Pages(running)


def test_the_pages_of_a_daemon_at_work(tmp_path: Path) -> None:
    """What is going on, then what was done; `status --json` says the same; the address is free after SIGTERM."""
    with Place(tmp_path, render_seconds=NEVER) as place:
        running, pages = start(place)
        assert pages.ill() == {}
        assert pages.figures()["chromadrop_jobs_settled_total done"] == 0
        place.drop_at_once("works.yaml", listed(job("one"), job("two <b>")))
        place.drop_at_once("bad.yaml", "language: ko\n")
        wait_until(lambda: pages.figures()["chromadrop_jobs rendering"] == 2, "both render")
        wait_until(lambda: pages.status()["counts"]["rendering"] == 2, "the ledger knows")
        [file] = [one for one in pages.status()["files"] if one["file"] == "works.yaml"]
        assert [one["text"] for one in file["jobs"]] == ["one", "two <b>"]
        assert "<b>" not in pages.ask("/status")[1]
        assert pages.status().keys() == json.loads(place.told("status", "--json")).keys()
        assert pages.status()["daemon"] == json.loads(place.told("status", "--json"))["daemon"]
        place.simulator.advance(NEVER)
        running.until("batch.filed", file="works.yaml", outcome="done")
        wait_until(lambda: pages.figures()["chromadrop_batches_total done"] == 1, "filed")
        found = pages.figures()
        videos = place.result("done/works.yaml")["jobs"]
        assert found["chromadrop_downloaded_bytes_total"] == sum(video["bytes"] for video in videos)
        expected = {
            "chromadrop_jobs_settled_total done": 2, "chromadrop_exports_total accepted": 2,
            "chromadrop_video_seconds_count": 2, "chromadrop_batches_claimed_total": 2,
            "chromadrop_batches_invalid_total": 1, "chromadrop_batches_total failed": 1, "chromadrop_healthy": 1,
            "chromadrop_jobs rendering": 0, "chromadrop_max_rendering": 20,
        }  # fmt: skip
        assert {name: found[name] for name in expected} == expected
        assert found["chromadrop_looks_total"] == found["chromadrop_look_lateness_seconds_count"] >= 2
        assert found["chromadrop_last_scan_timestamp_seconds"] >= (tmp_path / "done/works.yaml").stat().st_mtime - 60
        assert found["process_resident_memory_bytes"] > 0
        assert running.terminate() == 0
        host, port = pages.address.split(":")
        with socket.create_server((host, int(port))):
            pass
        assert running.said("http.exposed") == []


def test_account_trouble_is_ill_and_over_when_it_is_over(tmp_path: Path) -> None:
    """The cloud's words without the key, on every page; a pause is not ill."""
    with Place(tmp_path, render_seconds=0.1) as place:
        place.simulator.add_fault({"target": "export", "kind": "402", "times": "1", "msg": f"no credit for {KEY}"})
        (tmp_path / "inbox/PAUSE").touch()
        running, pages = start(place)
        wait_until(lambda: pages.figures()["chromadrop_paused"] == 1, "paused")
        assert pages.ill() == {}
        place.drop_at_once("a.yaml", job("hello"))
        (tmp_path / "inbox/PAUSE").unlink()
        running.until("account.trouble")
        wait_until(lambda: "account" in pages.ill(), "ill")
        assert "no credit for ***" in pages.ill()["account"]
        wait_until(lambda: pages.status()["troubles"]["account"], "told")
        found = pages.figures()
        assert found["chromadrop_up account"] == found["chromadrop_healthy"] == 0
        assert found["chromadrop_up cloud"] == 1
        assert found["chromadrop_exports_total account"] == found["chromadrop_deferrals_total account"] == 1
        assert not any(KEY in pages.ask(path)[1] for path in PAGES)
        assert running.terminate() == 0


def test_an_outage_is_ill(tmp_path: Path) -> None:
    """The cloud is away in the middle of a render, and comes back."""
    with Place(tmp_path, render_seconds=0.1) as place:
        place.simulator.add_fault("progress:503,times=0")
        running, pages = start(place)
        place.drop_at_once("a.yaml", job("hello"))
        wait_until(lambda: "cloud" in pages.ill(), "away")
        assert pages.figures()["chromadrop_deferrals_total outage"] >= 1
        place.simulator.clear_faults()
        running.until("batch.filed", outcome="done")
        wait_until(lambda: pages.ill() == {}, "back")
        assert running.terminate() == 0


def test_a_folder_that_takes_nothing_is_counted_and_told(tmp_path: Path) -> None:
    """A file lies where done/ was: each try is counted as ours, the page waits for the illness, and work goes on."""
    with Place(tmp_path, render_seconds=0.1) as place:
        running, pages = start(place)
        place.drop_at_once("a.yaml", job("hello"))
        running.until("batch.filed", file="a.yaml")
        (tmp_path / "done").rename(tmp_path / "kept")
        (tmp_path / "done").touch()
        place.drop_at_once("b.yaml", job("again"))
        assert "done" in running.until("batch.deferred")["reason"]
        wait_until(lambda: pages.figures()["chromadrop_deferrals_total ours"] >= 2, "counted")
        (tmp_path / "done").unlink()
        (tmp_path / "kept").rename(tmp_path / "done")
        running.until("batch.filed", file="b.yaml", outcome="done")
        wait_until(lambda: pages.ill() == {}, "well")
        assert pages.figures()["chromadrop_up folders"] == 1
        assert running.terminate() == 0


def test_a_root_that_is_gone_is_ill(tmp_path: Path) -> None:
    """Renamed away: said on every page, also when there is no inbox to be listed; well again when it is back."""
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    root.mkdir()
    with Place(root) as place:
        place.cwd = tmp_path
        running, pages = start(
            place, CHROMADROP_FOLDERS__ROOT=str(root), CHROMADROP_FOLDERS__STATE=str(tmp_path / "state")
        )
        wait_until(lambda: pages.figures()["chromadrop_last_scan_timestamp_seconds"] > 0, "a first scan")
        root.rename(elsewhere)
        running.until("root.lost")
        wait_until(lambda: "root" in pages.ill(), "ill")
        scanned_at = pages.figures()["chromadrop_last_scan_timestamp_seconds"]
        assert pages.figures()["chromadrop_up root"] == 0
        wait_until(lambda: pages.status()["troubles"]["root"], "told")
        assert pages.status()["inbox"]["error"]
        elsewhere.rename(root)
        running.until("root.found")
        wait_until(lambda: pages.ill() == {}, "well")
        wait_until(lambda: pages.figures()["chromadrop_last_scan_timestamp_seconds"] > scanned_at, "another scan")
        assert running.terminate() == 0


def test_work_does_not_depend_on_the_pages(tmp_path: Path) -> None:
    """The address is taken: said once as an error, and the job is done all the same."""
    with Place(tmp_path, render_seconds=0.1) as place, socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        place.drop("a.yaml", job("hello"))
        running = place.start("run", CHROMADROP_HTTP__LISTEN=address)
        assert running.until("http.unavailable")["address"] == address
        running.until("batch.filed", outcome="done")
        assert running.terminate() == 0
        assert len(running.said("http.unavailable")) == 1


def test_pages_that_others_can_read_are_warned_of(tmp_path: Path) -> None:
    """Only where it was written so."""
    with Place(tmp_path) as place:
        running = place.start("run", CHROMADROP_HTTP__LISTEN="0.0.0.0:0")
        assert running.until("http.exposed")["level"] == "warning"
        assert running.terminate() == 0


def test_an_address_that_makes_no_sense_is_refused(tmp_path: Path) -> None:
    """Exit 78, which systemd does not restart on, before anything is touched."""
    with Place(tmp_path) as place:
        running = place.start("run", CHROMADROP_HTTP__LISTEN="9188")
        assert running.end() == 78
        assert "is not HOST:PORT" in "".join(running.lines)
        assert not (tmp_path / "state").exists()


def test_the_pages_outlive_a_reload(tmp_path: Path) -> None:
    """SIGHUP with other folders makes another daemon in the same process: at the same address, of the same health."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with Place(tmp_path, render_seconds=0.1) as place:
        config = tmp_path / "config.yaml"
        config.write_text(f"http: {{listen: '{address}'}}\n")
        running = place.start("run")
        pages = Pages(running)
        assert pages.ill() == {}
        config.write_text(f"http: {{listen: '{address}'}}\nfolders: {{videos: films}}\n")
        running.process.send_signal(signal.SIGHUP)
        assert Pages(running).address == pages.address == address
        assert pages.ill() == {}
        place.drop_at_once("a.yaml", job("hello"))
        running.until("batch.filed", outcome="done")
        wait_until(lambda: pages.figures()["chromadrop_batches_total done"] == 1, "counted")
        assert running.terminate() == 0
        assert running.said("http.unavailable") == []


def test_run_once_ends_with_its_pages(tmp_path: Path) -> None:
    """A run that ends by itself is not kept by them."""
    with Place(tmp_path, render_seconds=0.1) as place:
        place.drop("a.yaml", job("hello"))
        assert place.start("run", "--once", CHROMADROP_HTTP__LISTEN="127.0.0.1:0").end() == 0
