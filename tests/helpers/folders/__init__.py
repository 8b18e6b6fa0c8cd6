"""Folders of published data and models in miniature."""
