"""Every extractor draws what its authors' code draws, whatever else is in the batch."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import cv2
import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lvcd.data.cartoons import draw
from lvcd.errors import InputError
from lvcd.lineart.extract import ProvidedLineArt, make_extractor
from lvcd.lineart.extract.extractor import draw_in_batches
from lvcd.lineart.extract.learned import RECIPES, NetworkRecipe, _module
from lvcd.lineart.xdog import xdog

NETWORKS = ("informative-drawings", "anime2sketch")


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    """(H W 3): blurred colors, so that networks with random weights have something to answer to."""
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return cv2.normalize(cv2.GaussianBlur(image, (0, 0), 2), None, 0, 255, cv2.NORM_MINMAX)


# ---------------------------------------------------------------------------------------------------------------- xdog


def by_kornia(frame: np.ndarray) -> np.ndarray:
    pixels = torch.from_numpy(frame).movedim(-1, 0)[None].float() / 127.5 - 1
    return ((1 - xdog(pixels)[0, 0]) * 255).round().byte().numpy()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(16, 70), st.integers(16, 70), st.sampled_from(["cartoon", "noise", "smooth"]))
def test_on_a_cpu_xdog_is_the_formula_of_kornia(seed, height, width, kind):
    frame = noise(height, width, seed)
    if kind == "cartoon":
        frame = draw(seed, 1, 64, 96).frames[0][:height, :width]
    if kind == "noise":
        frame = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    (drawing,) = make_extractor("xdog")(0, [frame])
    assert drawing.dtype == np.uint8
    apart = np.abs(drawing.astype(int) - by_kornia(frame))
    assert apart.max() <= 1, "rounding of one level at most"
    assert (apart > 0).sum() <= max(2, apart.size / 1000)


@pytest.mark.parametrize("value", [0, 3, 60, 64, 128, 255])
def test_xdog_of_a_blank_frame_is_paper(value):
    (drawing,) = make_extractor("xdog")(0, [np.full((48, 64, 3), value, np.uint8)])
    assert (drawing == 255).all()


def test_xdog_draws_the_same_in_another_process():
    frame = draw(3, 1, 64, 96).frames[0]
    code = (
        "import hashlib; from lvcd.data.cartoons import draw; from lvcd.lineart.extract import make_extractor;"
        "print(hashlib.sha256(make_extractor('xdog')(0, [draw(3, 1, 64, 96).frames[0]])[0]).hexdigest())"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert other == hashlib.sha256(make_extractor("xdog")(0, [frame])[0]).hexdigest()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_on_a_gpu_xdog_draws_what_it_draws_on_a_cpu():
    frames = [noise(64, 96, seed) for seed in range(5)] + list(draw(3, 6, 64, 96).frames)
    on_gpu = make_extractor("xdog", "cuda")(0, frames)
    for one, other in zip(on_gpu, make_extractor("xdog")(0, frames)):
        assert np.abs(one.astype(int) - other).max() <= 1
    assert all(np.array_equal(make_extractor("xdog", "cuda")(0, [f])[0], d) for f, d in zip(frames, on_gpu))


# ------------------------------------------------------------------------------------------------------------ networks


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """name => network of the real architecture with random weights, and the file that holds them"""
    folder = tmp_path_factory.mktemp("weights")
    found = {}
    for name in NETWORKS:
        torch.manual_seed(1)
        network = RECIPES[name].build(_module(RECIPES[name].module)).eval()
        found[name] = network, folder / f"{name}.safetensors"
        safetensors.torch.save_file(network.state_dict(), found[name][1])
    return found


@pytest.fixture(scope="module")
def extractors(networks):
    return {name: make_extractor(name, weights=file) for name, (_, file) in networks.items()}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_authors_pipeline_draws_the_same(networks, extractors, name):
    """controlnet-aux's own detector, which cuts off where we round, and inverts."""
    network, frame = networks[name][0], noise(256, 256)
    detector = {
        "informative-drawings": lambda: _module("lineart").LineartDetector(network, network),
        "anime2sketch": lambda: _module("lineart_anime").LineartAnimeDetector(network),
    }[name]()
    want = 255 - detector(frame, detect_resolution=256, image_resolution=256, output_type="np")[..., 0].astype(int)
    assert np.ptp(want) > 50, "random weights draw something"
    assert np.abs(extractors[name](0, [frame])[0] - want).max() <= 1


@pytest.mark.parametrize("name, low", [("informative-drawings", 0), ("anime2sketch", -1)])
def test_frames_of_any_size_go_through_the_network_at_that_size(networks, extractors, name, low):
    frame, multiple = noise(61, 90), RECIPES[name].multiple
    padded = np.pad(frame, ((0, -61 % multiple), (0, -90 % multiple), (0, 0)), mode="reflect")
    with torch.inference_mode():
        pixels = torch.from_numpy(padded).permute(2, 0, 1)[None] / 255 * (1 - low) + low
        out = (networks[name][0](pixels)[0, 0, :61, :90] - low) / (1 - low) * 255
    (drawing,) = extractors[name](0, [frame])
    assert drawing.shape == (61, 90) and drawing.dtype == np.uint8
    assert np.abs(drawing - out.numpy()).max() <= 0.51


def test_a_tiny_frame_is_drawn_too(extractors):
    assert extractors["informative-drawings"](0, [noise(5, 3)])[0].shape == (5, 3)


@pytest.mark.parametrize("name", ["xdog", "informative-drawings"])
def test_a_drawing_does_not_depend_on_the_frames_beside_it(extractors, name):
    extractor = make_extractor("xdog") if name == "xdog" else extractors[name]
    frames = [noise(24, 32, seed) for seed in range(5)]
    together = extractor(0, frames)
    for index, frame in enumerate(frames):
        assert np.array_equal(extractor(index, [frame])[0], together[index])
        assert np.array_equal(extractor(7, [frames[4 - index], frame])[1], together[index])


@pytest.mark.parametrize("size", [1, 3, 8])
def test_batches_are_filled_up(size):
    seen = []

    def paper(pixels):
        seen.append(len(pixels))
        return pixels.float().mean(1).round().byte()

    frames = [np.full((4, 6, 3), value, np.uint8) for value in (0, 50, 100, 255)]
    drawings = draw_in_batches(frames, size, torch.device("cpu"), paper)
    assert [int(drawing[0, 0]) for drawing in drawings] == [0, 50, 100, 255]
    assert set(seen) == {size}


def test_settings_name_the_weights(networks, extractors, monkeypatch, capsys):
    file = networks["informative-drawings"][1]
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert extractors["informative-drawings"].settings == {
        "name": "informative-drawings", "device": "cpu", "weights": "unknown", "weights_sha256": digest
    }  # fmt: skip
    make_extractor("informative-drawings", weights=file)
    assert capsys.readouterr().err.count("\n") == 1
    recipe = RECIPES["informative-drawings"]
    published = NetworkRecipe(recipe.module, recipe.build, recipe.multiple, recipe.low, {digest: "sk_model.pth"})
    monkeypatch.setitem(RECIPES, "informative-drawings", published)
    assert make_extractor("informative-drawings", weights=file).settings["weights"] == "sk_model.pth"
    assert not capsys.readouterr().err
    assert make_extractor("xdog").settings == {
        "name": "xdog", "device": "cpu", "sigma": None, "ratio": 1.6, "contrast": 0.03, "black": 0.25, "softness": 120.0
    }  # fmt: skip


def test_weights_of_a_parallel_training_are_read(networks, extractors, tmp_path):
    network, _ = networks["informative-drawings"]
    torch.save({f"module.{key}": value for key, value in network.state_dict().items()}, tmp_path / "w.pth")
    frame = noise(24, 32)
    again = make_extractor("informative-drawings", weights=tmp_path / "w.pth")(0, [frame])[0]
    assert np.array_equal(again, extractors["informative-drawings"](0, [frame])[0])


class Evil:
    def __reduce__(self):
        return print, ("this code was run",)


def test_files_that_are_no_weights_of_the_network(networks, tmp_path, capsys):
    network, file = networks["informative-drawings"]
    (tmp_path / "empty.pth").touch()
    (tmp_path / "half.safetensors").write_bytes(file.read_bytes()[:10000])
    torch.save({"weight": Evil()}, tmp_path / "evil.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    state = network.state_dict()
    state["model4.1.bias"] = torch.zeros(3)
    torch.save(state, tmp_path / "shape.pth")
    torch.save({**network.state_dict(), "more": torch.zeros(1)}, tmp_path / "more.pth")
    for name, message in {
        "absent": "cannot be read", "empty": "damaged", "half": "damaged", "evil": "damaged",
        "list": "something other", "shape": "1 of them differ, as model4.1.bias", "more": "as more",
    }.items():  # fmt: skip
        broken = tmp_path / (name + (".safetensors" if name == "half" else ".pth"))
        with pytest.raises(InputError, match=message) as error:
            make_extractor("informative-drawings", weights=broken)
        assert "\n" not in str(error.value) and str(broken) in str(error.value)
    with pytest.raises(InputError, match="anime2sketch"):
        make_extractor("anime2sketch", weights=file)
    assert "was run" not in "".join(capsys.readouterr())


def test_wrong_calls(tmp_path):
    for call, message in [
        ({"name": "pencil"}, "choose xdog"), ({"name": "xdog", "weights": tmp_path}, "no network"),
        ({"name": "anime2sketch"}, "give their file"), ({"name": "xdog", "device": "gpu"}, "cpu or cuda"),
    ]:  # fmt: skip
        with pytest.raises(InputError, match=message):
            make_extractor(**call)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_gpu():
    with pytest.raises(InputError, match="no GPU"):
        make_extractor("xdog", "cuda")


@pytest.mark.parametrize("name", NETWORKS)
def test_without_the_package_one_is_told_to_install_it(networks, name, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install lvcd\[prepare\]"):
        make_extractor(name, weights=networks[name][1])


def test_networks_come_without_the_rest_of_their_package():
    code = (
        "import sys; from lvcd.lineart.extract.learned import _module; _module('lineart');"
        "print([m for m in sys.modules if m.split('.')[0] in ('timm', 'skimage', 'mediapipe', 'torchvision')],"
        "'controlnet_aux' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[] False"


# --------------------------------------------------------------------------------------------------------------- given


def ink(seed: int, height: int = 16, width: int = 24) -> np.ndarray:
    """(H W) uint8: one black stroke on white."""
    return cv2.line(np.full((height, width), 255, np.uint8), (2, 2 + seed), (width - 3, height - 3 - seed), 0, 1)


@pytest.mark.parametrize("shown", ["dark", "light", "alpha"])
def test_own_line_art_is_paired_by_number_whatever_its_polarity(shown):
    lines = [ink(seed) for seed in range(4)]
    drawings = {
        "dark": [np.dstack([line] * 3) for line in lines],
        "light": [np.dstack([255 - line] * 3) for line in lines],
        "alpha": [np.dstack([np.zeros((16, 24, 3), np.uint8), 255 - line]) for line in lines],
    }[shown]
    extractor = ProvidedLineArt(drawings, 4, (16, 24), "lines")
    assert extractor.settings == {"name": "given"}
    frames = [np.zeros((16, 24, 3), np.uint8)] * 2
    assert np.array_equal(extractor(1, frames), lines[1:3])


def test_own_line_art_takes_the_size_of_the_frames():
    big = [np.dstack([ink(seed, 32, 48)] * 3) for seed in range(2)]
    (drawing,) = ProvidedLineArt(big, 2, (32, 48), "lines")(1, [np.zeros((16, 24, 3), np.uint8)])
    assert np.array_equal(drawing, cv2.resize(big[1][..., 0], (24, 16), interpolation=cv2.INTER_AREA))


@pytest.mark.parametrize("count, size, message", [(3, (16, 24), "2 drawings for 3"), (2, (16, 40), "aspect ratio")])
def test_line_art_that_does_not_fit_its_film(count, size, message):
    with pytest.raises(InputError, match=message):
        ProvidedLineArt([np.dstack([ink(0)] * 3)] * 2, count, size, "lines")
