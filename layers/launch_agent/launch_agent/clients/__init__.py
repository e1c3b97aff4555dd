"""Everything that talks: one module for each service, whose methods are this application's verbs."""
