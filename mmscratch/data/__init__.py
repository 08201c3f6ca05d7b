"""A user's images: folders of any layout, their check, data sets, transforms; drawn SHAPES."""
