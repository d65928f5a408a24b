"""Every kind of metric gives the numbers of one process when real processes split the clips: one start for all."""

import pytest
import torch
from torch import nn

from lvcd.metrics import EDMD, PSNR, SSIM, TC, ClipMean, FrechetDistance, SegmentAccuracy, Suite
from tests.helpers.ranks import on_ranks

N = 9


class Colors(nn.Module):
    """(n 3 H W) -> (n 6): mean of each channel, and of its square."""

    name, sha256, num_features = "colors", "00" * 32, 6

    def forward(self, frames):
        return torch.cat([frames.mean((2, 3)), frames.square().mean((2, 3))], 1)


def clips(seed: int, b: int, t: int = 3, size: int = 4) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    return (torch.rand(b, 1, 3, 1, 1, generator=rng) + 0.3 * torch.rand(b, t, 3, size, size, generator=rng)) / 1.3


def darkness(frames):
    return 1 - frames.amax(1, keepdim=True)


def scored(own: torch.Tensor) -> list:
    """All metrics that score each clip for itself, fed with the clips of one process, some of them still or blank."""
    target = (torch.rand(N, 3, 3, 32, 32, generator=torch.Generator().manual_seed(3)) * 3).round() / 3
    target[::4, 1:] = target[::4, :1]  # still
    preds = target.lerp(clips(4, N, size=32), 0.3)
    preds[1], target[1] = 1, target[1].lerp(preds[1], 0.5)
    preds[0] = target[0]
    sketches = (target[:, :, :1] < 0.2).float()
    metrics = [EDMD(darkness, "darkness", threshold=0.6, size=None), TC(size=None), PSNR(size=None)]
    metrics += [PSNR(moving=True, size=None), SSIM(size=None), SegmentAccuracy(min_area=2)]
    for clip in own.split(2):
        for metric in metrics:
            metric.update(preds[clip], sketches[clip] if isinstance(metric, EDMD) else target[clip])
    return metrics


class Difference(ClipMean):
    higher_is_better = False

    def update(self, preds, target, frames):
        self.add((preds - target).abs().mean((1, 2, 3, 4)), frames)


def reports_on(rank: int, world: int):
    """Report, value and the count of samples that are its own again afterwards, of each metric."""
    real, fake, own = clips(0, N), clips(1, N), torch.arange(N)[rank::world]
    frechet, mean = FrechetDistance(Colors(), size=None, groups=3), Difference()
    for clip in own.split(2):
        frechet.update(real[clip], real=True, index=clip)
        frechet.update(fake[clip], real=False, index=clip)
        mean.update(fake[clip], real[clip], clip + 1)
    reports = [(m.report(), m.compute().item()) for m in (frechet, mean, *scored(own))]
    return reports, int(frechet.fake_clips.sum()), [lonely(rank, world, split) for split in ([[0, 1], []], [[0], [1]])]


def lonely(rank: int, world: int, split: list[list[int]]) -> tuple:
    """A suite's reports of two clips, the first still, and whether it has its own states again; the second process may
    have no clip."""
    target = clips(5, 2, size=32)
    target[0] = target[0, :1]
    suite = Suite([TC(size=None), PSNR(size=None), FrechetDistance(Colors(), size=None)])
    for i in [0, 1] if world == 1 else split[rank]:
        own = target[i : i + 1]
        suite.update(0.9 * own, own, own[:, :, :1], torch.tensor([i]))
    return suite.reports(), any(metric._is_synced for metric in suite.metrics.values())


@pytest.mark.slow
def test_two_processes_give_the_numbers_of_one(tmp_path):
    one, _, ((want_of_two, _), _) = reports_on(0, 1)
    assert one[0][0]["n"] == 27 and one[1][0]["n"] == 9
    edmd, tc, psnr, moving, ssim, segments = (report for report, _ in one[2:])
    assert all(report["notes"] for report in (edmd, tc, psnr, segments))  # so that their counts are compared too
    assert ssim["n"] == 9 and tc["n"] == moving["n"] == 6
    assert want_of_two["TC"]["n"] == 1
    for rank, (two, left, few) in enumerate(on_ranks(reports_on, tmp_path)):
        assert left == (5, 4)[rank]
        for reports, synced in few:
            assert reports == want_of_two and not synced
        for (got, value), (want, _) in zip(two, one):
            assert got["value"] == value == pytest.approx(want["value"], rel=1e-10)
            for bound in ("low", "high"):
                assert got["interval"].pop(bound) == pytest.approx(want["interval"][bound], rel=1e-8)
            rest = {key: value for key, value in want.items() if key not in ("value", "interval")}
            assert {key: got[key] for key in rest} == rest
