"""Decomposition of discrete variables: tables of probabilities or counts to PID."""
