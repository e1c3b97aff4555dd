"""The record of a run, and the states of a run."""
