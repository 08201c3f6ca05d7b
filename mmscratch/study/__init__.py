"""Studies: the paper on SHAPES, ImageNet on real images; runs, judged over seeds."""
