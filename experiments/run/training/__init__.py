"""Training with checkpoints.

Files in import order:

checkpoints  checkpoints of one training
compiled     compiled programs of a training
train_loop   the loop around the training step
"""
