"""XTTS's GPT as a stage runs it: the package's, or our decoder in CUDA graphs; the tokens are the same."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Protocol

import torch
from torch import Tensor, nn

from engines.backends import arithmetic
from engines.backends.cache import Cache
from engines.backends.prepared import Example, Prepare
from engines.xtts.decoder import Decoder, Form, Step, lengths
from engines.xtts.facts import weight_facts
from engines.xtts.plans import Plan
from engines.xtts.prompt import Prompt, prefix
from engines.xtts.sampling import Choice, Sampling, processors
from engines.xtts.stream import Text, Tokens

_TOKENS_PER_LOOK = 8  # for the stop token: a look waits for the device, and tokens after a stop are wasted
_HALF = {"fp16": torch.float16, "bf16": torch.bfloat16}


class Gpt(Protocol):
    """The stage. latents_from says where a whole text's latents come from, facts what ran."""

    latents_from: str

    def facts(self) -> Mapping[str, str]: ...

    def text(self, prompt: Prompt, seed: int, count: int | None) -> Text:
        """Begin a text; count is how many tokens are forced, None lets it stop by itself."""
        ...

    def speak(self, prompt: Prompt, seed: int, count: int | None) -> Tensor:
        """A whole text: latents (1, N, C)."""
        ...


class EagerGpt:
    """The package's GPT, one kernel after the other; a second pass over all tokens gives a text's latents."""

    latents_from = "second pass"

    def __init__(self, gpt: nn.Module, choice: Choice) -> None:
        self._gpt, self._choice = gpt, choice
        self._plan = Plan("eager", "fp32")
        self._dtype = ""

    def convert(self, precision: str) -> None:
        """Compute in another precision from now on: the body's weights, or its calls, change for good."""
        gpt, device = self._gpt, self._gpt.mel_head.weight.device
        arithmetic.refuse(precision, device)
        self._plan = Plan("eager", precision)
        if precision in ("int8", "fp8"):
            gpt.gpt = gpt.gpt_inference.transformer = arithmetic.converted(gpt.gpt, precision, device)
        some = torch.zeros((1, 2, gpt.model_dim), device=device)
        with self._computing():
            _, self._dtype = arithmetic.observed(gpt.gpt, lambda: gpt.gpt(inputs_embeds=some)[0])

    def _computing(self) -> AbstractContextManager[None]:
        if self._plan.is_plain:
            return contextlib.nullcontext()
        return arithmetic.computing(self._plan.precision, self._gpt.mel_head.weight.device)

    def facts(self) -> Mapping[str, str]:
        found = weight_facts([self._gpt.gpt, self._gpt.mel_head])
        return found | ({"dtype": self._dtype} if self._dtype else {})

    def text(self, prompt: Prompt, seed: int, count: int | None) -> Tokens:
        scored = processors(self._choice, seed, prompt.tokens.device)
        return Tokens(self._gpt, prompt, scored, self._choice.penalty, count, self._computing)

    def speak(self, prompt: Prompt, seed: int, count: int | None) -> Tensor:
        with self._computing():
            codes = self._codes(prompt, seed, count)
            device, number = codes.device, codes.shape[-1]
            latents: Tensor = self._gpt(
                prompt.tokens,
                torch.tensor([prompt.tokens.shape[-1]], device=device),
                codes,
                torch.tensor([number * self._gpt.code_stride_len], device=device),
                cond_latents=prompt.latents,
                return_latent=True,
            )
        return latents.float()

    def _codes(self, prompt: Prompt, seed: int, count: int | None) -> Tensor:
        forced = {} if count is None else {"min_new_tokens": count, "max_new_tokens": count}
        codes: Tensor = self._gpt.generate(
            cond_latents=prompt.latents,
            text_inputs=prompt.tokens,
            do_sample=False,  # Sampling does it
            repetition_penalty=self._choice.penalty,
            logits_processor=processors(self._choice, seed, prompt.tokens.device),
            **forced,
        )
        return codes


class SteppedGpt:
    """Our decoder: a token is one start of a captured graph, its choice and the next input included.

    There is one place for a running text. A text that comes back after another has its keys and values
    copied back first (0.25 GB at most, in float32): so texts may be said in turns, and graphs be few.
    The package's GPT body is given up for it, so that its weights are there once.
    """

    latents_from = "decoding"

    def __init__(self, gpt: nn.Module, choice: Choice, plan: Plan, prepare: Prepare, cache: Cache) -> None:
        """prepare  of the plan's backend, which captures or compiles each step

        Raises NotApplicable where the backend or the precision cannot run here.
        """
        self.gpt, device = gpt, gpt.mel_head.weight.device
        arithmetic.refuse(plan.precision, device)
        self.decoder = Decoder(gpt, choice, _form(plan, device))
        gpt.gpt.h = nn.ModuleList()
        self._lock = threading.Lock()
        self._running: SteppedText | None = None
        self._steps = {}
        for length in lengths(self.decoder):
            self._reset()
            drawn = torch.ones_like(self.decoder.banned)
            example = Example(f"gpt_{length}", {"drawn": drawn}, ("token",))
            # the decoder is in its precision already, and fp32 leaves it as it is
            self._steps[length] = prepare(Step(self.decoder, length), example, "fp32", cache)
        self._backend = self._steps[self.decoder.length].facts["backend"]

    def _reset(self) -> None:
        """Preparing a step runs it a few times, which must not go beyond its length."""
        self.decoder.place.zero_()
        self.decoder.index.zero_()

    def facts(self) -> Mapping[str, str]:
        matrix = self.decoder.attend
        dtype = str(matrix.dtype).removeprefix("torch.")
        if self.decoder.form.dtype is not matrix.dtype:
            dtype += f" weights, {str(self.decoder.form.stream).removeprefix('torch.')} arithmetic"
        return {"backend": self._backend, "dtype": dtype, "device": str(matrix.device)}

    def text(self, prompt: Prompt, seed: int, count: int | None) -> SteppedText:
        drawing = Sampling(seed, self.decoder.banned.device)
        return SteppedText(self, prefix(self.gpt, prompt), drawing, count)

    def speak(self, prompt: Prompt, seed: int, count: int | None) -> Tensor:
        return self.text(prompt, seed, count).say(self.decoder.most)

    @contextlib.contextmanager
    def taken(self, text: SteppedText) -> Iterator[Decoder]:
        """The decoder with the state of this text, for this thread alone."""
        with self._lock:
            before = self._running
            if before is not text:
                if before is not None and before.goes_on:
                    before.state = self.decoder.state(before.place)
                text.put(self.decoder)
                self._running = text
            yield self.decoder
            if not text.goes_on:
                self._running = None

    def step(self, place: int, drawn: Tensor) -> None:
        """Say the token whose keys and values come to `place`."""
        fits = next(length for length in self._steps if length > place)
        self._steps[fits](drawn)


class SteppedText:
    """One text of a SteppedGpt. Its prompt is read when its first tokens are asked for."""

    def __init__(self, gpt: SteppedGpt, prompt: Tensor, drawing: Sampling, count: int | None) -> None:
        self.place = prompt.shape[1]  # positions that are filled once the prompt is read
        self.state: Mapping[str, Tensor] | None = None
        self._gpt, self._prompt, self._drawing = gpt, prompt, drawing
        self._forced = count is not None
        self._left = gpt.decoder.most if count is None else count
        self._said = 0

    @property
    def goes_on(self) -> bool:
        return self._left > 0

    def put(self, decoder: Decoder) -> None:
        """Into the decoder, in place of the text before."""
        if self.state is None:
            decoder.begin(self._prompt, may_stop=not self._forced)
        else:
            decoder.restore(self.state)
            self.state = None

    @torch.inference_mode()
    def say(self, most: int) -> Tensor:
        """See Text."""
        if not self.goes_on:
            return self._gpt.decoder.latents.new_zeros((1, 0, self._prompt.shape[-1]))
        with self._gpt.taken(self) as decoder:
            first, end = self._said, self._said + min(most, self._left)
            while self.goes_on and self._said < end:
                self._go(decoder, end - self._said)
            return decoder.latents[None, first : self._said].clone()

    def _go(self, decoder: Decoder, most: int) -> None:
        number = most if self._forced else min(most, _TOKENS_PER_LOOK)
        for _ in range(number):
            self._gpt.step(self.place, self._drawing.draw(decoder.banned))
            self.place += 1
        self._left -= number
        if not self._forced:
            new = decoder.tokens[self._said : self._said + number].tolist()
            if decoder.stop in new:
                number, self._left = new.index(decoder.stop) + 1, 0
        self._said += number


def _form(plan: Plan, device: torch.device) -> Form:
    """Weights in 8 bits are multiplied with 16-bit keys and inputs on a GPU, and float32 on a CPU."""
    small = torch.float16 if device.type == "cuda" else torch.float32
    dtype = small if plan.precision in ("int8", "fp8") else _HALF.get(plan.precision, torch.float32)
    return Form(plan.precision, dtype, summed=plan.backend == "compile")
