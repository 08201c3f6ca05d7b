"""The command line's ``--cfg-options KEY=VALUE ...``."""

from argparse import ArgumentError, ArgumentParser, Namespace
from collections.abc import Sequence

from mmengine.config import DictAction


class CfgOptions(DictAction):
    """MMEngine's ``DictAction``; what is not KEY=VALUE is a usage error, and no traceback."""

    def __call__(
        self,
        parser: ArgumentParser,
        namespace: Namespace,
        values: Sequence[str],
        option_string: str | None = None,
    ) -> None:
        """Add the values to the dict in the namespace."""
        for item in values:
            key, equals, _ = item.partition('=')
            if not (key and equals):
                raise ArgumentError(self, f'{item!r} is not of the form KEY=VALUE')
            try:
                super().__call__(parser, namespace, [item], option_string)
            except AssertionError:
                raise ArgumentError(self, f'{item!r}: its brackets do not match') from None
