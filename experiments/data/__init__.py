"""Data sets of the programs: one builder or reader for each.

Files and folders in import order:

activation_files  a target and two sources from an .npz or .safetensors file
preparation       progress, hashes of files, and quiet TFDS builders
arrays            data sets as fixed-shape arrays on disk, and reproducible batches of them
listops           ListOps: generated, or read from the published files
"""
