"""One file per study: `parts` lists its measurements, `report` makes its tables, `draw` its figure.

transduction     the planted layers: truth, estimate, knockout, coverage of intervals
bias             remaining bias by correction and dimension
coverage         how often intervals contain the truth
flow_recovery    warped data: estimates from raw data, by the copula and by the flow
trust            verdicts in situations where an estimate is right or misleads
speed            decompositions and bootstrap draws per second
own_activations  activations from a file
"""
