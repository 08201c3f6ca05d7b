"""The study of the paper's claims on SHAPES: plan, runs, verdicts, page."""
