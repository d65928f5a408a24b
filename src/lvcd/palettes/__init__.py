"""Palettes: files of named colors, the palette of a colored frame, and frames painted anew from another palette."""
