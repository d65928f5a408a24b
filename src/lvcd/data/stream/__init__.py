"""Shards -> batches: exact, resumable, and steady when a shard is bad or slow.

epoch_plan     which worker reads which clip for which batch: numbers alone
source         where shards are, and how their bytes are read from there
read           samples of a plan, as the bytes of the frames they need
clip_stream    samples -> batches: the visible list of iterator -> iterator
raw_batch      a batch on its way to the device
loader         epochs, and where in one a run stopped
"""
