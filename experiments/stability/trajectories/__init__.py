"""The states of the layers of a network as a trajectory, and what predicts them.

vmapped_training     one short training of many points at the same time, with a progress bar
recall_trajectories  the states of small Transformers trained to recall the first token
language_states      the states of SmolLM2 on text, on their principal components
linear_maps          baselines in closed form: identity, mean, diffusion alone, linear maps
shared_simulator     the simulator whose layers share their weights, fitted to a trajectory
explained_variance   R² of states and of increments
"""
