"""The initializations that are compared, each with the config and options that train it."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config

from mmscratch.errors import InputError
from mmscratch.weights import checkpoint

SCRATCH, IMAGENET, FROZEN, OWN = 'scratch', 'imagenet', 'frozen', 'own'
TITLES = {
    SCRATCH: 'random weights',
    IMAGENET: "ImageNet's weights",
    FROZEN: "a frozen backbone with ImageNet's weights",
    OWN: 'a backbone pre-trained on your own images',
}


@dataclass(frozen=True)
class Arm:
    """An initialization.

    Args:
        name: ``scratch``, ``imagenet``, ``frozen``, ``own``, or the name of a file of weights.
        config: that it is trained with.
        arguments: of tools/train.py, such as ``--freeze``.
        weights: what it begins with, a file or an address; empty for random weights.
        sha256: of the file, if it is one.
    """

    name: str
    config: str
    arguments: tuple[str, ...] = ()
    weights: str = ''
    sha256: str = ''

    @property
    def title(self) -> str:
        """What training starts from, in words."""
        return TITLES.get(self.name, self.name)


def twin(config: Path) -> Path:
    """The config of the same name in configs/pretrained/."""
    return Path('configs/pretrained') / config.name


def defaults(config: Path) -> list[str]:
    """Scratch and ImageNet.

    Raises:
        InputError: ImageNet's weights are not on this machine, or there is no twin that has them.
    """
    source = ''
    if twin(config).is_file():
        source = Config.fromfile(twin(config)).get('load_from') or ''
    if not source:
        raise InputError(
            f"--arms: there are no ImageNet's weights for {config} to compare with {SCRATCH}; name "
            f'what to compare, such as --arms {SCRATCH},weights.pth'
        )
    if not checkpoint.is_at_hand(source):
        raise InputError(
            f"--arms: ImageNet's weights for {config} are not on this machine: {source}; --arms "
            f'{SCRATCH},{IMAGENET} fetches them or says what to install; or name others, such as '
            f'--arms {SCRATCH},weights.pth'
        )
    return [SCRATCH, IMAGENET]


def resolve(names: Sequence[str], config: Path) -> list[Arm]:
    """The arms of these names.

    Args:
        names: ``scratch``, ``imagenet``, ``frozen``, ``own``, or files of weights.
        config: of configs/scratch/.

    Raises:
        InputError: fewer than two, a name that is none of these, two files of one name or a file
            with the name of an initialization, or no twin with ImageNet's weights.
    """
    arms = [_resolve(name, config) for name in dict.fromkeys(names)]
    kept = [arm.name for arm in arms]
    if twice := [name for name in kept if kept.count(name) > 1]:
        raise InputError(
            f'--arms {",".join(names)}: two of them are called {twice[0]}; rename a file of weights'
        )
    if len(arms) < 2:
        raise InputError(
            f'--arms {",".join(names)}: name two initializations at least, such as '
            f'{SCRATCH},{IMAGENET} or {SCRATCH},weights.pth'
        )
    return arms


def _resolve(name: str, config: Path) -> Arm:
    if name in (SCRATCH, OWN):
        return Arm(name, str(config))
    if name in (IMAGENET, FROZEN):
        if not twin(config).is_file():
            raise InputError(
                f'--arms {name}: there is no {twin(config)} with ImageNet weights; give a file of '
                'weights in its place, such as --arms scratch,resnet50.pth'
            )
        source = Config.fromfile(twin(config)).get('load_from') or ''
        arguments = ('--freeze',) if name == FROZEN else ()
        return Arm(name, str(twin(config)), arguments, source)
    file = Path(name)
    if not file.is_file():
        raise InputError(
            f'--arms {name}: neither {SCRATCH}, {IMAGENET}, {FROZEN}, {OWN} nor a file of weights'
        )
    if file.stem in TITLES:
        raise InputError(
            f'--arms {name}: this file would be called {file.stem}, which is an initialization; '
            'rename it'
        )
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return Arm(file.stem, str(config), ('--init', str(file)), str(file), digest)
