"""ContextBLIP: image retrieval from contextual descriptions as Lightning experiments."""

__version__ = "0.1.0"
