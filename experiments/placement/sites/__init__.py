"""Measures at every site where a layer may stand.

site_states      the states at every site of a model
site_measures    roughness, commutators and the perturbation bound at every site
"""
