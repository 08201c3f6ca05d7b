"""What MMEngine has recorded of a run in its work directory."""

import json
from pathlib import Path


def read_scalars(work_dir: Path) -> list[dict]:
    """The records of ``work_dir/*/vis_data/scalars.json``, training and validation, by iteration.

    A run that was stopped and resumed has several such files. A later file replaces the earlier
    ones from the iteration at which it begins. A line that was cut, as by a kill, is passed over,
    and so is one that is not whole yet.
    """
    records: list[dict] = []
    for file in sorted(work_dir.glob('*/vis_data/scalars.json')):
        lines = [
            line for line in map(_record, file.read_text(errors='replace').splitlines()) if line
        ]
        train_steps = [line['step'] for line in lines if 'loss' in line]
        if train_steps:
            resumed_at = min(train_steps)
            records = [record for record in records if record['step'] < resumed_at]
        records += lines
    return sorted(records, key=lambda record: record['step'])


def _record(line: str) -> dict | None:
    try:
        record = json.loads(line)
        return record if isinstance(record['step'], int) else None
    except (ValueError, TypeError, LookupError):
        return None
