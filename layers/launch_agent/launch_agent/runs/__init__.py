"""What is remembered of a run, and its life."""
