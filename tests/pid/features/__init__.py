"""Tests of the features of an estimate: reduction, Gaussianization, resampling, dependence."""
