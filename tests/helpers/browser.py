"""A real browser, led over its debugging pipe: pages are opened, clicked, typed at and looked at as a person would."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser")
BROWSER = next(filter(None, map(shutil.which, NAMES)), None)
needs_browser = pytest.mark.skipif(not BROWSER, reason=f"no browser: install Debian's {NAMES[0]} or {NAMES[1]}")


class Browser:
    """One page of one browser.

    requests    the addresses that it asked for, except data: URIs
    errors      what its console and its content security policy complained of
    """

    def __init__(self, profile: Path, width: int = 1280, height: int = 900):
        down, up = ([fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in os.pipe()] for _ in range(2))
        words = [str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe",
                 "--no-first-run", "--autoplay-policy=no-user-gesture-required",
                 "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # nothing leaves this machine
                 f"--user-data-dir={profile}", "about:blank"]  # fmt: skip
        ends = [(os.POSIX_SPAWN_DUP2, down[0], 3), (os.POSIX_SPAWN_DUP2, up[1], 4)]  # where it looks for the pipe
        quiet = [(os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0)]
        self.process = os.posix_spawn(words[0], words, os.environ, file_actions=ends + quiet, setpgroup=0)
        os.close(down[0])
        os.close(up[1])
        self._to, self._from = os.fdopen(down[1], "wb", 0), os.fdopen(up[0], "rb", 0)
        self._rest, self._number, self._session = b"", 0, None
        self.requests: list[str] = []
        self.errors: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        self.size(width, height)

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *error: object) -> None:
        self._to.close()
        self._from.close()
        os.killpg(self.process, signal.SIGKILL)  # Debian's command is a script that starts the browser
        os.waitpid(self.process, 0)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        self._to.write(json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            data = self._from.read(1 << 20)
            assert data, "the browser is gone"
            self._rest += data
        text, _, self._rest = self._rest.partition(b"\0")
        message = json.loads(text)
        self._note(message.get("method"), message.get("params", {}))
        return message

    def _note(self, method: str | None, params: dict[str, Any]) -> None:
        if method == "Network.requestWillBeSent":
            address = params["request"]["url"]
            self.requests += [address] * (not address.startswith("data:"))
        elif method == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(params["exceptionDetails"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.errors.append(params["entry"]["text"])

    def open(self, address: str) -> None:
        self.call("Page.navigate", url="about:blank")
        self.requests.clear()
        self.call("Page.navigate", url=address)
        self.until("document.readyState == 'complete' && location.href != 'about:blank'")

    def run(self, code: str) -> Any:
        """Return the value of an expression in the page; of a promise, what it resolves to."""
        done = self.call("Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    def until(self, code: str) -> None:
        """Wait until the expression is true, ten minutes at most."""
        look = f"() => ({code}) || n++ > 30000 ? go({code}) : setTimeout(look, 20)"
        assert self.run(f"new Promise(go => {{ let n = 0; const look = {look}; look(); }})"), f"never: {code}"

    def click(self, selector: str, number: int = 0) -> None:
        """Click on the middle of an element, which must be the one that is hit."""
        found = f"document.querySelectorAll({json.dumps(selector)})[{number}]"
        self.run(f"{found}.scrollIntoView({{block: 'center', inline: 'center', behavior: 'instant'}})")
        x, y, hit = self.run(
            f"(() => {{ const e = {found}, b = e.getBoundingClientRect();"
            "const x = b.x + b.width / 2, y = b.y + b.height / 2;"
            "const hit = document.elementFromPoint(x, y); return [x, y, e == hit || e.contains(hit)]; })()"
        )
        assert hit, f"{selector} is covered"
        for what in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=what, x=x, y=y, button="left", clickCount=1)

    def click_at(self, selector: str, x: float, y: float) -> None:
        """Click within an element, at shares of its width and height."""
        self.run(f"document.querySelector({json.dumps(selector)}).scrollIntoView({{block: 'center'}})")
        box = f"document.querySelector({json.dumps(selector)}).getBoundingClientRect()"
        left, top, width, height = self.run(f"(b => [b.x, b.y, b.width, b.height])({box})")
        for what in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=what, x=left + x * width, y=top + y * height, button="left",
                      clickCount=1)  # fmt: skip

    def upload(self, selector: str, *files: Path) -> None:
        """Give files, or a folder, to an input of files."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        assert node, f"no {selector}"
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(file) for file in files])

    def fill(self, selector: str, text: str) -> None:
        """Type a text in place of what a field has."""
        self.run(f"(e => {{ e.focus(); e.select(); }})(document.querySelector({json.dumps(selector)}))")
        self.call("Input.insertText", text=text) if text else self.press("Backspace")

    def press(self, key: str) -> None:
        code = {"Enter": 13, "Tab": 9, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, " ": 32,
                "Backspace": 8}[key]  # fmt: skip
        text = {"text": {"Enter": "\r", " ": " "}[key]} if key in ("Enter", " ") else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, code=key, windowsVirtualKeyCode=code, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key, code=key, windowsVirtualKeyCode=code)

    def size(self, width: int, height: int, scheme: str = "light") -> None:
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def picture(self, file: Path, whole: bool = False) -> None:
        data = self.call("Page.captureScreenshot", captureBeyondViewport=whole)["data"]
        file.write_bytes(base64.b64decode(data))
