"""What runs the application on a laptop: an embedded AWS, a W&B server, and the commands of `python -m local`."""

ACCOUNT_ID = "000000000000"
REGION = "us-east-1"
"""Of the embedded AWS."""
