"""Generated data with known decompositions.

planted     layers in which vision fades and language takes over
structured  diagonal channels with a known share of every atom
warped      Gaussian data under bijections of single variables
"""
