"""What MMEngine has recorded of a run in its work directory."""

import json
from pathlib import Path


def read_scalars(work_dir: Path) -> list[dict]:
    """The records of ``work_dir/*/vis_data/scalars.json``, training and validation, by iteration.

    A run that was stopped and resumed has several such files. A later file replaces the earlier
    ones from its first training step, and its first validation, on. A line that was cut, as by a
    kill, is passed over, and so is one that is not whole yet.
    """
    records: list[dict] = []
    for file in sorted(work_dir.glob('*/vis_data/scalars.json')):
        lines = read_records(file)
        train, val = (
            [line['step'] for line in lines if ('loss' in line) == trains]
            for trains in (True, False)
        )
        if train:
            # it may have validated before it logged its first step
            first = {True: min(train), False: min(val, default=min(train))}
            records = [each for each in records if each['step'] < first['loss' in each]]
        records += lines
    return sorted(records, key=lambda record: record['step'])


def read_records(file: Path) -> list[dict]:
    """The records of one such file, in its order."""
    return [line for line in map(_record, file.read_text(errors='replace').splitlines()) if line]


def _record(line: str) -> dict | None:
    try:
        record = json.loads(line)
        return record if isinstance(record['step'], int) else None
    except (ValueError, TypeError, LookupError):
        return None
