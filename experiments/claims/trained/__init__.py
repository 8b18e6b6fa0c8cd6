"""The trained networks of `gradients`, `landscape` and `artifact`.

network         the official encoder, with diffusion on attention or on hidden states
short_training  one short training, compiled in chunks of steps
classifiers     the recall task and its three variants
hessian         extreme eigenvalues of a Hessian by Lanczos iteration
"""
