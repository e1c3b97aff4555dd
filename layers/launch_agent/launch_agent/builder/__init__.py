"""Builds one image, inside AWS CodeBuild: `python -m launch_agent.builder`."""
