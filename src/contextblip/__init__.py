"""ContextBLIP: image retrieval from contextual descriptions as Lightning experiments."""

import os

# Read when huggingface_hub is imported, which then does not tell the hub what is installed here
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

__version__ = "0.1.0"
