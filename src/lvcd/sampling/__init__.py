"""Sampling of clips longer than the window: segments, overlapped blending, prev-reference attention, decoding."""
