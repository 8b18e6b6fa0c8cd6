"""Covariances of three jointly Gaussian variables (target, x, y): information, its bias, and sampling.

covariance    checks, blocks and the correlation scale of a covariance
systems       evaluation of an information measure: by Cholesky factors, by eigenvalues, derivatives, batches
information   mutual information, from the posterior covariances of the target
shrinkage     shrinkage of a correlation matrix, for few samples
wishart       random sample covariances, and the exact bias of their log-determinants
"""

from pid.gaussian.covariance import Blocks as Blocks
from pid.gaussian.covariance import Dims as Dims
from pid.gaussian.covariance import Tolerance as Tolerance
from pid.gaussian.covariance import blocks as blocks
from pid.gaussian.information import MI as MI
from pid.gaussian.information import ConditionalMI as ConditionalMI
from pid.gaussian.information import conditional_information as conditional_information
from pid.gaussian.information import entropy as entropy
from pid.gaussian.information import information_correlation as information_correlation
from pid.gaussian.information import mutual_information as mutual_information
from pid.gaussian.wishart import information_bias as information_bias
from pid.gaussian.wishart import log_determinant_bias as log_determinant_bias
from pid.gaussian.wishart import sample as sample
from pid.gaussian.wishart import sample_covariance as sample_covariance
