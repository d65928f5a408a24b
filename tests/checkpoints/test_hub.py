"""Models of the Hugging Face hub by their name, from a hub on this machine: downloaded once, then from the cache."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.helpers.processes import CEILING

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FIND = (
    "import sys; from lvcd.checkpoints.hub import find_model; print(find_model(sys.argv[1], sys.argv[2] == 'weights'))"
)


class Hub(ThreadingHTTPServer):
    """Answers what huggingface_hub asks of a hub with one public model, owner/toy. `asked`: the files it sent."""

    def __init__(self, folder: Path):
        super().__init__(("127.0.0.1", 0), Answers)
        self.folder, self.asked = folder, []
        self.files = sorted(f.relative_to(folder).as_posix() for f in folder.rglob("*") if f.is_file())

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Answers(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *_: object) -> None: ...

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if re.fullmatch(r"/api/models/owner/toy(/revision/\w+)?", path):
            names = [{"rfilename": name} for name in self.server.files]
            return self._send(json.dumps({"id": "owner/toy", "sha": COMMIT, "siblings": names}).encode())
        if re.fullmatch(r"/api/models/owner/toy/tree/\w+", path):
            sizes = {name: (self.server.folder / name).stat().st_size for name in self.server.files}
            listed = [{"type": "file", "path": n, "size": size, "oid": "0" * 40} for n, size in sizes.items()]
            return self._send(json.dumps(listed).encode())
        found = re.fullmatch(rf"/owner/toy/resolve/(?:main|{COMMIT})/(.+)", path)
        if found and found[1] in self.server.files:
            if self.command == "GET":
                self.server.asked.append(found[1])
            data = (self.server.folder / found[1]).read_bytes()
            return self._send(data, {"ETag": f'"{hashlib.sha1(data).hexdigest()}"', "X-Repo-Commit": COMMIT})
        return self.send_error(404)

    def _send(self, data: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(200)
        for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)


@pytest.fixture
def hub(model_folder) -> Iterator[Hub]:
    server = Hub(model_folder)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def find(name: str, endpoint: str, home: Path, what: str = "weights") -> subprocess.CompletedProcess:
    usual = {k: v for k, v in os.environ.items() if "proxy" not in k.lower()}
    environment = {
        **usual,
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(home),
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
    }
    return subprocess.run(
        [sys.executable, "-c", FIND, name, what], env=environment, capture_output=True, text=True, timeout=CEILING
    )


@pytest.mark.slow
def test_a_model_is_downloaded_once(hub, tmp_path, model_folder):
    first = find("owner/toy", hub.address, tmp_path)
    assert first.returncode == 0, first.stderr[-2000:]
    folder = Path(first.stdout.strip())
    for part in ("unet", "controlnet", "vae", "image_encoder"):
        for file in (model_folder / part).iterdir():
            assert (folder / part / file.name).read_bytes() == file.read_bytes()
    asked = list(hub.asked)
    hub.shutdown()
    again = find("owner/toy", "http://127.0.0.1:9", tmp_path)  # no hub answers there
    assert again.stdout == first.stdout and hub.asked == asked


@pytest.mark.slow
def test_without_weights_none_are_downloaded(hub, tmp_path):
    done = find("owner/toy", hub.address, tmp_path, "configs")
    assert done.returncode == 0, done.stderr[-2000:]
    assert hub.asked and not [name for name in hub.asked if name.endswith(".safetensors")]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["owner/toy", "owner/other"])
def test_what_is_not_to_be_had_says_how_to_get_it(hub, tmp_path, name):
    endpoint = hub.address if name == "owner/other" else "http://127.0.0.1:9"
    done = find(name, endpoint, tmp_path)
    line = done.stderr.strip().splitlines()[-1]
    assert done.returncode and "InputError" in line and f"hf download {name} --local-dir" in line
