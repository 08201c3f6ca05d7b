"""The running process and its files: signals, threads, machine, progress, whole files."""
