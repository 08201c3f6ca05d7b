"""How a run began: its arm, the files it loaded, what these began with, and the images of all.

A link of the chain is a file that a run began with, or the teacher of its pseudo labels:

- ``kind``: ``imagenet`` is a published classifier of ImageNet; ``classifier`` another file with
  the weights of a backbone; ``own`` a pre-training on images without labels; ``direct`` a detector
  that was trained on the same images as this run, such as at a lower resolution; ``detector`` any
  other; ``teacher``
- ``file``, ``sha256``: name and checksum of the file
- ``images_seen``, ``pixels_seen``: in the training that made the file; None if it does not say
- ``pixels_before``: those of all links before it

Pixels are those of the padded batches that went through the model in training.
"""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mmscratch.weights.weight_names import DETECTOR_PARTS, VGG_HEAD

# What is published at these addresses are classifiers of ImageNet.
IMAGENET = ('torchvision://', 'open-mmlab://', 'package://')
KINDS = {
    'imagenet': 'an ImageNet classifier',
    'classifier': 'a backbone',
    'own': 'a backbone pre-trained on images without labels',
    'detector': 'a detector trained on other images',
    'direct': 'a detector trained on the same images',
    'teacher': 'a detector',
}


def kind_of(source: str, names: Iterable[str], proof: Mapping[str, Any], data: Any) -> str:
    """The kind of a file that a run begins with.

    Args:
        source: the path or address by which it was loaded.
        names: of its weights.
        proof: the entry of PreflightHook in it; empty without one.
        data: :func:`trained_on` of the run.
    """
    if 'pretraining' in proof:
        return 'own'
    if any(name.startswith(DETECTOR_PARTS) and not name.startswith(VGG_HEAD) for name in names):
        return 'direct' if proof and trained_on(proof) == data else 'detector'
    return 'imagenet' if source.startswith(IMAGENET) else 'classifier'


def trained_on(proof: Mapping[str, Any]) -> tuple[list[str | None], str | None]:
    """SHA-256 of the annotations that a run trains on, and of its subset's ids."""
    files = [row['sha256'] for row in proof['annotations'] if row.get('split') == 'train']
    return files, (proof.get('subset') or {}).get('sha256')


def link(kind: str, source: str, file: Path | None, meta: Mapping[str, Any]) -> dict[str, Any]:
    """Describe a file that a run began with.

    Args:
        kind: one of ``KINDS``.
        source: the path or address by which it was loaded.
        file: where it is on this machine, if it is known.
        meta: of the checkpoint.
    """
    proof = meta.get('preflight') or {}
    seen = proof.get('pretraining') or meta
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest() if file and file.is_file() else None
    return dict(
        kind=kind,
        file=Path(source).name,
        sha256=sha256,
        images_seen=seen.get('images_seen'),
        pixels_seen=seen.get('pixels_seen'),
        pixels_before=(proof.get('initialization') or {}).get('pixels_before'),
    )


def initialization(
    weights: dict[str, Any] | None, frozen: bool, teacher: dict[str, Any] | None
) -> dict[str, Any]:
    """The entry ``initialization`` of the proof.

    Returns:
        ``arm``: scratch, self-training, frozen, or the kind of the weights; ``frozen``: whether the
        backbone stays as it was loaded; ``weights`` and ``teacher``: links, or None;
        ``pixels_before``: those of all trainings before this one, None if one is not known.
    """
    arm = 'self-training' if teacher else 'frozen' if frozen else (weights or {}).get('kind')
    links = [each for each in (weights, teacher) if each]
    counts = [each[key] for each in links for key in ('pixels_seen', 'pixels_before')]
    return dict(
        arm=arm or 'scratch',
        frozen=frozen,
        weights=weights,
        teacher=teacher,
        pixels_before=None if None in counts else sum(counts),
    )


def describe(proof: Mapping[str, Any]) -> str:
    """Tell the chain in words.

    Args:
        proof: the entry of PreflightHook in a checkpoint.
    """
    began = proof.get('initialization')
    if not began:
        return f'from {proof.get("init")} weights'
    weights, teacher = began['weights'], began['teacher']
    text = 'from random weights'
    if weights:
        text = f'from {_told(weights, proof.get("parent"))}'
    if began['frozen']:
        text = f'with a frozen backbone, {text}'
    if teacher:
        text += f'; pseudo labels by {_told(teacher, teacher.get("parent"))}'
    return text


def _told(each: Mapping[str, Any], proof: Mapping[str, Any] | None) -> str:
    images, pixels = each['images_seen'], each['pixels_seen']
    text = f'{each["file"]}, {KINDS.get(each["kind"], each["kind"])}'
    scale = (proof or {}).get('resolution_factor', 1.0)
    text += f' at {scale:g} of their size' if scale != 1 else ''
    text += ' (' + ('images seen unknown' if images is None else f'{images:,} images')
    text += ')' if pixels is None else f', {pixels:,} pixels)'
    return text + (f', which began {describe(proof)}' if proof else '')
