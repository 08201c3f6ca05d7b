"""What a model, a run, loading and evaluation cost; whether a model or installation works."""
