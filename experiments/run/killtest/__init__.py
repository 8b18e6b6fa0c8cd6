"""Kills a program at random moments, resumes it, and compares all results with those of a run without kills.

Files in import order:

folder_comparison  what differs between two run folders, what is lost and what is left behind
kills              the run without kills, the kills, and the lines about them
"""
