"""One file per claim: `measure` returns numbers, and `verdict` judges the claim by them.

decay                 "polynomial rather than exponential decay of distant interactions"
entropy               "the evolution smooths attention"
instability           the official causal step amplifies high frequencies
gradients             "stabilizes gradient flow"
landscape             "better optimization landscape"
published_perplexity  the published perplexities against length, fitted with one free parameter
padding_artifact      "99 % lower perplexity", reproduced without any PDE
"""
