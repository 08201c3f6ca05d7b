"""Detections of one image after another, as pictures and JSON."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import mmcv
import mmengine
from mmdet.apis import DetInferencer
from mmdet.datasets.transforms import InferencerLoader
from mmdet.registry import DATASETS, MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config, ConfigDict
from mmengine.dataset import Compose
from mmengine.runner.checkpoint import _load_checkpoint
from torch import nn

import mmscratch.register_all  # noqa: F401
from mmscratch.config.detection_limit import set_max_detections
from mmscratch.config.sections import type_name
from mmscratch.data.transforms.load_image_from_file import LOADER_OPTIONS, loader_of
from mmscratch.data.transforms.tile_views import tiled_pipeline
from mmscratch.errors import InputError, describe
from mmscratch.models.tiled_model import TiledModel
from mmscratch.weights import checkpoint_config
from mmscratch.weights.matched_weights import matched_weights


class Inferencer(DetInferencer):
    """``DetInferencer`` that never executes a checkpoint's content, and writes more.

    Without ``model`` the config is that of the checkpoint ``weights``. It is read as data. The
    model and the test pipeline are built from it, of registered classes alone
    (:mod:`mmscratch.weights.checkpoint_config`). A config file given as ``model`` is a program, and
    is executed.

    The JSON has class names and keypoints too: ``names`` has a string for each of the N ``labels``;
    ``keypoints``, where the model predicts them, N lists of K ``[x, y, score]``, in pixels of the
    image.

    Raises :class:`InputError` if the checkpoint's config is no such data, if a weight of the model
    is missing in it, and if an image cannot be used.

    Example::

        from mmscratch.evaluation.inferencer import Inferencer

        inferencer = Inferencer(weights='work_dirs/demo/iter_250.pth')
        inferencer('image.jpg', out_dir='pictures', no_save_pred=False)

    Args:
        max_detections: an image, from 11 on; default: ``max_per_img`` of the config.
        tiles: side in pixels of the tiles on which to detect, whose detections are merged
            (:class:`mmscratch.models.TiledModel`); None: on whole images.
        overlap: share of a tile's side that neighbours have in common.
        kwargs: those of ``DetInferencer``.
    """

    palette: Any

    def __init__(
        self,
        model: Any = None,
        *args: Any,
        max_detections: int | None = None,
        tiles: int | None = None,
        overlap: float = 0.2,
        **kwargs: Any,
    ) -> None:
        self.max_detections = max_detections
        self.tiles = tiles
        self.overlap = overlap
        with contextlib.nullcontext() if model else checkpoint_config.no_imports():
            super().__init__(model, *args, **kwargs)

    def _init_model(self, cfg: ConfigDict, weights: str | None, device: str) -> nn.Module:
        """Build the model; an empty ``cfg`` is filled from the checkpoint."""
        loaded = _load_checkpoint(weights, map_location='cpu') if weights else {}
        weights = str(weights)  # for errors
        if not cfg:
            cfg.update(parts_to_build(checkpoint_config.config_of(loaded, weights), weights))
        if self.max_detections is not None:
            set_max_detections(cfg, self.max_detections)
        # a network needs no initial weights where all are loaded
        cfg.model.pop('pretrained', None)
        model = MODELS.build(cfg.model)
        model.cfg = cfg
        if loaded:
            config = getattr(cfg, 'filename', None) or 'its config'
            matched = matched_weights(loaded, model, weights, config, complete=True)
            dataset_meta = named_classes(loaded, weights, cfg)
            loaded = dict(state_dict=matched.weights, meta=dict(dataset_meta=dataset_meta))
        if self.palette == 'none':
            # else MMDetection builds the config's data set, which may read any file, to ask it
            self.palette = (dataset_meta if loaded else {}).get('palette') or 'random'
        self._load_weights_to_model(model, loaded, cfg)
        if self.tiles:
            dataset_meta, model = model.dataset_meta, TiledModel(model)
            model.dataset_meta, model.cfg = dataset_meta, cfg
        return model.to(device).eval()

    def _init_pipeline(self, cfg: ConfigDict) -> Compose:
        """The test pipeline of a path, or of an array [H, W, C] of the model's channels."""
        # of the loaders that MMDetection puts there, that of arrays knows no channels
        self.loader = loader_of(cfg)
        for step in cfg.test_dataloader.dataset.pipeline:
            for key in LOADER_OPTIONS if type_name(step) == 'LoadImageFromFile' else ():
                step.pop(key, None)
        pipeline = super()._init_pipeline(cfg)
        if self.tiles:
            # the parent has changed these steps in place
            steps = cfg.test_dataloader.dataset.pipeline
            pipeline = Compose(list(tiled_pipeline(steps, self.tiles, self.overlap)))
        for transform in pipeline.transforms:
            if isinstance(transform, InferencerLoader) and self.loader.channels:
                transform.from_file = self.loader
        return pipeline

    def visualize(
        self, inputs: list, preds: list[DetDataSample], img_out_dir: str = '', **kwargs: Any
    ) -> list | None:
        """Draw as MMDetection does, and a sensor's image as a PNG of the channels to be shown."""
        if not self.loader.channels or not isinstance(inputs[0], str | Path):
            return super().visualize(inputs, preds, img_out_dir=img_out_dir, **kwargs)
        drawn: list = []
        if kwargs.get('no_save_vis') and not (kwargs.get('return_vis') or kwargs.get('show')):
            return None
        for path, pred in zip(inputs, preds):
            picture = [self.loader.picture(path)]
            drawn += super().visualize(picture, [pred], **{**kwargs, 'return_vis': True}) or []
            if img_out_dir and not kwargs.get('no_save_vis'):
                file = Path(img_out_dir, 'vis', f'{Path(path).stem}.png')
                mmcv.imwrite(drawn[-1][..., ::-1], str(file))
        return drawn

    def preprocess(self, inputs: list, *args, **kwargs) -> Iterator[Any]:
        """Yield the batches of loaded images."""
        try:
            yield from super().preprocess(inputs, *args, **kwargs)
        except Exception as error:
            raise InputError(
                f'{", ".join(map(str, inputs))} cannot be used ({describe(error)}): replace it, '
                'or leave it out'
            ) from error

    def pred2dict(self, data_sample: DetDataSample, pred_out_dir: str = '') -> dict[str, Any]:
        """What is written of one image, to ``preds/<its name>.json`` below ``pred_out_dir``."""
        instances = data_sample.pred_instances
        # of a TiledModel
        runs = instances.pop('masks') if isinstance(instances.get('masks'), list) else None
        result = super().pred2dict(data_sample)
        if runs is not None:
            result['masks'] = [dict(each, counts=each['counts'].decode()) for each in runs]
        classes = self.model.dataset_meta['classes']
        result['names'] = [classes[label] for label in result['labels']]
        if 'keypoints' in data_sample.pred_instances:
            result['keypoints'] = data_sample.pred_instances.keypoints.tolist()
        if pred_out_dir:
            name = Path(data_sample.img_path).stem
            mmengine.dump(result, Path(pred_out_dir) / 'preds' / f'{name}.json')
        return result


def named_classes(loaded: Mapping[str, Any], file: str, cfg: ConfigDict) -> dict[str, Any]:
    """What the checkpoint says of its data, or, if it names no classes, the config.

    Raises:
        InputError: neither does, or the checkpoint names those of several data sets.
    """
    meta = loaded.get('meta', {})
    # the latter is MMDetection 2's
    trained = meta.get('dataset_meta') or {'classes': meta.get('CLASSES')}
    several = trained if isinstance(trained, list) else [trained]
    if len({tuple(one.get('classes') or ()) for one in several}) > 1:
        raise InputError(f'{file}: names the classes of several data sets, which differ')
    dataset = cfg.test_dataloader.dataset
    own = getattr(DATASETS.get(dataset.get('type', '')), 'METAINFO', {})
    candidates = (*several, dataset.get('metainfo') or {}, own)
    found = next((one for one in candidates if one.get('classes')), None)
    if found is None:
        raise InputError(
            f'{file}: does not name its classes; give --config a config file with metainfo.classes '
            'in test_dataloader.dataset'
        )
    return dict(found)


def parts_to_build(cfg: Config, file: str) -> dict[str, Any]:
    """The parts of a checkpoint's config that inference builds.

    Raises:
        InputError: one is missing, or has a type that is not registered.
    """
    try:
        parts = dict(model=cfg.model, test_dataloader=dict(dataset=cfg.test_dataloader.dataset))
        parts['model']['type'], parts['test_dataloader']['dataset']['pipeline'][-1]['type']
    except (AttributeError, LookupError, TypeError) as error:
        raise InputError(
            f'{file}: its config lacks model or test_dataloader.dataset.pipeline ({error})'
        ) from None
    checkpoint_config.refuse_foreign_types(parts, file, buildable=True)
    # the checkpoint's own might write to disk or to the network
    return parts | dict(visualizer=dict(type='KeypointVisualizer'))
