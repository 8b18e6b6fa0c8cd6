"""What a run has learned: right answers, and what the trained layers are.

Files in import order:

example_hits          which test examples are right, saved in the run folder
depth_accuracy        accuracies on ListOps by the depth of the sequences
learned_coefficients  coefficients of the trained attention, saved in the run folder
learned_stencils      stencils of the trained diffusion layers, saved in the run folder
figures_learned       figures of both
"""
