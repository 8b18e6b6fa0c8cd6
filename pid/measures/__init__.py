"""From a covariance to its partial information decomposition.

atoms          PID: the four atoms and what they add up to
broja          the decomposition of Bertschinger et al., by one generalised eigenproblem
minimum        minimum mutual information (MMI)
decomposition  `decompose`, for users
certificate    the coupling that attains the union information, and the bound that no coupling can pass
"""

from pid.measures.atoms import PID as PID
from pid.measures.atoms import Shares as Shares
from pid.measures.certification import Certificate as Certificate
from pid.measures.certification import certificate as certificate
from pid.measures.decomposition import decompose as decompose
