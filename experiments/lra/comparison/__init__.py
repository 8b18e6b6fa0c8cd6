"""Variants against the baseline and against each other, on the same test examples.

Files in import order:

report            the tables of results, with paired differences
matched_controls  the diffusion layer against the controls in its place
figures           learning curves
"""
