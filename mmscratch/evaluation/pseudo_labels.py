"""Self-training: a teacher's detections on images without labels, as labels for a student.

Zoph et al., "Rethinking Pre-training and Self-training" (NeurIPS 2020, arXiv 2006.06882): a teacher
is trained on the labelled images; its detections above a score become the labels of other images; a
student is trained from random weights on both.
"""

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hotcoco
import numpy as np
import torch
from mmengine.dataset import pseudo_collate
from torch.utils.data import DataLoader, Dataset

from mmscratch.data import coco_folder, coco_json, layouts, repoint
from mmscratch.data.coco_json import CocoJson
from mmscratch.data.image_check import find_images, look_at_all
from mmscratch.data.samplers.subset import ImageId, choose_ids, read_ids, record_of, sha256_of_ids
from mmscratch.errors import InputError
from mmscratch.evaluation.full_coco_metric import BOX
from mmscratch.evaluation.inferencer import Inferencer
from mmscratch.evaluation.renumbered_truth import RenumberedTruth
from mmscratch.process import whole_file
from mmscratch.process.progress_bar import ProgressBar

# A class with fewer held-out objects than this takes the threshold of all classes together.
LEAST_OBJECTS = 10


@dataclass(frozen=True)
class Division:
    """Which images of a folder are labelled, held out and not labelled.

    Attributes:
        content: the training annotations of the folder.
        image_dir: the folder of its images.
        labelled: ids of the labelled images.
        held_out: ids of those of them that the teacher has not seen.
        unlabelled: rows of the images whose labels are not used.
    """

    content: CocoJson
    image_dir: Path
    labelled: list[Any]
    held_out: list[Any]
    unlabelled: list[dict[str, Any]]


def divide(root: Path, checkpoint: Path, meta: Mapping[str, Any], given: str | None) -> Division:
    """Divide the training images of a folder by what the teacher has seen.

    Args:
        root: the folder of the teacher's data.
        checkpoint: the teacher's, in its work directory.
        meta: of the checkpoint.
        given: file of the ids of all labelled images, the teacher's among them, or their number, of
            which the teacher's are a smaller draw; None: the teacher's.

    Raises:
        InputError: the teacher was trained on other annotations, its subset is not known, or it
            has seen images that are not labelled.
    """
    reads = layouts.find_coco(root)['train']
    content = coco_json.load(repoint.annotation_path(reads))
    proof = meta.get('preflight') or {}
    trained_on = [a['sha256'] for a in proof.get('annotations', []) if a.get('split') == 'train']
    if trained_on != [content.sha256]:
        raise InputError(
            f'{checkpoint}: was not trained on {content.file} as it is now: give --data the folder '
            'of the teacher'
        )
    known = {str(row['id']): row['id'] for row in content['images']}
    subset = proof.get('subset')
    seen = list(known.values())
    if subset:
        file = checkpoint.parent / 'subset.json'
        seen = read_ids(str(file))
        if sha256_of_ids(seen) != subset['sha256']:
            raise InputError(f'{file}: is of another run than {checkpoint.name}; restore it')
    labelled = _labelled(content, given, (subset or {}).get('seed')) if given else seen
    strangers = {str(i) for i in labelled} - known.keys()
    if strangers or not {str(i) for i in seen} <= {str(i) for i in labelled}:
        raise InputError(
            f'--labelled {given}: lacks images that the teacher was trained on, or has some that '
            f'{content.file} has not: give the ids of all labelled images'
        )
    named = {str(i) for i in labelled}
    return Division(
        content,
        repoint.image_dir(reads),
        labelled=[known[i] for i in sorted(named)],
        held_out=[known[i] for i in sorted(named - {str(i) for i in seen})],
        unlabelled=[row for row in content['images'] if str(row['id']) not in named],
    )


def _labelled(content: CocoJson, given: str, seed: int | None) -> list[ImageId]:
    if not given.isdecimal():
        return read_ids(given)
    with_objects = {row['image_id'] for row in content['annotations']}
    if int(given) > len(with_objects):
        raise InputError(
            f'--labelled {given}: {content.file} has {len(with_objects)} images with objects; give '
            'at most that'
        )
    return choose_ids(with_objects, int(given), seed or 0)


def images_below(folder: Path, division: Division) -> tuple[list[dict[str, Any]], list[str]]:
    """List the images of a folder and of those below it, as rows with new ids, and their faults.

    Raises:
        InputError: there is no such folder, or no image in it.
    """
    files = list(find_images(folder))
    facts = look_at_all(files)
    first = 1 + max(row['id'] for row in division.content['images'])
    rows = [
        dict(
            id=first + number,
            file_name=file.relative_to(folder).as_posix(),
            width=fact.width,
            height=fact.height,
        )
        for number, (file, fact) in enumerate(zip(files, facts))
        if not fact.fault
    ]
    if not rows:
        raise InputError(f'{folder}: no image there that can be used; give --images another folder')
    return rows, [f'{file} {fact.fault}' for file, fact in zip(files, facts) if fact.fault]


@dataclass(frozen=True)
class HeldOut:
    """Labelled images on which thresholds are chosen.

    Attributes:
        content: the annotations.
        ids: of the images.
        files: the images.
        which: what they are, in words.
    """

    content: CocoJson
    ids: list[Any]
    files: list[Path]
    which: str


def held_out(root: Path, division: Division, val: bool) -> HeldOut:
    """The labelled images that the teacher has not seen, or with ``val`` the validation images."""
    content, ids, folder = division.content, division.held_out, division.image_dir
    which = 'labelled images that the teacher has not seen'
    if val:
        reads = layouts.find_coco(root)['val']
        content, folder = coco_json.load(repoint.annotation_path(reads)), repoint.image_dir(reads)
        ids, which = [row['id'] for row in content['images']], 'validation images'
    names = {row['id']: row['file_name'] for row in content['images']}
    return HeldOut(content, ids, [folder / names[i] for i in ids], which)


@dataclass(frozen=True)
class ImageDetections:
    """What a teacher finds in one image.

    Attributes:
        boxes: x, y, width, height in pixels; (objects, 4) float.
        scores: 0 to 1; (objects,) float.
        labels: positions in the teacher's classes; (objects,) int.
        masks: COCO's RLE of each object; None if the teacher has no masks.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    masks: list[dict] | None


class _Loaded(Dataset):
    def __init__(self, files: Sequence[Path], inferencer: Inferencer) -> None:
        self.files = files
        self.pipeline = inferencer.pipeline

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> dict:
        return self.pipeline(str(self.files[index]))


def detect(
    inferencer: Inferencer, files: Sequence[Path], batch_size: int, workers: int
) -> Iterator[ImageDetections]:
    """Yield the detections of each image, in order, with a progress bar."""
    loader = DataLoader(
        _Loaded(files, inferencer), batch_size, num_workers=workers, collate_fn=pseudo_collate
    )
    with torch.no_grad(), ProgressBar(desc='pseudo labels', unit='images', total=len(files)) as bar:
        for batch in loader:
            for sample in inferencer.model.test_step(batch):
                yield _detections(sample)
                bar.update()


def _detections(sample: Any) -> ImageDetections:
    found = sample.pred_instances.cpu().numpy()
    boxes = found.bboxes.astype(float)
    boxes[:, 2:] -= boxes[:, :2]
    # training refuses objects without area
    kept = (boxes[:, 2:] >= 1).all(1)
    masks = None
    if 'masks' in found:
        kept &= found.masks.any((1, 2))
        encoded = map(hotcoco.mask.encode, found.masks[kept])
        masks = [dict(rle, counts=rle['counts'].decode()) for rle in encoded]
    return ImageDetections(boxes[kept], found.scores[kept], found.labels[kept], masks)


@dataclass(frozen=True)
class Threshold:
    """The score from which a class's detections become labels, and what it gives on held-out data.

    Attributes:
        score: 0 to 1.
        objects: held-out objects of the class.
        f1, precision, recall: at IoU 0.5 on the held-out images; None without held-out data.
        is_pooled: whether the score is that of all classes together.
    """

    score: float
    objects: int = 0
    f1: float | None = None
    precision: float | None = None
    recall: float | None = None
    is_pooled: bool = False


def choose_thresholds(
    judged: HeldOut, found: Sequence[ImageDetections], classes: Sequence[str]
) -> dict[str, Threshold]:
    """Choose for each class the score of the highest F1 on labelled images.

    Boxes are matched as COCO matches them, at IoU 0.5; crowds count neither way. A class with fewer
    than ``LEAST_OBJECTS`` held-out objects takes the score that is best for all classes together.

    Raises:
        InputError: the teacher finds none of the objects.
    """
    truth = judged.content
    category_ids = {row['name']: row['id'] for row in truth['categories']}
    renumbered = RenumberedTruth(truth, judged.ids, [category_ids[name] for name in classes])
    content = renumbered.ground_truth(*BOX)
    rows = np.concatenate(
        [
            np.column_stack([np.full(len(one.labels), n), one.boxes, one.scores, one.labels + 1])
            for n, one in zip((renumbered.image_numbers[i] for i in judged.ids), found)
        ]
    )
    objects = Counter(row['category_id'] for row in content['annotations'] if not row['iscrowd'])
    # of each detection that counts: its class, its score, whether it is right
    matches = np.array(list(_matches(content, rows))).reshape(-1, 3)
    pooled = _best(matches[:, 1], matches[:, 2], objects.total())
    if not pooled.f1:
        raise InputError(
            f'{truth.file}: the teacher finds none of the {pooled.objects} objects of the '
            f'{len(judged.ids)} {judged.which}: train it for longer, or give --threshold a number'
        )
    chosen = {}
    for number, name in enumerate(classes, 1):
        _, scores, hits = matches[matches[:, 0] == number].T
        best = _best(scores, hits, objects[number])
        if objects[number] < LEAST_OBJECTS or not best.f1:
            best = _at(pooled.score, scores, hits, objects[number], is_pooled=True)
        chosen[name] = best
    return chosen


def _matches(content: dict[str, Any], rows: np.ndarray) -> Iterator[tuple[int, float, bool]]:
    """Match detections to boxes at IoU 0.5; those that match a crowd do not count."""
    if not len(rows):
        return
    coco = hotcoco.COCO(content)
    evaluation = hotcoco.COCOeval(coco, coco.load_res(rows), 'bbox')
    evaluation.params.iou_thrs = [0.5]
    evaluation.params.area_rng = evaluation.params.area_rng[:1]  # objects of any size
    evaluation.evaluate()
    for image in filter(None, evaluation.eval_imgs):
        hits, ignored = image['dtMatched'][0], image['dtIgnore'][0]
        for score, is_hit, is_ignored in zip(image['dtScores'], hits, ignored):
            if not is_ignored:
                yield image['category_id'], score, is_hit


def _best(scores: np.ndarray, hits: np.ndarray, objects: int) -> Threshold:
    """The score whose detections have the highest F1; the higher score of two equal ones."""
    order = np.argsort(-scores, kind='stable')
    f1 = 2 * np.cumsum(hits[order]) / (np.arange(1, len(scores) + 1) + objects)
    # of detections with one score all or none are taken
    ranked = scores[order]
    f1[:-1][ranked[:-1] == ranked[1:]] = 0
    score = ranked[np.argmax(f1)] if len(f1) else 1.0
    return _at(float(score), scores, hits, objects)


def _at(
    score: float, scores: np.ndarray, hits: np.ndarray, objects: int, is_pooled: bool = False
) -> Threshold:
    taken = scores >= score
    true, count = int(hits[taken].sum()), int(taken.sum())
    return Threshold(
        score,
        objects,
        f1=2 * true / max(1, count + objects),
        precision=true / max(1, count),
        recall=true / max(1, objects),
        is_pooled=is_pooled,
    )


def drops_masks(division: Division, found: Iterable[ImageDetections]) -> bool:
    """Whether the labelled objects have segmentations that the teacher's lack.

    Training takes segmentations of all objects or of none.
    """
    given = any(row.get('segmentation') for row in division.content['annotations'])
    return given and all(each.masks is None for each in found)


def _without_masks(content: Mapping[str, Any]) -> dict[str, Any]:
    rows = [
        {key: value for key, value in row.items() if key != 'segmentation'}
        for row in content['annotations']
    ]
    return dict(content, annotations=rows)


def write(
    out: Path,
    root: Path,
    division: Division,
    images: Sequence[tuple[dict[str, Any], ImageDetections]],
    image_dir: Path | None,
    thresholds: Mapping[str, Threshold],
    record: Mapping[str, Any],
) -> Counter[str]:
    """Write a data set in COCO layout: the labelled images, and others with pseudo labels.

    Nothing is copied: ``train/data`` and ``train/images`` link to the folders of the images, and
    ``val`` to the one of validation. An annotation from the teacher has its ``score`` and
    ``pseudo: 1``. If :func:`drops_masks`, no annotation keeps its segmentation, and
    ``instances_val.json`` is a copy without segmentations. The folder appears when it is complete.

    Args:
        out: the folder to write; it must not exist.
        root: the folder of the labelled images.
        division: of its training images.
        images: row and detections of each image without labels.
        image_dir: their folder; None: that of the labelled ones.
        thresholds: by class, in the order of the teacher's labels.
        record: what to write of the teacher beside the ids of the labelled images.

    Returns:
        The number of pseudo labels by class.
    """
    content = division.content
    labelled = set(division.labelled)
    prefix = 'data' if image_dir is None else 'images'
    rows = [
        dict(row, file_name=f'data/{row["file_name"]}')
        for row in content['images']
        if row['id'] in labelled
    ]
    rows += [dict(row, file_name=f'{prefix}/{row["file_name"]}') for row, _ in images]
    annotations = [row for row in content['annotations'] if row['image_id'] in labelled]
    names = list(thresholds)
    ids = {row['name']: row['id'] for row in content['categories']}
    counts: Counter[str] = Counter()
    number = max(row['id'] for row in content['annotations'])
    for row, found in images:
        for k, label in enumerate(found.labels.tolist()):
            name, score = names[label], float(found.scores[k])
            if score < thresholds[name].score:
                continue
            number += 1
            counts[name] += 1
            box = found.boxes[k].tolist()
            mask = {} if found.masks is None else dict(segmentation=found.masks[k])
            area = float(hotcoco.mask.area(found.masks[k])) if found.masks else box[2] * box[3]
            annotations.append(
                dict(id=number, image_id=row['id'], category_id=ids[name], bbox=box, area=area)
                | dict(iscrowd=0, score=score, pseudo=1, **mask)
            )
    val = layouts.find_coco(root)['val']
    train_file, val_file = (f'annotations/instances_{split}.json' for split in coco_folder.SPLITS)
    links = {
        'train/data': division.image_dir,
        'train/images': image_dir,
        'val': repoint.image_dir(val),
        val_file: repoint.annotation_path(val),
    }
    files = {
        train_file: dict(content, images=rows, annotations=annotations),
        coco_folder.LABELLED: {**record_of(division.labelled), **record},
    }
    if drops_masks(division, [found for _, found in images]):
        files[train_file] = _without_masks(files[train_file])
        files[val_file] = _without_masks(coco_json.load(repoint.annotation_path(val)))
        del links[val_file]
    with whole_file.folder(out) as unfinished:
        for name, target in links.items():
            if target is not None:
                link = unfinished / name
                link.parent.mkdir(parents=True, exist_ok=True)
                # relative: they hold where both folders are moved together
                link.symlink_to(os.path.relpath(target.resolve(), (out / name).parent.resolve()))
        (unfinished / 'annotations').mkdir(exist_ok=True)
        for name, written in files.items():
            (unfinished / name).write_text(json.dumps(written), encoding='utf-8')
    return counts
