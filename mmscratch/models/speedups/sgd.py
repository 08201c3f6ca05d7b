"""SGD that updates parameters of equal settings together."""

from collections import defaultdict
from typing import Any

import torch


class SGD(torch.optim.SGD):
    """torch's SGD; its groups, and with them the state in checkpoints, are torch's.

    MMEngine makes a group of each parameter once biases or norm layers have settings of their own,
    and torch updates one group after the other.
    """

    def step(self, closure: Any = None) -> Any:
        """Update all parameters; returns the loss of ``closure``, if there is one."""
        groups = self.param_groups
        merged: dict[tuple, list[torch.Tensor]] = defaultdict(list)
        for group in groups:
            merged[tuple(group[name] for name in self.defaults)] += group['params']
        self.param_groups = [
            dict(zip(self.defaults, settings, strict=True), params=parameters)
            for settings, parameters in merged.items()
        ]
        try:
            return super().step(closure)
        finally:
            self.param_groups = groups
