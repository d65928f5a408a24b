"""Who painted how well, under which protocol: rows in a file that is only ever added to, and how people see them."""

from .cited import cited
from .row import Row, append, read

__all__ = ["Row", "append", "cited", "read"]
