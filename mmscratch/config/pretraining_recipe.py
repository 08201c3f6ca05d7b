"""The recipe of a pre-training without labels, for the backbone of a detector."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmscratch.config import config_check

RECIPE = Path(__file__).resolve().parents[2] / 'configs/_base_/pretraining.py'
# A detector may leave a part of its backbone at rest, a pre-training none.
TRAINS = dict(frozen_stages=-1, norm_eval=False)


def recipe_of(detector: Config) -> Config:
    """The recipe with backbone, initialization and normalization of a detector's config.

    Raises:
        InputError: the config has no backbone or no preprocessor.
    """
    config_check.require(detector, 'model.backbone', 'model.data_preprocessor')
    detector = copy.deepcopy(detector)
    # the run's name and its folder's are the detector's
    cfg = Config(config_check.load(RECIPE).to_dict(), filename=detector.filename)
    cfg.model.backbone = detector.model.backbone
    cfg.model.backbone.update({key: TRAINS[key] for key in TRAINS if key in cfg.model.backbone})
    init = (detector.get('default_hooks') or {}).get('init') or {}
    cfg.default_hooks.init.rules = [
        rule for rule in init.get('rules', []) if 'backbone' in rule['pattern']
    ]
    normalize_as(cfg, detector.model.data_preprocessor)
    return cfg


def normalize_as(cfg: Config, preprocessor: Mapping[str, Any]) -> None:
    """Normalize the views as this preprocessor of a detector does its images."""
    kept = ('mean', 'std', 'bgr_to_rgb', 'rgb_to_bgr')
    own = cfg.model.data_preprocessor
    own.update({key: preprocessor[key] for key in kept if key in preprocessor})
