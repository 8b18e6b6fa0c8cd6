"""The toy models and their training.

toy_model     LLaVA-1.5 in miniature for `pid.toyworld`
curriculum    the training data: captions and answers
accuracy      the accuracy of a model in each task
toy_training  the training, and the folders that it writes
models        the shipped models, one folder for each seed
"""
