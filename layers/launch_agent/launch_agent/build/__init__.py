"""How code becomes an image: what goes into it, and by which Dockerfile it is built."""
