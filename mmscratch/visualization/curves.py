"""Loss, learning rate and AP of a run against iterations, as MMEngine recorded them."""

import itertools
from pathlib import Path

from matplotlib.figure import Figure

from mmscratch.config.scalars import read_scalars
from mmscratch.evaluation import metric_names
from mmscratch.evaluation.learning_state import train_name


def draw_curves(work_dir: Path, out: Path, title: str = '') -> None:
    """Write ``out`` (PNG): losses, learning rate and AP over the same axis of iterations."""
    records = read_scalars(work_dir)
    train = [record for record in records if 'loss' in record]
    val = [record for record in records if 'loss' not in record]
    figure = Figure(figsize=(7, 8), layout='constrained')
    figure.suptitle(title, fontsize='medium')
    loss_axes, lr_axes, ap_axes = figure.subplots(3, 1, sharex=True, height_ratios=[3, 1.2, 3])
    # the losses of a cascade's later stages begin when the cascade does
    names = dict.fromkeys(name for record in train for name in record if 'loss' in name)
    for name in sorted(names, key=lambda name: name != 'loss'):
        points = [(record['step'], record[name]) for record in train if name in record]
        loss_axes.plot(*zip(*points), label=name, linewidth=2 if name == 'loss' else 1)
    points = [(record['step'], record['val_loss']) for record in val if 'val_loss' in record]
    if points:
        loss_axes.plot(*zip(*points), 'k--', label='loss, validation images', marker='.')
    loss_axes.set_ylabel('loss' if points else 'training loss')
    loss_axes.set_ylim(bottom=0)
    rates = [(record['step'], record['lr']) for record in train]
    # the schedule drops at once, also where no iteration in between was recorded
    drops = [
        (after, rate) for (_, rate), (after, lower) in itertools.pairwise(rates) if lower < rate / 2
    ]
    points = sorted(rates + drops, key=lambda point: (point[0], -point[1]))
    lr_axes.plot(*zip(*points), 'k')
    lr_axes.set_ylabel('learning rate')
    lr_axes.set_ylim(bottom=0)
    colors = {
        'coco/bbox_': 'tab:blue',
        'coco/segm_': 'tab:orange',
        'coco/keypoints_': 'tab:green',
        'pascal_voc/': 'tab:blue',
        'classifier/': 'tab:blue',
    }
    for prefix, color in colors.items():
        for suffix, style in (('mAP', '-'), ('mAP_50', '--'), ('mAP_75', ':'), ('accuracy', '-')):
            key = prefix + suffix
            points = [(record['step'], record[key]) for record in val if key in record]
            if points:
                label = metric_names.title(metric_names.short(key))
                ap_axes.plot(*zip(*points), style, color=color, label=label, marker='.')
        key = f'{prefix}mAP'
        both = [
            (record['step'], record[key], record[name])
            for record in val
            if (name := train_name(key)) in record
        ]
        if both:
            steps, low, high = zip(*both)
            label = metric_names.title(metric_names.short(key))
            ap_axes.plot(steps, high, '-.', color=color, label=f'{label}, training images')
            ap_axes.fill_between(steps, low, high, color=color, alpha=0.15, label=f'{label} gap')
    is_watched = bool(ap_axes.collections)
    # of a pre-training, which validates nothing
    spreads = dict.fromkeys(name for record in train for name in record if 'spread' in name)
    for name in spreads:
        points = [(record['step'], record[name]) for record in train if name in record]
        ap_axes.plot(*zip(*points), label=name)
    is_classifier = any('classifier/accuracy' in record for record in val)
    ap_axes.set_ylabel('accuracy' if is_classifier else 'AP' if is_watched else 'validation AP')
    ap_axes.set_ylim(0, 1)
    if spreads:
        ap_axes.set_ylabel('spread of embeddings, 0: collapse')
    ap_axes.set_xlabel('iterations')
    for axes in (loss_axes, ap_axes):
        if axes.lines:
            # above the axes, where it covers no curve
            axes.legend(
                loc='lower center',
                bbox_to_anchor=(0.5, 1),
                ncols=4,
                fontsize='small',
                frameon=False,
            )
    for axes in (loss_axes, lr_axes, ap_axes):
        axes.grid(alpha=0.3)
    figure.savefig(out, dpi=110)
