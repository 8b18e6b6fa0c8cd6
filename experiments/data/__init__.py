"""Data sets of the programs: one builder or reader for each.

Files and folders in import order:

preparation       progress, hashes of files, quiet TFDS builders, and files of activations
arrays            data sets as fixed-shape arrays on disk, and reproducible batches of them
listops           ListOps: generated, or read from the published files
pathfinder        Pathfinder and Path-X: generated, or read from the published files
recall            recall tasks, generated: multi-query associative recall and selective copy
offline           real data that packages ship, fetched at run time
language_modeling texts as packed blocks: WikiText-103, or texts that need no published file
retrieval         related pairs of texts by bytes: papers, or a stand-in
text              text classification by bytes, word pieces or characters: published corpora, stand-ins
image             image classification by pixels: CIFAR-10 in gray, or a stand-in
data_catalog      the registry of all data sets
inventory         the program that lists, prepares, verifies and shows them
"""
