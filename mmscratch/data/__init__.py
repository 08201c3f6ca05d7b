"""A user's images: COCO and VOC folders, their check, data sets, transforms; drawn SHAPES."""
