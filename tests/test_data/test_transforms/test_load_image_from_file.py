"""Every value of a file reaches the network, whatever its channels and type."""

import itertools
from pathlib import Path

import cv2
import mmcv.transforms
import numpy as np
import pytest
import torch
from mmdet.registry import MODELS, TRANSFORMS
from PIL import Image

import mmscratch.register_all  # noqa: F401
from mmscratch.data.image_check import look_at
from mmscratch.data.transforms import LoadImageFromFile
from mmscratch.errors import InputError

TYPES = ('uint8', 'uint16', 'float32')


def values(channels: int, dtype: str) -> np.ndarray:
    """[6, 7, channels], over the whole range of 16 bits, or with fractions."""
    rng = np.random.default_rng(channels)
    pixels = rng.integers(0, 256 if dtype == 'uint8' else 65536, (6, 7, channels))
    return pixels.astype(dtype) + (0.25 if dtype == 'float32' else 0)


def write(folder: Path, form: str, pixels: np.ndarray) -> Path:
    """Write an image as .npy, as .png, or as .tif in one of its forms."""
    channels = pixels.shape[2]
    file = folder / f'image.{form.partition(" ")[0]}'
    if form == 'npy':
        np.save(file, pixels)
    elif form == 'png':
        cv2.imwrite(str(file), pixels[..., [2, 1, 0, 3][:channels] if channels > 1 else 0])
    else:
        tifffile = pytest.importorskip('tifffile')
        options = dict(photometric='minisblack')
        if form == 'tif of bands':
            pixels = pixels.squeeze()
            options |= dict(planarconfig='contig') if pixels.ndim == 3 else {}
        else:
            pixels = np.moveaxis(pixels, 2, 0).squeeze()
            is_planar = form == 'tif of planes' and pixels.ndim == 3
            options |= dict(planarconfig='separate') if is_planar else {}
        tifffile.imwrite(file, pixels, **options)
    return file


# OpenCV writes no other PNG
PNG = [('png', channels, dtype) for channels in (1, 3, 4) for dtype in ('uint8', 'uint16')]
OTHERS = ('npy', 'tif of bands', 'tif of planes', 'tif of pages')


@pytest.mark.parametrize(
    ('form', 'channels', 'dtype'), [*PNG, *itertools.product(OTHERS, range(1, 6), TYPES)]
)
def test_values_are_those_of_the_file(tmp_path, form, channels, dtype):
    pixels = values(channels, dtype)
    file = write(tmp_path, form, pixels)
    facts = look_at(file)
    assert not facts.fault
    assert (facts.width, facts.height, facts.channels, facts.dtype) == (7, 6, channels, dtype)
    order = list(range(channels, 0, -1))
    load = TRANSFORMS.build(dict(type='LoadImageFromFile', channels=order, dtype=dtype))
    results = load(dict(img_path=str(file)))
    assert results['img'].dtype == ('uint8' if dtype == 'uint8' else 'float32')
    assert results['img_shape'] == results['ori_shape'] == (6, 7)
    packed = TRANSFORMS.build(dict(type='PackDetInputs', meta_keys=()))(results)
    # the network's own input
    preprocessor = MODELS.build(
        dict(type='SensorDataPreprocessor', mean=[0.0] * channels, std=[1.0] * channels)
    )
    batch = dict(inputs=[packed['inputs']], data_samples=[packed['data_samples']])
    seen = preprocessor(batch)['inputs'][0]
    assert torch.equal(seen, torch.tensor(pixels[..., ::-1].copy()).float().permute(2, 0, 1))


@pytest.mark.parametrize('name', ['a.png', 'a.jpg'])
@pytest.mark.parametrize('form', [(), (3,), (4,)])
def test_without_channels_it_is_mmcvs(tmp_path, name, form):
    file = tmp_path / name
    pixels = np.random.default_rng(0).integers(0, 256, (6, 7, *form), np.uint8)
    cv2.imwrite(str(file), pixels)
    results = [
        load(dict(img_path=str(file)))
        for load in (
            TRANSFORMS.build(dict(type='LoadImageFromFile')),
            mmcv.transforms.LoadImageFromFile(),
        )
    ]
    np.testing.assert_array_equal(results[0]['img'], results[1]['img'])
    assert results[0]['img'].dtype == np.uint8
    assert {**results[0], 'img': 0} == {**results[1], 'img': 0}
    picture = LoadImageFromFile().picture(file)
    np.testing.assert_array_equal(picture, results[1]['img'][..., ::-1])


def test_images_are_turned_as_they_say(tmp_path):
    """As without channels: annotations are of the turned image."""
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = np.add.outer(np.arange(48), np.arange(40)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / 'a.jpg', exif=exif, quality=100)
    loaded = LoadImageFromFile(channels=[1]).image(tmp_path / 'a.jpg')
    facts = look_at(tmp_path / 'a.jpg')
    assert loaded.shape == (facts.height, facts.width, 1) == (40, 48, 1)
    np.testing.assert_array_equal(loaded[..., 0], cv2.imread(str(tmp_path / 'a.jpg'), 0))


@pytest.mark.parametrize('orientation', range(1, 9))
def test_a_tiff_is_turned_as_it_says(tmp_path, orientation):
    """By tifffile too, as OpenCV does; annotations are of the turned image."""
    tifffile = pytest.importorskip('tifffile')
    pixels, file = values(3, 'uint16'), tmp_path / 'a.tif'
    tag = (274, 'H', 1, orientation, True)
    tifffile.imwrite(file, pixels, photometric='rgb', extratags=[tag])
    flags = cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR
    opencv = cv2.imdecode(np.fromfile(file, np.uint8), flags)[..., ::-1]
    loaded = LoadImageFromFile(channels=[1, 2, 3]).image(file)
    np.testing.assert_array_equal(loaded, opencv)
    facts = look_at(file)
    assert (facts.height, facts.width) == opencv.shape[:2]
    # several pages likewise
    tifffile.imwrite(file, np.moveaxis(pixels, 2, 0), photometric='minisblack', extratags=[tag])
    np.testing.assert_array_equal(LoadImageFromFile(channels=[1, 2, 3]).image(file), opencv)


@pytest.mark.parametrize('form', ['tif of pages', 'tif of planes'])
def test_a_tiff_of_which_opencv_loads_a_part_is_none_of_its(tmp_path, form):
    """Three pages of 8 bits are no colour image, and OpenCV loads the first."""
    file = write(tmp_path, form, values(3, 'uint8'))
    assert look_at(file).not_for_opencv == (
        'has 3 channels in pages or bands, which OpenCV cannot load'
    )
    assert not look_at(write(tmp_path, 'tif of bands', values(3, 'uint8'))).not_for_opencv


@pytest.mark.parametrize(
    ('shape', 'is_refused'),
    [((5, 96, 128), True), ((1, 40, 40), True), ((96, 128, 5), False), ((24, 96, 64), False)],
)
def test_an_array_with_the_channels_first_is_refused(tmp_path, shape, is_refused):
    """It would be an image of 5 x 96 pixels with 128 channels."""
    np.save(tmp_path / 'a.npy', np.zeros(shape, np.uint8))
    fault = look_at(tmp_path / 'a.npy').fault
    expected = f'has the shape {shape}, which looks like [C, H, W]: save it as [H, W, C]'
    assert fault == (expected if is_refused else '')


def test_pages_of_another_form_are_no_channels(tmp_path):
    """Such as the thumbnail of a camera, or the smaller copies of a pyramid."""
    tifffile = pytest.importorskip('tifffile')
    pixels = values(2, 'uint16')
    with tifffile.TiffWriter(tmp_path / 'a.tif') as file:
        for page in (pixels[..., 0], pixels[..., 1], pixels[::2, ::2, 0]):
            file.write(page, photometric='minisblack')
    assert look_at(tmp_path / 'a.tif').channels == 2
    loaded = LoadImageFromFile(channels=[1, 2]).image(tmp_path / 'a.tif')
    np.testing.assert_array_equal(loaded, pixels)


@pytest.mark.parametrize('photometric', ['MONOCHROME1', 'MONOCHROME2'])
def test_dicom_is_rescaled_as_it_says(tmp_path, photometric):
    pydicom = pytest.importorskip('pydicom')
    file = pydicom.Dataset()
    file.file_meta = pydicom.dataset.FileMetaDataset()
    file.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    file.SOPClassUID = file.file_meta.MediaStorageSOPClassUID = pydicom.uid.CTImageStorage
    file.SOPInstanceUID = file.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    file.Rows, file.Columns, file.SamplesPerPixel = 6, 7, 1
    file.BitsAllocated, file.BitsStored, file.HighBit = 16, 16, 15
    file.PixelRepresentation, file.PhotometricInterpretation = 0, photometric
    file.RescaleSlope, file.RescaleIntercept = 2, -1024
    pixels = values(1, 'uint16') // 4
    file.PixelData = pixels.tobytes()
    file.save_as(tmp_path / 'a.dcm', enforce_file_format=True)
    facts = look_at(tmp_path / 'a.dcm')
    assert (facts.width, facts.height, facts.channels, facts.dtype) == (7, 6, 1, 'float32')
    loaded = LoadImageFromFile(channels=[1], dtype='float32').image(tmp_path / 'a.dcm')
    sign = -1 if photometric == 'MONOCHROME1' else 1
    np.testing.assert_array_equal(loaded, sign * (2 * pixels.astype(np.float32) - 1024))
    # old devices write the data set alone
    (tmp_path / 'b.dcm').write_bytes((tmp_path / 'a.dcm').read_bytes()[132:])
    assert look_at(tmp_path / 'b.dcm').fault == (
        'has no DICM mark at byte 128: save it as a DICOM file (part 10 of the standard)'
    )


@pytest.mark.parametrize(
    ('pixels', 'step', 'message'),
    [
        (values(2, 'uint16'), dict(channels=[3]), 'has 2 channels, and channel 3 is asked for'),
        (
            values(2, 'uint16'),
            dict(channels=[1], dtype='uint8'),
            'has values of uint16, and',
        ),
        (np.full((2, 2), np.nan), dict(channels=[1]), 'has 4 values that are NaN, infinite'),
    ],
)
def test_what_differs_is_refused_in_a_line(tmp_path, pixels, step, message):
    np.save(tmp_path / 'a.npy', pixels)
    with pytest.raises(InputError, match=message) as error:
        LoadImageFromFile(**step).image(tmp_path / 'a.npy')
    assert str(error.value).startswith(f'{tmp_path}/a.npy: ')
    assert '\n' not in str(error.value)


def test_pictures_show_the_chosen_channels(tmp_path):
    pixels = np.zeros((10, 10, 5), np.uint16)
    pixels[:5, :, 4] = 4095
    pixels[:, :5, 1] = 12
    np.save(tmp_path / 'a.npy', pixels)
    picture = LoadImageFromFile(channels=[1, 2, 3, 4, 5], shown=[5, 2, 1]).picture(
        tmp_path / 'a.npy'
    )
    assert (picture.shape, picture.dtype) == ((10, 10, 3), np.uint8)
    # stretched to the whole range, each for itself
    np.testing.assert_array_equal(picture[..., 0], 255 * (pixels[..., 4] > 0))
    np.testing.assert_array_equal(picture[..., 1], 255 * (pixels[..., 1] > 0))
    assert not picture[..., 2].any()
    grey = LoadImageFromFile(channels=[2, 5]).picture(tmp_path / 'a.npy')
    np.testing.assert_array_equal(grey, picture[..., [1, 1, 1]])
