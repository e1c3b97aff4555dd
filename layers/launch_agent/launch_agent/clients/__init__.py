"""The clients: one module for each service. Only they send requests. Their methods do what this application needs."""
