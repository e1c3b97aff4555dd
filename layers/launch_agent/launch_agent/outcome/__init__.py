"""How a run ended, and what the user sees."""
