# For one NVIDIA L4 (or any other NVIDIA GPU): CUDA runtime, Python and the same install script as `make`.
#
#   docker build -t talking-head-bench .
#   docker run --rm --gpus all --ipc=host --cap-add=SYS_PTRACE \
#     -v "$PWD/runs:/bench/runs" -v /models:/models:ro talking-head-bench +sweep=workers
#
# SYS_PTRACE lets py-spy read the stacks of a process that hangs. Without it the report still names the phase, worker
# and stage, and shows the Python stacks that the process prints itself, but no native frames.
FROM nvidia/cuda:13.0.1-runtime-ubuntu24.04

RUN apt-get update \
 && apt-get install -y --no-install-recommends python3 python3-venv git make ca-certificates \
 && rm -rf /var/lib/apt/lists/*

WORKDIR /bench
# What decides the installation first, so that a change of code does not install all again.
COPY install.sh pyproject.toml constraints.txt README.md LICENSE ./
RUN EXTRAS=onnxruntime-gpu,mediapipe ./install.sh
COPY . .

# "video" is what NVENC needs of the driver; the base image asks for the other two alone.
ENV NVIDIA_DRIVER_CAPABILITIES=compute,utility,video
# Never ask for a licence on standard input, never fetch from a hub while measuring.
ENV HF_HUB_OFFLINE=1 PATH=/bench/.venv/bin:$PATH
ENTRYPOINT ["python", "-m", "harness"]
CMD ["+sweep=workers"]
