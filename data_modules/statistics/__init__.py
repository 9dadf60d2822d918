"""What `lightning data stats` prints of each data set."""

from data_modules.statistics.printing import print_statistics

__all__ = ["print_statistics"]
