"""The paper's claims on SHAPES: what is run, how it is judged and drawn."""
