"""How a run ended, and what a user is told."""
