"""An ffmpeg for tests on machines that have none."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path


def ensure_ffmpeg(folder: Path) -> str:
    """A folder for PATH with an ffmpeg in it: the machine's, else a program that joins two files by PyAV."""
    found = shutil.which("ffmpeg")
    if found:
        return str(Path(found).parent)
    program = folder / "ffmpeg"
    program.write_text(_FFMPEG.replace("PYTHON", sys.executable))
    program.chmod(0o755)
    return str(folder)


_FFMPEG = """#!PYTHON
import sys, av
first, second = (sys.argv[k + 1] for k, word in enumerate(sys.argv) if word == "-i")
with av.open(sys.argv[-1], "w") as out, av.open(first) as video, av.open(second) as sound:
    shown = out.add_stream_from_template(video.streams.video[0])
    heard = out.add_stream("aac", rate=sound.streams.audio[0].rate, layout="mono")
    for packet in video.demux(video=0):
        if packet.dts is not None:
            packet.stream = shown
            out.mux(packet)
    for frame in sound.decode(audio=0):
        out.mux(heard.encode(frame))
    out.mux(heard.encode(None))
"""
