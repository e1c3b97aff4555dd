"""The application on a laptop: an embedded AWS, a W&B server, and a command that ties them together."""
