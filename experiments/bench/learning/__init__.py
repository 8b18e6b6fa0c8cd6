"""Training of the two-layer ListOps Transformer and its input, against plain programs.

Files in import order:

two_layer         the model, its optimizer, a batch of ListOps sequences, and the training step
plain_classifier  the same model and step in plain Flax
training_speed    training steps against those in plain Flax
batch_sources     batches from memory maps, as ours and as other loaders make them
input_speed       batches against those of other loaders, and the share of a training step that its input takes
"""
