"""The stages that the data pass.

questions    questions of the toy world or of GQA
capturing    states and answers of a model, with and without knockouts
decomposing  decompositions of the captured states
"""
