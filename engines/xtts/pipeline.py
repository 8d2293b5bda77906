"""XTTS-v2 speech through the coqui-tts package, as three stages: condition, gpt, vocoder."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from transformers import LogitsProcessorList

from engines.checkpoint import sha256
from engines.contract import DeviceTimer, Job, NotApplicable, Piece, Stage
from engines.cuda import CudaTimer, peaks_mib
from engines.xtts.checkpoint import checkpoint_network
from engines.xtts.sampling import processors
from engines.xtts.settings import Settings
from engines.xtts.stream import GptStream, Tokens, VocoderStream
from engines.xtts.voice import REFERENCE_RATE, read_clip, reference
from engines.xtts.weights import random_network

WARM_UP_TOKENS = 10
# By the GPT's width.
SIZES = {1024: "full", 64: "tiny"}


@dataclass(frozen=True)
class Prompt:
    """What GPT reads before its first token, and the voice for the vocoder.

    tokens   (1, T) int32    text ids
    latents  (1, 32, C)      conditioning of the GPT; C = 1024, tiny 64
    speaker  (1, 512, 1)     speaker embedding
    """

    tokens: torch.Tensor
    latents: torch.Tensor
    speaker: torch.Tensor


class Step:
    """A stage that turns each piece into one other."""

    def __init__(self, name: str, timer: DeviceTimer | None, run: Callable[[Piece], Piece]) -> None:
        self.name = name
        self.timer = timer
        self.run = run

    def feed(self, piece: Piece) -> Iterator[Piece]:
        with torch.inference_mode():  # left before the yield: else the consumer's code would run in it
            result = self.run(piece)
        yield result

    def flush(self) -> Iterator[Piece]:
        yield from ()


class Xtts:
    """The component; one job at a time, since the network keeps the prompt of the running text."""

    def __init__(self, **settings: Any) -> None:
        self.settings = Settings(**settings)
        self._timer: DeviceTimer | None = None
        self.speakers: dict[tuple[object, ...], tuple[torch.Tensor, torch.Tensor]] = {}
        self.speakers_computed = 0
        self._ran_modes: set[str] = set()

    def load(self) -> None:
        s = self.settings
        if s.device == "cuda":
            if not torch.cuda.is_available():
                raise NotApplicable("tts.device=cuda: torch sees no GPU here; use device=cpu")
            self._timer = CudaTimer()
        # fp32 means it: by torch's default the vocoder would run in TF32. The flags are the whole process's.
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        transformers.utils.logging.set_verbosity_error()  # it warns about GPT2Config's unused token ids
        torch.set_num_threads(s.cpu_threads)
        if s.weights == "random":
            self.network = random_network(s.size, s.seed, s.device)
        else:
            self.network = checkpoint_network(s.size, Path(s.weights), s.device, s.speaker)
            self._check_speaker()

    def _check_speaker(self) -> None:
        if self.settings.speaker is None:
            return
        names = self.network.speaker_manager.speaker_names
        if self.settings.speaker not in names:
            known = ascii(", ".join(names))[1:-1][:200]
            raise ValueError(f"tts.speaker={self.settings.speaker}: not in speakers_xtts.pth; it has {known}")

    def warm_up(self, job: Job) -> None:
        """Run `job` once; its voice stays cached. On a CPU with at most 10 tokens, which do as well there.

        On a GPU the vocoder is slow at each new length: 0.10 s at first, then 0.013 (H200, 200 tokens).
        """
        if self.settings.device == "cpu":
            job = replace(job, num_tokens=min(job.num_tokens or WARM_UP_TOKENS, WARM_UP_TOKENS))
        pieces = [Piece("text", job.text)]
        for stage in self.stages(job):
            pieces = [out for piece in pieces for out in stage.feed(piece)] + list(stage.flush())

    def stages(self, job: Job) -> Sequence[Stage]:
        condition = Step("condition", self._timer, partial(self._condition, job))
        if self.settings.mode == "stream":
            chunk, rate = self.settings.stream_chunk_tokens, self.network.config.audio.output_sample_rate
            return [
                condition,
                GptStream(self._timer, chunk, partial(self._begin, job)),
                VocoderStream(self._timer, chunk, rate, self._vocode_so_far),
            ]
        return [
            condition,
            Step("gpt", self._timer, partial(self._speak, job)),
            Step("vocoder", self._timer, self._vocode),
        ]

    def _condition(self, job: Job, piece: Piece) -> Piece:
        """Text -> Prompt; counts the positions GPT reads: conditioning latents and text tokens."""
        self._check_num_tokens(job)
        tokens = self._tokens(job, piece.data)
        latents, speaker = self._voice(job)
        return Piece("latents", Prompt(tokens, latents, speaker), count=latents.shape[1] + tokens.shape[1])

    def _speak(self, job: Job, piece: Piece) -> Piece:
        """Prompt -> GPT latents (1, N, C) of N audio tokens, one per 1024 / 22050 s; counts the tokens."""
        prompt: Prompt = piece.data
        gpt = self.network.gpt
        count = job.num_tokens
        forced = {} if count is None else {"min_new_tokens": count, "max_new_tokens": count}
        codes = gpt.generate(
            cond_latents=prompt.latents,
            text_inputs=prompt.tokens,
            do_sample=False,  # Sampling does it
            repetition_penalty=float(self.settings.repetition_penalty),
            logits_processor=self.processors(job.seed),
            **forced,
        )
        count = codes.shape[-1]
        latents = gpt(
            prompt.tokens,
            torch.tensor([prompt.tokens.shape[-1]], device=codes.device),
            codes,
            torch.tensor([count * gpt.code_stride_len], device=codes.device),
            cond_latents=prompt.latents,
            return_latent=True,
        )
        return Piece("latents", (latents, prompt.speaker), count=count)

    def _begin(self, job: Job, piece: Piece) -> tuple[Tokens, torch.Tensor]:
        """Prompt -> the loop that says its tokens, and the voice."""
        prompt: Prompt = piece.data
        processors, penalty = self.processors(job.seed), float(self.settings.repetition_penalty)
        gpt = self.network.gpt
        with torch.inference_mode():
            tokens = Tokens(gpt, prompt.tokens, prompt.latents, processors, penalty, job.num_tokens)
        return tokens, prompt.speaker

    def processors(self, seed: int) -> LogitsProcessorList:
        return processors(self.settings, seed, self.network.device)

    def _vocode(self, piece: Piece) -> Piece:
        """GPT latents -> audio; N tokens give floor(4 N * 24000 / 22050) * 256 samples."""
        latents, speaker = piece.data
        self._ran_modes.add("full")
        wave = self.network.hifigan_decoder(latents, g=speaker).flatten().cpu().numpy()
        rate = self.network.config.audio.output_sample_rate
        return Piece("audio", wave.astype(np.float32, copy=False), count=len(wave), rate=rate)

    def _vocode_so_far(self, latents: torch.Tensor, speaker: torch.Tensor) -> torch.Tensor:
        self._ran_modes.add("stream")
        return self.network.hifigan_decoder(latents, g=speaker)

    def _check_num_tokens(self, job: Job) -> None:
        most = self.network.gpt.max_gen_mel_tokens
        if job.num_tokens is None:
            if self.settings.weights == "random":
                raise ValueError("workload.num_tokens=null: random weights never stop; give a number")
        elif not 1 <= job.num_tokens <= most:
            raise ValueError(f"workload.num_tokens={job.num_tokens}: 1 to {most} fit XTTS; split the text")

    def _tokens(self, job: Job, text: str) -> torch.Tensor:
        """Text ids (1, T). Raises ValueError for a text or language that XTTS would mangle without a word."""
        where = f"workload.texts, job {job.index}"
        languages = self.network.config.languages
        if job.language not in languages:
            raise ValueError(f"workload.language={job.language}: XTTS speaks {', '.join(languages)}")
        text = text.strip().lower()
        if not text:
            raise ValueError(f"{where}: empty; give at least one word")
        language = job.language.split("-")[0]
        self._check_length(where, text, language)
        try:
            ids = self.network.tokenizer.encode(text, lang=language)
        except ImportError as error:
            missing = f"workload.language={job.language}: {error}; install coqui-tts[languages]"
            raise NotApplicable(missing) from error
        most = self.network.args.gpt_max_text_tokens - 1
        if len(ids) > most:
            raise ValueError(
                f"{where}: {len(text)} characters are {len(ids)} text tokens; at most {most} fit; split it"
            )
        return torch.tensor([ids], dtype=torch.int32, device=self.network.device)

    def _check_length(self, where: str, text: str, language: str) -> None:
        limit = self.settings.max_characters
        if limit is None and self.settings.weights != "random":  # noise loses nothing by a cut
            limit = self.network.tokenizer.char_limits[language]
        if limit is not None and len(text) > limit:
            raise ValueError(
                f"{where}: {len(text)} characters; XTTS may cut the speech of more than {limit} "
                f"in {language}; split it, or raise tts.max_characters"
            )

    def _voice(self, job: Job) -> tuple[torch.Tensor, torch.Tensor]:
        """Conditioning latents and speaker embedding of the named speaker or of the job's clip."""
        s = self.settings
        if s.speaker is not None:
            latents, speaker = self.network.speaker_manager.speakers[s.speaker].values()
            return latents.to(self.network.device), speaker.to(self.network.device)
        clip = read_clip(job.voice)
        key = (hashlib.sha256(clip).hexdigest(), s.reference_s, s.condition_s, s.condition_chunk_s)
        if s.cache_speaker and key in self.speakers:
            return self.speakers[key]
        audio = reference(job.voice, clip)[:, : REFERENCE_RATE * s.reference_s]
        speaker = self.network.get_speaker_embedding(audio, REFERENCE_RATE)
        latents = self.network.get_gpt_cond_latents(
            audio, REFERENCE_RATE, length=s.condition_s, chunk_length=s.condition_chunk_s
        )
        self.speakers_computed += 1
        if s.cache_speaker:
            self.speakers[key] = (latents, speaker)
        return latents, speaker

    def attest(self) -> Mapping[str, Any]:
        network = self.network
        encoder = network.hifigan_decoder.speaker_encoder
        stages = {
            "condition": [encoder, network.gpt.conditioning_encoder, network.gpt.conditioning_perceiver],
            "gpt": [network.gpt.gpt, network.gpt.mel_head],
            "vocoder": [network.hifigan_decoder.waveform_decoder],
        }
        return {
            "weights": self._weights(),
            "device": network.device.type,
            "size": self.settings.size,
            "stages": {name: _facts(modules) for name, modules in stages.items()},
            "parameters": sum(p.numel() for p in network.parameters()),
            "versions": {
                "coqui-tts": importlib.metadata.version("coqui-tts"),
                "transformers": transformers.__version__,
                "torch": torch.__version__,
            },
            "cpu_threads": torch.get_num_threads(),
            "tf32": torch.backends.cudnn.allow_tf32,
            "speakers_computed": self.speakers_computed,
            "ran": self._ran(),
        }

    def _ran(self) -> dict[str, str]:
        """Keys of conf/tts/xtts.yaml as the network's weights and the stages' work show them."""
        facts = _facts([self.network.gpt, self.network.hifigan_decoder])
        return {
            "device": self.network.device.type,
            "size": SIZES[self.network.gpt.model_dim],
            "precision": facts["dtype"].replace("float", "fp"),
            "backend": facts["backend"],
            "mode": "+".join(sorted(self._ran_modes)),
        }

    def _weights(self) -> str:
        """Read here and not in load, whose time is measured: the released file has 1.87 GB."""
        if self.settings.weights == "random":
            return "random"
        return f"checkpoint sha256:{sha256(Path(self.settings.weights) / 'model.pth')}"

    def memory(self) -> Mapping[str, float]:
        return peaks_mib(self.settings.device)


def _facts(modules: Sequence[torch.nn.Module]) -> dict[str, str]:
    """What the weights of a stage say; several values joined by `+`."""
    weights = [p for module in modules for p in module.parameters()]
    return {
        "backend": "eager",
        "dtype": "+".join(sorted({str(p.dtype).removeprefix("torch.") for p in weights})),
        "device": "+".join(sorted({str(p.device) for p in weights})),
    }
