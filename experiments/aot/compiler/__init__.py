"""One case in a process of its own.

Files in import order:

backend      what `jax.default_backend()` answers while a program is traced
schedule     cycles of the kernels of a TPU
environment  variables of the process
measurement  compile a case and read its cost
"""
