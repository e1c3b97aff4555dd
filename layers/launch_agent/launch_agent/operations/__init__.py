"""What a sweep repairs, what CloudFormation asks, and what a stack needs before it can launch runs."""
