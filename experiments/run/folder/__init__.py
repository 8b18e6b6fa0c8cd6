"""The folder of a run: what is written there, and how.

Files in import order:

atomic_files  write a file as a whole, read it with an error that names it
json_types    results and configurations as JSON
folder_lock   one process at a time works in a folder
metrics_log   the logged steps of all trainings
provenance    versions, code, devices, cores and flags
start_log     the starts of a run, and the hashes of its data
saved_config  the saved configuration: read, built, compared
continuation  what a program accepts when it continues a run
run_folder    the files of a run: configuration, versions, metrics, rows, summary
opening       create a run folder, or continue the run in it
"""
