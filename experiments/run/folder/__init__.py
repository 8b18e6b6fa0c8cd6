"""The folder of a run: what is written there, and how.

Files in import order:

atomic_files  write a file as a whole, read it with an error that names it
metrics_log   the logged steps of all trainings
run_folder    the files of a run: configuration, versions, metrics, rows, summary
"""
