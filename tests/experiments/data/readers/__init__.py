"""Readers of published data and of packages, on miniatures in exactly their layout."""
