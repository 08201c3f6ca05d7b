"""One HTML page of any runs: curves, numbers, errors, pictures, facts and configs."""

import contextlib
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from markupsafe import Markup
from mmengine.config import Config
from mmengine.structures import InstanceData

from mmscratch.config.config_difference import difference
from mmscratch.data.transforms.load_image_from_file import LoadImageFromFile, loader_of
from mmscratch.errors import InputError
from mmscratch.evaluation.detections import ERRORS, MEAN, Detections
from mmscratch.evaluation.metric_names import KINDS, QUALITIES, title
from mmscratch.visualization.html_page import MARKERS, jpeg, new_figure, render, svg
from mmscratch.visualization.keypoint_visualizer import KeypointVisualizer, side_by_side
from mmscratch.visualization.run_folder import RunFolder
from mmscratch.weights.initialization import describe

STYLES = {'0.50': '-', '0.75': '--', '0.50:0.95': ':'}  # of lines, by IoU
PICTURES = 4  # best ones, and worst ones, of a run
SIDE = 480  # pixels, of an image's longer side
MOST_CLASSES = 30  # with a figure of their own
Runs = Sequence[RunFolder]
Figures = Iterator[tuple[Markup, str]]  # each with its caption


def page(runs: Runs, score: float = 0.5) -> str:
    """The page, of what the runs' folders have.

    Args:
        runs: of any configs.
        score: F1 and pictures take detections from this score on.
    """
    names = _names(runs)
    found = {i: run.detections for i, run in enumerate(runs) if run.detections}
    curves = {i: each.precision_recall() for i, each in found.items()}
    errors = {i: each.errors() for i, each in found.items()}
    return render(
        Path(__file__).with_name('run_report.html.jinja'),
        runs=runs,
        names=names,
        lead=_lead(runs, names),
        other_images=_other_images(runs),
        facts=_facts(runs),
        chains=[describe(run.proof) if run.proof else '' for run in runs],
        comparisons=list(_comparisons(runs)),
        training=[*_training(runs), *_gaps(runs)],
        tables=_tables(runs),
        curves=list(_mean_curves(curves)),
        areas=_areas(curves),
        class_curves=list(_class_curves(curves)),
        errors=_errors(errors),
        found_names=[names[i] for i in found],
        error_figure=_error_figure(errors) if errors else None,
        pictures={
            i: _pictures(each, loader_of(runs[i].config or Config()), score)
            for i, each in found.items()
        },
        gone={i: _gone(each) for i, each in found.items()},
        score=score,
        difference=_difference(runs),
    )


def _percent(value: float | None) -> str:
    """COCO's -1 says that there is no such object."""
    return '–' if value is None or value == -1 else f'{100 * value:.1f}'


def _names(runs: Runs) -> list[str]:
    """The folders below the one that all have in common: twins may have folders of one name."""
    folders = [run.path.resolve() for run in runs]
    common = os.path.commonpath([folder.parent for folder in folders])
    return [str(folder.relative_to(common)) for folder in folders]


def _lead(runs: Runs, names: Sequence[str]) -> str:
    """Who is the best, by each kind of number that some have; one of all runs, if there is one."""
    lasts = [(run.metrics.get('last') or {}, run, name) for run, name in zip(runs, names)]
    validated = [last for last, _, _ in lasts if any(key in last for key in QUALITIES)]
    if not validated:
        return f'{len(runs)} run{"s" * (len(runs) > 1)} without a validation.'
    of_all = [key for key in QUALITIES if all(key in last for last in validated)]
    firsts = {next(key for key in QUALITIES if key in last) for last in validated}
    return ' '.join(
        _ends(
            key, sorted((last[key], _so_far(run), name) for last, run, name in lasts if key in last)
        )
        for key in of_all[:1] or [key for key in QUALITIES if key in firsts]
    )


def _ends(key: str, ends: Sequence[tuple[float, str, str]]) -> str:
    ap, so_far, name = ends[-1]
    best = f'{name} {"is" if so_far else "ends"} at {_percent(ap)} {title(key)}{so_far}'
    if len(ends) == 1:
        return f'{best}.'
    between = len(ends) - 2
    rest = f', {between} other{"s" * (between > 1)} in between' if between else ''
    ap, so_far, name = ends[0]
    return f'{best}, {name} at {_percent(ap)}{so_far}{rest}.'


def _so_far(run: RunFolder) -> str:
    """Of a run that has not ended."""
    last = run.metrics['last'].get('iteration', 0)
    loop = (run.config or {}).get('train_cfg') or {}
    most = loop.get('max_iters') or 0
    return f' (after {last:,} of {most:,} iterations)' if last < most else ''


def _other_images(runs: Runs) -> bool:
    """Whether runs were validated on different images, by the checksums of their annotations."""
    files = (
        [e.get('sha256') for e in run.proof.get('annotations', []) if e.get('split') == 'val']
        for run in runs
        if run.history
    )
    return len({tuple(each) for each in files if each}) > 1


def _facts(runs: Runs) -> list[list[Any]]:
    def number(key: str) -> Callable[[RunFolder], str]:
        return lambda run: f'{run.metrics[key]:,}' if run.metrics.get(key) is not None else '–'

    def hours(run: RunFolder) -> str:
        seconds = run.metrics.get('train_seconds')
        return '–' if seconds is None else f'{seconds / 3600:.2f}'

    facts: dict[str, Callable[[RunFolder], Any]] = {
        'initialization': lambda run: run.arm or '–',
        'proof: weights at step 0 (SHA-256)': lambda run: (
            run.proof.get('initial_weights_sha256') or '–'
        )[:16],
        'proof: checks that failed, allowed': lambda run: (
            ', '.join(map(str, run.proof.get('waived', ()))) or ('none' if run.proof else '–')
        ),
        'iterations': number('iterations'),
        'images seen': number('images_seen'),
        'pixels seen': number('pixels_seen'),
        'pixels seen, earlier trainings included': number('pixels_seen_total'),
        'hours of training': hours,
        'verdict': lambda run: run.metrics.get('verdict', '–'),
        'parameters': number('parameters'),
        'seed': number('seed'),
        'hardware': lambda run: run.metrics.get('hardware', '–'),
        'checkpoint': lambda run: run.checkpoint.name if run.checkpoint else '–',
        'commit': lambda run: _commit(run.metrics.get('git_commit')),
    }
    return [[name, *map(fact, runs)] for name, fact in facts.items()]


def _commit(commit: str | None) -> str:
    """Its begin; a + says that code or configs were changed."""
    return f'{commit[:12]}{"+" * commit.endswith("+")}' if commit else '–'


def _comparisons(runs: Runs) -> Figures:
    """Each metric against iterations, as figures 1 and 3 of the paper; the first against more."""
    axes = {
        'iterations': lambda run, entry: entry['iteration'],
        'images seen': lambda run, entry: (
            entry['iteration'] * run.metrics['images_seen'] / run.metrics['iterations']
        ),
        'hours of training': lambda run, entry: entry['train_seconds'] / 3600,
    }
    kept = [key for key in QUALITIES if any(key in entry for run in runs for entry in run.history)]
    for key, (unit, position) in itertools.product(kept, axes.items()):
        if key != kept[0] and unit != 'iterations':
            continue
        figure, ax = new_figure()
        for i, run in enumerate(runs):
            # COCO's -1 says that there is no such object
            entries = [entry for entry in run.history if entry.get(key, -1) >= 0]
            try:
                x = [position(run, entry) for entry in entries]
            except (KeyError, TypeError, ZeroDivisionError):
                continue  # files of earlier versions do not count images
            y = [100 * entry[key] for entry in entries]
            style = {True: '-', False: '--', None: ':'}[run.is_random]
            ax.plot(x, y, style, color=f'C{i % 8}', marker=MARKERS[i % 8], markersize=4)
            ax.plot(
                x[-1:],
                y[-1:],
                color=f'C{i % 8}',
                marker=MARKERS[i % 8],
                markersize=8,
                clip_on=False,
            )
        ax.set_xlabel(unit)
        ax.set_ylabel(title(key))
        ax.set_xlim(left=0)
        text = f'{title(key)} of the validations against {unit}.'
        yield svg(figure, f'compare-{key}-{unit.split()[0]}', text), text


def _training(runs: Runs) -> Figures:
    """Training loss and learning rate."""
    for key, other in (('loss', 'val_loss'), ('lr', None)):
        figure, ax = new_figure()
        for i, run in enumerate(runs):
            for name, style in ((key, '-'), (other, '--')):
                points = [(each['step'], each[name]) for each in run.records if name in each]
                if points:
                    drawn = 'steps-post' if name == 'lr' else 'default'
                    ax.plot(*zip(*points), style, color=f'C{i % 8}', linewidth=1.3, drawstyle=drawn)
        if ax.lines:
            ax.set_xlabel('iterations')
            ax.set_ylabel({'loss': 'loss', 'lr': 'learning rate'}[key])
            ax.set_ylim(bottom=0)
            text = {
                'loss': 'Training loss; dashed: the loss of validation images, where it is kept.',
                'lr': 'Learning rate.',
            }[key]
            yield svg(figure, f'training-{key}', text), text


def _gaps(runs: Runs) -> Figures:
    """How much higher AP is on training images, of runs that have measured it."""
    for key in QUALITIES:
        figure, ax = new_figure()
        for i, run in enumerate(runs):
            points = [
                (entry['iteration'], 100 * (entry[f'train_{key}'] - entry[key]))
                for entry in run.history
                if f'train_{key}' in entry
            ]
            if points:
                ax.plot(*zip(*points), color=f'C{i % 8}', marker=MARKERS[i % 8], markersize=4)
        if ax.lines:
            ax.set(xlabel='iterations', ylabel=f'gap of {title(key)}')
            text = f'{title(key)} on training images, less that on validation images.'
            yield svg(figure, f'gap-{key}', text), text


def _tables(runs: Runs) -> dict[str, list[list[str]]]:
    """Numbers of the last validation, a table for each kind and one for its classes."""
    lasts = [run.metrics.get('last') or {} for run in runs]
    tables: dict[str, list[list[str]]] = {}
    for key in dict.fromkeys(key for last in lasts for key in last):
        kind = key.partition('_')[0]
        if kind not in (*KINDS, 'accuracy'):
            continue
        _, is_class, name = key.partition('/')
        caption = f'{KINDS.get(kind, kind)}{" AP of each class" * bool(is_class)}, %'
        label = name or title(key).removeprefix(f'{KINDS.get(kind)} ')
        cells = [_percent(last.get(key)) for last in lasts]
        tables.setdefault(caption, []).append([label, *cells])
    return tables


def _mean_curves(curves: dict[int, dict]) -> Figures:
    for iou in STYLES:
        figure, ax = _precision_axes()
        for i, each in curves.items():
            if each:
                ax.plot(np.linspace(0, 1, 101), each[MEAN][iou], color=f'C{i % 8}')
        if ax.lines:
            text = f'Mean over the classes, IoU {iou}. The area below a curve is AP.'
            yield svg(figure, f'precision-{iou.replace(":", "-")}', text), text


def _areas(curves: dict[int, dict]) -> list[list[str]]:
    """AP of the detections: the mean, then each class, at each IoU."""
    names = dict.fromkeys(name for each in curves.values() for name in each)
    return [
        [f'{name}, IoU {iou}', *(_area(each, name, iou) for each in curves.values())]
        for name in names
        for iou in STYLES
    ]


def _area(curves: dict[str, dict], name: str, iou: str) -> str:
    return _percent(float(np.mean(curves[name][iou])) if name in curves else None)


def _class_curves(curves: dict[int, dict]) -> Figures:
    """Of the ``MOST_CLASSES`` in which the runs find least, if there are more."""
    names = list(dict.fromkeys(name for each in curves.values() for name in each if name != MEAN))
    if len(names) > MOST_CLASSES:
        area = {
            name: np.mean(
                [np.mean(each[name]['0.50:0.95']) for each in curves.values() if name in each]
            )
            for name in names
        }
        names = sorted(names, key=lambda name: area[name])[:MOST_CLASSES]
    for number, name in enumerate(names):
        figure, ax = _precision_axes()
        for i, each in curves.items():
            for iou, style in STYLES.items() if name in each else ():
                ax.plot(np.linspace(0, 1, 101), each[name][iou], style, color=f'C{i % 8}')
        yield svg(figure, f'class-{number}', f'Precision of {name} against recall.'), name


def _precision_axes() -> tuple[Any, Any]:
    figure, ax = new_figure()
    ax.set(xlabel='recall', ylabel='precision', xlim=(0, 1), ylim=(0, 1.02))
    return figure, ax


def _errors(errors: dict[int, dict]) -> list[list[str]]:
    return [
        [word, *(f'{100 * each[word][1]:.1f} ({each[word][0]:,})' for each in errors.values())]
        for word in ERRORS.values()
    ]


def _error_figure(errors: dict[int, dict]) -> Markup:
    figure, ax = new_figure(height=1.2 + 0.3 * len(ERRORS) + 0.15 * len(ERRORS) * len(errors))
    width = 0.8 / len(errors)
    for row, (i, each) in enumerate(errors.items()):
        places = np.arange(len(ERRORS)) + (row - (len(errors) - 1) / 2) * width
        gains = [100 * each[word][1] for word in ERRORS.values()]
        ax.barh(places, gains, height=0.9 * width, color=f'C{i % 8}')
    ax.set_yticks(range(len(ERRORS)), ERRORS.values())
    ax.invert_yaxis()
    ax.set_xlabel('AP50 gained without these errors')
    return svg(figure, 'errors', 'What each type of error costs.')


def _pictures(
    found: Detections, loader: LoadImageFromFile, score: float
) -> dict[str, list[tuple[str, str]]]:
    """Best and worst images, each as an address with a caption; those whose file can be read."""
    ranking = found.ranking(score)
    return {
        word: list(itertools.islice(_drawn(found, part, loader, score), PICTURES))
        for word, part in (('best', ranking), ('worst', ranking[::-1]))
    }


def _gone(found: Detections) -> str:
    """The first image that is not there; '' if all are."""
    return next((file for file in found.files if not Path(file).is_file()), '')


def _drawn(
    found: Detections, ranking: Sequence[Any], loader: LoadImageFromFile, score: float
) -> Iterator[tuple[str, str]]:
    for index, row in ranking:
        file = Path(found.files[index])
        with contextlib.suppress(InputError, OSError, cv2.error):
            yield (
                jpeg(_side_by_side(found, index, loader, score)),
                f'{file.name}: F1 {100 * row["f1"]:.0f}, {row["tp"]} right, '
                f'{row["fp"]} wrong, {row["fn"]} missed',
            )


def _side_by_side(
    found: Detections, index: int, loader: LoadImageFromFile, score: float
) -> np.ndarray:
    """Ground truth on the left, detections on the right."""
    image = loader.picture(found.files[index])
    factor = SIDE / max(image.shape[:2])
    image = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    truth = [
        [*each['bbox'], 1.0, each['category_id']]
        for each in found.truth['annotations']
        if each['image_id'] == index + 1
    ]
    boxes = [row[1:] for row in found.rows if row[0] == index + 1 and row[5] >= score]
    sides = []
    for rows, scored in ((truth, False), (boxes, True)):
        table = torch.tensor(rows).reshape(-1, 6)
        table[:, 2:4] += table[:, :2]
        instances = InstanceData(bboxes=table[:, :4] * factor, labels=table[:, 5].long() - 1)
        if scored:
            instances.scores = table[:, 4]
        sides.append(instances)
    return side_by_side(KeypointVisualizer(), image, sides, found.classes, None)


def _difference(runs: Runs) -> list[list[str]] | None:
    """Of the configs, if there are several: a path and each run's value a row."""
    configs = {i: run.config for i, run in enumerate(runs) if run.config}
    if len(configs) < 2:
        return None
    rows = difference(list(configs.values())).items()
    column = {i: k for k, i in enumerate(configs)}
    return [
        [path, *(str(values[column[i]]) if i in configs else '?' for i in range(len(runs)))]
        for path, values in rows
    ]
