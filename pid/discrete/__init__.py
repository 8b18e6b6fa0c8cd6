"""Decomposition of discrete variables: tables of probabilities or counts to PID.

probability_tables    checks of tables p(t, x, y), and their mutual informations
dense_solve           many small symmetric positive definite systems at once
broja_program         the convex program of BROJA by a primal-dual interior-point method
broja_bounds          a bound from above and one from below, which hold for any approximate solution
pointwise_redundancy  I_min, and common change in surprisal with its law of largest entropy
table_decomposition   `decompose`: table to PID by a measure of choice; `certificate`
symbol_binning        numbers to symbols
symbol_counts         samples of labels to a table of counts
label_prediction      labels and continuous sources: information by cross-fitted predictions
count_estimates       `from_counts` and `estimate`: bias correction, intervals, null, flags
"""

from pid.discrete.count_estimates import DiscreteEstimate as DiscreteEstimate
from pid.discrete.count_estimates import estimate as estimate
from pid.discrete.count_estimates import from_counts as from_counts
from pid.discrete.symbol_binning import bin_equal_counts as bin_equal_counts
from pid.discrete.symbol_binning import bin_equal_width as bin_equal_width
from pid.discrete.symbol_counts import CountTable as CountTable
from pid.discrete.symbol_counts import count_table as count_table
from pid.discrete.table_decomposition import Certificate as Certificate
from pid.discrete.table_decomposition import certificate as certificate
from pid.discrete.table_decomposition import decompose as decompose
