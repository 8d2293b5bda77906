"""The H.264 encoders to choose from, their settings, and what a stream says about its encoder."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import av.logging
import numpy as np
from av.codec.codec import UnknownCodecError

from engines.contract import NotApplicable

# The quality of upstream's writer; 4:2:0 plays everywhere.
CRF = 18
PIXELS = "yuv420p"
# With macroblock trees the first frame of equal input differed in up to 14 of 16 runs, from two threads on in
# nearly all, with one thread in 1 of 20 (libx264 in PyAV 18.1, 2026-11); without, 16 of 16 were equal.
X264_PARAMS = "mbtree=0"
# Who joins a stream late finds a picture to start from within 2 s. Fragments do not wait for one.
STREAM_KEYFRAMES = 50
# Constant quality, NVENC's counterpart of a CRF: the rate follows the picture, without a limit (b=0). The two
# scales are not the same; 19 is a common choice for CRF 18. Not run on a GPU with NVENC yet (2026-11).
NVENC_CQ = 19

_CODECS = {"x264": "libx264", "nvenc": "h264_nvenc"}
# x264 writes its settings into the stream, but not the preset's name; each has another depth of sub-pixel
# search (x264 --fullhelp).
_PRESET_OF_SUBME = {
    0: "ultrafast", 1: "superfast", 2: "veryfast", 4: "faster", 6: "fast",
    7: "medium", 8: "slow", 9: "slower", 10: "veryslow",
}  # fmt: skip


@dataclass(frozen=True)
class Encoder:
    """An encoder that was chosen.

    asked  x264, nvenc or auto
    name   x264 or nvenc
    why    for auto, the reason of the choice; else ""
    """

    asked: str = "x264"
    name: str = "x264"
    why: str = ""

    @property
    def codec(self) -> str:
        """FFmpeg's name of it."""
        return _CODECS[self.name]

    def options(
        self, preset: str = "medium", threads: int = 1, threading: str = "slices", *, streaming: bool = False
    ) -> dict[str, str]:
        """Settings as FFmpeg takes them.

        preset, threads  of x264; NVENC has its own presets and uses no threads
        threading        of x264: slices of each frame, or whole frames, a thread each
        streaming        every frame comes out as it goes in: no look-ahead, no frames that need later ones
        """
        if self.name == "nvenc":
            return _nvenc_options(streaming)
        options = {"crf": str(CRF), "preset": preset, "threads": str(threads), "x264-params": X264_PARAMS}
        if threading == "frames":  # PyAV asks for slices where nobody does
            options["thread_type"] = "frame"
        if streaming:
            options |= {"tune": "zerolatency", "x264-params": f"{X264_PARAMS}:keyint={STREAM_KEYFRAMES}"}
        return options

    def attest(
        self, preset: str = "medium", threads: int = 1, threading: str = "slices", *, streaming: bool = False
    ) -> dict[str, Any]:
        """Plain JSON data: the encoder, its library's version, its settings and the reason of the choice."""
        version = ".".join(map(str, av.library_versions["libavcodec"]))
        return {
            "encoder": self.name,
            "asked": self.asked,
            "why": self.why,
            "codec": self.codec,
            "library": f"libavcodec {version}",
            "options": self.options(preset, threads, threading, streaming=streaming),
        }


def _nvenc_options(streaming: bool) -> dict[str, str]:
    # p4 is the middle of seven presets, as medium is x264's; spatial AQ is x264's default, too.
    options = {"preset": "p4", "tune": "hq", "rc": "vbr", "cq": str(NVENC_CQ), "b": "0", "spatial-aq": "1"}
    if streaming:
        options |= {"tune": "ll", "zerolatency": "1", "bf": "0", "g": str(STREAM_KEYFRAMES)}
    return options


def choose(encoder: str, device: str) -> Encoder:
    """Take x264, nvenc, or for auto nvenc where it works and else x264; NVENC is tried by encoding a frame.

    device  cpu or cuda
    Raises NotApplicable where nvenc is asked for and does not work, ValueError for another name.
    """
    if encoder == "x264":
        return Encoder()
    if encoder not in ("nvenc", "auto"):
        raise ValueError(f"avatar.encoder={encoder}: no such encoder; use x264, nvenc or auto")
    problem = "device=cpu" if device == "cpu" else nvenc_problem()
    if not problem:
        return Encoder(encoder, "nvenc", "auto: nvenc, because it works here" if encoder == "auto" else "")
    if encoder == "auto":
        return Encoder(encoder, "x264", f"auto: x264, because NVENC does not work here ({problem})")
    raise NotApplicable(
        f"avatar.encoder=nvenc: it does not work here ({problem}); use avatar.encoder=x264 or auto"
    )


def nvenc_problem() -> str:
    """Open NVENC and encode one frame; what went wrong, "" if nothing did."""
    # FFmpeg's error number says nothing, its log says what is missing; said twice, it would be left out.
    level, skip = av.logging.get_level(), av.logging.get_skip_repeated()
    av.logging.set_level(av.logging.ERROR)
    av.logging.set_skip_repeated(False)
    try:
        with av.logging.Capture() as logged:
            _encode_one_frame(_CODECS["nvenc"], _nvenc_options(streaming=False))
    except UnknownCodecError:
        return "this build of PyAV has no h264_nvenc"
    except av.FFmpegError as error:
        said = "; ".join(dict.fromkeys(message.strip() for _, _, message in logged))
        return said or str(error.strerror)
    finally:
        av.logging.set_level(level)
        av.logging.set_skip_repeated(skip)
    return ""


def _encode_one_frame(codec: str, options: Mapping[str, str]) -> None:
    context = av.CodecContext.create(codec, "w")
    context.width = context.height = 256  # some chips refuse less than 145 px
    context.pix_fmt, context.framerate, context.time_base = PIXELS, Fraction(25), Fraction(1, 25)
    context.options = dict(options)
    picture = av.VideoFrame.from_ndarray(np.zeros((256, 256, 3), np.uint8), format="rgb24")
    picture.pts = 0
    if not context.encode(picture) + context.encode(None):
        raise av.FFmpegError(0, "it gave no packet")


def usable_threads(height: int, threads: int) -> int:
    """Threads that x264 really uses: each gets four rows of 16 px at least (seen from 16 to 682 px)."""
    return max(1, min(threads, (height + 15) // 16 // 4))


def told(packet: bytes) -> dict[str, str]:
    """Settings that x264 wrote into the first packet of a stream; {} where another encoder made it.

    Keys are x264's own (threads, crf, bframes, ...), and `core`, its version, and `preset`.
    """
    text = re.search(rb"x264 - core (\d+)[^\0]*? options: ([ -~]*)", packet)
    if text is None:
        return {}
    pairs = (word.partition("=") for word in text[2].decode("ascii").split())
    said = {key: value for key, _, value in pairs}
    preset = _PRESET_OF_SUBME.get(int(said.get("subme", -1)), "unknown")
    return {**said, "core": text[1].decode("ascii"), "preset": preset}
