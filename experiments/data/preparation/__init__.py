"""What every preparation of data needs: progress, hashes of files, and quiet TFDS builders.

Files in import order:

counter      progress of a preparation
file_hashes  SHA-256 of files, computed once per machine
tfds_files   files of a TFDS builder, written once and quietly
"""
