"""What a sweep repairs."""
