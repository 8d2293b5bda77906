"""XTTS-v2 speech through the coqui-tts package, as three stages: condition, gpt, vocoder."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import transformers
from transformers import LogitsProcessorList

from engines.backends.cache import Cache
from engines.backends.prepared import Prepare
from engines.contract import DeviceTimer, Job, NotApplicable, Piece, Stage
from engines.cuda import CudaTimer, built, lane, peaks_mib
from engines.xtts import facts
from engines.xtts.checkpoint import checkpoint_network
from engines.xtts.plans import Plan, plans
from engines.xtts.prompt import Prompt
from engines.xtts.sampling import Choice, processors
from engines.xtts.settings import Settings
from engines.xtts.speaking import EagerGpt, Gpt, SteppedGpt
from engines.xtts.stream import OVERLAP, GptStream, Text, VocoderStream
from engines.xtts.vocoder import Vocoder
from engines.xtts.voice import REFERENCE_RATE, read_clip, reference
from engines.xtts.weights import random_network
from engines.xtts.work import work

WARM_UP_TOKENS = 10
# Frames (10.7 ms) of the vocoder's calls where backends take one length: 26 of them are heard twice, so
# longer ones waste less; texts shorter than one call run eagerly.
FULL_WINDOW = 160


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


def _backend(plan: Plan) -> Prepare:
    # by name, for each brings its own packages; Settings knows the names
    return cast(Prepare, importlib.import_module(f"engines.backends.{plan.backend}").prepare)


class Xtts:
    """The component; one job at a time, since the network keeps the prompt of the running text.

    After load it is the package's, eager in float32; build makes of GPT and vocoder what was asked for.
    """

    def __init__(self, **settings: Any) -> None:
        self.settings = Settings(**settings)
        self.lane = partial(lane, self.settings.device)
        self._timer: DeviceTimer | None = None
        self.speakers: dict[tuple[object, ...], tuple[torch.Tensor, torch.Tensor]] = {}
        self.speakers_computed = 0
        self.ran_modes: set[str] = set()
        self.ran_vocoders: set[str] = set()

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
        self.parameters = sum(weight.numel() for weight in self.network.parameters())
        self.gpt: Gpt = EagerGpt(self.network.gpt, self._choice())
        self.vocoder = Vocoder(self.network.hifigan_decoder)
        self.is_built = all(plan.is_plain for plan in plans(s).values())

    def build(self) -> None:
        """Compile, capture or build engines, as the settings ask; see engines.contract.Buildable."""
        cache, planned = Cache(Path(self.settings.cache)), plans(self.settings)
        if planned["gpt"].backend != "eager":
            prepare = _backend(planned["gpt"])
            self.gpt = SteppedGpt(self.network.gpt, self._choice(), planned["gpt"], prepare, cache)
        elif not planned["gpt"].is_plain:
            cast(EagerGpt, self.gpt).convert(planned["gpt"].precision)
        if not planned["vocoder"].is_plain:
            prepare = _backend(planned["vocoder"])
            self.vocoder.prepare(planned["vocoder"], prepare, cache, self._windows())
        self.is_built = True
        built(self.settings.device)

    def _windows(self) -> list[int]:
        """Frames of the vocoder's calls: of a stream's first piece, and of every later one."""
        s, width = self.settings, self.network.gpt.model_dim
        if s.mode == "full":
            return [FULL_WINDOW]
        chunk = torch.zeros((1, s.stream_chunk_tokens, width), device=self.network.device)
        first = self.vocoder.frames(chunk).shape[-1]
        return self.vocoder.stream_windows(first, OVERLAP)

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
                VocoderStream(self._timer, chunk, rate, self._vocode_since),
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
        latents = self._ready().speak(prompt, job.seed, job.num_tokens)
        return Piece("latents", (latents, prompt.speaker), count=latents.shape[1])

    def _begin(self, job: Job, piece: Piece) -> tuple[Text, torch.Tensor]:
        """Prompt -> the loop that says its tokens, and the voice."""
        prompt: Prompt = piece.data
        with torch.inference_mode():
            return self._ready().text(prompt, job.seed, job.num_tokens), prompt.speaker

    def _ready(self) -> Gpt:
        if not self.is_built:
            raise RuntimeError("build() was not called")
        return self.gpt

    def processors(self, seed: int) -> LogitsProcessorList:
        """What the package's generate is to be given, beside the repetition penalty."""
        return processors(self._choice(), seed, self.network.device)

    def _choice(self) -> Choice:
        s = self.settings
        return Choice(float(s.temperature), s.top_k, float(s.top_p), float(s.repetition_penalty))

    def _vocode(self, piece: Piece) -> Piece:
        """GPT latents -> audio; N tokens give floor(4 N * 24000 / 22050) * 256 samples."""
        latents, speaker = piece.data
        self.ran_modes.add("full")
        wave = self.vocoder.whole(latents, speaker).cpu().numpy().astype(np.float32, copy=False)
        return Piece("audio", wave, len(wave), self.network.config.audio.output_sample_rate)

    def _vocode_since(self, latents: torch.Tensor, speaker: torch.Tensor, sample: int) -> torch.Tensor:
        """The sound from a sample on, out of all that it depends on or out of all latents."""
        self.ran_modes.add("stream")
        windowed = self.settings.stream_vocoder == "window"
        self.ran_vocoders.add("window" if windowed else "all")
        if windowed:
            return self.vocoder.since(latents, speaker, sample)
        return self.vocoder.whole(latents, speaker)[sample:]

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
        """See engines.contract.Component. What is still to be built says nothing of itself."""
        s, network = self.settings, self.network
        stages = {"condition": facts.condition_facts(network)}
        ran: dict[str, Any] = {
            "device": network.device.type,
            "size": facts.SIZES[network.gpt.model_dim],
            "mode": "+".join(sorted(self.ran_modes)),
        }
        if self.ran_vocoders:
            ran["stream_vocoder"] = "+".join(sorted(self.ran_vocoders))
        if self.is_built:
            stages |= {"gpt": dict(self.gpt.facts()), "vocoder": dict(self.vocoder.facts())}
            ran |= facts.stages_ran(s, stages)
        return {
            "weights": facts.weights(s.weights),
            "device": network.device.type,
            "size": s.size,
            "stages": stages,
            "parameters": self.parameters,
            "versions": facts.versions(),
            "cpu_threads": torch.get_num_threads(),
            "options": {
                # of the vocoder: a second pass over all tokens gives them, or the decoding of each
                "latents": self._latents_from() if self.is_built else None,
                "tf32_by_default": torch.backends.cudnn.allow_tf32,
            },
            "work": work(network, plans(s)),
            "speakers_computed": self.speakers_computed,
            "ran": ran,
        }

    def _latents_from(self) -> str:
        return "decoding" if self.settings.mode == "stream" else self.gpt.latents_from

    def memory(self) -> Mapping[str, float]:
        return peaks_mib(self.settings.device)
