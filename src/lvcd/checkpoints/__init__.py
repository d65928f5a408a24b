"""Files of weights: released checkpoints, diffusers folders and ours are converted, checked and fingerprinted here."""
