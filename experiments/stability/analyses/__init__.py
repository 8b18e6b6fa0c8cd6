"""The five analyses of the first version of the paper [2408.09523 v1], on four small classifiers.

corners               residual connection × LayerNorm, trained with snapshots
neighbor_information  mutual information from nearest neighbors, for many sets of samples at once
information_flow      what the states still tell about the input and the label
attention_rows        cosine of the attention of consecutive layers, beside trivial ones
bottleneck            the information plane over training, by bins and by neighbors
gradient_flow         norm of the gradient by layer
perturbations         growth of perturbations of the first state
analysis_section      the section: all five on the same networks
figures               their figures
"""
