"""One file per section: `measure` returns numbers, and `verdict` judges the claims by them.

random_networks  states and programs that the sections with random networks share
initialization   every combination of the switches at random weights
horizon          the same time in more and finer steps
trainability     classifiers trained with and without the stabilizers
training_claims  verdicts on these trainings
trajectory_fit   the simulator fitted to the layer states of trained Transformers
"""
