"""Small tokenizers of the kinds that published models have."""

from __future__ import annotations

from collections.abc import Callable

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

MakeTokenizer = Callable[..., PreTrainedTokenizerFast]

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .,:?!+=-*/\\{}()<>|[]_'\"\n#$&%"


def byte_level() -> Tokenizer:
    """As Llama 3's and Qwen's: bytes, with merges that join white space and the letters after it."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("Ċ", "Ċ"), ("Ġ", "T"), ("ĠT", "h"), ("ĠTh", "e")]
    vocab = {piece: i for i, piece in enumerate([*alphabet, *("".join(pair) for pair in merges)])}
    core = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    return core


def sentencepiece_bpe() -> Tokenizer:
    """As Llama 2's and Mistral's: ▁ for a space, one before each text, bytes for what has no piece."""
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    pieces = ["<unk>", "<s>", "</s>", *bytes_, "▁", *sorted(set(LETTERS) - {" ", "\n"}), "▁i", "▁is", "▁4"]
    vocab = {piece: i for i, piece in enumerate(pieces)}
    core = Tokenizer(
        models.BPE(
            vocab=vocab,
            merges=[("▁", "i"), ("▁i", "s"), ("▁", "4")],
            unk_token="<unk>",
            byte_fallback=True,
            fuse_unk=True,
        )
    )
    core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    core.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return core


def unigram() -> Tokenizer:
    """As converted Unigram models: the special tokens are pieces too, with the best score."""
    pieces = [("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0), ("▁", -2.0)]
    pieces += [(letter, -5.0) for letter in sorted(set(LETTERS) - {" "})]
    core = Tokenizer(models.Unigram(pieces, unk_id=0))
    core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    core.decoder = decoders.Metaspace(prepend_scheme="first")
    return core


CORES = {"byte level": byte_level, "sentencepiece": sentencepiece_bpe, "unigram": unigram}


def build(
    template: str,
    special: tuple[str, ...] = (),
    added: tuple[str, ...] = (),
    kind: str = "byte level",
    eos: str = "</s>",
) -> PreTrainedTokenizerFast:
    core = CORES[kind]()
    core.add_special_tokens(["<s>", "</s>", *special])
    core.add_tokens([AddedToken(token, normalized=False) for token in added])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<s>", eos_token=eos, pad_token="</s>"
    )
    tokenizer.chat_template = template
    return tokenizer
