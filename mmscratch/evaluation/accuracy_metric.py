"""Top-1 accuracy of an image classifier."""

from collections.abc import Sequence

from mmdet.registry import METRICS
from mmengine.evaluator import BaseMetric


@METRICS.register_module()
class AccuracyMetric(BaseMetric):
    """The fraction of images, 0 to 1, whose highest ``pred_scores`` is that of their object."""

    default_prefix = 'classifier'

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Compare the predictions of a batch."""
        for sample in data_samples:
            [label] = sample['gt_instances']['labels']
            self.results.append(bool(sample['pred_scores'].argmax() == label))

    def metric_names(self) -> list[str]:
        """The key of what ``evaluate`` returns."""
        return [f'{self.prefix}/accuracy']

    def compute_metrics(self, results: list[bool]) -> dict[str, float]:
        """``accuracy``."""
        return dict(accuracy=sum(results) / len(results))
