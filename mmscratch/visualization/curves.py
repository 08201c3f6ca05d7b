"""Loss, learning rate and AP of a run against iterations, as MMEngine recorded them."""

import itertools
from pathlib import Path

from matplotlib.figure import Figure

from mmscratch.config.scalars import read_scalars
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
    kinds = (
        ('coco/bbox_', 'box', 'tab:blue'),
        ('coco/segm_', 'mask', 'tab:orange'),
        ('coco/keypoints_', 'keypoint', 'tab:green'),
        ('pascal_voc/', 'VOC', 'tab:blue'),
        ('classifier/', 'classifier', 'tab:blue'),
    )
    for prefix, label, color in kinds:
        for suffix, style in (('mAP', '-'), ('mAP_50', '--'), ('mAP_75', ':'), ('accuracy', '-')):
            key = prefix + suffix
            points = [(record['step'], record[key]) for record in val if key in record]
            if points:
                name = f'{label} {suffix.replace("mAP_", "AP").replace("mAP", "AP")}'
                ap_axes.plot(*zip(*points), style, color=color, label=name, marker='.')
        both = [
            (record['step'], record[f'{prefix}mAP'], record[name])
            for record in val
            if (name := train_name(f'{prefix}mAP')) in record
        ]
        if both:
            steps, low, high = zip(*both)
            ap_axes.plot(steps, high, '-.', color=color, label=f'{label} AP, training images')
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
