"""The classifiers that are trained, and their tasks.

fast_compilation     options of XLA for programs that run for seconds
sequence_classifier  a simulated Transformer between an embedding and a head
sequence_tasks       recall of the first token, and ListOps on short expressions
grid_training        all settings and seeds that share a program train at once
"""
