"""Studies: the paper on SHAPES, ImageNet on real images; decide, and how often it is right."""
