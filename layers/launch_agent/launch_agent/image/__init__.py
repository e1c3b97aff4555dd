"""What goes into an image, how its Dockerfile is chosen or generated, and why a build failed."""
