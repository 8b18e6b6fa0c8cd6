"""The classifiers that are trained, and their tasks.

fast_compilation     options of XLA for programs that run for seconds
sequence_classifier  a simulated Transformer between an embedding and a head
"""
