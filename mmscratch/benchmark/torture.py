"""A campaign of faults: short runs are hurt, go on, and have to end as the run that was not."""

import contextlib
import importlib.util
import json
import os
import random
import re
import resource
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from mmscratch.benchmark.start import ROOT, children
from mmscratch.config import work_dir
from mmscratch.data.shapes.drawing import ShapesConfig, generate
from mmscratch.errors import one_line_errors
from mmscratch.process import whole_file
from mmscratch.weights import checkpoint

CONFIG = ROOT / 'configs/scratch/mask_rcnn_r18_gn_600i_shapes.py'
ITERATIONS = 12
# Saved are 3, 6, the best one, 6 again, 9 and 12, and perhaps more after the last validation.
SAVES = 6
OPTIONS = [
    f'train_cfg.max_iters={ITERATIONS}',
    'train_cfg.val_interval=6',
    'param_scheduler.0.end=3',
    'param_scheduler.1.milestones=[9]',
    f'param_scheduler.1.end={ITERATIONS}',
    'default_hooks.checkpoint.interval=3',
    'default_hooks.logger.interval=1',
    'default_hooks.visualization=None',
    'train_dataloader.batch_size=2',
    'auto_scale_lr.base_batch_size=2',
    'val_dataloader.num_workers=0',
]
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)


@dataclass
class Campaign:
    """Hurts runs of twelve steps, one after the other.

    Each run is a fork of this process, which has imported everything. It is the real tool.

    Args:
        folder: for data, runs and logs; empty.
        seed: of the moments and the choice of what is hurt.
    """

    folder: Path
    seed: int = 0
    _straight: dict[int, tuple[str, float]] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.data = self.folder / 'data'
        generate(self.data, ShapesConfig(size=96), {'train': 8, 'val': 4}, progress=False)
        self.images = sorted((self.data / 'train').glob('*.*'))
        self.tool = _load_tool()
        self.work_dir = self.folder / 'run'

    def start(self, workers: int = 0, prepare: Callable[[], None] = lambda: None) -> 'Process':
        """Start the run, or let it go on if it has a checkpoint."""
        arguments = [CONFIG, '--data', self.data, '--work-dir', self.work_dir]
        if work_dir.saved_checkpoints(self.work_dir):
            arguments.append('--resume')
        arguments += ['--cfg-options', *OPTIONS, f'train_dataloader.num_workers={workers}']
        return Process(self.tool, [*map(str, arguments)], self.folder / 'log', prepare)

    def straight(self, workers: int) -> tuple[str, float]:
        """Hash of the last checkpoint, and seconds, of the run that is not hurt."""
        if workers not in self._straight:
            shutil.rmtree(self.work_dir, ignore_errors=True)
            process = self.start(workers)
            if process.wait():
                raise RuntimeError(process.log.read_text())
            self._straight[workers] = self.result(), process.seconds
            shutil.copytree(self.work_dir, self.folder / 'whole', dirs_exist_ok=True)
        return self._straight[workers]

    def result(self) -> str:
        """Of weights, optimizer and schedule at the end."""
        content = checkpoint.load(self.work_dir / f'iter_{ITERATIONS}.pth')
        return checkpoint.hash_of_tensors(
            {'state_dict': content['state_dict'], 'optimizer': content['optimizer']}
        )

    def attempt(self, fault: 'Fault') -> dict[str, Any]:
        """Hurt a run once, and let it go on.

        Returns:
            Whether it survived, iterations that it took again, seconds until its next step, and
            what it said.
        """
        expected, seconds = self.straight(fault.workers)
        shutil.rmtree(self.work_dir, ignore_errors=True)
        said = []
        reached = 0
        if fault.after:
            shutil.copytree(self.folder / 'whole', self.work_dir)
            fault.after(self)
        else:
            process = self.start(fault.workers, partial(fault.prepare, self))
            if fault.during:
                time.sleep(self.random.uniform(0, seconds))
                fault.during(self, process)
            status = process.wait()
            said.append(process.log.read_text(errors='replace'))
            reached = max(map(int, re.findall(r'Iter\(train\) +\[ *(\d+)/', said[0])), default=0)
            fault.repair(self)
            if status == 0:
                said.append('')
        again = self.start(fault.workers)
        recovered = again.wait_for('Iter(train)')
        status = again.wait()
        said.append(again.log.read_text(errors='replace'))
        resumed = re.search(r'resumed epoch: \d+, iter: (\d+)', said[-1])
        lost = max(0, reached - int(resumed[1] if resumed else 0)) if reached < ITERATIONS else 0
        has_survived = status == 0 and self.result() == expected
        in_one_line = not any('Traceback' in text for text in said)
        return dict(
            survived=has_survived and in_one_line,
            lost=lost,
            seconds=recovered,
            **({} if has_survived and in_one_line else dict(said='\n'.join(said)[-2000:])),
        )


class Process:
    """A run of ``tools/train.py`` in a fork, in a session of its own."""

    def __init__(
        self, tool: ModuleType, arguments: list[str], log: Path, prepare: Callable[[], None]
    ) -> None:
        self.log = log
        self._began = time.monotonic()
        self.seconds = 0.0
        sys.stdout.flush()
        log.write_text('')
        self.pid = os.fork()
        if not self.pid:
            _be_tool(tool, arguments, log, prepare)

    def wait(self) -> int:
        """Its exit status; negative for a signal."""
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        self.seconds = time.monotonic() - self._began
        return status

    def wait_for(self, text: str) -> float | None:
        """Seconds from its start until it has logged ``text``; None if it ends before."""
        while text not in self.log.read_text(errors='replace'):
            if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                return None
            time.sleep(0.05)
        return time.monotonic() - self._began

    def send(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)


def _be_tool(
    tool: ModuleType, arguments: list[str], log: Path, prepare: Callable[[], None]
) -> None:
    status: Any = 1
    try:
        os.setsid()
        out = os.open(log, os.O_WRONLY | os.O_APPEND)
        os.dup2(out, 1)
        os.dup2(out, 2)
        sys.argv = ['train.py', *arguments]
        prepare()
        with one_line_errors():
            tool.main(tool.parse_args())
        status = 0
    except SystemExit as end:
        status = end.code
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _load_tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location('train', ROOT / 'tools/train.py')
    assert spec
    assert spec.loader
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    import mmscratch.register_all  # noqa: F401  so that no fork has to

    return tool


def _nothing(campaign: Campaign) -> None:
    """Leave all as it is."""


@dataclass(frozen=True)
class Fault:
    """A row of the table.

    Args:
        name: what happens.
        workers: processes that load images.
        prepare: is called in the run's process before it begins.
        during: is called at a random moment of the run.
        after: is called on the folder of a whole run, of which it makes a broken one.
        repair: is called before the run goes on.
    """

    name: str
    workers: int = 0
    prepare: Callable[[Campaign], None] = _nothing
    during: Callable[[Campaign, Process], None] | None = None
    after: Callable[[Campaign], None] | None = None
    repair: Callable[[Campaign], None] = _nothing


def _kill(campaign: Campaign, process: Process) -> None:
    process.send(signal.SIGKILL)


def _signal(campaign: Campaign, process: Process) -> None:
    process.send(campaign.random.choice(SIGNALS))


def _kill_worker(campaign: Campaign, process: Process) -> None:
    for pid in children(process.pid)[:1]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _empty_image(campaign: Campaign, process: Process) -> None:
    image = campaign.random.choice(campaign.images)
    image.rename(image.with_name(f'.{image.name}'))
    image.touch()


def _refill_images(campaign: Campaign) -> None:
    for image in campaign.images:
        kept = image.with_name(f'.{image.name}')
        if kept.exists():
            kept.replace(image)


def _at_save(act: Callable[[int], None], campaign: Campaign) -> None:
    """Let ``act`` happen, with the number of bytes, when one of the checkpoints is written."""
    number, write = campaign.random.randint(1, SAVES), work_dir.write
    saves: list[Path] = []

    def act_and_write(file: Path, content: bytes) -> None:
        saves.extend([file] if file.suffix == '.pth' else [])
        if len(saves) == number:
            act(len(content))
        write(file, content)

    work_dir.write = act_and_write  # in a fork


def _die(*args: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _die_in_the_middle(size: int) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, size // 2))


def _disk_is_full(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, size // 2))


def _die_before(owner: Any, name: str, size: int) -> None:
    setattr(owner, name, _die)


def _die_after_move(size: int) -> None:
    replace = Path.replace

    def replace_and_die(file: Path, target: Path) -> None:
        replace(file, target)
        _die()

    Path.replace = replace_and_die  # type: ignore[method-assign, assignment]


def _change(name: str, change: Callable[[bytes, random.Random], bytes], campaign: Campaign) -> None:
    for file in campaign.work_dir.glob(name):
        file.write_bytes(change(file.read_bytes(), campaign.random))


def _flip(content: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(content))
    return content[:at] + bytes([content[at] ^ 1 << chance.randrange(8)]) + content[at + 1 :]


def _half(content: bytes, chance: random.Random) -> bytes:
    return content[: len(content) // 2]


LAST = f'iter_{ITERATIONS}.pth'
FAULTS = (
    Fault('`kill -9` at a random moment', during=_kill),
    Fault('`kill -9` with 2 loader workers', workers=2, during=_kill),
    Fault('`kill -9` in the middle of a checkpoint', prepare=partial(_at_save, _die_in_the_middle)),
    Fault(
        '`kill -9` before a checkpoint is flushed',
        prepare=partial(_at_save, partial(_die_before, os, 'fsync')),
    ),
    Fault(
        '`kill -9` before it is moved into its place',
        prepare=partial(_at_save, partial(_die_before, Path, 'replace')),
    ),
    Fault('`kill -9` after that', prepare=partial(_at_save, _die_after_move)),
    Fault('SIGTERM, SIGINT, SIGUSR1 or SIGHUP at a random moment', during=_signal),
    Fault('such a signal with 2 loader workers', workers=2, during=_signal),
    Fault('the disk is full in a checkpoint', prepare=partial(_at_save, _disk_is_full)),
    Fault('a loader worker is killed', workers=2, during=_kill_worker),
    Fault(
        'an image is emptied under the run', workers=1, during=_empty_image, repair=_refill_images
    ),
    Fault('the last checkpoint is cut', after=partial(_change, LAST, _half)),
    Fault('a bit of the last checkpoint is flipped', after=partial(_change, LAST, _flip)),
    Fault(
        '`last_checkpoint` is binary',
        after=partial(_change, 'last_checkpoint', lambda content, chance: b'\xff\x00' * 9),
    ),
    Fault('`metrics.json` is cut', after=partial(_change, 'metrics.json', _half)),
    Fault('`scalars.json` is cut', after=partial(_change, '*/vis_data/scalars.json', _half)),
)


def campaign_rows(
    campaign: Campaign, seconds: float, tries: int
) -> Iterator[tuple[Fault, dict[str, Any]]]:
    """Attempt all faults, in another order each time, until there were so many tries of each.

    None begins when ``seconds`` are over.
    """
    stop = time.monotonic() + seconds
    for _ in range(tries):
        for fault in campaign.random.sample(FAULTS, len(FAULTS)):
            if time.monotonic() > stop:
                return
            yield fault, campaign.attempt(fault)


def table_rows(content: dict[str, Any]) -> list[list[str]]:
    """The table of a campaign's JSON."""
    rows = [['fault', 'tries', 'survived', 'steps taken again, at most', 's until the next step']]
    for row in content['faults']:
        seconds = sorted(s for s in row['seconds'] if s is not None)
        spread = f'{seconds[0]:.1f} to {seconds[-1]:.1f}' if seconds else ''
        rows.append(
            [row['fault'], str(row['tries']), str(row['survived']), str(row['lost']), spread]
        )
    return rows


def add(rows: dict[int, dict[str, Any]], fault: Fault, attempt: dict[str, Any]) -> None:
    """Add an attempt to the row of its fault."""
    row = rows.setdefault(
        FAULTS.index(fault),
        dict(fault=fault.name, tries=0, survived=0, lost=0, seconds=[], failures=[]),
    )
    row['tries'] += 1
    row['survived'] += attempt['survived']
    row['lost'] = max(row['lost'], attempt['lost'])
    row['seconds'].append(attempt['seconds'] and round(attempt['seconds'], 2))
    row['failures'] += [attempt['said']] if 'said' in attempt else []


def read(file: Path) -> tuple[dict[int, dict[str, Any]], list[dict[str, str]]]:
    """The rows of an earlier campaign, and the circumstances of each of its parts."""
    if not file.is_file():
        return {}, []
    content = json.loads(file.read_text())
    names = [fault.name for fault in FAULTS]
    return {names.index(row['fault']): row for row in content['faults']}, content['parts']


def save(file: Path, rows: dict[int, dict[str, Any]], parts: list[dict[str, str]]) -> None:
    """Write the rows, in the order of the table."""
    content = {'parts': parts, 'faults': [rows[number] for number in sorted(rows)]}
    file.parent.mkdir(parents=True, exist_ok=True)
    whole_file.write(file, json.dumps(content, indent=1) + '\n')
