"""Before a run: keys, values, batch, learning rate, length, work directory, launch."""
