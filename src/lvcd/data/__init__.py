"""Batches for training: clips and their references, drawn from shards or made of cartoons on the fly."""
