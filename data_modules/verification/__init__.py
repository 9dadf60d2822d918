"""What `lightning data verify` checks in each data set."""

from data_modules.verification.verify import inspect, verify_dataset

__all__ = ["inspect", "verify_dataset"]
