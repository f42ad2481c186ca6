"""A sentence to try a voice with, in each language that there may be a model for."""

from __future__ import annotations

# Everyday words and many different sounds; short, so that a trial takes seconds on a CPU.
_SENTENCES = {
    "ar": "في الصباح نشرب الشاي ونقرأ الأخبار الجديدة.",
    "de": "Am frühen Morgen schien die Sonne über den stillen Hügeln.",
    "en": "The early morning sun was shining over the quiet hills.",
    "es": "El sol de la mañana brillaba sobre las colinas tranquilas.",
    "fi": "Aamuaurinko paistoi hiljaisten kukkuloiden yllä.",
    "fr": "Le soleil du matin brillait au-dessus des collines tranquilles.",
    "hi": "सुबह का सूरज शांत पहाड़ियों पर चमक रहा था।",
    "it": "Il sole del mattino splendeva sulle colline tranquille.",
    "ja": "朝の太陽が静かな丘の上で輝いていました。",
    "ko": "아침 해가 조용한 언덕 위에서 빛나고 있었습니다.",
    "lv": "Rīta saule spīdēja pār klusajiem pakalniem.",
    "pt": "O sol da manhã brilhava sobre as colinas tranquilas.",
    "ru": "Утреннее солнце светило над тихими холмами.",
    "th": "แสงแดดยามเช้าส่องลงบนเนินเขาอันเงียบสงบ",
    "vi": "Nắng sớm chiếu trên những ngọn đồi yên tĩnh.",
    "zh": "清晨的阳光照在安静的山丘上。",
}


def trial_sentence(language: str, otherwise: str) -> str:
    """The sentence for a language tag; `otherwise`, which the voice has said already, where there is none."""
    return _SENTENCES.get(language.partition("-")[0].lower(), otherwise)
