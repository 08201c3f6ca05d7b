"""A folder of one's own images in PASCAL VOC layout."""

import os.path as osp
from pathlib import Path

from mmdet.datasets import XMLDataset
from mmdet.registry import DATASETS

from mmscratch.datasets import voc_xml


@DATASETS.register_module()
class VocFolderDataset(XMLDataset):
    """``XMLDataset`` whose images may be .jpg, .jpeg or .png, as annotation tools leave them.

    Boxes without area or outside of their image are left out, as ``CocoDataset`` does it.
    """

    def load_data_list(self) -> list[dict]:
        """Load the annotations of every image of the list, in its order."""
        self.cat2label = {name: label for label, name in enumerate(self.metainfo['classes'])}
        images = voc_xml.image_files(Path(self.sub_data_root, self.img_subdir))
        infos = [
            self.parse_data_info(
                dict(
                    img_id=name,
                    file_name=osp.join(self.img_subdir, images[name]),
                    xml_path=osp.join(self.sub_data_root, self.ann_subdir, f'{name}.xml'),
                )
            )
            for name in voc_xml.read_names(Path(self.ann_file))
        ]
        for info in infos:
            limits = info['width'], info['height']
            info['instances'] = [
                row for row in info['instances'] if voc_xml.is_usable(row['bbox'], *limits)
            ]
        return infos
