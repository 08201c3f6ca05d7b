"""What a model costs, and whether it runs: images a second, memory, multiply-adds."""
