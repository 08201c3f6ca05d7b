"""Speed of one GPU: the parts of ``tools/analysis/benchmark.py --suite gpu``."""
