"""A method on a test set => a row of the board.

content    which pictures a test set holds
testset    which clips, exactly, and what the method may see of them
given      frames of another program, in a method's place
originals  what networks see in the originals, once for all methods
kept       what is done, so that what was stopped goes on
leaks      whether colors come from the reference, and from there alone
ranks      several processes, one row
run        paint, score, add the row
"""

from .evaluate import BOARD, evaluate
from .external import GivenFrames
from .ranks import Ranks
from .testset import Protocol, TestSet

__all__ = ["BOARD", "GivenFrames", "Protocol", "Ranks", "TestSet", "evaluate"]
