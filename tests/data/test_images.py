import io
import logging
import struct
import zlib

import numpy as np
import PIL.Image
import pytest

from ovseg.data.images import as_image, read_image
from ovseg.errors import DataError

H, W = 20, 30


@pytest.fixture
def rgb():
    """A picture without symmetry: smooth, so that JPEG keeps it, and different in all four corners."""
    rows, columns = np.mgrid[0:H, 0:W]
    return np.stack([rows * 12, columns * 8, 200 - rows * 5 - columns], axis=-1).astype(np.uint8)


def save(array, path, **options):
    PIL.Image.fromarray(array).save(path, **options)
    return path


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "tiff", "PNG"])
def test_lossless_rgb_formats_are_read_exactly(tmp_path, rgb, suffix):
    image = read_image(save(rgb, tmp_path / f"x.{suffix}"))
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, rgb)


def test_lossless_webp_is_read_exactly(tmp_path, rgb):
    np.testing.assert_array_equal(read_image(save(rgb, tmp_path / "x.webp", lossless=True)), rgb)


@pytest.mark.parametrize(
    ("suffix", "options"), [("jpg", {"quality": 98, "subsampling": 0}), ("webp", {"quality": 95})]
)
def test_lossy_formats_are_read_closely(tmp_path, rgb, suffix, options):
    image = read_image(save(rgb, tmp_path / f"x.{suffix}", **options)).astype(int)
    assert np.abs(image - rgb).mean() < 3


def test_the_array_can_be_written_to(tmp_path, rgb):
    image = read_image(save(rgb, tmp_path / "x.png"))
    image[0, 0] = 7
    assert image.flags.c_contiguous


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp"])
def test_grey_is_repeated_in_all_channels(tmp_path, rgb, suffix):
    image = read_image(save(rgb[..., 0], tmp_path / f"x.{suffix}"))
    np.testing.assert_array_equal(image, np.stack([rgb[..., 0]] * 3, axis=-1))


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp"])
def test_one_bit_is_black_and_white(tmp_path, rgb, suffix):
    on = rgb[..., 1] > 100
    PIL.Image.fromarray(on).save(tmp_path / f"x.{suffix}")
    np.testing.assert_array_equal(
        read_image(tmp_path / f"x.{suffix}"), np.where(on[..., None], 255, 0).repeat(3, 2)
    )


def over_white(rgb, alpha):
    weight = alpha[..., None].astype(float) / 255
    return rgb * weight + 255 * (1 - weight)


@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
def test_transparency_shows_white(tmp_path, rgb, suffix):
    alpha = np.linspace(0, 255, W).round().astype(np.uint8)[None].repeat(H, 0)
    options = {"lossless": True, "exact": True} if suffix == "webp" else {}
    image = read_image(save(np.dstack([rgb, alpha]), tmp_path / f"x.{suffix}", **options))
    assert np.abs(image - over_white(rgb, alpha)).max() <= 1


def test_grey_with_alpha_shows_white(tmp_path, rgb):
    grey, alpha = rgb[..., 0], rgb[..., 1]
    PIL.Image.merge("LA", [PIL.Image.fromarray(grey), PIL.Image.fromarray(alpha)]).save(tmp_path / "x.png")
    expected = over_white(np.stack([grey] * 3, -1), alpha)
    assert np.abs(read_image(tmp_path / "x.png") - expected).max() <= 1


def test_opaque_alpha_changes_nothing(tmp_path, rgb):
    np.testing.assert_array_equal(
        read_image(save(np.dstack([rgb, np.full((H, W), 255, np.uint8)]), tmp_path / "x.png")), rgb
    )


def palette_picture():
    indices = (np.arange(H * W).reshape(H, W) % 4).astype(np.uint8)
    picture = PIL.Image.frombytes("P", (W, H), indices.tobytes())
    colors = np.array([[250, 0, 10], [0, 200, 20], [30, 40, 220], [9, 9, 9]], np.uint8)
    picture.putpalette(colors.ravel().tolist())
    return picture, colors[indices], indices


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif"])
def test_palette(tmp_path, suffix):
    picture, expected, _ = palette_picture()
    picture.save(tmp_path / f"x.{suffix}")
    np.testing.assert_array_equal(read_image(tmp_path / f"x.{suffix}"), expected)


def test_palette_with_one_transparent_colour(tmp_path):
    picture, expected, indices = palette_picture()
    picture.save(tmp_path / "x.png", transparency=2)
    expected[indices == 2] = 255
    np.testing.assert_array_equal(read_image(tmp_path / "x.png"), expected)


def test_palette_with_an_alpha_per_colour(tmp_path):
    picture, colors, indices = palette_picture()
    alpha = np.array([255, 128, 0, 64], np.uint8)
    picture.save(tmp_path / "x.png", transparency=alpha.tobytes())
    assert np.abs(read_image(tmp_path / "x.png") - over_white(colors, alpha[indices])).max() <= 1


def test_colour_key_of_rgb_and_grey(tmp_path, rgb):
    rgb[3, 4] = (1, 2, 3)
    image = read_image(save(rgb, tmp_path / "x.png", transparency=(1, 2, 3)))
    expected = rgb.copy()
    expected[3, 4] = 255
    np.testing.assert_array_equal(image, expected)
    grey = read_image(save(rgb[..., 0], tmp_path / "g.png", transparency=12))
    np.testing.assert_array_equal(grey[..., 0], np.where(rgb[..., 0] == 12, 255, rgb[..., 0]))


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_grey_keeps_the_high_byte(tmp_path, suffix):
    values = np.linspace(0, 65535, H * W).astype(np.uint16).reshape(H, W)
    image = read_image(save(values, tmp_path / f"x.{suffix}"))
    np.testing.assert_array_equal(image, np.stack([values // 256] * 3, -1))
    assert (image.min(), image.max()) == (0, 255)


def test_16_bit_grey_tiff_in_big_endian(tmp_path):
    values = np.linspace(0, 65535, H * W).astype(">u2").reshape(H, W)
    write_tiff(tmp_path / "x.tif", values[..., None], order=">")
    np.testing.assert_array_equal(read_image(tmp_path / "x.tif")[..., 1], values // 256)


def test_16_bit_rgb_png_and_tiff_keep_the_high_byte(tmp_path):
    values = np.random.default_rng(0).integers(0, 65536, (H, W, 3)).astype(np.uint16)
    write_png_16(tmp_path / "x.png", values)
    write_tiff(tmp_path / "x.tif", values, order="<")
    for name in ("x.png", "x.tif"):
        np.testing.assert_array_equal(read_image(tmp_path / name), values // 256)


def write_png_16(path, values):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width, _ = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def write_tiff(path, values, *, order, sample_format=1):
    """A TIFF of one uncompressed strip, written by hand because Pillow writes only some of the kinds."""
    height, width, channels = values.shape
    bits = values.dtype.itemsize * 8
    data = values.astype(values.dtype.newbyteorder(order)).tobytes()
    extra_at = 8 + len(data)
    tags = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, channels, bits if channels == 1 else extra_at),
        (259, 3, 1, 1),
        (262, 3, 1, 1 if channels == 1 else 2),
        (273, 4, 1, 8),
        (277, 3, 1, channels),
        (278, 4, 1, height),
        (279, 4, 1, len(data)),
        (284, 3, 1, 1),
        (339, 3, 1, sample_format) if channels == 1 else (339, 3, channels, extra_at + 2 * channels),
    ]
    extra = struct.pack(f"{order}{2 * channels}H", *[bits] * channels, *[sample_format] * channels)
    entries = b"".join(
        struct.pack(order + "HHI", tag, kind, count)
        + (
            struct.pack(order + "HH", value, 0)
            if kind == 3 and count == 1
            else struct.pack(order + "I", value)
        )
        for tag, kind, count, value in tags
    )
    header = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", extra_at + len(extra))
    path.write_bytes(header + data + extra + struct.pack(order + "H", len(tags)) + entries + bytes(4))


def test_cmyk_tiff(tmp_path):
    inks = np.array(
        [[[255, 0, 0, 0], [0, 255, 0, 0], [0, 0, 255, 0], [0, 0, 0, 255], [0, 0, 0, 0]]], np.uint8
    )
    picture = PIL.Image.frombytes("CMYK", (5, 1), inks.tobytes())
    picture.save(tmp_path / "x.tif")
    expected = [[[0, 255, 255], [255, 0, 255], [255, 255, 0], [0, 0, 0], [255, 255, 255]]]
    np.testing.assert_array_equal(read_image(tmp_path / "x.tif"), expected)


def test_cmyk_jpeg_with_adobes_inverted_inks(tmp_path):
    inks = np.zeros((16, 16, 4), np.uint8)
    inks[..., 0] = 255  # full cyan
    PIL.Image.frombytes("CMYK", (16, 16), inks.tobytes()).save(tmp_path / "x.jpg", quality=100)
    # The stored samples are inverted: a reader that does not know would see the opposite colour, red.
    assert np.abs(read_image(tmp_path / "x.jpg").astype(int) - [0, 255, 255]).max() <= 4


ORIENTATIONS = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a),
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif"])
def test_exif_rotation_is_applied(tmp_path, rgb, suffix, orientation):
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    path = save(rgb, tmp_path / f"x.{suffix}", exif=exif, **({"lossless": True} if suffix == "webp" else {}))
    expected = ORIENTATIONS[orientation](rgb)
    image = read_image(path)
    assert image.shape == expected.shape
    assert np.abs(image.astype(int) - expected).mean() < (4 if suffix == "jpg" else 0.01)


def test_exif_rotation_of_16_bit_grey(tmp_path):
    values = np.arange(H * W, dtype=np.uint16).reshape(H, W) * 100
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    image = read_image(save(values, tmp_path / "x.png", exif=exif))
    np.testing.assert_array_equal(image[..., 0], np.rot90(values, -1) // 256)


def test_broken_exif_does_no_harm(tmp_path, rgb, caplog, monkeypatch):
    path = save(rgb, tmp_path / "x.jpg", exif=b"Exif\0\0XX*\0broken")
    assert read_image(path).shape == rgb.shape

    def fail(_):
        raise struct.error("unpack requires a buffer of 12 bytes")

    # Pillow forgives much of it, by version; what it does not forgive is forgiven here.
    monkeypatch.setattr("ovseg.data.images.ImageOps.exif_transpose", fail)
    with caplog.at_level(logging.WARNING):
        assert read_image(path).shape == rgb.shape
    assert "its EXIF data is broken (unpack requires" in caplog.text


def test_the_first_of_several_frames_is_read(tmp_path, rgb):
    first, second = PIL.Image.fromarray(rgb), PIL.Image.fromarray(255 - rgb)
    for suffix, options in (("tif", {}), ("webp", {"lossless": True})):
        first.save(tmp_path / f"x.{suffix}", save_all=True, append_images=[second], **options)
        np.testing.assert_array_equal(read_image(tmp_path / f"x.{suffix}"), rgb)


def refusal(path):
    with pytest.raises(DataError) as caught:
        read_image(path)
    return str(caught.value)


def test_missing_file(tmp_path):
    assert refusal(tmp_path / "no.jpg") == (
        f"{tmp_path}/no.jpg does not exist. Check the spelling and the current folder."
    )
    (tmp_path / "link.jpg").symlink_to("nowhere.jpg")
    assert "(a link that leads nowhere)" in refusal(tmp_path / "link.jpg")


def test_folder(tmp_path):
    assert "is not a file. Name a picture file." in refusal(tmp_path)


def test_empty_file(tmp_path):
    (tmp_path / "x.jpg").touch()
    assert refusal(tmp_path / "x.jpg").endswith("is empty (0 bytes). Copy or download it again.")


def test_unreadable_file(tmp_path, rgb, monkeypatch):
    path = save(rgb, tmp_path / "x.png")

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(path), "open", refuse)
    assert refusal(path).endswith("cannot be opened: Permission denied. Check its permissions.")


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (
            b"hello, I am a text",
            "is not a picture that can be read (it begins with b'hello, I am '). Readable are",
        ),
        (b"\n<!DOCTYPE html><html>", "is a web page, not a picture: the download probably failed."),
        (b"%PDF-1.7", "is a PDF document. Convert it to PNG or JPEG first."),
        (b"GIF89a" + bytes(20), "is a GIF picture. Convert it"),
        (b"\0\0\0\x18ftypheic" + bytes(20), "is an HEIC picture. Convert it"),
        (b"\0\0\0\x18ftypmp42" + bytes(20), "is a film. Extract its frames"),
        (b"PK\x03\x04" + bytes(20), "is a ZIP archive. Unpack it first."),
        (b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer"),
        (bytes(300), "holds only zero bytes"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is not a picture that can be read"),
    ],
)
def test_what_is_no_picture_is_named(tmp_path, content, found):
    (tmp_path / "x.jpg").write_bytes(content)
    assert found in refusal(tmp_path / "x.jpg")


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif", "bmp"])
@pytest.mark.parametrize("part", [0.05, 0.5, 0.9])
def test_cut_off_files(tmp_path, suffix, part):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    path = save(noise, tmp_path / f"x.{suffix}")
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    message = refusal(path)
    assert "is damaged and cannot be decoded" in message or "is not a picture that can be read" in message
    assert str(path) in message


def test_damaged_bytes_inside(tmp_path, rgb):
    path = save(rgb, tmp_path / "x.png")
    content = bytearray(path.read_bytes())
    content[content.index(b"IDAT") + 10] ^= 0xFF
    path.write_bytes(content)
    assert "is damaged and cannot be decoded" in refusal(path)


@pytest.mark.parametrize("side", [60_000, 12_000])
def test_decompression_bomb(tmp_path, side):
    """12,000 squared is where Pillow only warns; a warning that is made an error must become a clear one."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    (tmp_path / "x.png").write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )
    message = refusal(tmp_path / "x.png")
    assert "is too large to be opened safely" in message
    assert str(side * side) in message
    assert message.endswith("Scale it down first.")


def test_pixels_of_unknown_range_are_refused(tmp_path):
    PIL.Image.fromarray(np.ones((4, 5), np.float32)).save(tmp_path / "f.tif")
    assert "has floating-point numbers as pixels, whose range nobody can know" in refusal(tmp_path / "f.tif")
    PIL.Image.fromarray(np.ones((4, 5), np.int32)).save(tmp_path / "i.tif")
    assert "has signed or 32-bit whole numbers as pixels" in refusal(tmp_path / "i.tif")


def test_as_image_takes_paths_pictures_and_arrays(tmp_path, rgb):
    path = save(rgb, tmp_path / "x.png")
    for given in (path, str(path), PIL.Image.fromarray(rgb), PIL.Image.open(path), rgb):
        np.testing.assert_array_equal(as_image(given), rgb)
    assert as_image(rgb) is rgb
    np.testing.assert_array_equal(as_image(rgb[..., 0]), np.stack([rgb[..., 0]] * 3, -1))


def test_as_image_turns_an_open_picture_upright(rgb):
    exif = PIL.Image.Exif()
    exif[0x0112] = 8
    buffer = io.BytesIO()
    PIL.Image.fromarray(rgb).save(buffer, "PNG", exif=exif)
    np.testing.assert_array_equal(as_image(PIL.Image.open(buffer)), np.rot90(rgb))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.zeros((4, 5, 3)), "an array of float64 as a picture; it must be uint8 in 0..255."),
        (
            np.zeros((3, 4, 5), np.uint8),
            "(3, 4, 5) as a picture. It must be (height, width, 3) in RGB order, "
            "or (height, width) in grey. For channels first: array.transpose(1, 2, 0).",
        ),
        (np.zeros((4, 5, 4), np.uint8), "For RGBA: array[..., :3]."),
        (np.zeros((2, 4, 5, 3), np.uint8), "Several pictures are passed as a list of arrays."),
        (np.zeros((0, 5, 3), np.uint8), "of shape (0, 5, 3) as a picture, which has no pixels."),
        (np.zeros(5, np.uint8), "of shape (5) as a picture. It must be (height, width, 3)"),
        ([1, 2], "Got a builtins.list as a picture. Pass a path, a PIL.Image.Image or a numpy array"),
    ],
)
def test_as_image_refuses(given, message):
    with pytest.raises(DataError) as caught:
        as_image(given)
    assert message in str(caught.value)
