"""The page, and what its buttons do. Every mistake of a person is the line of an InputError, at the top of the page."""

from __future__ import annotations

import functools
import html
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import gradio as gr

from lvcd.errors import InputError, system_refusal
from lvcd.io.frame_formats import FRAME_FORMATS
from lvcd.io.images import read_image
from lvcd.lineart.reading import LINES, PAPERS, DrawingReader
from lvcd.palettes.palette_files import read_palette
from lvcd.pipeline.render_settings import TRACE_LINES, RenderSettings, read_size

from .clip_facts import ClipFacts, find_facts, write_pictures
from .downloads import painted_files, shot_colors
from .example import make_example_shot
from .region_strokes import add_stroke, parse_color, region_at
from .shot_folder import Shot, find_last_shot, make_shot
from .shot_painter import ShotPainter
from .shot_views import (
    AS_READ,
    COLORED,
    DRAWING,
    REGIONS,
    download_links,
    painted_frame,
    picture_of,
    player_of,
    progress_of,
    say,
    strip_of,
)  # fmt: skip
from .uploads import named_uploads, plain_name, take_over

_HERE = Path(__file__).parent
CSS = _HERE / "app_page.css"
LAYERED = "psd with layers"
TICK_S = 2.0
"""Seconds between looks at a painting, which takes some of the machine that paints."""
_STRIP = '<div role="listbox" aria-label="drawings" aria-orientation="horizontal"></div>'
_EMPTY = "Drop drawings to begin, or try the walk cycle."


def build_page(folder: Path, painter: ShotPainter, example: bool = False) -> gr.Blocks:
    """Build the page of the shots in a folder.

    example   begin with the walk cycle, unless it is the last shot
    """
    with gr.Blocks(title="lvcd: color drawings", analytics_enabled=False) as page:
        _Page(folder, painter, example).build(page)
    page.queue(default_concurrency_limit=4)
    return page


class _Page:
    """The components, and their handlers. A handler returns what changes: component -> new value."""

    def __init__(self, folder: Path, painter: ShotPainter, example: bool):
        self.folder, self.painter, self.example = folder, painter, example
        self._facts: dict[str, tuple[Any, ClipFacts]] = {}  # shot -> how it was read last

    # ---------------------------------------------------------------------------------------------- what is on it

    def build(self, page: gr.Blocks) -> None:
        self.shot_name, self.place, self.mark = gr.State(None), gr.State(0), gr.State(None)
        self.timer, self.ended = gr.Timer(TICK_S, active=False), gr.State(0)
        with gr.Row(elem_id="top"):
            gr.HTML("<h1>Color drawings</h1>", elem_id="title")
            self.said = gr.HTML(say(_EMPTY), elem_id="said")
        self.strip = gr.HTML(
            {"drawings": [], "selected": 0}, html_template=_STRIP, js_on_load=_code("strip.js"), elem_id="strip"
        )
        with gr.Tabs(selected="drawings") as self.tabs:
            with gr.Tab("1 Drawings", id="drawings"):
                self._build_drawings()
            with gr.Tab("2 Colors", id="colors"):
                self._build_colors()
            with gr.Tab("3 Paint", id="paint"):
                self._build_paint()
            with gr.Tab("4 Look", id="look"):
                self._build_look()
        self._connect(page)

    def _build_drawings(self) -> None:
        with gr.Row():
            with gr.Column():
                self.drop = gr.File(label="Drop drawings: image files, or one movie", file_count="multiple", height=150,
                                    elem_id="drop")  # fmt: skip
                with gr.Row():
                    self.drop_folder = gr.UploadButton("Choose a folder", file_count="directory", elem_id="drop-folder")
                    self.try_example = gr.Button("Try the walk cycle", elem_id="try-example")
            with gr.Column():
                gr.Markdown("### What was read")
                self.facts = gr.HTML("<p>nothing yet</p>", elem_id="facts")
        with gr.Accordion("How drawings are read", open=False):
            with gr.Row():
                self.lines = gr.Dropdown(list(LINES), value="auto", label="Lines")
                self.paper = gr.Dropdown(list(PAPERS), value="auto", label="Paper")
                self.level = gr.Textbox(label="Level (A of A0001, where a folder has several)", elem_id="level")
                self.psd_layer = gr.Textbox(label="Layer of Photoshop files (empty: all)")
            self.read_again = gr.Button("Read again", elem_id="read-again")

    def _build_colors(self) -> None:
        with gr.Row():
            with gr.Column(scale=2):
                self.look_at = gr.Radio([DRAWING, AS_READ, REGIONS, COLORED], value=DRAWING, label="Show", elem_id="at")
                self.picture = gr.HTML("", elem_id="picture")
            with gr.Column(scale=1, min_width=260):
                self.key = gr.File(
                    label="This drawing in color (a key)", file_count="single", height=110, elem_id="key"
                )
                self.drop_key = gr.Button("Take this drawing's key away", elem_id="drop-key")
                self.sheet = gr.File(label="Model sheets or other colored pictures", file_count="multiple", height=120,
                                     elem_id="sheet")  # fmt: skip
                self.sheets = gr.HTML("", elem_id="sheets")
                self.drop_sheets = gr.Button("Take all sheets away", elem_id="drop-sheets")

    def _build_paint(self) -> None:
        with gr.Row():
            self.paint = gr.Button("Paint", variant="primary", elem_id="paint")
            self.resume = gr.Button("Resume", interactive=False, elem_id="resume")
            self.cancel = gr.Button("Cancel", variant="stop", interactive=False, elem_id="cancel")
        self.progress = gr.HTML("", elem_id="progress")
        with gr.Row():
            with gr.Column():
                self.flat = gr.Checkbox(True, label="Flat: one color in each region (cel animation)", elem_id="flat")
                self.gap = gr.Textbox("auto", label="Gaps in lines to close: auto, or pixels (0 = none)", elem_id="gap")
                self.trace = gr.Dropdown(list(TRACE_LINES), value="darker", label="Colored trace lines become")
                self.palette = gr.File(label="Palette: only its colors (.gpl .aco .ase .act .json)", height=90,
                                       elem_id="palette")  # fmt: skip
            with gr.Column():
                self.size = gr.Textbox("", label="Paint at WIDTHxHEIGHT (empty: as the drawings)", elem_id="size")
                self.steps = gr.Number(None, label="Steps (empty: the model's own)", precision=0, elem_id="steps")
                self.format = gr.Dropdown([*FRAME_FORMATS, LAYERED], value="png", label="Frames as", elem_id="format")
                self.alpha = gr.Checkbox(False, label="Clear paper (transparent)", elem_id="alpha")
                self.aliased = gr.Checkbox(False, label="Hard lines (no anti-aliasing)", elem_id="aliased")

    def _build_look(self) -> None:
        self.player = gr.HTML(
            {"frames": [], "fps": 12},
            html_template=_code("player.html"),
            js_on_load=_code("player.js"),
            elem_id="player",
        )
        with gr.Row():
            with gr.Column(scale=2):
                self.color = gr.HTML(
                    {"color": "#808080", "colors": []},
                    html_template=_code("swatches.html"),
                    js_on_load=_code("swatches.js"),
                    elem_id="color",
                )
                self.recolor = gr.Button("Give the region this color", elem_id="recolor")
            with gr.Column(scale=2):
                self.corrected = gr.File(label="Or: this drawing as it should be", file_count="single", height=110,
                                         elem_id="corrected")  # fmt: skip
            with gr.Column(scale=2):
                self.pending = gr.HTML("", elem_id="pending")
                self.repaint = gr.Button("Paint what follows again", variant="primary", elem_id="repaint")
                self.forget = gr.Button("Take corrections back", elem_id="forget")
        with gr.Row():
            self.fps = gr.Number(12, label="Frames per second", minimum=1, maximum=120, elem_id="fps", min_width=120)
            self.take = gr.HTML("", elem_id="take", scale=4)

    # ------------------------------------------------------------------------------------------- what buttons do

    def _connect(self, page: gr.Blocks) -> None:
        shot, place, outputs = self.shot_name, self.place, self._outputs()
        choices = [self.lines, self.paper, self.level, self.psd_layer, self.flat, self.gap, self.trace, self.size,
                   self.steps, self.format, self.alpha, self.aliased]  # fmt: skip

        def on(event: Callable, handler: Callable, inputs: list[Any], progress: str = "hidden") -> None:
            files = [one for one in inputs if isinstance(one, (gr.File, gr.UploadButton))]
            event(self._told(handler, files), inputs, outputs, show_progress=progress, api_visibility="private")

        on(page.load, self.load, [])
        on(self.drop.upload, self.take_drawings, [self.drop], "minimal")
        on(self.drop_folder.upload, self.take_drawings, [self.drop_folder], "minimal")
        on(self.try_example.click, self.take_example, [])
        on(self.read_again.click, self.read, [shot, *choices], "minimal")
        on(self.strip.select, self.choose, [shot, self.look_at, self.fps])
        on(self.look_at.input, self.look, [shot, place, self.look_at, self.gap])
        on(self.key.upload, self.take_key, [shot, place, self.key])
        on(self.drop_key.click, self.remove_key, [shot, place])
        on(self.sheet.upload, self.take_sheets, [shot, place, self.sheet])
        on(self.drop_sheets.click, self.remove_sheets, [shot, place])
        on(self.palette.upload, self.take_palette, [shot, self.palette])
        on(self.palette.clear, self.take_palette, [shot, self.palette])
        on(self.paint.click, self.start, [shot, *choices])
        on(self.resume.click, self.go_on, [shot])
        on(self.cancel.click, self.stop, [shot])
        on(self.ended.change, self.end, [shot, place, self.fps])
        self.timer.tick(self.tick, [shot, self.ended], [self.progress, self.ended], show_progress="hidden",
                        api_visibility="private")  # fmt: skip
        on(self.player.select, self.pick, [shot, self.look_at, self.fps])
        on(self.recolor.click, self.color_region, [shot, self.mark, self.color, self.fps])
        on(self.corrected.upload, self.take_corrected, [shot, self.place, self.fps, self.corrected])
        on(self.repaint.click, self.correct, [shot])
        on(self.forget.click, self.take_back, [shot, place, self.fps])
        on(self.fps.change, self.change_rate, [shot, place, self.fps])

    def _outputs(self) -> list[Any]:
        return [
            self.shot_name, self.place, self.timer, self.said, self.strip, self.tabs, self.drop, self.drop_folder,
            self.facts, self.lines, self.paper, self.level, self.psd_layer, self.look_at, self.picture, self.key,
            self.sheet, self.sheets, self.flat, self.gap, self.trace, self.palette, self.size, self.steps,
            self.format, self.alpha, self.aliased, self.mark, self.color, self.corrected, self.pending, self.repaint,
            self.forget, self.paint, self.resume, self.cancel, self.progress, self.player, self.take,
        ]  # fmt: skip

    def _told(self, handler: Callable[..., dict[Any, Any]], files: list[Any]) -> Callable[..., dict[Any, Any]]:
        """Return a handler that says what is wrong in place of raising it, and lets go of the files that it had."""

        @functools.wraps(handler)  # Gradio reads which parameters it has
        def told(*values: Any) -> dict[Any, Any]:
            try:
                return handler(*values)
            except InputError as error:
                return {self.said: say(str(error), wrong=True), **dict.fromkeys(files)}
            except (OSError, ValueError) as error:
                if (refusal := system_refusal(error)) is None:
                    raise
                return {self.said: say(refusal, wrong=True), **dict.fromkeys(files)}

        return told

    def load(self) -> dict[Any, Any]:
        """Show the shot that was worked on last."""
        if self.example:
            self.example = False
            return self.take_example()
        shot = find_last_shot(self.folder)
        return {self.said: say(_EMPTY)} if shot is None else self._whole(shot)

    def take_drawings(self, files: list[str] | None) -> dict[Any, Any]:
        """Make a shot of what was dropped."""
        return self._whole(make_shot(self.folder, named_uploads(files or [])))

    def take_example(self) -> dict[Any, Any]:
        """Make a shot of the walk cycle."""
        return self._whole(make_example_shot(self.folder))

    def read(self, name: str | None, *choices: Any) -> dict[Any, Any]:
        """Read the drawings again, in another way."""
        shot = self._shot(name)
        shot.record.settings = _settings(*choices)
        shot.save()
        return self._whole(shot)

    def choose(self, event: gr.EventData, name: str | None, look: str, fps: float) -> dict[Any, Any]:
        """Choose a drawing of the strip."""
        shot = self._shot(name)
        place = self._checked(shot, event.place)
        return {
            self.place: place,
            self.strip: strip_of(shot, self._read(shot), place),
            self.player: player_of(shot, self._read(shot), fps, place),
            self.picture: picture_of(shot, self._read(shot), place, look, shot.record.settings.gap),
            self.key: None,
        }

    def look(self, name: str | None, place: int, look: str, gap: str) -> dict[Any, Any]:
        """Show the chosen drawing in another way."""
        shot = self._shot(name)
        return {self.picture: picture_of(shot, self._read(shot), place, look, _gap(gap))}

    def take_key(self, name: str | None, place: int, file: str | None) -> dict[Any, Any]:
        """Take a file as the chosen drawing in color."""
        shot = self._shot(name)
        if file is None:
            return {}
        number = self._read(shot).numbers[place]
        color = _checked_picture(take_over(file, shot.folder / "colors"), shot)
        shot.record.keys[number] = color
        shot.save()
        said = say(f"drawing {number} has a key: {Path(color).name}")
        return {self.said: said, self.key: None, self.look_at: COLORED, **self._colors(shot, place, COLORED)}

    def remove_key(self, name: str | None, place: int) -> dict[Any, Any]:
        """Forget the key of the chosen drawing."""
        shot = self._shot(name)
        shot.record.keys.pop(self._read(shot).numbers[place], None)
        shot.save()
        return {self.key: None, self.look_at: DRAWING, **self._colors(shot, place, DRAWING)}

    def take_sheets(self, name: str | None, place: int, files: list[str] | None) -> dict[Any, Any]:
        """Take files as colored pictures that are no drawing of the shot."""
        shot = self._shot(name)
        for color in [_checked_picture(take_over(file, shot.folder / "colors"), shot) for file in files or []]:
            shot.record.sheets += [color] * (color not in shot.record.sheets)
        shot.save()
        return {self.sheet: None, **self._colors(shot, place, DRAWING)}

    def remove_sheets(self, name: str | None, place: int) -> dict[Any, Any]:
        """Forget all sheets."""
        shot = self._shot(name)
        shot.record.sheets = []
        shot.save()
        return {self.sheet: None, **self._colors(shot, place, DRAWING)}

    def take_palette(self, name: str | None, file: str | None) -> dict[Any, Any]:
        """Take a palette, or none."""
        shot = self._shot(name)
        shot.record.palette = None
        if file is not None:
            palette = f"colors/{take_over(file, shot.folder / 'colors')}"
            words = f"a palette of {len(read_palette(shot.folder / palette).colors)} colors"
            shot.record.palette = palette
        shot.save()
        return {self.said: say(words if file else "no palette: the colors of keys and sheets")}

    def start(self, name: str | None, *choices: Any) -> dict[Any, Any]:
        """Paint from the beginning."""
        shot = self._shot(name)
        shot.record.settings = _settings(*choices)
        shot.save()
        return self._begin(shot, "anew")

    def go_on(self, name: str | None) -> dict[Any, Any]:
        """Go on with what was stopped."""
        shot = self._shot(name)
        return self._begin(shot, "correct" if _is_corrected(shot) else "resume")

    def pick(self, event: gr.EventData, name: str | None, look: str, fps: float) -> dict[Any, Any]:
        """Choose the region of a painted drawing that was clicked at."""
        shot = self._shot(name)
        place, x, y = self._checked(shot, event.place), float(event.x), float(event.y)
        mark = {"place": place, "x": x, "y": y}
        frame = read_image(painted_frame(shot, self._read(shot), place))
        h, w = frame.shape[:2]
        r, g, b = frame[min(int(y * h), h - 1), min(int(x * w), w - 1), :3].tolist()
        number = self._read(shot).numbers[place]
        said = f"drawing {number}: choose a color for this region, or drop the drawing as it should be"
        return {
            self.place: place,
            self.mark: mark,
            self.said: say(said),
            self.color: {"color": f"#{r:02x}{g:02x}{b:02x}", "colors": shot_colors(shot)},
            self.player: {**player_of(shot, self._read(shot), fps, place), "mark": mark},
            self.strip: strip_of(shot, self._read(shot), place),
            self.picture: picture_of(shot, self._read(shot), place, look, shot.record.settings.gap),
        }

    def color_region(
        self, name: str | None, mark: dict[str, Any] | None, chosen: dict[str, Any], fps: float
    ) -> dict[Any, Any]:
        """Give the chosen region a color, by a stroke over it."""
        shot, color = self._shot(name), str(chosen["color"])
        if mark is None:
            raise InputError("no region is chosen: click one in the painted picture")
        place, settings = mark["place"], shot.record.settings
        number = self._read(shot).numbers[place]
        frame = read_image(painted_frame(shot, self._read(shot), place))
        with shot.clip() as clip:
            drawing = DrawingReader(clip, settings.drawing)(clip[place])
        region = region_at(drawing, frame, settings.gap, mark["x"], mark["y"])
        file = f"colors/strokes-{number}.png"
        if number not in shot.record.strokes:
            (shot.folder / file).unlink(missing_ok=True)  # of a correction that is painted
        add_stroke(shot.folder / file, region, parse_color(color))
        shot.record.corrections.pop(number, None)
        shot.record.strokes[number] = file
        shot.save()
        said = say(f"drawing {number} has a stroke of {color}: correct more, or paint what follows again")
        return {self.said: said, **self._corrections(shot, place, fps)}

    def take_corrected(self, name: str | None, place: int, fps: float, file: str | None) -> dict[Any, Any]:
        """Take a file as the chosen drawing as it should be."""
        shot = self._shot(name)
        if file is None:
            return {}
        number = self._read(shot).numbers[place]
        painted_frame(shot, self._read(shot), place)
        shot.record.corrections[number] = _checked_picture(take_over(file, shot.folder / "colors"), shot)
        shot.record.strokes.pop(number, None)
        shot.save()
        said = say(f"drawing {number} is corrected: correct more, or paint what follows again")
        return {self.said: said, self.corrected: None, **self._corrections(shot, place, fps)}

    def correct(self, name: str | None) -> dict[Any, Any]:
        """Paint again what corrections reach."""
        shot = self._shot(name)
        if not _is_corrected(shot):
            raise InputError("nothing is corrected: click a region and give it a color, or drop a corrected drawing")
        return {self.tabs: gr.Tabs(selected="paint"), **self._begin(shot, "correct")}

    def take_back(self, name: str | None, place: int, fps: float) -> dict[Any, Any]:
        """Forget the corrections that are not painted yet."""
        shot = self._shot(name)
        shot.forget_corrections()
        return {self.said: say("corrections are taken back"), **self._corrections(shot, place, fps)}

    def stop(self, name: str | None) -> dict[Any, Any]:
        """Stop after the present step."""
        self.painter.cancel()
        return {self.cancel: gr.update(interactive=False), self.said: say("stopping after this step ...")}

    def tick(self, name: str | None, ended: int) -> tuple[str, int]:
        """Show how far the painting is, and count it when it is at its end."""
        painting = self.painter.painting
        if painting is None or painting.shot.name != name:
            return "", ended + 1
        return progress_of(painting), ended + (not painting.running)

    def end(self, name: str | None, place: int, fps: float) -> dict[Any, Any]:
        """Show what was painted, or why it was not."""
        shot = self._shot(name)
        painting = self.painter.of(shot)
        changes = {**self._state(shot), self.take: download_links(shot, fps), **self._corrections(shot, place, fps)}
        if painting is not None and painting.state == "finished":
            changes[self.tabs] = gr.Tabs(selected="look")
            changes[self.said] = say(f"{shot.name} is painted: {painting.painted} frames")
        if painting is not None and painting.state == "failed":
            changes[self.said] = say(painting.error, wrong=True)
        return changes

    def change_rate(self, name: str | None, place: int, fps: float | None) -> dict[Any, Any]:
        """Play at another rate."""
        if name is None or not fps:
            return {}
        shot = self._shot(name)
        return {self.player: player_of(shot, self._read(shot), fps, place), self.take: download_links(shot, fps)}

    # ------------------------------------------------------------------------------------------- what is shown

    def _whole(self, shot: Shot) -> dict[Any, Any]:
        """Everything of a shot."""
        s = shot.record.settings
        form = LAYERED if s.layers else s.format or "png"
        size = "" if s.size is None else f"{s.size[1]}x{s.size[0]}"
        changes = {
            self.shot_name: shot.name, self.place: 0, self.drop: None, self.key: None, self.sheet: None,
            self.lines: s.lines, self.paper: s.paper, self.level: s.level or "", self.psd_layer: s.psd_layer or "",
            self.flat: s.flat, self.gap: f"{s.gap}" if s.gap == "auto" else f"{s.gap:g}", self.trace: s.trace,
            self.size: size, self.steps: s.steps, self.format: form, self.alpha: s.alpha, self.aliased: s.aliased,
            self.palette: None if shot.palette is None else str(shot.palette), self.look_at: DRAWING,
            **self._state(shot),
        }  # fmt: skip
        try:
            facts = self._read(shot)
        except InputError as error:  # a level to choose, say: the shot stays, to be read in another way
            wrong = {self.said: say(str(error), wrong=True), self.facts: "<p>nothing could be read</p>"}
            return {**changes, **wrong, self.strip: {"drawings": [], "selected": 0}, self.picture: ""}
        words = "".join(f"<li>{html.escape(line)}</li>" for line in facts.words)
        return {
            **changes, self.said: say(f"{shot.name}: {facts.words[0]}"), self.facts: f"<ul>{words}</ul>",
            self.take: download_links(shot, 12), **self._corrections(shot, 0, 12), **self._colors(shot, 0, DRAWING),
        }  # fmt: skip

    def _colors(self, shot: Shot, place: int, look: str) -> dict[Any, Any]:
        """What changes with keys and sheets."""
        pictures = "".join(f"<li>{html.escape(sheet.name)}</li>" for sheet in shot.sheets)
        return {
            self.strip: strip_of(shot, self._read(shot), place),
            self.sheets: f"<ul>{pictures}</ul>" if pictures else "",
            self.picture: picture_of(shot, self._read(shot), place, look, shot.record.settings.gap),
        }

    def _corrections(self, shot: Shot, place: int, fps: float) -> dict[Any, Any]:
        """What changes with corrections."""
        words = [f"drawing {number}: strokes of color" for number in shot.strokes]
        words += [f"drawing {number}: {file.name}" for number, file in shot.corrections.items()]
        said = "".join(f"<li>{html.escape(line)}</li>" for line in words)
        return {
            self.pending: f"<p>To be painted again from here on:</p><ul>{said}</ul>" if said else "",
            self.mark: None,
            self.repaint: gr.update(interactive=bool(said)),
            self.forget: gr.update(interactive=bool(said)),
            self.player: player_of(shot, self._read(shot), fps, place),
            self.strip: strip_of(shot, self._read(shot), place),
        }

    def _state(self, shot: Shot) -> dict[Any, Any]:
        """How far the painting is, and which buttons mean something."""
        painting = self.painter.of(shot)
        runs = painting is not None and painting.running
        left = 0 if runs else len(painted_files(shot)) if shot.partial.is_dir() else 0
        resume = gr.update(
            interactive=shot.partial.is_dir() and not runs, value=f"Resume ({left} finished)" if left else "Resume"
        )
        return {
            self.timer: gr.Timer(TICK_S, active=runs), self.progress: progress_of(painting), self.resume: resume,
            self.paint: gr.update(interactive=not runs), self.cancel: gr.update(interactive=runs),
        }  # fmt: skip

    # ------------------------------------------------------------------------------------------------- the shot

    def _begin(self, shot: Shot, how: Literal["anew", "resume", "correct"]) -> dict[Any, Any]:
        self._read(shot)
        if not shot.keys and not shot.sheets:
            raise InputError("there is nothing to take colors from: give a key or a sheet (2 Colors)")
        self.painter.start(shot, how)
        return {self.said: say(f"painting {shot.name}"), **self._state(shot)}

    def _shot(self, name: str | None) -> Shot:
        if name is None:
            raise InputError("there are no drawings: drop image files, a folder or a movie")
        return Shot.open(self.folder / plain_name(name))

    def _checked(self, shot: Shot, place: Any) -> int:
        if not isinstance(place, int) or not 0 <= place < len(self._read(shot).numbers):
            raise InputError("there is no such drawing: reload the page")
        return place

    def _read(self, shot: Shot) -> ClipFacts:
        """What is known of the drawings; they are read once for each way of reading. InputError: they cannot be."""
        known = self._facts.get(shot.name)
        reading = (shot.record.settings.drawing, shot.record.settings.level, shot.record.settings.psd_layer,
                   tuple(shot.keys.items()), tuple(shot.sheets))  # fmt: skip
        if known is None or known[0] != reading:
            with shot.clip() as clip:
                facts = find_facts(clip, shot.record.settings.drawing)
                write_pictures(clip, shot.folder / "view")
            self._facts[shot.name] = reading, facts
            return facts
        return known[1]


def _is_corrected(shot: Shot) -> bool:
    return bool(shot.record.corrections or shot.record.strokes)


def _checked_picture(name: str, shot: Shot) -> str:
    """Return the name of a colored picture in the folder of a shot. InputError: it cannot be read."""
    read_image(shot.folder / "colors" / name)
    return f"colors/{name}"


def _settings(lines: str, paper: str, level: str, psd_layer: str, flat: bool, gap: str, trace: str, size: str,
              steps: float | None, form: str, alpha: bool, aliased: bool) -> RenderSettings:  # fmt: skip
    """Return what was chosen on the page. InputError: a value that cannot be used."""
    return RenderSettings(
        lines=lines, paper=paper, level=level.strip() or None, psd_layer=psd_layer.strip() or None, flat=flat,
        gap=_gap(gap) if flat else "auto", trace=trace if flat else "darker",
        size=read_size(size) if size.strip() else None,
        steps=None if steps is None else int(steps), format=None if form == "png" else form.split()[0],
        layers=form == LAYERED, alpha=alpha, aliased=aliased,
    )  # fmt: skip


def _gap(text: str) -> Any:
    """Read auto, or a number of px. InputError: it is neither."""
    if text.strip() in ("", "auto"):
        return "auto"
    try:
        return float(text)
    except ValueError:
        raise InputError(f"gaps {text!r}: give auto, or a number of pixels") from None


def _code(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")
