"""Partial information decomposition: the unique, redundant and synergistic information of two sources on a target.

Every public name loads on first use; `__init__.pyi` lists where each one is defined.

interface     words for users: missing extras, command lines, flags, refusals, former names
gaussian      covariances: checks, sampling, mutual information in bits, bias
features      samples to columns: standardization, PCA and rank-based Gaussian scores
measures      covariance to PID: BROJA in closed form, MMI, and the certificate
discrete      tables of probabilities and counts to PID
flow          a separable normalizing flow (extra `flow`)
estimators    samples to PID with bias correction, intervals and a null; layers; paired comparison
plots         figures of a decomposition (extra `plots`)
gqa           GQA as a TFDS data set, and the six tasks of Zhang et al. (extra `data`)
llava         LLaVA-1.5 and LLaVA-1.6: states of every layer, attention knockouts (extra `llava`)
toyworld      synthetic pictures and questions in the format of GQA (extra `llava`)
"""

import lazy_loader

__version__ = "0.1.0"
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
