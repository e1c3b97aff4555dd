"""The scheduler of a sweep: what it queues, what it stops, and when it ends."""
