"""Evaluation: a method paints a test set, and its scores become a row of the leaderboard.

testset     which clips are scored, and what a method may see of them
line_art    line art that is extracted from the frames, in place of the test set's own
content     which pictures a test set holds
external    frames of another program in the place of a method's
originals   features of the originals, computed once for all methods
cache       painted clips and scores on disk, so that an interrupted evaluation resumes
leaks       whether the colors come from the reference, and from nothing else
ranks       several processes make one row
artifacts   movies and sheets of what was painted
provenance  code, packages and device of a row
runner      all of it: paint, score, append the row
methods/    what paints
"""

from .external import ExternalFrames
from .ranks import Ranks
from .runner import BOARD, evaluate
from .testset import Protocol, TestClip, TestSet

__all__ = ["BOARD", "ExternalFrames", "Protocol", "Ranks", "TestClip", "TestSet", "evaluate"]
