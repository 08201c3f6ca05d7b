"""The paper's claims, tested on SHAPES: what is run, how it is judged and drawn."""
