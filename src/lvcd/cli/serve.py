"""`lvcd serve`: the page for people who color, in the browser of this machine."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from lvcd.system import DEVICES
from lvcd.weights import MINI, model_folder

HELP = "open a page to color drawings in, in the browser of this machine"


def arguments(c: argparse.ArgumentParser) -> None:
    c.add_argument("--folder", type=Path, default=Path("lvcd-shots"),
                   help="where shots lie: drawings, choices and frames (default: lvcd-shots, made here)")  # fmt: skip
    c.add_argument("--model", type=model_folder, default=MINI,
                   help="folder of lvcd convert, train or export (default: mini, the bundled model)")  # fmt: skip
    c.add_argument("--device", default="auto", help=DEVICES)
    c.add_argument("--port", type=int, default=7860, help="of the page, 0 = any that is free (default: 7860)")
    c.add_argument("--host", default="127.0.0.1",
                   help="address to serve at; at any but this machine's own, everybody who reaches it sees and changes "
                        "all shots, without a password (default: 127.0.0.1)")  # fmt: skip
    c.add_argument("--example", action="store_true", help="begin with a walk cycle to try everything with")
    c.add_argument("--no-browser", action="store_true", help="do not open the browser, say where the page is")


def run(a: argparse.Namespace) -> None:
    from lvcd.app.server import is_loopback, make_server
    from lvcd.checkpoints.config_files import read_model_index

    read_model_index(a.model)
    server = make_server(a.folder, a.model, a.device, a.host, a.port, a.example)
    if not is_loopback(a.host):
        print(f"WARNING: everybody who reaches {a.host} sees and changes all shots in {a.folder}, without a password",
              file=sys.stderr)  # fmt: skip
    print(f"{server.address}  (Ctrl-C ends it; what is finished stays in {a.folder})", flush=True)
    if not a.no_browser and _has_screen():
        import webbrowser

        webbrowser.open(server.address)
    server.run()


def _has_screen() -> bool:
    """Return whether a browser has a window to open in: else Python takes one that fills the terminal."""
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
