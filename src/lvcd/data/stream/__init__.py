"""Shards -> batches: exact, resumable, and steady when a shard is bad or slow.

plan     who reads which clip in which batch: numbers alone
source   where shards are, and how their bytes come from there
read     samples of a plan, as the bytes of the frames they need
stages   samples -> batches: the visible list of iterator -> iterator
packed   a batch on its way to the device
loader   epochs, and where in one a run stopped
"""
