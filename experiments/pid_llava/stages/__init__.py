"""The stages of the program, in the order of the data flow.

questions    questions of the toy world or of GQA
capturing    states and answers of a model, with and without knockouts
decomposing  decompositions of the captured states
"""
