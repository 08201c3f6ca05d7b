"""A folder of one's own images in PASCAL VOC layout."""

from pathlib import Path

from mmdet.datasets import XMLDataset
from mmdet.registry import DATASETS

from mmscratch.data import voc_xml
from mmscratch.data.image_check import IMAGE_SUFFIXES, look_at
from mmscratch.errors import InputError


@DATASETS.register_module()
class VocFolderDataset(XMLDataset):
    """``XMLDataset`` of images and XML files as annotation tools leave them.

    What it reads is what :mod:`mmscratch.data.voc_check` checks: both take it from
    :mod:`mmscratch.data.voc_xml`. Boxes without area or outside of their image are left out,
    as ``CocoDataset`` does it.
    """

    def load_data_list(self) -> list[dict]:
        """Load the annotations of every image of the list, in its order."""
        self.cat2label = {name: label for label, name in enumerate(self.metainfo['classes'])}
        names = voc_xml.read_names(Path(self.ann_file))
        root = Path(self.sub_data_root)
        images = voc_xml.find_files(root / self.img_subdir, names, IMAGE_SUFFIXES)
        files = voc_xml.find_files(root / self.ann_subdir, names, ('.xml',))
        return [
            self.parse_data_info(dict(img_id=name, img_path=images[name], xml_path=files[name]))
            for name in names
        ]

    def parse_data_info(self, img_info: dict) -> dict:
        """The image's entry of XMLDataset, from the paths of its files.

        Raises:
            InputError: an XML file that cannot be read; the check of the data has told of it.
        """
        xml = voc_xml.read(img_info['xml_path'])
        if fault := xml.unreadable or ', '.join(xml.faults):
            raise InputError(f'{img_info["xml_path"]}: {fault}; write the file again')
        width, height = xml.size or _size(img_info['img_path'])
        least = None if self.test_mode else self.bbox_min_size
        return dict(
            img_id=img_info['img_id'],
            img_path=str(img_info['img_path']),
            xml_path=str(img_info['xml_path']),
            width=width,
            height=height,
            instances=[
                dict(
                    ignore_flag=int(item.difficult or item.is_under(least)),
                    bbox=list(item.box),
                    bbox_label=self.cat2label[item.name],
                )
                for item in xml.objects
                if item.name in self.cat2label and item.is_usable(width, height)
            ],
        )


def _size(path: Path) -> tuple[int, int]:
    fact = look_at(path)
    return fact.width, fact.height
