"""What a model costs: images a second, memory, multiply-adds; the suite that measures a GPU."""
