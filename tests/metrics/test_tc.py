"""TC is the formula of the paper, pair by pair in a loop; 1 for the original itself; still pairs are left out."""

import hashlib
import json
import pickle

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lvcd.errors import InputError
from lvcd.metrics import RAFT, TC, flow
from lvcd.metrics.flow import DIS, warp
from tests.helpers.plain_metrics import plain_changes

pytestmark = pytest.mark.filterwarnings("ignore:The ``compute`` method")


def videos(seed: int, b: int = 1, t: int = 4, H: int = 48, W: int = 64) -> torch.Tensor:
    """Smooth colors that drift 2 px to the right in each frame, and change a little (b t 3 H W)."""
    rng = torch.Generator().manual_seed(seed)
    wide = F.interpolate(torch.rand(b, 3, 6, 8, generator=rng), (H, W + 2 * t), mode="bicubic").clamp(0, 1)
    frames = torch.stack([wide[..., 2 * (t - i) : 2 * (t - i) + W] for i in range(t)], 1)
    return (frames + 0.02 * torch.rand(frames.shape, generator=rng)).clamp(0, 1)


def noisy(frames, amount: float):
    return (frames + amount * torch.randn(frames.shape, generator=torch.Generator().manual_seed(5))).clamp(0, 1)


def test_original_against_itself_is_exactly_1():
    m = TC()
    m.update(videos(0, b=2), videos(0, b=2))
    assert m.compute().item() == 1.0
    assert m.report()["frames"] == 6 and m.report()["extractor"]["name"] == "DIS"


def test_the_mean_is_that_of_a_loop_per_batch_and_together():
    m, every = TC(size=None), []
    for seed in (0, 1):
        target = videos(seed)
        preds = noisy(target, 0.03 * (1 + seed))
        pairs = np.array(plain_changes(preds[0], target[0]))
        every.append(pairs)
        assert m(preds, target).item() == pytest.approx((pairs[:, 0] / pairs[:, 1]).mean(), rel=1e-4)
    together = np.concatenate(every)
    assert m.compute().item() == pytest.approx((together[:, 0] / together[:, 1]).mean(), rel=1e-4)


def test_more_flicker_is_more_and_grey_is_less():
    target = videos(0)
    values = []
    for preds in (torch.full_like(target, 0.5), target, noisy(target, 0.02), noisy(target, 0.1)):
        values.append(TC(size=None)(preds, target).item())
    assert values[0] < 1e-4 and values[1] == 1 and 1.1 < values[2] < values[3] / 2


def test_still_and_black_pairs_are_skipped_and_counted():
    target = videos(0, t=5)
    target[:, 2] = target[:, 1]
    preds = noisy(target, 0.05)
    m = TC(size=None)
    m.update(preds, target)
    pairs = [pair for i, pair in enumerate(plain_changes(preds[0], target[0])) if i != 1]
    assert m.compute().item() == pytest.approx(np.mean([a / b for a, b in pairs]), rel=1e-4)
    preds[:, 3] = 0
    m.update(preds, target)
    report = m.report()
    assert report["notes"] == ["2 pairs stand still in the original: skipped", "1 pairs turn black: skipped"]
    assert report["frames"] == 5 and report["n"] == 2


def test_a_clip_of_one_frame_has_no_value_and_does_not_spoil_others():
    m = TC(size=None)
    m.update(videos(0)[:, :1], videos(0)[:, :1])
    m.update(videos(1), videos(1))
    assert m.compute() == 1 and m.per_clip().isnan().tolist() == [True, False] and m.report()["n"] == 1


def test_a_still_clip_has_no_value_and_does_not_spoil_others():
    still = videos(0)[:, :1].expand(1, 4, 3, 48, 64)
    m = TC(size=None)
    m.update(torch.cat([still, videos(1)]), torch.cat([still, videos(1)]))
    assert m.compute() == 1 and m.per_clip().isnan().tolist() == [True, False] and m.report()["n"] == 1
    with pytest.raises(InputError, match="none of the frames could be scored"):
        TC(size=None)(still, still)


def test_nearly_still_pairs_on_demand():
    target = videos(0)
    changes = [own for _, own in plain_changes(target[0], target[0])]
    m = TC(size=None, still=sorted(changes)[1] * 1.001)
    m.update(noisy(target, 0.05), target)
    assert m.skipped.tolist() == [2, 0] and m.report()["frames"] == 1


def test_flow_points_back_to_where_a_pixel_was():
    frames = videos(0)[0, :, :, 8:40, 8:56]  # drifts right: a pixel was 2 px further left
    for found, old, new in ((DIS()(frames[1:2], frames[:1]), frames[0], frames[1]),):
        middle = found[0, :, 8:-8, 12:-12].median(2).values.median(1).values
        assert middle.tolist() == pytest.approx([-2, 0], abs=0.3)
        assert (warp(old[None], found) - new).abs().mean() < 0.5 * (old - new).abs().mean()
    assert DIS()(frames, frames).abs().max() == 0


def test_warping_by_whole_pixels_moves_pixels():
    x = torch.rand(2, 3, 5, 7)
    shift = torch.tensor([2.0, -1.0]).view(1, 2, 1, 1).expand(2, 2, 5, 7)
    want = F.pad(x, (0, 2, 1, 0), mode="replicate")[..., :5, 2:]
    torch.testing.assert_close(warp(x, shift), want, rtol=1e-5, atol=1e-5)


class Nowhere:
    name, sha256 = "nowhere", "00" * 32

    def __call__(self, first, second):
        return torch.zeros_like(first[:, :2])


def test_any_flow_and_its_name():
    target = videos(0)
    preds = noisy(target, 0.05)
    m = TC(Nowhere(), size=None)
    change = lambda v: (v[0, 1:] - v[0, :-1]).flatten(1).norm(dim=1) / v[0, 1:].flatten(1).norm(dim=1)  # noqa: E731
    want = (change(preds.double()) / change(target.double())).mean().item()
    assert m(preds, target).item() == pytest.approx(want, rel=1e-4)
    assert json.loads(json.dumps(m.report()))["extractor"] == {"name": "nowhere", "sha256": "00" * 32}


@pytest.fixture
def raft_file(tmp_path, monkeypatch):
    """The small RAFT with random weights, passed off as published."""
    models = pytest.importorskip("torchvision.models.optical_flow")
    torch.manual_seed(0)
    net = models.raft_small().eval()
    path = tmp_path / "raft.pth"
    torch.save(net.state_dict(), path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setitem(flow.RAFT_NETWORKS, sha256[:8], "raft_small")
    return path, net, sha256


def test_raft_is_torchvisions(raft_file):
    path, net, sha256 = raft_file
    ours = RAFT(path, updates=2)
    first, second = videos(0, t=2, H=128, W=132)[0].split(1)
    with torch.no_grad():
        pad = lambda x: F.pad(x * 2 - 1, (0, 4, 0, 0), mode="replicate")  # noqa: E731
        want = net(pad(first), pad(second), num_flow_updates=2)[-1][..., :132]
        assert torch.equal(ours(first, second), want) and want.shape == (1, 2, 128, 132)
    m = TC(ours, size=128)
    m.update(videos(0, t=2), videos(0, t=2))
    assert m.compute() == 1 and not m.state_dict()
    assert m.report()["extractor"] == {"name": "RAFT[small, 2 updates]", "sha256": sha256}
    with pytest.raises(InputError, match="use DIS"):
        ours(first[..., :64], second[..., :64])


def test_other_weights_are_refused(tmp_path):
    (tmp_path / "w.pth").write_bytes(b"x")
    with pytest.raises(InputError, match="RAFT"):
        RAFT(tmp_path / "w.pth")
    with pytest.raises(InputError, match="check the path"):
        RAFT(tmp_path / "none.pth")
    with pytest.raises(InputError, match="one step"):
        RAFT(tmp_path / "w.pth", updates=0)


def test_torchvision_names_its_files_so():
    models = pytest.importorskip("torchvision.models.optical_flow")
    files = [w.url for enum in (models.Raft_Large_Weights, models.Raft_Small_Weights) for w in enum]
    named = {name.rpartition("-")[2][:8]: name.rpartition("/")[2][:10] for name in files}
    assert named == flow.RAFT_NETWORKS


def test_pickle_clone_reset_half():
    target = videos(0, b=2).half()
    preds = noisy(target.float(), 0.05).half()
    m = TC(size=None).half()
    m.update(preds, target)
    value = m.compute()
    full = TC(size=None)
    full.update(preds.float(), target.float())
    assert value.dtype == torch.float64 and torch.equal(full.compute(), value)
    for copy in (pickle.loads(pickle.dumps(m)), m.clone()):
        assert torch.equal(copy.compute(), value)
        copy.update(target, target)
        assert not torch.equal(copy.compute(), value) and torch.equal(m.compute(), value)
    m.reset()
    with pytest.raises(InputError, match="no clips"):
        m.compute()


def test_bad_input():
    target = videos(0)
    for wrong, message in ((target[:, :2], "as many frames"), (target * torch.nan, "not numbers")):
        with pytest.raises(InputError, match=message):
            TC().update(wrong, target)
    with pytest.raises(InputError, match="12 x 12 px"):
        TC(size=8).update(target, target)
    for wrong in ({"still": -1.0}, {"still": float("nan")}, {"size": 0}):
        with pytest.raises(InputError):
            TC(**wrong)
