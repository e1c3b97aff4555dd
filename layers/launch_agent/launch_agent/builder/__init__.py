"""Builds one image, in AWS CodeBuild: `python -m launch_agent.builder`."""
