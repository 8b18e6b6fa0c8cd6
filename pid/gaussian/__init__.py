"""Covariances of three jointly Gaussian variables, target, x and y: information, its bias, and sampling.

covariance    what a covariance must be, its blocks, its correlation scale
systems       a quantity of one covariance: by Cholesky, by rank where that fails, its gradient; batches
information   mutual information in bits
wishart       random covariances, and the exact bias of log-determinants taken from samples
"""

from pid.gaussian.covariance import Blocks as Blocks
from pid.gaussian.covariance import Dims as Dims
from pid.gaussian.covariance import Tolerance as Tolerance
from pid.gaussian.covariance import blocks as blocks
from pid.gaussian.information import MI as MI
from pid.gaussian.information import entropy as entropy
from pid.gaussian.information import mutual_information as mutual_information
from pid.gaussian.wishart import information_bias as information_bias
from pid.gaussian.wishart import log_determinant_bias as log_determinant_bias
from pid.gaussian.wishart import sample as sample
from pid.gaussian.wishart import sample_covariance as sample_covariance
