"""Captioned images: their layouts on disk, tables of them, and the order in which they come."""
