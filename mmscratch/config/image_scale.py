"""Train and validate on smaller images than a config says: ``--scale`` of the tools."""

from typing import Any

from mmengine.config import Config

from mmscratch.config.sections import type_name, walk
from mmscratch.errors import InputError

# Keys of transforms, and of a preprocessor's batch_augments, that are lengths in pixels.
LENGTHS = ('scale', 'scales', 'crop_size', 'size')
# Transforms that leave images as they are if these fit their scale.
FITTED = ('ShrinkToFit', 'ScaleFitted')


def scale_images(cfg: Config, factor: float) -> None:
    """Multiply the sizes that the images of all splits are resized, cropped and padded to.

    The config's own key ``resolution_factor`` tells the factor to PreflightHook.

    Args:
        cfg: changed in place.
        factor: above 0; 0.5 gives a quarter of the pixels.

    Raises:
        InputError: ``factor`` is not above 0; or the images have a fixed size, which the detector's
            layers are made for; or no step sets a size.
    """
    if not factor > 0:
        raise InputError(f'--scale {factor}: give a number above 0, such as 0.5')
    loaders = [cfg.get(f'{split}_dataloader') for split in ('train', 'val', 'test')]
    names = list(map(type_name, walk(loaders)))
    if not any('Resize' in name or name in FITTED for name in names):
        raise InputError(
            f'{cfg.filename}: --scale {factor}: no step of its pipelines resizes images'
        )
    others = [cfg.get('tta_pipeline'), cfg.model.get('data_preprocessor')]
    # one dict may be that of two loaders
    nodes = {id(node): node for node in walk([*loaders, *others])}
    for node in nodes.values():
        if node.get('keep_ratio') is False:
            raise InputError(
                f'{cfg.filename}: --scale {factor}: {type_name(node)} gives all images the size '
                f'{node.get("scale")}, for which the detector is made; leave out --scale'
            )
        if type_name(node) in FITTED:
            # smaller images are not enlarged to the scale, but they do shrink by the factor
            node.update(type='ScaleFitted', factor=factor * node.get('factor', 1.0))
        else:
            for key in node.keys() & set(LENGTHS):
                node[key] = _scaled(node[key], factor)
    cfg.resolution_factor = factor * cfg.get('resolution_factor', 1.0)


def _scaled(lengths: Any, factor: float) -> Any:
    if isinstance(lengths, list | tuple):
        return type(lengths)(_scaled(length, factor) for length in lengths)
    return max(1, round(lengths * factor))
