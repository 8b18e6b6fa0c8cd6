"""Generated data with known decompositions.

planted     layers in which information from vision decreases and from language increases
structured  diagonal channels with a known amount of every atom
warped      Gaussian data under bijections of single variables
situations  forty situations in which an estimate is right or misleads
"""
