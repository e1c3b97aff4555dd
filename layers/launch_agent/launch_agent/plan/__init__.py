"""Everything that is decided about a run before anything is submitted."""
