"""What a run has left in its folder, also where an earlier version made it."""

from __future__ import annotations

from lvcd.training import FineTuneModule, networks_from_config, networks_from_folder
from lvcd.training.run_folder import current_module_config


def test_names_of_earlier_versions_are_todays():
    old = {
        "_target_": "lvcd.training.FineTuneModule",
        "unet": "all",
        "lookup": 0.7,
        "gaze": 0.3,
        "optimization": {"_target_": "lvcd.training.Optimization", "lr": 1e-3},
        "networks": {"_target_": "lvcd.training.fresh", "unet": {"block_out_channels": [64, 96]}},
    }
    new = current_module_config(old)
    assert new == {
        "_target_": "lvcd.training.FineTuneModule",
        "unet": "all",
        "reference_only_prob": 0.7,
        "correspondence_weight": 0.3,
        "optimization": {"_target_": "lvcd.training.Optimization", "lr": 1e-3},
        "networks": {"_target_": "lvcd.training.networks_from_config", "unet": {"block_out_channels": [64, 96]}},
    }
    assert current_module_config(new) == new
    folder = current_module_config({"networks": {"_target_": "lvcd.training.load", "folder": "load"}})
    assert folder == {"networks": {"_target_": "lvcd.training.networks_from_folder", "folder": "load"}}
    for kind in (FineTuneModule, networks_from_config, networks_from_folder):
        assert kind.__module__.startswith("lvcd.training.")
