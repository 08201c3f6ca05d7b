"""A user's images: COCO and VOC folders, their check, their data sets; SHAPES, which is drawn."""
