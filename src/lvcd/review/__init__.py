"""Review: what a person should look at in the flat frames of a shot, as a page, as a table and as an exit code."""

KINDS = {
    "doubt": "the color is in doubt: another one matched nearly as well",
    "open": "not filled: no line encloses it, or nothing in the reference matches",
    "speck": "a speck: a tiny region of a color that no neighbor has",
    "change": "the color is another one than in the drawing before",
    "off": "a color that is not in the palette",
}
"""What is found, in the order in which it is shown."""
