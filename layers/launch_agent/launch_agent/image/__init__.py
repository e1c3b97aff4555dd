"""What an image is made of, and why there is none."""
