"""The page on a port of this machine: nothing foreign can be loaded into it, and nothing foreign can call it.

Gradio's own HTML names other hosts (a picture for link previews); a Content-Security-Policy lets the browser load and
call nothing but this server, and Gradio's reports of use are switched off before it is imported.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import shutil
import socket
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lvcd.errors import InputError
from lvcd.io.disk import Lock, writing

POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; "
    "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)
"""What the page may load, for the header Content-Security-Policy. Gradio's templates are compiled in the browser."""
_HEADERS = [
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
]
MAX_UPLOAD = "4gb"
"""Of one file."""


@dataclass
class PageServer:
    """The server of a page that is ready to run."""

    address: str
    """Where a browser finds the page."""
    painter: Any
    """The `ShotPainter` that paints."""
    _uvicorn: Any
    _socket: socket.socket
    _lock: Lock
    _temp: Path

    def run(self) -> None:
        """Serve until it is stopped: by `stop`, or by a signal where this is the main thread."""
        try:
            self._uvicorn.run(sockets=[self._socket])
        finally:
            self.painter.cancel()
            self.painter.wait(30)
            self._socket.close()
            shutil.rmtree(self._temp, ignore_errors=True)
            self._lock.release()

    def stop(self) -> None:
        """Let `run` come to its end."""
        self._uvicorn.should_exit = True

    def start_thread(self) -> threading.Thread:
        """Run in a thread of its own."""
        thread = threading.Thread(target=self.run, name="page", daemon=True)
        thread.start()
        return thread


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches a host's address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def make_server(
    folder: Path,  # where shots lie; made if it is not there
    model: str | Path,
    device: str = "auto",
    host: str = "127.0.0.1",
    port: int = 7860,  # 0 = any that is free
    example: bool = False,  # begin with the walk cycle
) -> PageServer:
    """Make the page and take its port. InputError: Gradio is missing, the port or the folder is taken, the disk."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    os.environ["FASTAPI_OTEL_AUTO_CONFIGURE"] = "false"
    folder = folder.resolve()
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    lock = Lock(folder / ".lvcd-serve.lock", f"another lvcd serve works in {folder}: use its page, or give --folder")
    temp = folder / ".uploads"
    os.environ["GRADIO_TEMP_DIR"] = str(temp)
    try:
        shutil.rmtree(temp, ignore_errors=True)
        listener = _listen(host, port)
        application, painter = _application(folder, model, device, host, example)
    except BaseException:
        lock.release()
        raise
    import uvicorn

    config = uvicorn.Config(application, log_level="warning", timeout_graceful_shutdown=2)
    logging.getLogger("uvicorn.error").addFilter(_is_no_cancel)
    shown = f"[{host}]" if ":" in host else host
    address = f"http://{shown}:{listener.getsockname()[1]}/"
    return PageServer(address, painter, uvicorn.Server(config), listener, lock, temp)


class _Guard:
    """Refuses what pages of other sites ask for, and tells the browser what this one may load."""

    def __init__(self, app: Any):
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] not in ("http", "websocket"):
            return await self.app(scope, receive, send)
        asked = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        origin = asked.get(b"origin")

        async def send_with_policy(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *_HEADERS]}
            await send(message)

        if origin is not None and urlsplit(origin).netloc != asked.get(b"host"):
            from starlette.responses import PlainTextResponse

            refusal = PlainTextResponse("pages of other sites may not use this one", 403)
            return await refusal(scope, receive, send_with_policy)
        return await self.app(scope, receive, send_with_policy)


def _is_no_cancel(record: logging.LogRecord) -> bool:
    """Return whether a line of the log is worth a look: a page that is open at the end has its stream cut off."""
    cut = record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError)
    return not cut and not str(record.msg).startswith("Cancel %s running task")


def _listen(host: str, port: int) -> socket.socket:
    """Take a port. InputError: it is taken, or the host is none of this machine."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        raise InputError(f"cannot serve at {host} port {port} ({error}): give another --port, or 0 for any") from error


def _application(folder: Path, model: str | Path, device: str, host: str, example: bool) -> tuple[Any, Any]:
    """Return the web application and what paints in it."""
    try:
        import gradio
    except ModuleNotFoundError as error:
        raise InputError("the page needs Gradio: pip install 'lvcd[app]'") from error
    from fastapi import FastAPI
    from fastapi.responses import FileResponse, PlainTextResponse
    from fastapi.staticfiles import StaticFiles
    from starlette.concurrency import run_in_threadpool
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    from .downloads import make_download
    from .page import CSS, build_page
    from .shot_folder import Shot, find_shots
    from .shot_painter import ShotPainter

    painter = ShotPainter(model, device)
    web = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    if is_loopback(host):  # else a foreign page could reach this one by a name of its own for this address
        web.add_middleware(TrustedHostMiddleware, allowed_hosts=["localhost", "127.0.0.1", "[::1]", host])

    web.add_middleware(_Guard)

    @web.get("/take/{name}/{what}")
    async def take(name: str, what: str, fps: float = 24.0) -> Any:
        found = [path for path in find_shots(folder) if path.name == name]
        if not found:
            return PlainTextResponse(f"there is no shot {name}", 404)
        try:
            file = await run_in_threadpool(lambda: make_download(Shot.open(found[0]), what, fps))
        except InputError as error:
            return PlainTextResponse(str(error), 400)
        return FileResponse(file, filename=file.name)

    web.mount("/shots", StaticFiles(directory=folder))
    page = build_page(folder, painter, example)
    font = ["system-ui", "sans-serif"]
    theme = gradio.themes.Default(font=font, font_mono=["ui-monospace", "monospace"])
    application = gradio.mount_gradio_app(
        web, page, "/", server_name=host, max_file_size=MAX_UPLOAD, ssr_mode=False, footer_links=[], theme=theme,
        css_paths=CSS, pwa=False, enable_monitoring=False, mcp_server=False, show_error=True,
    )  # fmt: skip
    return application, painter
