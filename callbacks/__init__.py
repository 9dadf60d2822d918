"""Lightning callbacks that a YAML can name: what a run writes and shows."""

from callbacks.mask_overlap import MaskOverlap
from callbacks.mask_pictures import MaskPictures
from callbacks.metrics_writer import MetricsWriter
from callbacks.mmvp_writer import MMVPWriter
from callbacks.prediction_writer import PredictionWriter
from callbacks.submission_writer import SubmissionWriter
from callbacks.throughput_progress_bar import ThroughputProgressBar

__all__ = [
    "MMVPWriter",
    "MaskOverlap",
    "MaskPictures",
    "MetricsWriter",
    "PredictionWriter",
    "SubmissionWriter",
    "ThroughputProgressBar",
]
