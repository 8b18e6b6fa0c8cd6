"""The layers of a trained model: the option --checkpoint.

layer_measures  what is measured of a stack of layers on one batch
lra_run         models and test rows of a run of experiments.lra
llava_folder    the language model of a LLaVA folder, and its prompts
model_folders   the section: which folder it is, the measures of its models, table and figure
"""
