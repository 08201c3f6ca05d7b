"""The page of a check: one HTML file that needs no network."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.ticker import LogLocator, NullLocator

from mmscratch.process import whole_file
from mmscratch.visualization import html_page
from mmscratch.visualization.folder_check import gallery
from mmscratch.visualization.folder_check.folder_check import FolderCheck
from mmscratch.visualization.folder_check.gallery import Picture
from mmscratch.visualization.folder_check.statistics import SIZES

TEMPLATE = Path(__file__).with_name('check.html.jinja')
_GROUPS = 8  # of images that resemble each other are shown
_MEMBERS = 4  # of such a group are shown
_BINS = 30


def write(check: FolderCheck, file: Path) -> None:
    """Write the page of a check to a file."""
    text = _Page(check).render()
    file.parent.mkdir(parents=True, exist_ok=True)
    whole_file.write(file, text)


@dataclass
class _Page:
    check: FolderCheck

    def render(self) -> str:
        check = self.check
        stats = list(check.statistics.values())
        pictures = gallery.examples(check.splits[0], check.cfg)
        shown = {box[4] for views in pictures for view in views for box in view.boxes}
        classes = check.splits[0].classes
        return html_page.render(
            TEMPLATE,
            root=str(check.root),
            config=str(check.config),
            verdict=check.verdict(),
            refusal=check.refusal,
            findings={s: found for s, found in check.findings.by_severity().items() if found},
            splits=[each.name for each in check.splits],
            facts=[
                *((f'{s.images:,}', f'{each.name} images') for each, s in zip(check.splits, stats)),
                (f'{sum(int(s.objects.sum()) for s in stats):,}', 'objects'),
                (f'{len(classes):,}', 'classes' if len(classes) > 1 else 'class'),
                (self._masks(), 'masks'),
                *self._image_size(),
            ],
            counts=self._counts(),
            sizes=self._sizes(),
            kinds=self._kinds(),
            truth=self._truth(),
            figures=self._figures(),
            groups=self._groups(),
            pictures=pictures,
            labels={number: classes[number] for number in sorted(shown)},
            most=max((int(s.most.max(initial=0)) for s in stats), default=0),
        )

    def _masks(self) -> str:
        """Whether objects have masks."""
        found = self.check.statistics.values()
        masks, objects = sum(s.masks for s in found), sum(int(s.objects.sum()) for s in found)
        return 'of all objects' if masks == objects else f'{masks:,}' if masks else 'none'

    def _image_size(self) -> list[tuple[str, str]]:
        sizes = np.concatenate([s.image_sizes for s in self.check.statistics.values()])
        if not len(sizes):
            return []
        width, height = np.median(sizes, axis=0)
        low, high = sizes.min(0), sizes.max(0)
        if (low == high).all():
            return [(f'{low[0]} × {low[1]}', 'pixels, all images')]
        return [
            (f'{width:.0f} × {height:.0f}', 'pixels, medians'),
            (f'{sizes.min()} to {sizes.max()}', 'pixels of a side'),
        ]

    def _counts(self) -> list[list[Any]]:
        """A row of each class: objects and images of each split."""
        stats = self.check.statistics.values()
        return [
            [name, *(f'{n:,}' for s in stats for n in (s.objects[k], s.images_with[k]))]
            for k, name in enumerate(self.check.splits[0].classes)
        ]

    def _sizes(self) -> list[list[Any]]:
        """A row of each class: shares of small, medium and large objects, and the median side."""
        rows = []
        stats = self.check.statistics.values()
        sizes = np.sum([s.sizes for s in stats], axis=0)
        for name, row in zip(['all', *self.check.splits[0].classes], [sizes.sum(0), *sizes]):
            shares = 100 * row / max(1, row.sum())
            rows.append([name, *list(zip(range(len(SIZES)), shares.tolist(), row.tolist()))])
        return rows

    def _kinds(self) -> list[list[str]]:
        """A row of each kind of images: numbers in the splits."""
        stats = self.check.statistics.values()
        return [
            [kind, *(f'{s.kinds[kind]:,}' for s in stats)]
            for kind in dict.fromkeys(kind for s in stats for kind, _ in s.kinds.most_common())
        ]

    def _truth(self) -> list[list[str]]:
        """A row of each split: the mean AP of boxes and masks, the lowest class."""
        rows = []
        names = {'bbox': 'boxes', 'segm': 'masks'}
        for split, metrics in self.check.ap.items():
            for metric, values in metrics.items():
                if values:
                    low = min(values, key=lambda name: values[name])
                    mean = sum(values.values()) / len(values)
                    rows.append([split, names[metric], f'{mean:.3f}', f'{values[low]:.3f} ({low})'])
        return rows

    def _figures(self) -> list[tuple[Markup, str]]:
        stats = self.check.statistics
        drawn = [
            (
                {name: s.sides for name, s in stats.items()},
                'square root of area in pixels',
                "Sizes of objects. The upright lines are COCO's limits, 32 and 96 pixels: below "
                'the first an object is small, from the second on large.',
                (32, 96),
            ),
            (
                {name: 100 * s.shares for name, s in stats.items()},
                "side in percent of the image's",
                'Sizes of objects in percent of their image, as sides of squares of equal area.',
                (),
            ),
            (
                {name: s.a_image[s.a_image > 0] for name, s in stats.items()},
                'objects an image',
                'Objects an image, of the images that have some.',
                (),
            ),
            (
                {name: s.aspects for name, s in stats.items()},
                'width by height',
                'Aspect ratios of boxes. Anchors of 0.5, 1 and 2, the upright lines, are usual.',
                (0.5, 1, 2),
            ),
            (
                {name: np.sqrt(s.image_sizes.prod(1)) for name, s in stats.items()},
                'square root of area in pixels',
                'Sizes of images.',
                (),
            ),
        ]
        return [
            (html_page.svg(_histogram(values, label, marks), f'figure{i}', caption), caption)
            for i, (values, label, caption, marks) in enumerate(drawn)
            if any(np.unique(each).size > 1 for each in values.values())
        ]

    def _groups(self) -> list[tuple[str, list[Picture]]]:
        """Images that resemble each other; those in several splits first."""
        found = [(kind, group) for kind, groups in self.check.groups.items() for group in groups]
        found.sort(key=lambda each: (len({split for split, _ in each[1]}) < 2, each[0] == 'near'))
        splits = {each.name: each for each in self.check.splits}
        captions = {'same': 'the same file', 'near': 'nearly equal'}
        return [
            (
                captions[kind] + (f', {len(group)} images' if len(group) > _MEMBERS else ''),
                [
                    gallery.thumbnail(splits[split], name, f'{split}: {name}')
                    for split, name in _spread(group)
                ],
            )
            for kind, group in found[:_GROUPS]
        ]


def _spread(group: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Some of a group, the first of each split first."""
    firsts = list({split: (split, name) for split, name in reversed(group)}.values())[::-1]
    rest = [each for each in group if each not in firsts]
    return (firsts + rest)[:_MEMBERS]


def _histogram(values: dict[str, np.ndarray], label: str, marks: tuple[float, ...]) -> Any:
    """The share of each split's values in bins of a logarithmic axis."""
    figure, axes = html_page.new_figure()
    together = np.concatenate(list(values.values()))
    bins = np.geomspace(together.min(), together.max(), _BINS)
    for number, each in enumerate(values.values()):
        heights = np.histogram(each, bins)[0] / max(1, len(each)) * 100
        axes.stairs(heights, bins, color=f'C{number}', linewidth=1.6)
    for mark in marks:
        axes.axvline(mark, color='#808080', linewidth=1, linestyle=':')
    axes.set_xscale('log')
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=12))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter('{x:g}')
    axes.set_xlabel(label)
    axes.set_ylabel('percent')
    axes.set_ylim(bottom=0)
    return figure
