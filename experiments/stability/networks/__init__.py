"""The classifiers that are trained, and their tasks.

sequence_classifier  a simulated Transformer between an embedding and a head
sequence_tasks       recall of the first token, and ListOps on short expressions
grid_training        all settings and seeds that share a program train at once
"""
