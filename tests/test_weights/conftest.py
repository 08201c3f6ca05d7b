"""What several files on weights share."""

from pathlib import Path

import pytest

from mmscratch.errors import InputError
from mmscratch.weights import checkpoint


def refusal(path: Path) -> str:
    """The one line by which a checkpoint is refused."""
    with pytest.raises(InputError) as caught:
        checkpoint.load(path)
    message = str(caught.value)
    assert message.startswith(f'{path}: ')
    assert '\n' not in message
    return message
