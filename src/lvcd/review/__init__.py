"""Review: what a person should look at in the flat frames of a shot, as a page, as a table and as an exit code."""
