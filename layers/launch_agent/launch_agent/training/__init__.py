"""A SageMaker training job, and when it is retried."""
