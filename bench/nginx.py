"""A web server for large videos, plain and over TLS: Debian's nginx, as itself, in a scratch folder."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from bench.place import free_port, wait_until
from daemon.simulator.video import Video

if TYPE_CHECKING:
    from collections.abc import Mapping

VIDEO: Final = "video.mp4"
_CONFIG: Final = """
user root;
daemon off;
worker_processes 1;
error_log {folder}/error.log;
pid {folder}/nginx.pid;
events {{ worker_connections 256; }}
http {{
    access_log off;
    sendfile on;
    client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c;
    uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
    server {{
        listen 127.0.0.1:{plain};
        listen 127.0.0.1:{tls} ssl;
        ssl_certificate {folder}/cert.pem;
        ssl_certificate_key {folder}/key.pem;
        root {folder}/files;
    }}
}}
"""


def why_not() -> str:
    """Why it cannot be had; empty where it can."""
    missing = [program for program in ("nginx", "openssl", "curl") if shutil.which(program) is None]
    return (
        f"not measured: {', '.join(missing)} not installed (apt-get install nginx-light openssl curl)"
        if missing
        else ""
    )


class Nginx:
    """Serves one video of that many bytes.

    Attributes:
        urls: of it, by ``plain`` and ``TLS``.
        source: the file that is served.
        settings: environment for the daemon, so that it trusts the certificate.
        certificate: for curl.
    """

    def __init__(self, video_bytes: int) -> None:
        self._scratch = tempfile.TemporaryDirectory(prefix="chromadrop-nginx-")
        self._folder = Path(self._scratch.name)
        plain, tls = free_port(), free_port()
        self.urls = {"plain": f"http://127.0.0.1:{plain}/{VIDEO}", "TLS": f"https://127.0.0.1:{tls}/{VIDEO}"}
        self.source = self._folder / "files" / VIDEO
        self.certificate = self._folder / "cert.pem"
        self.settings: Mapping[str, str] = {"SSL_CERT_FILE": str(self.certificate)}
        self.source.parent.mkdir()
        with self.source.open("wb") as file:
            for chunk in Video("bench", 0, video_bytes).chunks(0, video_bytes):
                file.write(chunk)
        (self._folder / "nginx.conf").write_text(_CONFIG.format(folder=self._folder, plain=plain, tls=tls))

    def __enter__(self) -> Self:
        """Start it, and read the video once, so that it lies in memory for everybody."""
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1",
             "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem"],
            cwd=self._folder, check=True, capture_output=True,
        )  # fmt: skip
        command = ["nginx", "-p", str(self._folder), "-c", str(self._folder / "nginx.conf")]
        self._process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        wait_until(self._is_there, "nginx")
        return self

    def _is_there(self) -> bool:
        assert self._process.poll() is None, (self._folder / "error.log").read_text()
        try:
            with urllib.request.urlopen(self.urls["plain"], timeout=60) as answer:
                while answer.read(1 << 20):
                    pass
        except OSError:
            return False
        return True

    def __exit__(self, *_: object) -> None:
        """End it, remove the folder."""
        self._process.terminate()
        self._process.wait(30)
        self._scratch.cleanup()
