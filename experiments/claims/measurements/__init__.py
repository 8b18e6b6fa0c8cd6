"""One file per claim: a pure `measure`, and the `verdict` that its numbers support.

decay                 "polynomial rather than exponential decay of distant interactions"
entropy               "the evolution smooths attention"
instability           the official causal step amplifies
gradients             "stabilizes gradient flow"
landscape             "better optimization landscape"
published_perplexity  the published perplexities against length, explained by one free number
padding_artifact      "99 % lower perplexity", reproduced without any PDE
"""
