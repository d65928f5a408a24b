"""A method on a test set => a row of the board.

testset    which clips, exactly, and what the method may see of them
run        paint, score, keep what is done
"""

from .ranks import Ranks
from .run import evaluate
from .testset import Protocol, TestSet

__all__ = ["Protocol", "Ranks", "TestSet", "evaluate"]
