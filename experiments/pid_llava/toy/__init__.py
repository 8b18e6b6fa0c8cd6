"""The toy models and how they are trained.

toy_model     LLaVA-1.5 in miniature for `pid.toyworld`
curriculum    captions and answers that teach it
accuracy      how often a model answers a task correctly
toy_training  the training, and the folders that it writes
models        the shipped models, one folder for each seed
"""
