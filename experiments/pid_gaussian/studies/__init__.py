"""One file per study: `parts` measures it, `report` makes its tables, `draw` its figure.

transduction     the planted layers: truth, estimate, knockout, coverage of intervals
bias             what is left of the bias, by correction and dimension
coverage         how often intervals contain the truth
flow_recovery    warped data: raw, by the copula and by the flow
speed            decompositions and bootstrap draws per second
own_activations  activations from a file
"""
