"""How a process ends before its work is done: a signal, or the end of another host.

Files in import order:

host_watch  ends the other processes with a sentence when one is gone or stopped
preemption  signals that stop a program
"""
