"""The search for the contours of an image: in NumPy, and the same compiled by numba.

Files in import order:

search_tables   all numbers that the search needs
contour_scene   what a search returns, and its rules
word_stream     the draws of NumPy's legacy generator, one at a time
angle_tables    the tables of one angle
numpy_search    the search in NumPy
twister         the draws, compiled
numba_segments  segments and the mask, compiled
numba_search    the search, compiled
"""
