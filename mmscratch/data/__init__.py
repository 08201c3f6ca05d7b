"""A user's images: folders of any layout, data sets, samplers, transforms; drawn SHAPES."""
