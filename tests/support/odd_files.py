"""Files that lie about what they are."""

import struct
import zlib

import imageio.v3
import numpy as np

from support.videos import scene


def png(width, height):
    """A PNG that promises a size and holds next to nothing."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


BAD = {
    "empty.mp4": b"",
    "text.mp4": b"This is a text and no video.\n" * 100,
    "list.mp4": b"ffconcat version 1.0\nfile good.mkv\n",
    "list.m3u8": b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\ngood.mkv\n#EXT-X-ENDLIST\n",
    "stream.mp4": b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:PORT/a.mp4\n#EXT-X-ENDLIST\n",
    "zeros.mp4": bytes(1 << 20),
    "noise.mp4": np.random.default_rng(0).bytes(1 << 20),
    "huge.y4m": b"YUV4MPEG2 W60000 H60000 F15:1 Ip A1:1 C444\nFRAME\n" + bytes(1 << 20),
    "header.y4m": b"YUV4MPEG2 W64 H64 F15:1 Ip A1:1 C444\n",
    "huge.png": png(60000, 60000),
    "large.png": png(10000, 10000),
    "cut.png": imageio.v3.imwrite("<bytes>", scene(1)[0], extension=".png")[:200],
    "image.png": b"\x89PNG\r\n\x1a\nnothing",
    "bm.mp4": b"BMnothing",
}
