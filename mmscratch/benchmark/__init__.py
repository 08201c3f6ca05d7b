"""What a model, a run, loading and evaluation cost, and whether a model or installation works."""
