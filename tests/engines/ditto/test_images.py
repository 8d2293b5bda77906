"""What may become a portrait is told from its header, and that it is whole from one decode."""

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, JpegImagePlugin, PngImagePlugin

from engines.ditto import images

RNG = np.random.default_rng(0)
NOISE = Image.fromarray(RNG.integers(0, 256, (64, 48, 3), np.uint8))


def stored(format, **options):
    buffer = io.BytesIO()
    NOISE.save(buffer, format, **options)
    return buffer.getvalue()


def png(width, height, data=b"", colour=2, more=b""):
    """A PNG that says of itself what it likes."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + more + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def file(folder, content, name="face.png"):
    (folder / name).write_bytes(content)
    return folder / name


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WebP", "BMP"])
def test_the_four_formats_are_known_by_their_content(tmp_path, format):
    path = file(tmp_path, stored(format), "face.of_any_name")
    assert images.header(path) == (format, 48, 64, False)
    images.check_image(path)


@pytest.mark.parametrize(
    ("start", "demuxer"),
    [
        (b"\0\0\0\x20ftypisom", "mov"),
        (b"\0\0\0\x14ftypqt  ", "mov"),
        (b"\x1aE\xdf\xa3\x93", "matroska"),
        (b"RIFF\0\0\0\0AVI LIST", "avi"),
    ],
)
def test_a_video_is_known_by_its_first_bytes(tmp_path, start, demuxer):
    path = file(tmp_path, start + bytes(32))
    assert images.header(path).format == demuxer
    assert images.header(path).is_video
    images.check_image(path)


@pytest.mark.parametrize(
    "content",
    [
        b"no picture",
        b"<!DOCTYPE html><html>not found</html>",
        b"GIF89a" + bytes(32),
        b"\0\0\0\x20ftypheic" + bytes(32),
        b"\0\0\0\x20ftypavif" + bytes(32),
        b"#EXTM3U\n/etc/passwd",
        b"ffconcat version 1.0\nfile /etc/passwd",
    ],
)
def test_what_is_neither_is_refused_with_the_formats_that_are_read(tmp_path, content):
    path = file(tmp_path, content)
    with pytest.raises(ValueError, match=r"face\.png: not a readable image: .* PNG, JPEG, WebP, BMP, MP4"):
        images.check_image(path)


def test_a_missing_file_a_folder_and_an_empty_file_are_told_apart(tmp_path):
    with pytest.raises(ValueError, match=r"none\.png: cannot be read: No such file"):
        images.check_image(tmp_path / "none.png")
    with pytest.raises(ValueError, match="cannot be read: Is a directory"):
        images.check_image(tmp_path)
    with pytest.raises(ValueError, match="an empty file"):
        images.check_image(file(tmp_path, b""))
    with pytest.raises(ValueError, match="cannot be read: No such file"):
        images.digest(tmp_path / "none.png")


@pytest.mark.parametrize(
    ("size", "words"),
    [
        ((20_000, 20_000), "20000x20000 px: at most 8192 px a side and 64 megapixels"),
        ((8193, 16), "8193x16 px: at most 8192"),
        ((8192, 7813), "8192x7813 px: at most 8192"),  # 64.004 megapixels
        ((2**31 - 1, 2**31 - 1), "2147483647x2147483647 px: at most"),
        ((8, 8), "8x8 px: too small for a face, at least 16 px"),
        ((0, 64), "a broken PNG header"),
    ],
)
def test_a_wrong_size_is_refused_from_the_header(tmp_path, size, words):
    with pytest.raises(ValueError, match=words):
        images.check_image(file(tmp_path, png(*size)))


def test_a_bomb_is_refused_before_anything_is_decoded(tmp_path, monkeypatch):
    # 19,000 x 19,000 px of zeros: a gigabyte when unpacked, 1 MB as it lies there
    path = file(tmp_path, png(19_000, 19_000, bytes(19_001 * 3000)))
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", lambda image: pytest.fail("decoded"))
    with pytest.raises(ValueError, match="19000x19000 px: at most"):
        images.check_image(path)


def webp(width, height):
    """34 bytes of which only the header is true, lossless."""
    sides = (width - 1) | (height - 1) << 14
    body = b"WEBPVP8L" + struct.pack("<IBI", 14, 0x2F, sides) + bytes(9)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def test_a_webp_of_a_size_that_its_own_plugin_refuses_is_refused_in_our_words(tmp_path):
    with pytest.raises(ValueError, match=r"face\.png: .*at most 8192 px a side and 64 megapixels"):
        images.check_image(file(tmp_path, webp(16_383, 16_383)))


def progressive(scans, before=b""):
    """A progressive JPEG, its last scan written again as often as needed: each passes through the picture."""
    whole = stored("JPEG", progressive=True)
    last = whole.rindex(b"\xff\xda")
    own = whole.count(b"\xff\xda")
    assert whole.endswith(b"\xff\xd9")
    return whole[:2] + before + whole[2:-2] + whole[last:-2] * (scans - own) + b"\xff\xd9"


def test_a_jpeg_of_many_scans_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr(JpegImagePlugin.JpegImageFile, "load", lambda image: pytest.fail("decoded"))
    with pytest.raises(ValueError, match="a JPEG of more than 100 scans"):
        images.check_image(file(tmp_path, progressive(101)))
    with pytest.raises(ValueError, match="a JPEG of more than 100 scans"):
        images.check_image(
            file(tmp_path, progressive(101).replace(b"\xff\xda", b"\xff\xff\xff\xda"), "b.jpg")
        )


def test_what_only_looks_like_scans_is_not_counted(tmp_path):
    scans = b"\xff\xda\0\2" * 200
    thumbnail = b"\xff\xed" + struct.pack(">H", 2 + len(scans)) + scans  # in a segment of its own
    film = b"\0\2" + scans  # behind the end, where phones keep one
    images.check_image(file(tmp_path, progressive(11, thumbnail) + film))
    images.check_image(file(tmp_path, stored("JPEG") + film, "b.jpg"))


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WebP"])
@pytest.mark.parametrize(
    ("orientation", "size"), [(1, (48, 64)), (3, (48, 64)), (6, (64, 48)), (8, (64, 48))]
)
def test_the_size_is_that_of_the_picture_as_opencv_shows_it(tmp_path, format, orientation, size):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = file(tmp_path, stored(format, exif=exif))
    assert images.check_image(path) == size
    assert cv2.imread(str(path)).shape[1::-1] == size


def test_broken_exif_data_turn_nothing(tmp_path):
    path = file(tmp_path, stored("JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff"))
    assert images.check_image(path) == (48, 64)
    assert cv2.imread(str(path)).shape[1::-1] == (48, 64)


def test_a_text_chunk_that_unpacks_to_a_gigabyte_is_refused(tmp_path):
    body = b"Comment\0\0" + zlib.compress(bytes(2**26))
    chunk = struct.pack(">I", len(body)) + b"zTXt" + body + struct.pack(">I", zlib.crc32(b"zTXt" + body))
    with pytest.raises(ValueError, match=r"face\.png: not a readable image"):
        images.check_image(file(tmp_path, png(32, 32, bytes(97 * 32), more=chunk)))


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WebP", "BMP"])
@pytest.mark.parametrize("part", [0.02, 0.5, 0.95])
def test_a_cut_file_is_refused(tmp_path, format, part):
    whole = stored(format)
    path = file(tmp_path, whole[: max(16, int(part * len(whole)))])
    with pytest.raises(ValueError, match=r"face\.png: not a readable image") as refused:
        images.check_image(path)
    assert "\n" not in str(refused.value)


def test_a_damaged_png_is_refused(tmp_path):
    content = bytearray(stored("PNG"))
    content[len(content) // 2] ^= 0xFF
    with pytest.raises(ValueError, match="the PNG breaks off or is damaged"):
        images.check_image(file(tmp_path, bytes(content)))


def test_a_file_that_changes_is_looked_at_again(tmp_path):
    whole = stored("PNG")
    images.check_image(file(tmp_path, whole))
    with pytest.raises(ValueError, match="breaks off"):
        images.check_image(file(tmp_path, whole[:-2000]))


def test_the_digest_is_that_of_the_bytes(tmp_path):
    # sha256 of "abc": FIPS 180-2, appendix B.1
    assert images.digest(file(tmp_path, b"abc")).startswith("ba7816bf8f01cfea")
