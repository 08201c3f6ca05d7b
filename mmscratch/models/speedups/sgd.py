"""SGD that updates parameters of equal settings together."""

from collections import defaultdict
from typing import Any

from torch.optim import SGD

_torch_step = SGD.step


def step(self: SGD, closure: Any = None) -> Any:
    """One step; the groups, and with them the state in checkpoints, stay as they are.

    MMEngine makes a group of each parameter once biases or norm layers have settings of their own,
    and torch updates one group after the other.
    """
    groups, merged = self.param_groups, defaultdict(list)
    for group in groups:
        merged[tuple(group[name] for name in self.defaults)] += group['params']
    self.param_groups = [
        dict(zip(self.defaults, settings, strict=True), params=parameters)
        for settings, parameters in merged.items()
    ]
    try:
        return _torch_step(self, closure)
    finally:
        self.param_groups = groups
