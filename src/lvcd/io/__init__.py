"""Files of frames: images and movies are read and written here, and output survives an interruption."""
