"""Data sets of the programs: one builder or reader for each.

Files and folders in import order:

counter           progress of a preparation
file_hashes       SHA-256 of files, computed once per machine
tfds_files        files of a TFDS builder, written once and quietly
activation_files  a target and two sources from an .npz or .safetensors file
arrays            data sets as fixed-shape arrays on disk, and reproducible batches of them
listops           ListOps: generated, or read from the published files
recall            recall tasks: MQAR and selective copy, generated
listops_options   options of the command line that choose a ListOps data set
listops_splits    the splits of ListOps as arrays, prepared once
"""
