"""The parts of ``tools/analysis/benchmark.py --suite gpu``, each in a process of its own."""
