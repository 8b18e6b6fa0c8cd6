"""Tests of the checks of an estimate."""
