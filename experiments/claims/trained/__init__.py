"""The trained networks of `gradients`, `landscape` and `artifact`.

network         the official encoder, and two places where a diffusion can act on it
short_training  one short training as a compiled stretch of steps
classifiers     the recall task and its three variants
hessian         extreme eigenvalues of a Hessian by Lanczos iteration
"""
