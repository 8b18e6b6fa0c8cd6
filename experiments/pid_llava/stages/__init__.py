"""The stages of the program, in the order of the data flow.

questions            questions of the toy world or of GQA
knockout_conditions  which layers lose the Image→Question attention
capturing            states and answers of a model under every condition
decomposing          decompositions of the captured states
"""
