"""Training with checkpoints.

Files in import order:

checksums    checksums of the files of a checkpoint
checkpoints  checkpoints of one training
resumption   the checkpoint from which a training goes on
option_checks  options that do not fit the devices or the length of a training
compiled     compiled programs of a training
step_trace   a trace of some steps for xprof
train_loop   the loop around the training step
member_programs  steps and evaluation of many trainings in one program
member_records   records of the members of a group, and the checkpoint from which they go on
member_checkpoints  the checkpoint of a group, restored onto any mesh
member_loop  the loop around the steps of many trainings
"""
