"""Checks of what an estimate assumes; each returns flags.

reduced_information  what a reduction dropped
tails                heavy tails, and how many samples they leave
sample_size          bias, infinite information, information that is lost in the bias
dependence           order of the rows, drift, repeated rows, groups
"""
