"""Contact sheets of frames, and the parts that HTML pages share."""
