"""Line art: a sketch is read from a drawing, or extracted from a colored frame."""
