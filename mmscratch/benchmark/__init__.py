"""What a model costs: images a second, memory, multiply-adds; a run's trial; a GPU's suite."""
