# SSD's augmentation with MMDetection's transforms, in the order of Caffe-SSD: colours, expansion
# onto a canvas of the mean, crop, 300 x 300 pixels by one of five interpolations, flip. The chances
# and ranges are Caffe-SSD's (and DSOD's). What MMDetection does otherwise: colours are permuted in
# half of the images, never there; a crop keeps its size relative to both sides instead of area and
# aspect, and all objects in it must overlap by the minimum, one there.
ssd_train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        type='PhotoMetricDistortion',
        brightness_delta=32,
        contrast_range=(0.5, 1.5),
        saturation_range=(0.5, 1.5),
        hue_delta=18,
    ),
    dict(type='Expand', mean=[104, 117, 123], to_rgb=False, ratio_range=(1, 4), prob=0.5),
    dict(type='MinIoURandomCrop', min_ious=(0.1, 0.3, 0.5, 0.7, 0.9), min_crop_size=0.3),
    dict(
        type='RandomChoice',
        transforms=[
            [dict(type='Resize', scale=(300, 300), keep_ratio=False, interpolation=kind)]
            for kind in ('bilinear', 'area', 'nearest', 'bicubic', 'lanczos')
        ],
    ),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
ssd_test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(300, 300), keep_ratio=False),
    # avoid bboxes being resized
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
    ),
]
