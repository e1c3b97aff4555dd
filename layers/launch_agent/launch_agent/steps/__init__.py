"""The story: one module for each step of a run, in its order."""
