"""Memory of this process."""

from pathlib import Path


def peak_mb(reset: bool = False) -> float:
    """The most that this process has held, in MB, on Linux: ``getrusage`` has its parent's too.

    With ``reset``, what it holds now, from which the peak is counted anew. 0 on other systems.
    """
    process = Path('/proc/self')
    if not process.exists():
        return 0.0
    if reset:
        (process / 'clear_refs').write_text('5')
    return int((process / 'status').read_text().partition('VmHWM:')[2].split()[0]) / 1024
