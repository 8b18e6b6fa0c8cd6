"""What the readers of data share: progress, hashes of files, quiet TFDS builders, and files of activations.

Files in import order:

activation_files  a target and two sources from an .npz or .safetensors file
counter          progress of a preparation
file_hashes      SHA-256 of files, computed once per machine
shuffling        the order in which a fixed data set is split
split_sizes      sizes of the splits of a fixed data set
archive_members  files in an archive, without extracting it
tfds_files       files of a TFDS builder, written once and quietly
published_tfds   data sets that TFDS publishes, without TensorFlow
row_builder      a TFDS data set of rows of bytes or pixels, written while it is read
"""
