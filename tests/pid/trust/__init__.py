"""Verdicts: what misleads is either right or said."""
