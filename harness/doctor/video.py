"""Encoders of PyAV, each really opened to encode something small in memory."""

from __future__ import annotations

import io
from fractions import Fraction

import av
import av.logging
import numpy as np
from av.codec.codec import UnknownCodecError

from harness import gpu
from harness.doctor.line import MISSING, NOTE, OK, Line
from harness.doctor.machine import is_container

_SIDE_PX = 256  # some chips refuse less than 145 px
_SOUND_HZ = 24_000
_WHEEL = "python -m pip install --force-reinstall --no-deps --only-binary av av"


def encoders() -> list[Line]:
    """A frame and 0.1 s of silence, as H.264 and AAC in an MP4: what each video of the harness is."""
    if wrong := _problem("libx264"):
        found = f"PyAV {av.__version__} does not encode by libx264 and aac ({wrong})"
        return [Line("encoders", MISSING, found, _WHEEL)]
    library = f"PyAV {av.__version__}, FFmpeg {av.ffmpeg_version_info}"
    return [Line("encoders", OK, f"libx264 and aac encode ({library})")]


def nvenc() -> list[Line]:
    """The GPU's own encoder, which some chips lack and containers hide; nothing where there is no GPU."""
    if not gpu.handles():
        return []
    wrong = _problem("h264_nvenc")
    if not wrong:
        return [Line("NVENC", OK, "h264_nvenc encodes")]
    mend = ""
    if "libnvidia-encode" in wrong:
        library = "install the driver's libnvidia-encode, as apt-get install libnvidia-encode-580"
        inside = "docker run --gpus all -e NVIDIA_DRIVER_CAPABILITIES=compute,utility,video"
        mend = inside if is_container() else library
    found = f"h264_nvenc does not open, so avatar.encoder=auto takes x264 ({wrong})"
    return [Line("NVENC", NOTE, found, mend)]


def _problem(codec: str) -> str:
    """What went wrong when a clip was encoded, "" if nothing did."""
    # FFmpeg's error number says nothing, its log says what is missing; said twice, it would be left out.
    av.logging.set_level(av.logging.ERROR)
    av.logging.set_skip_repeated(False)
    try:
        with av.logging.Capture() as logged:
            return "" if _encode(codec) else "it gave no bytes"
    except UnknownCodecError as error:
        return f"this build of it has no {error}"
    except av.FFmpegError as error:
        said = "; ".join(dict.fromkeys(message.strip() for _, _, message in logged))
        return said or str(error.strerror)


def _encode(codec: str) -> int:
    """Bytes of an MP4 of one grey frame and 0.1 s of silence."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        video, sound = container.add_stream(codec, rate=25), container.add_stream("aac", rate=_SOUND_HZ)
        video.width = video.height = _SIDE_PX
        video.pix_fmt = "yuv420p"
        picture = av.VideoFrame.from_ndarray(np.full((_SIDE_PX, _SIDE_PX, 3), 128, np.uint8), format="rgb24")
        silence = av.AudioFrame.from_ndarray(
            np.zeros((1, _SOUND_HZ // 10), np.float32), format="fltp", layout="mono"
        )
        silence.sample_rate, silence.time_base = _SOUND_HZ, Fraction(1, _SOUND_HZ)
        for stream, frame in ((video, picture), (sound, silence)):
            frame.pts = 0
            container.mux([*stream.encode(frame), *stream.encode(None)])
    return file.getbuffer().nbytes
