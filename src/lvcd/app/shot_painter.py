"""One rendering in a thread of its own, so that it goes on when a browser is closed."""

from __future__ import annotations

import threading
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from lvcd.errors import InputError, system_refusal
from lvcd.pipeline.render import RenderCancelled, RenderProgress, render_clip

from .shot_folder import Shot


@dataclass
class Painting:
    """A rendering of a shot that was started."""

    shot: Shot
    state: Literal["reading", "painting", "finished", "cancelled", "failed"] = "reading"
    progress: RenderProgress | None = None
    words: list[str] = field(default_factory=list)
    """What was said while it ran, one line each."""
    painted: int = 0
    """Frames that were painted, at the end."""
    error: str = ""
    """Why it failed: the line of an InputError."""
    began: tuple[float, float] | None = None
    """When the first step or frame was done, in s, and the share that was done then."""
    cancel: threading.Event = field(default_factory=threading.Event)

    @property
    def running(self) -> bool:
        return self.state in ("reading", "painting")

    @property
    def share(self) -> float:
        """How much is done, 0 to 1: the mean of steps and of frames, which wait for each other."""
        if self.state == "finished":
            return 1.0
        at = self.progress
        return 0.0 if at is None else (at.steps / max(1, at.total_steps) + at.frames / at.total_frames) / 2

    def seconds_left(self, now: float) -> float | None:
        """Return the seconds that the rest takes at the pace since the first step; None: it is not known yet."""
        if self.began is None or self.share <= self.began[1]:
            return None
        at, share = self.began
        return (now - at) / (self.share - share) * (1 - self.share)

    def _on_progress(self, progress: RenderProgress) -> None:
        self.state, self.progress = "painting", progress
        if self.began is None:
            self.began = time.monotonic(), self.share

    def run(self, model: str | Path, device: str, how: Literal["anew", "resume", "correct"]) -> None:
        """Paint until the end, whichever it is, and say in `state` and `error` which it was."""
        shot = self.shot
        correct = how == "correct"
        try:
            result = render_clip(
                shot.sketches, None, shot.painted, model, settings=shot.record.settings, device=device,
                resume=how == "resume", overwrite=not correct, on_progress=self._on_progress,
                on_warning=self.words.append, is_cancelled=self.cancel.is_set, palette=shot.palette, keys=shot.keys,
                sheets=shot.sheets, corrections=shot.corrections if correct else None,
                scribbles=shot.strokes if correct else None,
            )  # fmt: skip
            if correct:
                Shot.open(shot.folder).forget_corrections()
            self.painted = result.painted_again if correct else result.frames
            self.state = "finished"
        except RenderCancelled:
            self.state = "cancelled"
        except InputError as error:
            self.error, self.state = str(error), "failed"
        except Exception as error:  # a thread's end is seen by nobody else
            self.error = system_refusal(error) or f"an error of the program, {type(error).__name__}: {error}"
            if system_refusal(error) is None:
                traceback.print_exc()
            self.state = "failed"


class ShotPainter:
    """Paints one shot at a time."""

    def __init__(self, model: str | Path, device: str = "auto"):
        self.model, self.device = model, device
        self.painting: Painting | None = None
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def start(self, shot: Shot, how: Literal["anew", "resume", "correct"]) -> Painting:
        """Begin to paint a shot, go on with it, or paint what its corrections reach. InputError: another is painted."""
        with self._lock:
            if self.painting is not None and self.painting.running:
                raise InputError(f"{self.painting.shot.name} is being painted: wait for it or cancel it")
            if how == "anew":
                shot.forget_partial()
            self.painting = Painting(shot)
            self._thread = threading.Thread(
                target=self.painting.run, args=(self.model, self.device, how), name="painting", daemon=True
            )
            self._thread.start()
            return self.painting

    def of(self, shot: Shot) -> Painting | None:
        """Return what was painted of a shot last, or is being painted, since the server started."""
        return self.painting if self.painting is not None and self.painting.shot.folder == shot.folder else None

    def cancel(self) -> None:
        """Stop after the present step; finished frames stay."""
        if self.painting is not None:
            self.painting.cancel.set()

    def wait(self, seconds: float | None = None) -> None:
        """Wait until nothing is being painted."""
        if self._thread is not None:
            self._thread.join(seconds)
