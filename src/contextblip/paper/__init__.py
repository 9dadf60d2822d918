"""The numbers that the paper prints, as data: `paper_table` reads one of its tables."""

from contextblip.paper.reader import (
    PaperRow,
    PaperTable,
    PublishedCounts,
    paper_table,
    paper_tables,
    published_counts,
)

__all__ = ["PaperRow", "PaperTable", "PublishedCounts", "paper_table", "paper_tables", "published_counts"]
