"""Checks of what an estimate assumes; each returns flags.

sample_size          bias, infinite information, information that is lost in the bias
dependence           order of the rows, drift, repeated rows, groups
independence         tests of what a linear prediction of normal scores leaves
neighbors            mutual information from nearest neighbors, in few directions
nonlinearity         flags about dependence that a Gaussian model cannot see
assumptions          all checks of one layer
"""
