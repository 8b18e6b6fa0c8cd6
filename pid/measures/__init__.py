"""Partial information decomposition of a covariance.

atoms           PID: the four atoms and their sums; intervals of them
mmi             minimum mutual information
broja           the decomposition of Bertschinger et al., by one generalized eigenproblem
decomposition   `decompose`: covariance to PID by a measure of choice
certification   `certificate`: a coupling that attains the union information, and a lower bound that proves it minimal
"""

from pid.measures.atoms import PID as PID
from pid.measures.atoms import Interval as Interval
from pid.measures.atoms import Shares as Shares
from pid.measures.certification import Certificate as Certificate
from pid.measures.certification import certificate as certificate
from pid.measures.decomposition import decompose as decompose
