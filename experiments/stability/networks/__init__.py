"""The classifiers that are trained, and their tasks.

sequence_classifier  a simulated Transformer between an embedding and a head
"""
