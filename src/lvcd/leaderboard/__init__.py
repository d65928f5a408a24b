"""The leaderboard: rows of evaluations in a file that is only ever appended to, and the tables and pages of them."""

from .cited import cited
from .row import Row, append, read, read_summaries

__all__ = ["Row", "append", "cited", "read", "read_summaries"]
