"""SHAPES, the data set that the project draws."""
