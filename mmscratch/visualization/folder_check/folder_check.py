"""What is in a folder of data, what is wrong with it, and a copy without that."""

import difflib
import itertools
import json
import re
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from mmengine.config import Config

from mmscratch.data import coco_json, duplicates, layouts, repoint
from mmscratch.data.exports import cache
from mmscratch.data.pixels import look_at_all
from mmscratch.errors import InputError
from mmscratch.process import whole_file
from mmscratch.process.progress_bar import ProgressBar
from mmscratch.visualization.folder_check import repair, self_test, split, statistics
from mmscratch.visualization.folder_check.finding import STOPS, Finding, Findings
from mmscratch.visualization.folder_check.statistics import Statistics, kind_of

_MOST_OBJECTS = 100  # of a class in an image, which COCO's metric counts
_RARE = 1e-3  # of the training images: LVIS's threshold of repeat-factor sampling
_ALIKE = 0.9  # difflib's ratio of two class names
CHANGES = 'changes.txt'


class _Member(NamedTuple):
    """An image of a group: the number and the name of its split, its name, its objects."""

    order: int
    split: str
    name: str
    objects: int


class FolderCheck:
    """Looks at all images and objects of a folder of any layout.

    Args:
        root: the folder.
        config: of a detector. Its own check of the folder says whether training would start; its
            augmentation is shown.
        near: bits of 256 in which the perceptual hashes of images that nearly equal each other
            differ at most; below 0 none are looked for.

    Attributes:
        splits: sound; images and objects that cannot be used are taken out.
        findings: all that was found.
        statistics: of each split.
        groups: names of images that are copies of each other, or nearly, as (split, name).
        ap: that of the ground truth against itself, by split, metric and class.
        refusal: what ``tools/train.py`` would say and stop, '' if it would start.
        cfg: the config as it reads the folder; None if that fails.

    Raises:
        InputError: the folder has no layout, or an annotation file cannot be read at all.
    """

    def __init__(self, root: Path, config: Path, near: int = duplicates.NEAR) -> None:
        self.root, self.config, self.near = root, config, near
        self.findings = Findings()
        self.cfg, self.refusal = self._try_training(root)
        found = layouts.find(root, faulty=True)
        source = cache.source_of(repoint.annotation_path(found['train']))
        for name, fault in source.faults if source else ():
            self.findings.add('label', name, fault)
        self.splits = split.read(found, self.findings)
        for each in self.splits:
            repair.tidy_images(each, self.findings)
        for name in split.unlisted(self.splits):
            self.findings.add('unlisted', '', name)
        repair.tidy_classes(self.splits, self.findings)
        self._look_at_images()
        for each in self.splits:
            repair.tidy_objects(each, self.findings)
        self.statistics: dict[str, Statistics] = {s.name: statistics.of(s) for s in self.splits}
        self.leaving: dict[str, set[str]] = {each.name: set() for each in self.splits}
        self.groups: dict[str, list[list[tuple[str, str]]]] = {'same': [], 'near': []}
        self._find_duplicates()
        self._look_at_classes()
        self._look_at_kinds()
        self.ap = {each.name: self_test.ap_of_truth(each) for each in self.splits}
        for name, metrics in self.ap.items():
            for label in dict.fromkeys(itertools.chain.from_iterable(metrics.values())):
                low = min(values.get(label, 1.0) for values in metrics.values())
                if low < 1 - 1e-6:
                    self.findings.add('self', name, f'{label}: {low:.3f}')

    def _try_training(self, root: Path) -> tuple[Config | None, str]:
        """The config that reads a folder, and why training would not start."""
        cfg: Config | None = Config.fromfile(self.config)
        try:
            layouts.use_folder(cfg, root)
        except InputError as error:
            return None, str(error)
        try:
            layouts.check(cfg)
        except InputError as error:
            return cfg, str(error)
        finally:
            coco_json.keep([])
        return cfg, ''

    def _look_at_images(self) -> None:
        paths = [each.path(row) for each in self.splits for row in each.images]
        found = iter(look_at_all(paths))
        for each in self.splits:
            each.pixels = {row['file_name']: next(found) for row in each.images}

    def _find_duplicates(self) -> None:
        members, pixels = [], []
        for order, each in enumerate(self.splits):
            objects = each.objects()
            for row in each.images:
                name = row['file_name']
                members.append(_Member(order, each.name, name, len(objects[row['id']])))
                pixels.append(each.pixels[name])
        near = duplicates.near_ones(pixels, self.near) if self.near >= 0 else []
        near, still = duplicates.without_still(near, len(pixels))
        leaks = len({members[n].split for n in still}) > 1
        for member in (members[n] for n in still):
            self.findings.add('still leak' if leaks else 'still', member.split, member.name)
        for numbers in duplicates.copies(pixels):
            self._judge('same', [members[n] for n in numbers])
        for numbers in near:
            # copies have been told
            if len({pixels[n].digest for n in numbers}) > 1:
                self._judge('near', [members[n] for n in numbers])

    def _judge(self, kind: str, group: list[_Member]) -> None:
        """Tell of a group of images that resemble each other, and which of them a copy lacks."""
        self.groups[kind].append([(member.split, member.name) for member in group])
        last = max(group, key=lambda member: member.order)
        best = {member.order: member for member in sorted(reversed(group), key=lambda m: m.objects)}
        for member in group:
            leaks = member.order < last.order
            other = last if leaks else best[member.order]
            if member is other or member.name in self.leaving[member.split]:
                continue
            found = dict(same=('copy', 'leak'), near=('near', 'near leak'))[kind][leaks]
            self.findings.add(
                found,
                member.split,
                f'{member.name} ({member.objects} objects) and '
                f'{other.split}/{other.name} ({other.objects})',
            )
            if found != 'near':
                self.leaving[member.split].add(member.name)

    def _look_at_classes(self) -> None:
        first = self.splits[0]
        for each in self.splits:
            stats = self.statistics[each.name]
            if not stats.objects.sum():
                self.findings.add('no objects', each.name, str(each.file))
            for k, label in enumerate(each.classes):
                counts = {name: other.objects[k] for name, other in self.statistics.items()}
                if not counts[each.name] and any(counts.values()):
                    there = ', '.join(f'{n} in {name}' for name, n in counts.items() if n)
                    self.findings.add('missing class', each.name, f'{label} ({there})')
            for row, most in zip(each.images, stats.most):
                if most > _MOST_OBJECTS:
                    self.findings.add('crowded', each.name, f'{row["file_name"]} ({most})')
            for row, number in zip(each.images, stats.a_image):
                if not number:
                    self.findings.add('empty', each.name, row['file_name'])
        for left, right in _alike(first.classes):
            self.findings.add('alike', '', f'{left!r} and {right!r}')
        stats = self.statistics[first.name]
        for label, number in zip(first.classes, stats.images_with):
            if 0 < number < _RARE * stats.images:
                self.findings.add('rare', first.name, f'{label} ({number})')

    def _look_at_kinds(self) -> None:
        kinds: Counter[str] = Counter()
        for stats in self.statistics.values():
            kinds.update(stats.kinds)
        usual = max(kinds, key=lambda kind: kinds[kind], default='')
        for each in self.splits:
            for row in each.images:
                pixels = each.pixels[row['file_name']]
                if kind_of(pixels) != usual:
                    self.findings.add('kinds', each.name, f'{row["file_name"]}: {kind_of(pixels)}')
                if pixels.phash is None:
                    self.findings.add('flat', each.name, row['file_name'])

    @property
    def stops(self) -> list[Finding]:
        """The findings that stop training."""
        return self.findings.by_severity()[STOPS]

    def lines(self) -> Iterator[str]:
        """The check for the terminal."""
        for each in self.splits:
            stats = self.statistics[each.name]
            sizes = ', '.join(
                f'{n:,} {size}' for n, size in zip(stats.sizes.sum(0), statistics.SIZES)
            )
            kinds = ', '.join(f'{n:,} of {kind}' for kind, n in stats.kinds.most_common())
            yield (
                f'{each.name}: {stats.images:,} images ({kinds}), {stats.objects.sum():,} objects '
                f'({sizes}), {(stats.objects > 0).sum()} of {len(each.classes)} classes'
            )
        for severity, found in self.findings.by_severity().items():
            if found:
                yield f'{severity}:'
                yield from (f'  {finding.line()}' for finding in found)
        yield self.verdict()

    def verdict(self) -> str:
        """Whether training would start, and what else to look at."""
        stops, spoils, _ = map(len, self.findings.by_severity().values())
        if self.refusal or stops:
            return f'Training would not start: {_number(max(stops, 1), "fault")}.'
        if spoils:
            return f'Training would start, and {_number(spoils, "finding")} would spoil results.'
        return 'Training would start, and nothing was found that spoils results.'

    def fix(self, out: Path) -> Iterator[str]:
        """Write a repaired copy in COCO layout, and say what changed.

        ``changes.txt`` of the copy says the same, and names the first thousand of each kind. Images
        are copied, not linked. Afterwards ``splits`` have what the copy has.

        Args:
            out: a folder that is not there, or empty.

        Raises:
            InputError: the folder holds something, or cannot be written.
        """
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise InputError(f'--fix {out}: exists and is not empty; name a new folder')
        lines = []
        for each in self.splits:
            repair.leave_out(each, self.leaving[each.name])
            lines.append(
                f'{each.name}: {len(each.images):,} images and {len(each.annotations):,} objects '
                'are in the copy'
            )
        changes = [f for f in self.findings.sorted() if f.repair or f.severity == STOPS]
        lines += [finding.change() for finding in changes]
        try:
            with whole_file.folder(out) as unfinished:
                self._write(unfinished)
                listed = [f'{line}\n' for line in lines]
                for finding in changes:
                    listed.append(f'\n{finding.change()}\n')
                    listed += [f'  {each}\n' for first in finding.first.values() for each in first]
                (unfinished / CHANGES).write_text(''.join(listed))
        except OSError as error:
            raise InputError(f'--fix {out}: cannot be written ({error.strerror})') from None
        yield from lines
        _, refusal = self._try_training(out)
        if refusal:
            yield f'training would not start on the copy: {refusal}'
        else:
            yield 'the copy passes the check that training begins with'

    def _write(self, out: Path) -> None:
        (out / 'annotations').mkdir(parents=True)
        for each in self.splits:
            for row in ProgressBar(each.images, f'copying {each.name}', leave=False, delay=1):
                source = each.path(row)
                # a name may lead out of the folder
                parts = [part for part in Path(row['file_name']).parts if part not in ('..', '/')]
                row['file_name'] = str(Path(*parts))
                target = out / each.name / row['file_name']
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)
            content = dict(
                images=each.images, annotations=each.annotations, categories=each.categories
            )
            file = out / 'annotations' / f'instances_{each.name}.json'
            file.write_text(json.dumps(content))


def _number(count: int, what: str) -> str:
    return f'{count:,} {what}{"s" * (count > 1)}'


def _alike(names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Pairs of class names that may mean the same, such as 'stop sign' and 'stop_signs'."""
    keys = [re.sub(r'[\W_]+', '', name.casefold()) or name for name in names]
    # types that are numbered are meant to differ
    letters = [re.sub(r'\d+', '', key) for key in keys]
    for i, j in itertools.combinations(range(len(names)), 2):
        a, b = keys[i], keys[j]
        same = a in (b, f'{b}s') or b == f'{a}s'
        if same or (letters[i] != letters[j] and _ratio(a, b) >= _ALIKE):
            yield names[i], names[j]


def _ratio(a: str, b: str) -> float:
    """Difflib's, or a larger bound of it that needs no work."""
    bound = 2 * min(len(a), len(b)) / (len(a) + len(b))
    return bound if bound < _ALIKE else difflib.SequenceMatcher(None, a, b).ratio()
