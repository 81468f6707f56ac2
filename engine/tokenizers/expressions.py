"""The regular expressions by which model families cut text into words, and what else is true of them.

Sources: the models' own `tokenizer.json`, as far as they can be had, else llama.cpp (src/llama-vocab.cpp),
which quotes them. `regex` names Unicode's white space `\\p{White_Space}`, as Rust and Oniguruma mean `\\s`;
its own `\\s` also matches four control characters (U+001C to U+001F).
"""

from __future__ import annotations

from dataclasses import dataclass

_S, _NOT_S = r"\p{White_Space}", r"\P{White_Space}"
_CONTRACTION = r"'s|'t|'re|'ve|'m|'ll|'d"
_GPT2 = rf"{_CONTRACTION}| ?\p{{L}}+| ?\p{{N}}+| ?[^{_S}\p{{L}}\p{{N}}]+|{_S}+(?!{_NOT_S})|{_S}+"
_SPACES = rf"{_S}*[\r\n]+|{_S}+(?!{_NOT_S})|{_S}+"


def _qwen(digits: str) -> str:
    return (
        rf"(?i:{_CONTRACTION})|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|{digits}"
        rf"| ?[^{_S}\p{{L}}\p{{N}}]+[\r\n]*|{_SPACES}"
    )


_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"


def _cased(digits: str, suffix: str = "") -> str:
    return (
        rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{suffix}|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*{suffix}"
        rf"|{digits}| ?[^{_S}\p{{L}}\p{{N}}]+[\r\n/]*|{_SPACES}"
    )


_CJK = r"[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]"
_KANA_AND_HAN = r"[\u4e00-\u9fa5\u3040-\u30ff]"
_ASCII_PUNCTUATION = r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~]"""
_DEEPSEEK_LETTERS = (
    "["
    "A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af"
    "\u0370-\u0373\u0376\u0377\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03f5"
    "\u03f7-\u0481\u048a-\u052f\u0531-\u0556\u10a0-\u10c5\u13a0-\u13f5\u13f8-\u13fd\u1c90-\u1cba"
    "\u1cbd-\u1cbf\u1d00-\u1d2b\u1d6b-\u1d77\u1d79-\u1d9a\u1e00-\u1f15\u1f18-\u1f1d\u1f20-\u1f45"
    "\u1f48-\u1f4d\u1f50-\u1f57\u1f59\u1f5b\u1f5d\u1f5f-\u1f7d\u1f80-\u1fb4\u1fb6-\u1fbc\u1fbe"
    "\u1fc2-\u1fc4\u1fc6-\u1fcc\u1fd0-\u1fd3\u1fd6-\u1fdb\u1fe0-\u1fec\u1ff2-\u1ff4\u1ff6-\u1ffc\u2102"
    "\u2107\u210a-\u2113\u2115\u2119-\u211d\u2124\u2126\u2128\u212a-\u212d\u212f-\u2134\u2139"
    "\u213c-\u213f\u2145-\u2149\u214e\u2183\u2184\u2c00-\u2c7b\u2c7e-\u2ce4\u2ceb-\u2cee\u2cf2\u2cf3"
    "\ua640-\ua66d\ua680-\ua69b\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e\uab70-\uabbf\ufb00-\ufb06"
    "\ufb13-\ufb17\uff21-\uff3a\uff41-\uff5a\U00010400-\U0001044f\U000104b0-\U000104d3"
    "\U000104d8-\U000104fb\U00010c80-\U00010cb2\U00010cc0-\U00010cf2\U000118a0-\U000118df"
    "\U0001e900-\U0001e943"
    "]"
)
"""The cased letters of an older Unicode."""
_DEEPSEEK_MARKS = r"[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]"
_FALCON_MARKS = r"[\p{P}$+<=>\^~|`]"
_DEEPSEEK_V3 = (
    rf"{_ASCII_PUNCTUATION}[A-Za-z]+|[^\r\n\p{{L}}\p{{P}}\p{{S}}]?[\p{{L}}\p{{M}}]+"
    rf"| ?[\p{{P}}\p{{S}}]+[\r\n]*|{_SPACES}"
)

_BASIC_SETS = (r"\p{L}", r"\p{N}", _S, "[ ]", r"[\r\n]")
_CASED_SETS = (*_BASIC_SETS, _UPPER, _LOWER, "/")
_LAST_SPACE = rf"{_S}{{2}}\Z"
_APOSTROPHE, _SPACE = r"'\Z", rf"{_S}\Z"
_CUT_CONTRACTION = r"'[rvlRVL]\Z"
_CASE_TURN = rf"[\p{{Lm}}\p{{Lo}}\p{{M}}]{_UPPER}*\Z"


@dataclass(frozen=True, slots=True)
class Expressions:
    """How one family cuts text. The claims in `shapes` hold for these fields; tests try to refute them."""

    stages: tuple[str, ...]
    """Each is applied inside the pieces that the one before has left."""
    sets: tuple[str, ...] = _BASIC_SETS
    """Every character set that a stage tests, the letters of contractions aside."""
    contractions: bool = True
    """Whether an apostrophe and certain letters behind it are tested too."""
    counted: str = r"\p{N}"
    """Characters whose runs may be cut inside: one by one, or in threes."""
    recut: str = rf"{_LAST_SPACE}|{_CUT_CONTRACTION}"
    """Texts whose words, the last boundary aside, can depend on what follows end like this."""
    followers: tuple[str, ...] = ("e", "l", "1", ".", "\n")
    """What may follow such a text: one text for each way of cutting it."""
    unstable_words: int = 2
    """How many words at the end of a text a continuation may cut otherwise: a contraction joins two."""
    joinable: str = ""
    """Of these, a word that is not the last one can be cut otherwise only if it ends like this."""
    unstable_space: bool = False
    """Whether a continuation may also recut all white space at the end, and the word before it."""


_AFTER_A_SPACE = ("e", ".", "1", "一", "¬", "\n")
_NO_STAGES = Expressions((), (), contractions=False, counted="", recut=r"(?!)", followers=())

EXPRESSIONS: dict[str, Expressions] = {
    "none": _NO_STAGES,
    "gpt-2": Expressions((_GPT2,), joinable=_APOSTROPHE),
    "starcoder": Expressions((r"\p{N}", _GPT2), joinable=_APOSTROPHE),
    "qwen2": Expressions((_qwen(r"\p{N}"),), joinable=_SPACE),
    "llama-3": Expressions((_qwen(r"\p{N}{1,3}"),), joinable=_SPACE),
    "falcon": Expressions(
        (rf"{_FALCON_MARKS}+", _GPT2, "[0-9]{3}"),
        (*_BASIC_SETS, _FALCON_MARKS, "[0-9]"),
        recut=rf"{_LAST_SPACE}|{_CUT_CONTRACTION}|[0-9]\Z",
        followers=("e", "l", "1", "11", ".", "\n"),
    ),
    "deepseek-coder": Expressions(
        (r"[\r\n]", rf"{_S}?\p{{L}}+", rf"{_S}?\p{{P}}+", f"{_CJK}+", r"\p{N}"),
        (*_BASIC_SETS, r"\p{P}", _CJK),
        contractions=False,
        counted=r"[\r\n\p{N}]",
        recut=rf"{_S}\Z",
        followers=_AFTER_A_SPACE,
        unstable_words=3,
    ),
    "deepseek-llm": Expressions(
        (
            r"[\r\n]",
            f"{_S}?{_DEEPSEEK_LETTERS}+",
            f"{_S}?{_DEEPSEEK_MARKS}+",
            rf"{_S}+\Z",
            f"{_CJK}+",
            r"\p{N}+",
        ),
        (*_BASIC_SETS, _DEEPSEEK_LETTERS, _DEEPSEEK_MARKS, _CJK),
        contractions=False,
        counted=r"[\r\n]",
        recut=rf"{_S}\Z",
        followers=_AFTER_A_SPACE,
        unstable_words=3,
        unstable_space=True,
    ),
    "deepseek-v3": Expressions(
        (r"\p{N}{1,3}", f"{_KANA_AND_HAN}+", _DEEPSEEK_V3),
        (*_BASIC_SETS, _KANA_AND_HAN, _ASCII_PUNCTUATION, "[A-Za-z]", r"[\p{P}\p{S}]", r"\p{M}"),
        contractions=False,
        recut=rf"{_LAST_SPACE}|[^\p{{L}}\p{{N}}\p{{P}}\p{{S}}]{{2}}\Z",
        followers=("e", "一", "1", ".", "\n"),
    ),
    "tekken": Expressions(
        (_cased(r"\p{N}"),), _CASED_SETS, contractions=False, recut=rf"{_LAST_SPACE}|{_CASE_TURN}"
    ),
    "gpt-4o": Expressions(
        (_cased(r"\p{N}{1,3}", rf"(?i:{_CONTRACTION})?"),),
        _CASED_SETS,
        recut=rf"{_LAST_SPACE}|'[rvlRVL]?\Z|{_CASE_TURN}",
        followers=("e", "l", "s", "1", ".", "\n"),
    ),
}  # fmt: skip

GGUF_NAMES: dict[str, str] = {
    "gpt-2": "gpt-2", "phi-2": "gpt-2", "jina-es": "gpt-2", "jina-de": "gpt-2", "mpt": "gpt-2",
    "olmo": "gpt-2", "mellum": "gpt-2", "a.x-4.0": "gpt-2", "exaone4": "gpt-2", "trillion": "gpt-2",
    "starcoder": "starcoder", "refact": "starcoder", "command-r": "starcoder", "smollm": "starcoder",
    "codeshell": "starcoder", "exaone": "starcoder", "minerva-7b": "starcoder",
    "qwen2": "qwen2", "deepseek-r1-qwen": "qwen2", "stablelm2": "qwen2", "megrez": "qwen2",
    "hunyuan": "qwen2", "kormo": "qwen2", "grok-2": "qwen2",
    "llama3": "llama-3", "llama-v3": "llama-3", "llama-bpe": "llama-3", "falcon3": "llama-3",
    "falcon-h1": "llama-3", "pixtral": "llama-3", "midm-2.0": "llama-3", "lfm2": "llama-3", "dbrx": "llama-3",
    "smaug-bpe": "llama-3", "chatglm-bpe": "llama-3", "glm4": "llama-3", "glm5": "llama-3",
    "falcon": "falcon", "deepseek-coder": "deepseek-coder", "deepseek-llm": "deepseek-llm",
    "deepseek-v3": "deepseek-v3", "hunyuan-dense": "deepseek-v3", "tekken": "tekken",
    "gpt-4o": "gpt-4o", "llama4": "gpt-4o", "kanana2": "gpt-4o",
}  # fmt: skip
"""`tokenizer.ggml.pre` → name in EXPRESSIONS."""
IGNORE_MERGES = frozenset(
    (
        "llama3",
        "llama-v3",
        "llama-bpe",
        "falcon3",
        "falcon-h1",
        "pixtral",
        "midm-2.0",
        "lfm2",
        "glm4",
        "glm5",
        "tekken",
    )
)
"""`tokenizer.ggml.pre` of models where a word that is a token is that token, whatever its merges."""
