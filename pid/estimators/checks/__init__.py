"""Checks of what an estimate assumes; each returns flags.

sample_size  bias, infinite information, information that is lost in the bias
dependence   order of the rows, drift, repeated rows, groups
"""
