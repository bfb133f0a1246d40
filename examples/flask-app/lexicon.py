"""How glad a sentence sounds: words with weights, and the words before them that change a weight."""

import re

GLAD = """
    amazing=3 beautiful=2 best=3 better=1 brilliant=3 charming=2 clean=1 clear=1 clever=2 comfortable=2 cool=1
    delightful=3 easy=1 elegant=2 enjoy=2 enjoyed=2 excellent=3 fast=1 fine=1 fresh=1 friendly=2 fun=2 funny=2
    glad=2 good=2 great=3 happy=3 helpful=2 interesting=1 kind=1 like=1 liked=1 love=3 loved=3 lovely=3
    masterpiece=3 nice=2 perfect=3 pleasant=2 powerful=1 quick=1 recommend=2 reliable=2 robust=2 robustness=2
    simple=1 smart=2 smooth=1 solid=1 strong=1 superb=3 sweet=1 thanks=1 touching=2 useful=2 warm=1 well=1
    wonderful=3 works=1 worth=1
"""
SAD = """
    annoying=2 awful=3 bad=2 bland=1 boring=2 broke=2 broken=2 cheap=1 clumsy=2 cold=1 confusing=2
    crash=2 crashes=2 dead=2 difficult=1 dirty=1 disappointed=2 disappointing=2 dull=2 error=1 errors=1
    fail=2 failed=2 fails=2 flat=1 hard=1 hate=3 hated=3 horrible=3 late=1 lost=1 mess=2 missing=1
    noisy=1 painful=2 poor=2 problem=1 problems=1 sad=2 slow=1 sorry=1 stupid=2 terrible=3 thin=1 tired=1
    ugly=2 unreliable=2 useless=3 waste=3 weak=1 worse=2 worst=3 wrong=2
"""
FLIPS = {"no", "not", "never", "hardly", "without", "nothing", "don't", "doesn't", "isn't", "wasn't", "can't"}
WEAKENS = {"somewhat", "slightly", "fairly", "less"}
STRENGTHENS = {"very", "really", "so", "extremely", "truly"}
REACH = 3
"""So many words before a word can change it: "not a very good film"."""


def _weights(text: str) -> dict[str, float]:
    return {word: float(weight) for word, weight in (item.split("=") for item in text.split())}


WEIGHTS = _weights(GLAD) | {word: -weight for word, weight in _weights(SAD).items()}


def score(sentence: str) -> float:
    """The sum of its words' weights; above 0 is glad, below is not."""
    words = re.findall(r"[a-z']+", sentence.lower().replace("\u2019", "'"))
    return sum(_weight(words, at) for at, word in enumerate(words) if word in WEIGHTS)


def _weight(words: list[str], at: int) -> float:
    weight = WEIGHTS[words[at]]
    before = words[max(0, at - REACH) : at]
    if before[-1:] == ["too"]:  # too strong, too good: never praise
        weight = -abs(weight)
    if FLIPS.intersection(before):
        weight *= -0.75
    if WEAKENS.intersection(before):
        weight *= 0.5
    if STRENGTHENS.intersection(before):
        weight *= 1.5
    return weight
