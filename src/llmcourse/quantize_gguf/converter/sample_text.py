"""Text on which pre-tokenizers differ, and what of it depends on the vocabulary at hand.

Pre-tokenizers differ in runs of digits, of spaces and of newlines, in contractions and their case, in
punctuation before words, in combining marks and in scripts.  A difference shows only where the vocabulary
has tokens that span it, hence the second half: the vocabulary's own tokens, one after another.
"""

import unicodedata
from typing import Any

_TOKENS = 3000
_TOKENS_PER_TEXT = 60

_FIXED = (
    "The quick brown fox doesn't jump; it'll walk. They've said I'm sure she'd know, we're late, it's on.",
    "IT'S LOUD, DON'T SHOUT, WE'VE HEARD, THEY'LL SEE, I'M HERE, YOU'RE THERE, HE'D GO. l'eau d'été qu'il",
    "don’t can’t it’s ‘quoted’ “twice” — em—dash … ellipsis... and so on!!! really??? yes?! no.",
    "0 1 12 123 1234 12345 123456 1234567 12345678 3.14159 1,000,000.00 -5 +7 1e-10 0x1F 2nd 3rd a1b2c3",
    "٠١٢٣٤ ०१२३ 一二三 ½ ² Ⅷ 2024-11-23T10:15:30Z 192.168.0.1 50% $9.99 £5 €3 #42 No.7 v1.2.3",
    "one  two   three    four     five\tsix\t\tseven \t eight\u00a0nine\u3000ten   ",
    " leading",
    "  two leading",
    "trailing ",
    "trailing  \n",
    "\n",
    "\n\n",
    "\n\n\n\n",
    "\n\n1",
    "\n12 \t345",
    "a1\n\n22b",
    " \n \n\n  \n",
    "\r\n\r\n x",
    "def f(x, *args, **kw) -> int:\n    if x != 0:\n        return x**2  # n\n\n\n    return self._a[1]\n",
    "for (int i = 0; i < n; ++i) {\n\tsum += a[i] * b[i];\n}\n\n// done\n/* and */ #include <vector>\n",
    '{"key": ["value", 1.5, null, true], "nested": {"a_b": "c-d"}}\n<div class="x">&amp;</div>\n',
    "https://example.org/path?q=1&r=%20#top user@mail.example C:\\dir\\file.txt ~/x/../y.tar.gz",
    "CamelCaseWord snake_case_word kebab-case SCREAMING_CASE HTTPServer iPhone XMLHttpRequest getURLs",
    "Größe naïve façade Škoda Łódź İstanbul ñandú œuvre ﬁne ÆON ß straße coöperate",
    "Привет, как дела? ПРИВЕТ Київ їжак; Γειά σου Κόσμε; Բարեւ; გამარჯობა; შენ",
    "你好，世界！我在2024年买了3个苹果。日本語のテキスト、カタカナとひらがな。ｶﾀｶﾅ ー々 한국어 문장입니다.",
    "नमस्ते दुनिया क्षत्रिय বাংলা தமிழ் తెలుగు ಕನ್ನಡ മലയാളം ไทยไม่เว้นวรรค ລາວ မြန်မာ ខ្មែរ བོད་",
    "مرحبا بالعالم، كيف حالك؟ שָׁלוֹם עולם אנגלית mixed עם English فارسی می‌خواهم",
    "🙂 👍🏽 👩‍👩‍👧 🇩🇪🇫🇷 🏳️‍🌈 ❤️ ☃ ★ → ≤ ∑ ∞ √2 x² a₁ °C ™ © ½",
    "Tiếng Việt rất đẹp; Türkçe; Yorùbá ẹ̀kọ́; a\u0308 e\u0301 combining\u0327\u0301 marks z\u0351\u036b\u0343",
    "=== --- *** ___ ~~~ ``` ''' \"\"\" ((())) [[]] {{}} <<>> /// \\\\\\ ||| &&& %%% $$$ @@@ ^^^ +++ ;;; :::",
    "a.b,c;d:e!f?g(h)i[j]k{l}m<n>o/p\\q|r&s%t$u@v^w+x=y~z`'a\"b -c _d .e ,f (g 'h \"i /j #k $l @m",
    "word\nword \nword\n word\n\n word \n\n\tword\r\nword",
    "!\n!\n\n ?\n\n. \n;\n\n\n)\n\n}\n}\n",
)


def sample_texts(tokenizer: Any) -> list[str]:
    """Texts without special tokens: fixed ones, and some made of the vocabulary of `tokenizer`."""
    tokens = _tokens(tokenizer)
    own = ("".join(tokens[i : i + _TOKENS_PER_TEXT]) for i in range(0, len(tokens), _TOKENS_PER_TEXT))
    # Normalized: tokenizers may normalize first, llama.cpp does not, and that is no pre-tokenizer's fault.
    return [unicodedata.normalize("NFC", text) for text in (*_FIXED, *own)]


def _tokens(tokenizer: Any) -> list[str]:
    """Up to 3,000 tokens as text, from the whole vocabulary; none that is special or half a character."""
    special = set(tokenizer.all_special_ids) | set(tokenizer.get_added_vocab().values())
    ids = sorted(set(tokenizer.get_vocab().values()) - special)
    chosen = ids[:: max(1, len(ids) // _TOKENS)]
    texts = (tokenizer.decode([token], clean_up_tokenization_spaces=False) for token in chosen)
    return [text for text in texts if "\ufffd" not in text]
