"""The Hydra configuration of `lvcd train` (train/) and `lvcd eval` (eval/), installed as `lvcd.conf`."""
